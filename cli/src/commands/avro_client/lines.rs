//! Lines as Java's `BufferedReader` sees them: ended by LF, CR or CR LF, the last one by the end.

use std::io::{self, BufRead, BufReader, Read};

use memchr::memchr2;

/// The lines of an input, without their ends.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: BufReader<R>,
    /// The last line ended with CR: an LF belongs to it.
    after_cr: bool,
}

// === impl Lines ===

impl<R: Read> Lines<R> {
    pub(super) fn new(input: BufReader<R>) -> Self {
        Self { input, after_cr: false }
    }

    /// The next line, and those that are there already, at most `limit`; none at the end.
    ///
    /// # Errors
    /// The input's; `InvalidData` for a line that is too long. There is no going on after one.
    pub(super) fn handful(&mut self, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut lines: Vec<Vec<u8>> = self.read()?.into_iter().collect();
        while !lines.is_empty() && lines.len() < limit && self.has_line() {
            lines.extend(self.read()?);
        }
        Ok(lines)
    }

    /// Whether a whole line is in the buffer.
    fn has_line(&self) -> bool {
        let buffer = self.input.buffer();
        let rest = if self.after_cr { buffer.strip_prefix(b"\n").unwrap_or(buffer) } else { buffer };
        memchr2(b'\n', b'\r', rest).is_some()
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (mut line, mut begun) = (Vec::new(), false);
        loop {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() {
                return Ok(begun.then_some(line));
            }
            if std::mem::take(&mut self.after_cr) && buffer[0] == b'\n' {
                self.input.consume(1);
                continue;
            }
            begun = true;
            let end = memchr2(b'\n', b'\r', buffer);
            let len = end.unwrap_or(buffer.len());
            if line.len() + len > MOST_LINE_BYTES {
                let problem = format!("a line of more than {MOST_LINE_BYTES} bytes; break it up");
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
            line.extend_from_slice(&buffer[..len]);
            self.after_cr = end.is_some_and(|end| buffer[end] == b'\r');
            self.input.consume(len + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

/// What one line may hold in memory.
const MOST_LINE_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, capacity: usize, limit: usize) -> Vec<Vec<String>> {
        let mut lines = Lines::new(BufReader::with_capacity(capacity, text.as_bytes()));
        let handfuls = std::iter::from_fn(|| Some(lines.handful(limit).unwrap()).filter(|lines| !lines.is_empty()));
        handfuls.map(|lines| lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()).collect()
    }

    #[test]
    fn lines_end_as_in_java_wherever_the_buffer_ends() {
        for capacity in 1..20 {
            let lines = |text| lines(text, capacity, 100).concat();
            assert_eq!(lines("a\nb\rc\r\nd"), ["a", "b", "c", "d"]);
            assert_eq!(lines("\n\r\n\r\r\n"), ["", "", "", ""]);
            assert_eq!(lines("a\n"), ["a"]);
            assert_eq!(lines("a\r"), ["a"]);
            assert_eq!(lines(""), [""; 0]);
        }
    }

    #[test]
    fn lines_that_are_there_come_together_and_nobody_waits_for_the_rest_of_one() {
        assert_eq!(lines("a\r\nb\r\nc", 100, 100), [vec!["a", "b"], vec!["c"]]);
        assert_eq!(lines("a\r\nb\n", 3, 100), [["a"], ["b"]], "an LF alone is no line");
        assert_eq!(lines("a\nb\nc\n", 100, 2), [vec!["a", "b"], vec!["c"]]);
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        let mut lines = Lines::new(BufReader::with_capacity(3, &b"a\xFFb\n\xC3\n"[..]));
        assert_eq!([lines.handful(1).unwrap(), lines.handful(1).unwrap()], [[b"a\xFFb".to_vec()], [b"\xC3".to_vec()]]);
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        let mut lines = Lines::new(BufReader::new(io::repeat(b'x')));
        assert_eq!(lines.handful(1).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
