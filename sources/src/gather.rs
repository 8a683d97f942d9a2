//! Events that are put together from parts, gathered into one buffer.

use std::fmt::Display;
use std::io::Write;
use std::ops::Range;

use millstream_core::{Batch, SlabBuilder};

/// Keys that come again and again are written once; so many are looked for.
const MOST_KEYS: usize = 16;

/// Gathers the events of a batch.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    buffer: Vec<u8>,
    keys: Vec<Range<usize>>,
    headers: Vec<(Range<usize>, Range<usize>)>,
    /// Where the event's headers end, and its body.
    events: Vec<(usize, Range<usize>)>,
}

// === impl Gather ===

impl Gather {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a header to the next event.
    pub(crate) fn header(&mut self, key: &str, value: &[u8]) {
        let key = self.key(key);
        let value = self.part(value);
        self.headers.push((key, value));
    }

    /// Adds a header whose value is shown as text.
    pub(crate) fn header_of(&mut self, key: &str, value: impl Display) {
        let key = self.key(key);
        let start = self.buffer.len();
        // A buffer takes everything.
        let _ = write!(self.buffer, "{value}");
        self.headers.push((key, start..self.buffer.len()));
    }

    /// Ends an event: the headers since the last one, and this body in parts.
    pub(crate) fn event(&mut self, body: &[&[u8]]) {
        let start = self.buffer.len();
        body.iter().for_each(|part| self.buffer.extend_from_slice(part));
        self.events.push((self.headers.len(), start..self.buffer.len()));
    }

    /// Takes the events.
    pub(crate) fn take(&mut self) -> Batch {
        let Self { buffer, headers, events, .. } = std::mem::take(self);
        let mut builder = SlabBuilder::with_capacity(buffer.into(), events.len());
        let mut headers = headers.into_iter();
        let mut before = 0;
        for (headers_end, body) in events {
            headers.by_ref().take(headers_end - before).for_each(|(key, value)| builder.header(key, value));
            builder.row(body);
            before = headers_end;
        }
        builder.finish()
    }

    fn part(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        start..self.buffer.len()
    }

    fn key(&mut self, key: &str) -> Range<usize> {
        if let Some(known) = self.keys.iter().find(|known| self.buffer[(*known).clone()] == *key.as_bytes()) {
            return known.clone();
        }
        let place = self.part(key.as_bytes());
        if self.keys.len() < MOST_KEYS {
            self.keys.push(place.clone());
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_keep_their_own_headers_and_bodies() {
        let mut gather = Gather::new();
        gather.header("a", b"1");
        gather.header_of("b", 22);
        gather.event(&[b"one ", b"body"]);
        gather.event(&[]);
        gather.header("a", b"3");
        gather.event(&[b"x"]);
        let batch = gather.take();
        assert_eq!((batch.len(), gather.take().len()), (3, 0));
        let headers = |index| batch.event(index).headers().collect::<Vec<_>>();
        assert_eq!(headers(0), [(&b"a"[..], &b"1"[..]), (b"b", b"22")]);
        assert!(headers(1).is_empty());
        assert_eq!(headers(2), [(&b"a"[..], &b"3"[..])]);
        assert_eq!(batch.event(0).body(), b"one body");
        assert_eq!((batch.event(1).body(), batch.event(2).body()), (&b""[..], &b"x"[..]));
    }
}
