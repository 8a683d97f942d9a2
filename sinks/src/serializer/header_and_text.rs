//! Headers and body, one event per line: `{k=v, k2=v2} body`.
//!
//! Headers come in the order in which the event has them; Flume's come in the order of Java's hash table.
//!
//! # Source
//! `org.apache.flume.serialization.HeaderAndBodyTextEventSerializer` (Flume 1.11).

use millstream_core::{EventRef, Result};

use super::EventSerializer;

/// Writes headers and bodies.
#[derive(Debug)]
pub(super) struct HeaderAndText {
    newline: bool,
}

// === impl HeaderAndText ===

impl HeaderAndText {
    /// `newline`: a line feed behind each event.
    pub(super) fn new(newline: bool) -> Self {
        Self { newline }
    }
}

impl EventSerializer for HeaderAndText {
    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        out.push(b'{');
        for (index, (key, value)) in event.headers().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(key);
            out.push(b'=');
            out.extend_from_slice(value);
        }
        out.extend_from_slice(b"} ");
        out.extend_from_slice(event.body());
        if self.newline {
            out.push(b'\n');
        }
        Ok(())
    }
}
