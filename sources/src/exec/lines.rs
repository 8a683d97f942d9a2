//! Lines as Java's readers cut them, gathered into batches.

use std::ops::Range;

use bytes::BytesMut;
use millstream_core::{Batch, SlabBuilder};

/// Longest line; what follows is the next event. It bounds what is held in memory.
const MOST_LINE_BYTES: usize = 16 << 20;
/// A batch is full with so many bytes, however few its events are.
const MOST_BATCH_BYTES: usize = 1 << 20;

/// Text that came and what was not taken of it.
#[derive(Debug)]
pub(super) struct Lines {
    batch_events: usize,
    /// What came: no line of it is cut yet.
    buffer: BytesMut,
    /// No end of a line is before here.
    searched: usize,
    /// The last line ended with `\r`: a `\n` that comes first belongs to it.
    skips_newline: bool,
    /// Bodies of whole lines, one behind the other, and where each begins and ends.
    bodies: Vec<u8>,
    events: Vec<Range<usize>>,
}

// === impl Lines ===

impl Lines {
    pub(super) fn new(batch_events: usize) -> Self {
        let (buffer, bodies, events) = (BytesMut::new(), Vec::new(), Vec::new());
        Self { batch_events, buffer, searched: 0, skips_newline: false, bodies, events }
    }

    /// Where to append what comes.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Cuts the lines of what came, as many as make a batch.
    pub(super) fn split(&mut self) {
        while !self.is_full() {
            if self.skips_newline && !self.buffer.is_empty() {
                let skipped = usize::from(self.buffer[0] == b'\n');
                let _ = self.buffer.split_to(skipped);
                self.skips_newline = false;
            }
            let within = self.buffer.len().min(MOST_LINE_BYTES);
            let end = memchr::memchr2(b'\n', b'\r', &self.buffer[self.searched.min(within)..within]);
            match end.map(|at| at + self.searched) {
                Some(end) => {
                    self.push(end);
                    self.skips_newline = self.buffer[0] == b'\r';
                    let _ = self.buffer.split_to(1);
                }
                None if within == MOST_LINE_BYTES => self.push(within),
                None => {
                    self.searched = within;
                    return;
                }
            }
        }
    }

    /// Ends the last line: no more comes.
    pub(super) fn finish(&mut self) {
        let is_rest_of_end = self.skips_newline && self.buffer[..] == *b"\n";
        if !self.buffer.is_empty() && !is_rest_of_end && !self.buffer.ends_with(b"\n") && !self.buffer.ends_with(b"\r")
        {
            self.buffer.extend_from_slice(b"\n");
        }
    }

    fn push(&mut self, bytes: usize) {
        let line = self.buffer.split_to(bytes);
        let start = self.bodies.len();
        self.bodies.extend_from_slice(&line);
        self.events.push(start..self.bodies.len());
        self.searched = 0;
    }

    fn is_full(&self) -> bool {
        self.events.len() >= self.batch_events || self.bodies.len() >= MOST_BATCH_BYTES
    }

    /// Whether a whole batch can be taken.
    pub(super) fn has_full_batch(&self) -> bool {
        self.is_full()
    }

    /// Events that can be taken.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether no event can be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Takes the events, and cuts the next ones.
    pub(super) fn take_batch(&mut self) -> Batch {
        let events = std::mem::take(&mut self.events);
        let mut builder = SlabBuilder::with_capacity(std::mem::take(&mut self.bodies).into(), events.len());
        events.into_iter().for_each(|body| builder.row(body));
        self.split();
        builder.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn bodies(batch: &Batch) -> Vec<Vec<u8>> {
        batch.iter().map(|event| event.body().to_vec()).collect()
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let text = b"one\ntwo\r\nthree\rfour\r\r\n\n\nfive\xFF\r";
        let wanted = [&b"one"[..], b"two", b"three", b"four", b"", b"", b"", b"five\xFF"];
        for chunk in 1..text.len() {
            let mut lines = Lines::new(100);
            for part in text.chunks(chunk) {
                lines.buffer().extend_from_slice(part);
                lines.split();
            }
            lines.finish();
            lines.split();
            assert_eq!(bodies(&lines.take_batch()), wanted, "chunks of {chunk}");
        }
    }

    #[test]
    fn the_last_line_needs_no_end_and_an_end_begins_no_line() {
        for (text, wanted) in [("a\nb", &["a", "b"][..]), ("a\r\n", &["a"]), ("", &[]), ("\n", &[""])] {
            let mut lines = Lines::new(100);
            lines.buffer().extend_from_slice(text.as_bytes());
            lines.split();
            lines.finish();
            lines.split();
            let wanted: Vec<Vec<u8>> = wanted.iter().map(|line| line.as_bytes().to_vec()).collect();
            assert_eq!(bodies(&lines.take_batch()), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_batch_is_full_by_events_or_by_bytes_and_a_line_without_end_is_cut() {
        let mut few = Lines::new(2);
        few.buffer().extend_from_slice(b"1\n2\n3\n");
        few.split();
        assert!(few.has_full_batch());
        assert_eq!((few.take_batch().len(), few.take_batch().len(), few.is_empty()), (2, 1, true));
        let mut endless = Lines::new(100);
        for _ in 0..17 {
            endless.buffer().extend_from_slice(&vec![b'x'; 1 << 20]);
            endless.split();
        }
        assert!(endless.has_full_batch());
        assert_eq!(endless.take_batch().body_bytes(), MOST_LINE_BYTES as u64);
        assert!(endless.is_empty());
    }
}
