//! Java property files, with the place of every entry.
//!
//! A logical line is a key, a separator (`=`, `:` or blanks) and a value. It ends at `\n`, `\r` or `\r\n`, unless an odd
//! number of backslashes stands before that. Lines whose first character is `#` or `!` are comments. `\t \n \r \f` and
//! `\uXXXX` are what they are in Java; before any other character a backslash disappears.
//!
//! Bytes that are valid UTF-8 are read as UTF-8 (Flume until 1.9), others as ISO-8859-1 (from 1.10).
//!
//! # Source
//! `java.util.Properties.load` (JDK 17); compared with it in `tests/golden/properties`.

use std::path::Path;

use millstream_core::{Error, Result};

/// One key with its value, escapes resolved, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value, not trimmed.
    pub value: String,
    /// Where it begins: `file:line`, or `-D` for one given on the command line.
    pub place: String,
}

/// Reads the entries of a file, in the order written; a key may come several times.
///
/// # Errors
/// `Io` when it cannot be read; `Config` as [`parse`].
pub fn load(path: &Path) -> Result<Vec<Entry>> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("read configuration", path, error))?;
    parse(&path.display().to_string(), &bytes)
}

/// Reads the entries of `bytes`; `file` is what places call it.
///
/// # Errors
/// `Config` for a `\u` that is not followed by four hexadecimal digits: Java refuses the whole file, too.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Vec<Entry>> {
    let text: Vec<char> = match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().collect(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let mut lines = Lines { text: &text, at: 0, line: 1 };
    let mut entries = Vec::new();
    while let Some((line, logical)) = lines.next_logical() {
        let place = format!("{file}:{line}");
        let (key, value) = separate(&logical);
        let unescape = |part: &[char]| unescape(part).map_err(|problem| Error::config(&place, problem));
        let (key, value) = (unescape(key)?, unescape(value)?);
        entries.push(Entry { key, value, place });
    }
    Ok(entries)
}

/// Cuts a text into logical lines.
struct Lines<'a> {
    text: &'a [char],
    at: usize,
    /// Number of the natural line in which `at` is, from 1.
    line: usize,
}

// === impl Entry ===

impl Entry {
    /// An entry given on the command line; put behind those of files, it wins.
    pub fn overriding(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value: value.to_owned(), place: "-D".to_owned() }
    }

    /// Where it was written, for messages: `file:line: key`.
    pub fn full_place(&self) -> String {
        format!("{}: {}", self.place, self.key)
    }
}

// === impl Lines ===

impl Lines<'_> {
    fn next_char(&mut self) -> Option<char> {
        let next = *self.text.get(self.at)?;
        self.at += 1;
        let pair = next == '\r' && self.text.get(self.at) == Some(&'\n');
        if is_newline(next) && !pair {
            self.line += 1;
        }
        Some(next)
    }

    /// The next logical line and the number of the natural line in which it begins. The same steps as in Java's
    /// `LineReader`, oddities included: after a line of one backslash, a comment is a comment.
    fn next_logical(&mut self) -> Option<(usize, Vec<char>)> {
        let mut logical = Vec::new();
        let mut began = self.line;
        let (mut skip_blanks, mut continued, mut escaped) = (true, false, false);
        loop {
            let line = self.line;
            let Some(c) = self.next_char() else { break };
            if skip_blanks {
                if is_blank(c) || (!continued && is_newline(c)) {
                    continue;
                }
                (skip_blanks, continued) = (false, false);
            }
            if logical.is_empty() {
                began = line;
                if c == '#' || c == '!' {
                    while self.next_char().is_some_and(|c| !is_newline(c)) {}
                    skip_blanks = true;
                    continue;
                }
            }
            if !is_newline(c) {
                logical.push(c);
                escaped = c == '\\' && !escaped;
            } else if logical.is_empty() {
                skip_blanks = true;
            } else if escaped {
                logical.pop();
                (skip_blanks, continued, escaped) = (true, true, false);
                if self.at == self.text.len() {
                    return Some((began, logical));
                }
                if c == '\r' && self.text.get(self.at) == Some(&'\n') {
                    self.next_char();
                }
            } else {
                return Some((began, logical));
            }
        }
        if logical.is_empty() {
            return None;
        }
        if escaped {
            logical.pop();
        }
        Some((began, logical))
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

/// Key and value, still escaped.
fn separate(logical: &[char]) -> (&[char], &[char]) {
    let mut escaped = false;
    let key_end = logical.iter().position(|&c| {
        let separates = !escaped && (is_blank(c) || c == '=' || c == ':');
        escaped = c == '\\' && !escaped;
        separates
    });
    let Some(key_end) = key_end else { return (logical, &[]) };
    let mut separated = false;
    let value = logical[key_end..].iter().position(|&c| {
        if !separated && (c == '=' || c == ':') {
            separated = true;
            return false;
        }
        !is_blank(c)
    });
    (&logical[..key_end], value.map_or(&[], |start| &logical[key_end + start..]))
}

/// Resolves escapes. Surrogate pairs written as two `\u` become one character; half a pair becomes U+FFFD.
fn unescape(part: &[char]) -> Result<String, String> {
    let mut units = Vec::with_capacity(part.len());
    let mut rest = part.iter();
    while let Some(&c) = rest.next() {
        let c = if c == '\\' {
            rest.next().copied().unwrap_or(c)
        } else {
            push(&mut units, c);
            continue;
        };
        match c {
            't' => push(&mut units, '\t'),
            'n' => push(&mut units, '\n'),
            'r' => push(&mut units, '\r'),
            'f' => push(&mut units, '\u{c}'),
            'u' => {
                let digits: String = rest.by_ref().take(4).collect();
                let whole = digits.chars().count() == 4 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
                let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| whole);
                units.push(unit.ok_or_else(|| {
                    format!("expected four hexadecimal digits after \\u, got {digits:?}; write \\\\u for a backslash and a u")
                })?);
            }
            other => push(&mut units, other),
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

fn push(units: &mut Vec<u16>, c: char) {
    units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::{AgentConfig, Lookups};

    fn entries(text: &str) -> Vec<(String, String, String)> {
        let entries = parse("f", text.as_bytes()).unwrap();
        entries.into_iter().map(|entry| (entry.key, entry.value, entry.place)).collect()
    }

    /// As the Java driver writes it: everything outside printable ASCII as `\uXXXX` per UTF-16 unit.
    fn escaped(text: &str) -> String {
        let plain = |unit: u16| (0x20..0x7f).contains(&unit) && unit != u16::from(b'\\');
        let shown = |unit: u16| match plain(unit) {
            true => char::from(unit as u8).to_string(),
            false => format!("\\u{unit:04x}"),
        };
        text.encode_utf16().map(shown).collect()
    }

    #[test]
    fn every_golden_file_reads_as_java_read_it() {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/properties");
        let mut checked = 0;
        for file in std::fs::read_dir(&dir).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "properties") {
                continue;
            }
            let wanted = std::fs::read_to_string(path.with_extension("expected")).unwrap();
            let found = match load(&path) {
                Ok(entries) => {
                    let last: std::collections::BTreeMap<_, _> =
                        entries.iter().map(|entry| (escaped(&entry.key), escaped(&entry.value))).collect();
                    last.iter().map(|(key, value)| format!("{key}\t{value}\n")).collect()
                }
                Err(_) => "REFUSED\n".to_owned(),
            };
            assert_eq!(found, wanted, "{}", path.display());
            checked += 1;
        }
        assert!(checked >= 300, "only {checked} vectors");
    }

    #[test]
    fn an_entry_knows_the_line_on_which_it_begins() {
        let found = entries("# one\r\n\r\na = 1\\\r\n  2\r\n\\\n\n  b:3\rc 4");
        let wanted = [("a", "12", "f:3"), ("b", "3", "f:7"), ("c", "4", "f:8")];
        assert_eq!(found, wanted.map(|(key, value, place)| (key.into(), value.into(), place.into())));
    }

    #[test]
    fn a_bad_escape_refuses_the_file_at_its_line() {
        let error = parse("f", b"a=1\nb=\\u12x4\n").unwrap_err().to_string();
        assert!(error.starts_with("f:2: expected four hexadecimal digits after \\u, got \"12x4\""), "{error}");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_latin_1() {
        assert_eq!(parse("f", b"k=gr\xFC\xDF").unwrap()[0].value, "grüß");
        assert_eq!(parse("f", "k=grüß".as_bytes()).unwrap()[0].value, "grüß");
        assert_eq!(parse("f", br"k=\uD83D\uDE00\u00e4").unwrap()[0].value, "😀ä");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nowhere/flume.conf")).unwrap_err().to_string();
        assert!(error.starts_with("read configuration /nowhere/flume.conf: "), "{error}");
    }

    /// Whatever stands in a file is entries at lines that it has and no more text than it has, or refused at its line; an
    /// agent is made of them or refused.
    fn read_anything(bytes: &[u8]) {
        let lines = 1 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
        let line =
            |place: &str| place.strip_prefix("f:").and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
        match parse("f", bytes) {
            Ok(entries) => {
                let places = entries.iter().map(|entry| line(&entry.place));
                let places: Vec<usize> = places.map(|line| line.expect("a place")).collect();
                assert!(places.is_sorted() && places.iter().all(|line| (1..=lines).contains(line)), "{places:?}");
                // A character of Latin 1 is two bytes, half a pair of six characters is three.
                let held: usize = entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
                assert!(held <= 2 * bytes.len(), "{held} bytes of {}", bytes.len());
                let _ = AgentConfig::from_entries("a", &entries, &Lookups::default());
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("four hexadecimal digits"), "{text}");
                assert!(line(&text).is_some_and(|line| (1..=lines).contains(&line)), "{text}");
            }
        }
    }

    #[test]
    fn hostile_files_are_entries_or_refused_at_their_line() {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testkit/hostile");
        let mut read = 0;
        for file in std::fs::read_dir(directory).unwrap() {
            read_anything(&std::fs::read(file.unwrap().path()).unwrap());
            read += 1;
        }
        assert!(read >= 80, "{read} inputs");
        for piece in
            ["\\", "\\\n", "\\\r\n", "=", " ", "#", "\r", "\\u", "\\u0000", "a.b=${a.b}\n", "a.sources.", "\u{feff}"]
        {
            read_anything(piece.repeat(100_000).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_entries_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            read_anything(&bytes);
        }

        #[test]
        fn what_is_almost_a_configuration_is_entries_or_refused(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "a.", "sources", "channels", "sinks", "sinkgroups", "configfilters", ".r", ".type", "interceptors", "selector.", " = ",
                    ":", "\n", "\r\n", "\\\n", "\\", "\\u00e9", "\\uD83D", "\\u1", "#", "!", "${a.sources}", "${env:HOME}", "${", "}", "r r",
                    "\u{85}", "水",
                ]),
                0..40,
            ),
        ) {
            read_anything(pieces.concat().as_bytes());
        }
    }
}
