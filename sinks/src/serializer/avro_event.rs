//! A container file of Avro: records of headers and body.
//!
//! # Layout
//! The schema is a record `Event` of `headers`, a map of string, and `body`, bytes; the file is that of `container.rs`.
//!
//! # Source
//! `org.apache.flume.serialization.FlumeEventAvroEventSerializer` (Flume 1.11).

use millstream_core::{EventRef, Result};
use millstream_wire::writer;

use super::EventSerializer;
use super::container::{Codec, Container};

/// Writes events.
#[derive(Debug)]
pub(super) struct AvroEvent(Container);

// === impl AvroEvent ===

impl AvroEvent {
    /// A block ends at `block_bytes` of records.
    pub(super) fn new(codec: Codec, block_bytes: usize) -> Self {
        Self(Container::new(codec, block_bytes))
    }
}

impl EventSerializer for AvroEvent {
    fn begin(&mut self, out: &mut Vec<u8>) {
        self.0.begin(SCHEMA, out);
    }

    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        self.0.append(|record| write_record(event, record), out)
    }

    fn end_transaction(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.0.end_block(out)
    }

    fn abandon_transaction(&mut self) {
        self.0.abandon_block();
    }
}

fn write_record(event: EventRef<'_>, out: &mut Vec<u8>) {
    let headers = event.headers().count();
    if headers > 0 {
        writer::long(out, headers as i64);
        for (key, value) in event.headers() {
            writer::bytes(out, key);
            writer::bytes(out, value);
        }
    }
    writer::long(out, 0);
    writer::bytes(out, event.body());
}

const SCHEMA: &str = r#"{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}"#;
