//! Cuts bytes into lines as Flume's `LINE` deserializer does.
//!
//! A line ends at `\n`; a `\r` before it stays in the body. A line that reaches the greatest length is cut there, and what
//! follows, even nothing, is the next event. The length counts UTF-16 units, as Java's characters do; a character is
//! never cut in two (Flume cuts surrogate pairs).
//!
//! # Source
//! `org.apache.flume.serialization.LineDeserializer` (Flume 1.11).

/// Longest piece in UTF-16 units, whatever the configuration says: it bounds what is held in memory.
pub(crate) const MOST_UNITS: usize = 64 << 20;

/// One event's place: `start..end` is the body, `next` is where the following one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) next: usize,
}

/// The complete lines of `bytes`, in order. What stands behind the last `next` is an unfinished line; with `at_end` it is
/// finished by the end of the file.
pub(crate) fn split(bytes: &[u8], at_end: bool, most_units: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut start = 0;
    for newline in memchr::memchr_iter(b'\n', bytes) {
        // A piece that reaches the limit just before the newline leaves an empty line, as in Flume.
        while let Some(length) = piece(&bytes[start..newline], true, most_units) {
            lines.push(Line { start, end: start + length, next: start + length });
            start += length;
        }
        lines.push(Line { start, end: newline, next: newline + 1 });
        start = newline + 1;
    }
    while let Some(length) = piece(&bytes[start..], at_end, most_units) {
        lines.push(Line { start, end: start + length, next: start + length });
        start += length;
    }
    if at_end && start < bytes.len() {
        lines.push(Line { start, end: bytes.len(), next: bytes.len() });
    }
    lines
}

/// Bytes of the first piece of `line` when it reaches the limit; `ended` says that no more bytes of it follow.
fn piece(line: &[u8], ended: bool, most_units: usize) -> Option<usize> {
    // A character has at least as many bytes as units.
    if line.len() < most_units {
        return None;
    }
    let mut units = 0;
    for (at, byte) in line.iter().enumerate() {
        // Characters have at most three bytes per unit; more is not UTF-8 and must not escape the limit.
        if at >= most_units.saturating_mul(3) {
            return Some(at);
        }
        if byte & 0xC0 == 0x80 {
            continue;
        }
        if units >= most_units {
            return Some(at);
        }
        units += if *byte >= 0xF0 { 2 } else { 1 };
    }
    (ended && units >= most_units).then_some(line.len())
}

/// Length in UTF-16 units; bytes that are no characters count by what they would begin.
pub(crate) fn units(text: &[u8]) -> usize {
    let counted = text.iter().filter(|byte| **byte & 0xC0 != 0x80).map(|byte| if *byte >= 0xF0 { 2 } else { 1 }).sum();
    // Bytes that begin nothing must not escape a limit.
    text.len().div_ceil(3).max(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(text: &str, at_end: bool, most: usize) -> Vec<&str> {
        split(text.as_bytes(), at_end, most).iter().map(|line| &text[line.start..line.end]).collect()
    }

    #[test]
    fn a_line_ends_at_a_newline_and_keeps_its_carriage_return() {
        assert_eq!(bodies("a\r\n\nb\rc\nrest", false, 10), ["a\r", "", "b\rc"]);
        assert_eq!(bodies("a\nrest", true, 10), ["a", "rest"]);
        assert_eq!(bodies("a\n", true, 10), ["a"]);
        assert_eq!(bodies("", true, 10), [""; 0]);
    }

    #[test]
    fn an_over_long_line_is_cut_and_its_rest_are_the_next_events() {
        assert_eq!(bodies("abcdefgh\nx\n", false, 3), ["abc", "def", "gh", "x"]);
        assert_eq!(bodies("abcdefgh", false, 3), ["abc", "def"]);
        assert_eq!(bodies("abcdefgh", true, 3), ["abc", "def", "gh"]);
    }

    #[test]
    fn a_line_of_just_the_limit_is_followed_by_an_empty_event() {
        assert_eq!(bodies("abc\nx\n", false, 3), ["abc", "", "x"]);
        assert_eq!(bodies("abc", true, 3), ["abc"]);
    }

    #[test]
    fn the_length_counts_characters_as_java_does_and_never_cuts_one() {
        assert_eq!(bodies("äöüß\n", false, 3), ["äöü", "ß"]);
        assert_eq!(bodies("a😀b\n", false, 2), ["a😀", "b"]);
        assert_eq!(bodies("äö", false, 2), [""; 0], "its last character may go on");
    }

    #[test]
    fn bytes_that_are_no_characters_do_not_escape_the_limit() {
        let lines = split(&[0x80; 20], false, 2);
        assert_eq!(lines.iter().map(|line| line.end - line.start).collect::<Vec<_>>(), [6, 6, 6]);
    }

    #[test]
    fn cutting_in_chunks_gives_the_same_lines_as_cutting_at_once() {
        let text = "one\ntwo, a longer one\n\näöü😀€uro\r\nlast";
        let whole = bodies(text, true, 5);
        for chunk in 1..text.len() {
            let (mut held, mut found) = (Vec::new(), Vec::new());
            let mut parts = text.as_bytes().chunks(chunk).peekable();
            while let Some(part) = parts.next() {
                held.extend_from_slice(part);
                let lines = split(&held, parts.peek().is_none(), 5);
                found.extend(lines.iter().map(|line| held[line.start..line.end].to_vec()));
                held.drain(..lines.last().map_or(0, |line| line.next));
            }
            let found: Vec<&str> = found.iter().map(|body| std::str::from_utf8(body).expect("whole")).collect();
            assert_eq!(found, whole, "chunks of {chunk}");
        }
    }
}
