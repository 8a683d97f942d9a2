//! What a backslash means, inside and outside of classes.

use super::syntax::{Outcome, Translator, problem};

/// What stands behind a backslash.
pub(super) enum Escaped {
    Char(char),
    /// In our syntax, as part of a class or alone.
    Set(String),
}

// === impl Translator ===

impl Translator<'_> {
    /// What an escape means both inside and outside of a class; `self.at` is behind the backslash at `start`.
    pub(super) fn escaped(&mut self, start: usize) -> Outcome<Escaped> {
        let Some(c) = self.peek(0) else { return problem(start, "a character must follow the backslash") };
        self.at += 1;
        if let Some(set) = predefined_set(c, self.flags.unicode) {
            return Ok(Escaped::Set(set.to_owned()));
        }
        let c = match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'a' => '\u{7}',
            'e' => '\u{1b}',
            '0' => self.octal(start)?,
            'x' if self.peek(0) == Some('{') => {
                let digits: String = self.chars[self.at + 1..].iter().take_while(|&&c| c != '}').collect();
                self.at += digits.chars().count() + 2;
                match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                    Some(c) => c,
                    None => return problem(start, format_args!("{digits:?} is not the number of a character")),
                }
            }
            'x' => char::from(self.hex(start, 2)? as u8),
            'u' => self.utf16(start)?,
            'c' => match self.peek(0) {
                Some(c) if c.is_ascii() => {
                    self.at += 1;
                    char::from(c as u8 ^ 64)
                }
                _ => return problem(start, "expected a control character behind \\c"),
            },
            'p' | 'P' => return Ok(Escaped::Set(self.property(start, c == 'P')?)),
            c if c.is_ascii_alphanumeric() => {
                return problem(start, format_args!("there is no escape \\{c}; write \\\\{c} for the two characters"));
            }
            c => c,
        };
        Ok(Escaped::Char(c))
    }

    fn hex(&mut self, start: usize, digits: usize) -> Outcome<u32> {
        let text: String = self.chars[self.at..].iter().take(digits).collect();
        self.at += text.chars().count();
        match u32::from_str_radix(&text, 16) {
            Ok(number) if text.len() == digits => Ok(number),
            _ => problem(start, format_args!("expected {digits} hexadecimal digits, got {text:?}")),
        }
    }

    /// `\0n`, `\0nn`, or `\0mnn` up to 377.
    fn octal(&mut self, start: usize) -> Outcome<char> {
        let mut number = None;
        for _ in 0..3 {
            let Some(digit) = self.peek(0).and_then(|c| c.to_digit(8)) else { break };
            let longer = number.unwrap_or(0) * 8 + digit;
            if longer > 0o377 {
                break;
            }
            number = Some(longer);
            self.at += 1;
        }
        match number.and_then(char::from_u32) {
            Some(c) => Ok(c),
            None => problem(start, "expected octal digits behind \\0"),
        }
    }

    /// One unit, or the two of a surrogate pair.
    fn utf16(&mut self, start: usize) -> Outcome<char> {
        let mut units = vec![self.hex(start, 4)? as u16];
        if (0xD800..0xDC00).contains(&units[0]) && self.peek(0) == Some('\\') && self.peek(1) == Some('u') {
            self.at += 2;
            units.push(self.hex(start, 4)? as u16);
        }
        match char::decode_utf16(units).next() {
            Some(Ok(c)) => Ok(c),
            _ => problem(start, "half of a surrogate pair is no character; write both halves"),
        }
    }

    /// `\p{Name}` or `\pL`.
    fn property(&mut self, start: usize, negated: bool) -> Outcome<String> {
        let name: String = match self.peek(0) {
            Some('{') => self.chars[self.at + 1..].iter().take_while(|&&c| c != '}').collect(),
            Some(letter) => letter.to_string(),
            None => return problem(start, "expected a property behind \\p"),
        };
        self.at += if self.peek(0) == Some('{') { name.chars().count() + 2 } else { 1 };
        let not = if negated { "^" } else { "" };
        if let Some((_, ascii)) = ASCII_PROPERTIES.iter().find(|(known, _)| *known == name) {
            return Ok(format!("[{not}{ascii}]"));
        }
        let upper = if negated { 'P' } else { 'p' };
        let name = match name.as_str() {
            "javaLowerCase" => "Lowercase",
            "javaUpperCase" => "Uppercase",
            "javaAlphabetic" => "Alphabetic",
            "javaLetter" => "L",
            "javaDigit" => "Nd",
            name => match name.split_once('=') {
                Some(("script" | "sc" | "general_category" | "gc", value)) => value,
                None if name.starts_with("In") || name.starts_with("java") => {
                    return problem(
                        start,
                        format_args!("\\p{{{name}}} cannot be had; write a script or a range instead"),
                    );
                }
                None => name.strip_prefix("Is").unwrap_or(name),
                Some(_) => return problem(start, format_args!("\\p{{{name}}} cannot be had; write a script instead")),
            },
        };
        Ok(format!("\\{upper}{{{name}}}"))
    }
}

// === helpers ===

fn predefined_set(c: char, unicode: bool) -> Option<&'static str> {
    Some(match (c, unicode) {
        ('d', false) => "[0-9]",
        ('D', false) => "[^0-9]",
        ('w', false) => "[0-9A-Z_a-z]",
        ('W', false) => "[^0-9A-Z_a-z]",
        ('s', false) => "[ \\t\\n\\x0B\\f\\r]",
        ('S', false) => "[^ \\t\\n\\x0B\\f\\r]",
        ('d', true) => "\\d",
        ('D', true) => "\\D",
        ('w', true) => "\\w",
        ('W', true) => "\\W",
        ('s', true) => "\\s",
        ('S', true) => "\\S",
        ('h', _) => "[ \\t\\u{A0}\\u{1680}\\u{180E}\\u{2000}-\\u{200A}\\u{202F}\\u{205F}\\u{3000}]",
        ('H', _) => "[^ \\t\\u{A0}\\u{1680}\\u{180E}\\u{2000}-\\u{200A}\\u{202F}\\u{205F}\\u{3000}]",
        ('v', _) => "[\\n\\x0B\\f\\r\\u{85}\\u{2028}\\u{2029}]",
        ('V', _) => "[^\\n\\x0B\\f\\r\\u{85}\\u{2028}\\u{2029}]",
        _ => return None,
    })
}

/// The POSIX classes, which are ASCII in Java.
const ASCII_PROPERTIES: &[(&str, &str)] = &[
    ("Lower", "a-z"),
    ("Upper", "A-Z"),
    ("ASCII", "\\x00-\\x7F"),
    ("Alpha", "A-Za-z"),
    ("Digit", "0-9"),
    ("Alnum", "0-9A-Za-z"),
    ("Punct", "!-/:-@\\[-`{-\\~"),
    ("Graph", "!-\\~"),
    ("Print", " -\\~"),
    ("Blank", " \\t"),
    ("Cntrl", "\\x00-\\x1F\\x7F"),
    ("XDigit", "0-9A-Fa-f"),
    ("Space", " \\t\\n\\x0B\\f\\r"),
];
