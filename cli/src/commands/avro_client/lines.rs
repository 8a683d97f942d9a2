//! Lines as Java's `BufferedReader` sees them: ended by LF, CR or CR LF, the last one by the end.

use std::io::{self, BufRead};

use memchr::memchr2;

/// The lines of an input, without their ends. After an error there is no further line.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    /// The last line ended with CR: an LF belongs to it.
    after_cr: bool,
    failed: bool,
}

// === impl Lines ===

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, after_cr: false, failed: false }
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

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let line = self.read().transpose();
        self.failed = matches!(line, Some(Err(_)));
        line
    }
}

/// What one line may hold in memory.
const MOST_LINE_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_in_java_wherever_the_buffer_ends() {
        for capacity in 1..6 {
            let lines = |text: &'static str| {
                let lines = Lines::new(io::BufReader::with_capacity(capacity, text.as_bytes()));
                lines.map(|line| String::from_utf8(line.unwrap()).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(lines("a\nb\rc\r\nd"), ["a", "b", "c", "d"]);
            assert_eq!(lines("\n\r\n\r\r\n"), ["", "", "", ""]);
            assert_eq!(lines("a\n"), ["a"]);
            assert_eq!(lines("a\r"), ["a"]);
            assert_eq!(lines(""), [""; 0]);
        }
    }

    #[test]
    fn a_line_without_end_is_an_error_and_the_last() {
        let mut lines = Lines::new(io::BufReader::new(io::repeat(b'x')));
        assert!(lines.next().unwrap().is_err());
        assert!(lines.next().is_none());
    }
}
