//! From Java's syntax to the one of our regular expressions.
//!
//! What is written alike and means something else there: `\d \w \s` and the POSIX classes are ASCII unless `(?U)`, `.`
//! stops at five kinds of line terminators, `$` and `\Z` match before a last line terminator, `\h` is a blank. What is
//! written otherwise: `\Q…\E`, octal and control characters, UTF-16 escapes, possessive quantifiers, `(?x)` inside of
//! classes.
//!
//! # Source
//! `java.util.regex.Pattern` (Java 17).

use super::escape::Escaped;

/// Where `$` and `\Z` match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndOfText {
    /// At the very end: for texts without a line terminator there.
    Plain,
    /// Before a line terminator that ends the text, too; costs a look-ahead.
    BeforeTerminator,
}

/// A pattern in our syntax.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) text: String,
    /// Whether it depends on [`EndOfText`].
    pub(super) looks_at_end: bool,
    /// Names of groups, by number; the whole match is number 0.
    pub(super) groups: Vec<Option<String>>,
}

/// What ends a line in Java; CR LF counts as one.
pub(super) const LINE_TERMINATORS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// # Errors
/// What is wrong or cannot be had, at which character, counted from 1.
pub(super) fn translate(pattern: &str, end: EndOfText) -> Result<Translated, String> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut translator = Translator {
        chars: &chars,
        at: 0,
        out: String::with_capacity(pattern.len() * 2),
        flags: Flags::default(),
        open: Vec::new(),
        atom: None,
        end,
        looks_at_end: false,
        groups: vec![None],
    };
    translator.run()?;
    let Translator { out, looks_at_end, groups, .. } = translator;
    Ok(Translated { text: out, looks_at_end, groups })
}

/// Flags that we interpret ourselves; case is left to the engine.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    comments: bool,
    dot_all: bool,
    unix_lines: bool,
    multi_line: bool,
    pub(super) unicode: bool,
}

pub(super) struct Translator<'a> {
    pub(super) chars: &'a [char],
    pub(super) at: usize,
    out: String,
    pub(super) flags: Flags,
    /// Per open group: where it began in the pattern and in `out`, and the flags outside.
    open: Vec<(usize, usize, Flags)>,
    /// Where the last thing that can be repeated begins in `out`.
    atom: Option<usize>,
    end: EndOfText,
    looks_at_end: bool,
    groups: Vec<Option<String>>,
}

pub(super) type Outcome<T = ()> = Result<T, String>;

// === impl Translator ===

impl Translator<'_> {
    fn run(&mut self) -> Outcome {
        while let Some(c) = self.peek(0) {
            let start = self.at;
            self.at += 1;
            match c {
                '\\' => self.escape(start)?,
                '[' => self.class_atom(start)?,
                '(' => self.open_group(start)?,
                ')' => {
                    let Some((_, out, flags)) = self.open.pop() else {
                        return problem(start, "there is no ( before this )");
                    };
                    self.out.push(')');
                    (self.flags, self.atom) = (flags, Some(out));
                }
                '*' | '+' | '?' | '{' => self.quantifier(start, c)?,
                '|' => self.emit_plain("|"),
                '^' => self.line_begin(),
                '$' => self.line_end(self.flags.multi_line),
                '.' => self.dot(),
                '#' if self.flags.comments => {
                    while self.peek(0).is_some_and(|c| !LINE_TERMINATORS.contains(&c)) {
                        self.at += 1;
                    }
                }
                c if self.flags.comments && c.is_ascii_whitespace() => {}
                c => self.literal(c),
            }
        }
        match self.open.first() {
            Some((start, ..)) => problem(*start, "this ( is not closed"),
            None => Ok(()),
        }
    }

    pub(super) fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Something that cannot be repeated.
    fn emit_plain(&mut self, text: &str) {
        self.out.push_str(text);
        self.atom = None;
    }

    fn emit(&mut self, text: &str) {
        self.atom = Some(self.out.len());
        self.out.push_str(text);
    }

    fn literal(&mut self, c: char) {
        self.atom = Some(self.out.len());
        push_literal(&mut self.out, c);
    }

    fn dot(&mut self) {
        self.emit(match self.flags {
            Flags { dot_all: true, .. } => "(?s:.)",
            Flags { unix_lines: true, .. } => "[^\\n]",
            _ => "[^\\n\\r\\u{85}\\u{2028}\\u{2029}]",
        });
    }

    fn line_begin(&mut self) {
        self.emit(match self.flags {
            Flags { multi_line: false, .. } => "\\A",
            // No line begins at the end of the text, not even in an empty one.
            Flags { unix_lines: true, .. } => "(?:(?!\\z)(?:\\A|(?<=\\n)))",
            _ => "(?:(?!\\z)(?:\\A|(?<=[\\n\\u{85}\\u{2028}\\u{2029}])|(?<=\\r)(?!\\n)))",
        });
    }

    fn line_end(&mut self, multi_line: bool) {
        self.looks_at_end |= !multi_line;
        self.emit(match (multi_line, self.flags.unix_lines, self.end) {
            (true, true, _) => "(?=\\n|\\z)",
            (true, false, _) => "(?:(?=[\\r\\u{85}\\u{2028}\\u{2029}]|\\z)|(?<!\\r)(?=\\n))",
            (false, _, EndOfText::Plain) => "\\z",
            (false, true, _) => "(?=\\n?\\z)",
            (false, false, _) => "(?:(?=(?:\\r\\n|[\\r\\u{85}\\u{2028}\\u{2029}])?\\z)|(?<!\\r)(?=\\n\\z))",
        });
    }

    fn open_group(&mut self, start: usize) -> Outcome {
        let outside = (start, self.out.len(), self.flags);
        self.atom = None;
        if self.peek(0) != Some('?') {
            self.groups.push(None);
            self.out.push('(');
            self.open.push(outside);
            return Ok(());
        }
        let kind = match (self.peek(1), self.peek(2)) {
            (Some(':'), _) => "(?:",
            (Some('='), _) => "(?=",
            (Some('!'), _) => "(?!",
            (Some('>'), _) => "(?>",
            (Some('<'), Some('=')) => "(?<=",
            (Some('<'), Some('!')) => "(?<!",
            (Some('<'), _) => return self.open_named_group(outside),
            _ => return self.flag_group(outside),
        };
        self.at += kind.len() - 1;
        self.out.push_str(kind);
        self.open.push(outside);
        Ok(())
    }

    fn open_named_group(&mut self, outside: (usize, usize, Flags)) -> Outcome {
        self.at += 2;
        let name: String = self.chars[self.at..].iter().take_while(|c| c.is_ascii_alphanumeric()).collect();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || self.peek(name.len()) != Some('>') {
            return problem(outside.0, "expected (?<name>, the name of letters and digits");
        }
        if self.groups.iter().flatten().any(|other| *other == name) {
            return problem(outside.0, format_args!("there is a group {name:?} already"));
        }
        self.at += name.len() + 1;
        self.out.push_str(&format!("(?<{name}>"));
        self.groups.push(Some(name));
        self.open.push(outside);
        Ok(())
    }

    /// `(?i)` or `(?i:…)`; behind the question mark now.
    fn flag_group(&mut self, outside: (usize, usize, Flags)) -> Outcome {
        self.at += 1;
        let (mut on, mut case) = (true, None);
        loop {
            let flag = self.peek(0);
            self.at += 1;
            let flags = &mut self.flags;
            match flag {
                Some('-') if on => on = false,
                Some('i') => case = Some(on),
                Some('x') => flags.comments = on,
                Some('s') => flags.dot_all = on,
                Some('d') => flags.unix_lines = on,
                Some('m') => flags.multi_line = on,
                Some('U') => flags.unicode = on,
                // Case without regard to ASCII is what the engine does in any case.
                Some('u') => {}
                Some(end @ (')' | ':')) => {
                    let case = case.map_or("", |on| if on { "i" } else { "-i" });
                    match (end, case) {
                        (':', _) => {
                            self.out.push_str(&format!("(?{case}:"));
                            self.open.push(outside);
                        }
                        (_, "") => {}
                        (_, case) => self.out.push_str(&format!("(?{case})")),
                    }
                    return Ok(());
                }
                _ => return problem(outside.0, "expected flags out of idmsuxU behind (?"),
            }
        }
    }

    fn quantifier(&mut self, start: usize, c: char) -> Outcome {
        let Some(atom) = self.atom.take() else {
            return problem(start, format_args!("nothing that {c} could repeat; write \\{c} for the character"));
        };
        let mut text = c.to_string();
        if c == '{' {
            let inner: String = self.chars[self.at..].iter().take_while(|&&c| c != '}').collect();
            let number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
            let fits = match inner.split_once(',') {
                Some((low, high)) => number(low) && (high.is_empty() || number(high)),
                None => number(&inner),
            };
            if !fits || self.peek(inner.chars().count()) != Some('}') {
                return problem(start, "expected {n}, {n,} or {n,m}; write \\{ for the character");
            }
            self.at += inner.len() + 1;
            text = format!("{{{inner}}}");
        }
        match self.peek(0) {
            Some('?') => {
                self.at += 1;
                self.out.push_str(&text);
                self.out.push('?');
            }
            Some('+') => {
                self.at += 1;
                self.out.insert_str(atom, "(?>");
                self.out.push_str(&text);
                self.out.push(')');
            }
            _ => self.out.push_str(&text),
        }
        Ok(())
    }

    /// Outside of a class; behind the backslash now.
    fn escape(&mut self, start: usize) -> Outcome {
        let Some(c) = self.peek(0) else { return problem(start, "a character must follow the backslash") };
        match c {
            'Q' => {
                self.at += 1;
                while let Some(c) = self.peek(0) {
                    self.at += 1;
                    if c == '\\' && self.peek(0) == Some('E') {
                        self.at += 1;
                        break;
                    }
                    self.literal(c);
                }
            }
            'E' => self.at += 1,
            'A' | 'z' | 'b' | 'B' => {
                self.at += 1;
                if c == 'b' && self.peek(0) == Some('{') {
                    return problem(start, "\\b{g} cannot be had; write the pattern without it");
                }
                self.emit(&format!("\\{c}"));
            }
            'Z' => {
                self.at += 1;
                self.line_end(false);
            }
            'R' => {
                self.at += 1;
                self.emit("(?:\\r\\n|[\\n\\x0B\\f\\r\\u{85}\\u{2028}\\u{2029}])");
            }
            'G' | 'X' | 'N' => {
                return problem(start, format_args!("\\{c} cannot be had; write the pattern without it"));
            }
            'k' => self.named_reference(start)?,
            '1'..='9' => self.numbered_reference(start)?,
            _ => {
                let escaped = self.escaped(start)?;
                self.atom = Some(self.out.len());
                match escaped {
                    Escaped::Char(c) => push_literal(&mut self.out, c),
                    Escaped::Set(set) => self.out.push_str(&set),
                }
            }
        }
        Ok(())
    }

    fn named_reference(&mut self, start: usize) -> Outcome {
        let name: String = self.chars[self.at + 1..].iter().skip(1).take_while(|&&c| c != '>').collect();
        let known = self.groups.iter().flatten().any(|group| *group == name);
        if self.peek(1) != Some('<') || !known {
            return problem(start, format_args!("there is no group {name:?} before this"));
        }
        self.at += name.chars().count() + 3;
        self.emit(&format!("\\k<{name}>"));
        Ok(())
    }

    /// As many digits as still name a group that has begun, but at least one.
    fn numbered_reference(&mut self, start: usize) -> Outcome {
        let mut number = 0;
        while let Some(digit) = self.peek(0).and_then(|c| c.to_digit(10)) {
            let longer = number * 10 + digit as usize;
            if number > 0 && longer >= self.groups.len() {
                break;
            }
            number = longer;
            self.at += 1;
        }
        if number >= self.groups.len() {
            return problem(start, format_args!("there is no group {number} before this"));
        }
        self.emit(&format!("(?:\\{number})"));
        Ok(())
    }

    fn class_atom(&mut self, start: usize) -> Outcome {
        let atom = self.out.len();
        self.class(start)?;
        self.atom = Some(atom);
        Ok(())
    }

    /// A class, nested ones within; behind its `[` now.
    fn class(&mut self, start: usize) -> Outcome {
        self.out.push('[');
        if self.peek(0) == Some('^') {
            self.at += 1;
            self.out.push('^');
        }
        let mut empty = true;
        loop {
            let at = self.at;
            let Some(c) = self.peek(0) else { return problem(start, "this [ is not closed") };
            self.at += 1;
            match c {
                ']' if !empty => {
                    self.out.push(']');
                    return Ok(());
                }
                '[' => self.class(at)?,
                '&' if self.peek(0) == Some('&') => {
                    self.at += 1;
                    // Without anything on one side, it means nothing.
                    if empty || self.peek(0) == Some(']') {
                        continue;
                    }
                    self.out.push_str("&&");
                }
                '\\' if self.peek(0) == Some('Q') => {
                    self.at += 1;
                    while let Some(c) = self.peek(0) {
                        self.at += 1;
                        if c == '\\' && self.peek(0) == Some('E') {
                            self.at += 1;
                            break;
                        }
                        push_literal(&mut self.out, c);
                    }
                }
                c if self.flags.comments && c.is_ascii_whitespace() => continue,
                _ => self.class_item(at, start, c)?,
            }
            empty = false;
        }
    }

    /// One character, a range of them, or a set such as `\d`.
    fn class_item(&mut self, at: usize, class: usize, c: char) -> Outcome {
        let low = match c {
            '\\' => match self.escaped(at)? {
                Escaped::Set(set) => {
                    self.out.push_str(&set);
                    return Ok(());
                }
                Escaped::Char(c) => c,
            },
            c => c,
        };
        let ranges = self.peek(0) == Some('-') && self.peek(1).is_some_and(|next| next != ']' && next != '[');
        if !ranges {
            push_literal(&mut self.out, low);
            return Ok(());
        }
        self.at += 1;
        let Some(c) = self.peek(0) else { return problem(class, "this [ is not closed") };
        let high_at = self.at;
        self.at += 1;
        let high = match c {
            '\\' => match self.escaped(high_at)? {
                Escaped::Set(_) => return problem(at, "a range ends with one character"),
                Escaped::Char(c) => c,
            },
            c => c,
        };
        if low > high {
            return problem(at, format_args!("{low:?} comes after {high:?}"));
        }
        push_literal(&mut self.out, low);
        self.out.push('-');
        push_literal(&mut self.out, high);
        Ok(())
    }
}

// === helpers ===

pub(super) fn problem<T>(at: usize, what: impl std::fmt::Display) -> Outcome<T> {
    Err(format!("at character {}: {what}", at + 1))
}

fn push_literal(out: &mut String, c: char) {
    if "\\.+*?()|[]{}^$#&-~".contains(c) {
        out.push('\\');
    }
    out.push(c);
}
