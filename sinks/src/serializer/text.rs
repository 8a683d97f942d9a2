//! Bodies, one per line.
//!
//! # Source
//! `org.apache.flume.serialization.BodyTextEventSerializer` (Flume 1.11).

use millstream_core::{EventRef, Result};

use super::EventSerializer;

/// Writes bodies.
#[derive(Debug)]
pub(super) struct Text {
    newline: bool,
}

// === impl Text ===

impl Text {
    /// `newline`: a line feed behind each body; without it they run together.
    pub(super) fn new(newline: bool) -> Self {
        Self { newline }
    }
}

impl EventSerializer for Text {
    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(event.body());
        if self.newline {
            out.push(b'\n');
        }
        Ok(())
    }
}
