//! Regular expressions as Java writes them.
//!
//! Patterns come from Flume's configurations, so they mean what `java.util.regex` makes of them; what cannot be had is
//! refused at its character, never taken for something else. Patterns without look-around and back-references run in
//! linear time.
//!
//! Texts are bodies or messages, decoded as UTF-8 with U+FFFD for what is none, as Java does it.

mod escape;
mod replacement;
mod syntax;

use std::sync::atomic::{AtomicU64, Ordering};

use fancy_regex::{Captures, Regex};
use millstream_core::{Options, Result};

pub use replacement::Replacement;
use syntax::{EndOfText, Translated, translate};

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern {
    /// For texts that do not end with a line terminator.
    plain: Regex,
    /// For the others, where the pattern looks at the end: `$` matches before a final line terminator too.
    before_terminator: Option<Regex>,
    /// Names of groups, by number; the whole match is number 0.
    groups: Vec<Option<String>>,
    /// Searches that took more steps than are allowed.
    exhausted: AtomicU64,
}

// === impl Pattern ===

impl Pattern {
    /// The pattern in the value of `key`.
    ///
    /// # Errors
    /// `Config`, with the character at which the pattern cannot be used.
    pub fn from_options(options: &Options, key: &str) -> Result<Self> {
        Self::parse(options.text(key)?).map_err(|problem| options.refuse(key, problem))
    }

    /// As [`Self::from_options`], for texts that it must match from end to end.
    ///
    /// # Errors
    /// `Config`, with the character at which the pattern cannot be used.
    pub fn of_the_whole(options: &Options, key: &str) -> Result<Self> {
        Self::parse_whole(options.text(key)?).map_err(|problem| options.refuse(key, problem))
    }

    /// As [`Self::of_the_whole`], of a text.
    ///
    /// # Errors
    /// What was expected, what was given, and the character at which it cannot be used.
    pub fn parse_whole(pattern: &str) -> Result<Self, String> {
        // Once by itself, so that places are those of what was written.
        Self::parse(pattern)?;
        Self::compile(&format!("\\A(?:{pattern})\\z"))
    }

    fn parse(pattern: &str) -> Result<Self, String> {
        Self::compile(pattern)
            .map_err(|problem| format!("expected a regular expression as Java has them, got {pattern:?}: {problem}"))
    }

    /// The replacement in the value of `key`.
    ///
    /// # Errors
    /// `Config`, with the character at which it cannot be used.
    pub fn replacement(&self, options: &Options, key: &str) -> Result<Replacement> {
        let text = options.text(key)?;
        let refused = |problem| {
            options.refuse(key, format_args!("expected a replacement as Java has them, got {text:?}: {problem}"))
        };
        Replacement::parse(text, &self.groups).map_err(refused)
    }

    fn compile(pattern: &str) -> Result<Self, String> {
        let compiled = |text: &str| Regex::new(text).map_err(|error| format!("{error}; change that part"));
        let Translated { text, looks_at_end, groups } = translate(pattern, EndOfText::Plain)?;
        let before_terminator = match looks_at_end {
            true => Some(compiled(&translate(pattern, EndOfText::BeforeTerminator)?.text)?),
            false => None,
        };
        Ok(Self { plain: compiled(&text)?, before_terminator, groups, exhausted: AtomicU64::new(0) })
    }

    /// How many groups the pattern has, the whole match not counted.
    pub fn group_count(&self) -> usize {
        self.groups.len() - 1
    }

    /// Whether some part of `text` matches.
    pub fn is_found(&self, text: &str) -> bool {
        self.or_exhausted(self.regex(text).is_match(text)).unwrap_or(false)
    }

    /// The first match and its groups.
    pub fn first<'t>(&self, text: &'t str) -> Option<Captures<'t, str>> {
        self.or_exhausted(self.regex(text).captures(text)).flatten()
    }

    /// The pieces between the matches, without empty ones.
    pub fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let (mut pieces, mut from) = (Vec::new(), 0);
        while let Some(whole) = self.or_exhausted(self.plain.find_from_pos(text, from)).flatten() {
            // A separator of no length would separate for ever.
            if whole.end() == from {
                break;
            }
            pieces.push(&text[from..whole.start()]);
            from = whole.end();
        }
        pieces.push(&text[from..]);
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    /// The text with every match replaced; `None` when there is no match. Goes on after an empty match as Java does: by
    /// one character.
    pub fn replaced(&self, text: &str, by: &Replacement) -> Option<String> {
        let regex = self.regex(text);
        let mut out = String::new();
        let (mut from, mut copied, mut found) = (0, 0, false);
        while from <= text.len() {
            let Some(captures) = self.or_exhausted(regex.captures_from_pos(text, from)).flatten() else { break };
            let Some(whole) = captures.get(0) else { break };
            out.push_str(&text[copied..whole.start()]);
            by.append(&captures, &mut out);
            (copied, found) = (whole.end(), true);
            from = match whole.start() == whole.end() {
                true => whole.end() + text[whole.end()..].chars().next().map_or(1, char::len_utf8),
                false => whole.end(),
            };
        }
        if !found {
            return None;
        }
        out.push_str(&text[copied..]);
        Some(out)
    }

    fn regex(&self, text: &str) -> &Regex {
        match &self.before_terminator {
            Some(regex) if text.ends_with(syntax::LINE_TERMINATORS) => regex,
            _ => &self.plain,
        }
    }

    /// A search that takes too many steps counts as one without a match, and is told at the 1st, 2nd, 4th, … time: Java
    /// would go on for hours or overflow its stack.
    fn or_exhausted<T>(&self, outcome: Result<T, fancy_regex::Error>) -> Option<T> {
        let error = match outcome {
            Ok(found) => return Some(found),
            Err(error) => error,
        };
        let times = self.exhausted.fetch_add(1, Ordering::Relaxed) + 1;
        if times.is_power_of_two() {
            let pattern = self.plain.as_str();
            tracing::warn!(pattern, %error, times, "search given up, taken as no match");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn found(pattern: &str, text: &str) -> bool {
        Pattern::compile(pattern).expect("a pattern").is_found(text)
    }

    fn replaced(pattern: &str, by: &str, text: &str) -> String {
        let pattern = Pattern::compile(pattern).expect("a pattern");
        let by = Replacement::parse(by, &pattern.groups).expect("a replacement");
        pattern.replaced(text, &by).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn the_end_of_a_text_is_before_its_last_line_terminator_too() {
        for text in ["end", "end\n", "end\r", "end\r\n", "end\u{85}"] {
            assert!(found("end$", text) && found("end\\Z", text), "{text:?}");
        }
        assert!(!found("end$", "end\n\n") && !found("end\\z", "end\n"));
        assert!(!found("end\r$", "end\r\n"), "a CR LF is one terminator");
        assert_eq!(replaced("\\d+$", "#", "a1 2\n"), "a1 #\n");
    }

    #[test]
    fn lines_are_those_of_java() {
        assert!(!found("a.b", "a\rb") && found("(?s)a.b", "a\rb") && found("(?d)a.b", "a\rb"));
        assert!(found("(?m)^b$", "a\rb\r\nc") && !found("^b", "a\nb"));
        assert!(!found("(?m)\n^", "a\n"), "no line begins at the end");
    }

    #[test]
    fn classes_are_ascii_unless_asked() {
        assert!(found("^\\w+$", "abc_9") && !found("\\w", "é") && found("(?U)\\w", "é"));
        assert!(!found("\\d", "٣") && !found("\\s", "\u{a0}") && found("\\h", "\u{a0}"));
        assert!(found("^[\\w.-]+$", "a.b-c") && found("^[a-z&&[^aeiou]]+$", "xyz") && !found("^[a-z&&[^aeiou]]$", "a"));
        assert!(found("^\\p{Upper}\\p{javaLowerCase}\\P{Digit}$", "Xyz") && found("^[\\p{L}\\]]+$", "é]"));
        assert!(found("^[^\\D]$", "7") && !found("^[^\\D]$", "x") && found("^[]a]+$", "]a"));
    }

    #[test]
    fn what_java_has_and_others_have_not_works() {
        assert!(found("^\\Qa.b*\\E+$", "a.b***"), "quoted up to its end");
        assert!(found("(?<q>['\"]).*\\k<q>", "say 'x'") && found("(a)\\1", "aa") && !found("(a)\\1", "ab"));
        assert!(!found("^a*+a", "aaa") && found("^a{1,2}+b", "aab") && !found("^(?>a|ab)c", "abc"));
        assert!(found("foo(?!bar)", "foobaz") && !found("foo(?!bar)", "foobar") && found("(?<=\\$)\\d+", "$5"));
        assert!(found("\\x41\\u0042\\0103\\x{1F600}\\uD83D\\uDE00\\cJ\\e", "ABC😀😀\n\u{1b}"));
        assert!(found("(?x) a b # comment\n c", "abc") && found("(?i:AB)c", "abc") && !found("(?i:AB)c", "abC"));
    }

    #[test]
    fn what_cannot_be_had_is_refused_at_its_character() {
        for (pattern, place) in [
            ("ab\\Gc", "character 3"),
            ("\\X", "character 1"),
            ("x\\p{InGreek}", "character 2"),
            ("a{x}", "character 2"),
            ("\\y", "character 1"),
            ("[a-", "character 1"),
            ("(?<name", "character 1"),
            ("a(b", "character 2"),
            ("a)b", "character 2"),
            ("*a", "character 1"),
            ("\\uD83D", "character 1"),
            ("(a)\\2", "character 4"),
            ("[z-a]", "character 2"),
            ("a\\", "character 2"),
        ] {
            let problem = Pattern::compile(pattern).expect_err(pattern);
            assert!(problem.starts_with(&format!("at {place}: ")), "{pattern}: {problem}");
        }
    }

    #[test]
    fn matches_are_replaced_as_java_replaces_them() {
        assert_eq!(replaced("a*", "X", "baaac"), "XbXXcX");
        assert_eq!(replaced("(\\w+)@(\\w+)", "$2 at $10\\$", "joe@home"), "home at joe0$");
        assert_eq!(replaced("(?<user>\\w+)@", "<${user}>$10", "joe@x"), "<joe>joe0x");
        assert_eq!(replaced("(a)|b", "[$1]", "ab"), "[a][]");
        assert_eq!(replaced("é", "e", "café é"), "cafe e");
    }

    /// What we refuse and Java takes: these never match there, or cannot be had.
    const REFUSED_HERE: &[&str] = &["(?=a)*b", "(a)\\2", "\\1", "\\8", "\\G", "\\X", "\\p{InGreek}"];
    /// What matches otherwise: case is compared in all of Unicode, a group that is repeated keeps its last text, and a
    /// number sign in a class begins no comment.
    const OTHERWISE_HERE: &[&str] = &["(?i)É", "(a*)*", "(a*)+", "(?x)[#]"];

    /// Recorded by `tests/golden/regex/Golden.java`.
    #[test]
    fn patterns_match_what_they_match_in_java() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/regex/expected.tsv");
        let expected = std::fs::read_to_string(file).expect("golden lines");
        let known = |text: &str| {
            [('n', '\n'), ('r', '\r'), ('t', '\t'), ('e', '\u{85}'), ('l', '\u{2028}')]
                .into_iter()
                .fold(text.to_owned(), |text, (letter, char)| text.replace(&format!("~{letter}"), &char.to_string()))
        };
        let mut compared = 0;
        for line in expected.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let pattern = fields[0];
            if OTHERWISE_HERE.contains(&pattern) {
                continue;
            }
            let compiled = Pattern::compile(pattern);
            assert_eq!(compiled.is_err(), fields[1] == "refused" || REFUSED_HERE.contains(&pattern), "{pattern}");
            let (Ok(compiled), [_, text, groups, brackets]) = (compiled, fields.as_slice()) else { continue };
            let text = known(text);
            let found = compiled.first(&text).map(|found| {
                let group = |group| found.get(group).map_or("-", |part| part.as_str());
                (1..=compiled.group_count()).fold("found".to_owned(), |all, number| all + "|" + group(number))
            });
            assert_eq!(found.as_deref().unwrap_or("none"), known(groups), "{line}");
            let by = Replacement::parse("<$0>", &compiled.groups).expect("a replacement");
            assert_eq!(compiled.replaced(&text, &by).unwrap_or(text), known(brackets), "{line}");
            compared += 1;
        }
        assert!(compared > 2000, "{compared} lines");
    }

    #[test]
    fn a_search_without_end_is_given_up() {
        let pattern = Pattern::compile("(?=(a+)+\\1b)x").expect("a pattern");
        assert!(!pattern.is_found(&"a".repeat(60)));
    }
}
