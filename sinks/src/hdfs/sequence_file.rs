//! SequenceFiles, as MapReduce and Hive read them.
//!
//! # Layout
//! Numbers are big endian; `vint` is Hadoop's variable length integer; `string` is a vint of its length, then UTF-8.
//!
//! | part | encoding |
//! |---|---|
//! | magic | `SEQ`, 06 |
//! | classes | string `org.apache.hadoop.io.LongWritable`; string `org.apache.hadoop.io.BytesWritable` or `….Text` |
//! | compression | 2 bytes: compressed, by blocks (both 1 with a codec, else 0); with a codec string of its class |
//! | metadata | int 0 entries |
//! | sync | 16 random bytes, one value per file |
//! | record | int bytes of key and value; int bytes of the key (8); key, the event's time in ms; value |
//! | value | BytesWritable: int length, body. Text: vint length, body |
//! | sync in between | int -1; sync. Behind a transaction, and before a record at the latest after 2000 bytes |
//! | block (with a codec) | int -1; sync; vint records; four times vint length and a stream: lengths of keys as vints, keys, lengths of values as vints, values |
//!
//! A block ends with the transaction, or when it has 1,000,000 bytes.
//!
//! The key is the event's header `timestamp`; where it has none, or one that is no number, the time of writing.
//!
//! # Source
//! `org.apache.hadoop.io.SequenceFile`, `WritableUtils` (Hadoop 2.10); `HDFSWritableSerializer`, `HDFSTextSerializer`
//! (Flume 1.11).

use std::sync::Arc;

use millstream_core::{EventRef, Result};
use millstream_io::Clock;

use super::codec::Codec;
use super::time::timestamp_of;
use crate::serializer::EventSerializer;

/// What a body becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueClass {
    BytesWritable,
    Text,
}

/// Writes a SequenceFile.
#[derive(Debug)]
pub(super) struct SequenceFile {
    values: ValueClass,
    codec: Option<Codec>,
    sync: [u8; 16],
    clock: Arc<dyn Clock>,
    /// Time of the transaction; read when the first event needs it.
    now_ms: Option<i64>,
    /// Bytes written since the last sync.
    since_sync: usize,
    block: Block,
}

/// Records that wait for their block to be full.
#[derive(Debug, Default)]
struct Block {
    records: i64,
    keys: Vec<u8>,
    value_lens: Vec<u8>,
    values: Vec<u8>,
}

// === impl SequenceFile ===

impl SequenceFile {
    pub(super) fn new(values: ValueClass, codec: Option<Codec>, clock: Arc<dyn Clock>) -> Self {
        let mut sync = [0; 16];
        // Without chance from the system any value does: it only has to differ from what the records hold.
        if getrandom::fill(&mut sync).is_err() {
            sync = *b"Millstream sync\n";
        }
        Self { values, codec, sync, clock, now_ms: None, since_sync: 0, block: Block::default() }
    }

    fn key(&mut self, event: EventRef<'_>) -> i64 {
        let clock = &self.clock;
        timestamp_of(event).unwrap_or_else(|| *self.now_ms.get_or_insert_with(|| clock.now_ms() as i64))
    }

    fn write_sync(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        out.extend_from_slice(&self.sync);
        self.since_sync = 0;
    }

    fn append_record(&mut self, key: i64, body: &[u8], out: &mut Vec<u8>) {
        if self.since_sync >= SYNC_INTERVAL_BYTES {
            self.write_sync(out);
        }
        let start = out.len();
        let value_len = self.values.len(body);
        out.extend_from_slice(&(KEY_BYTES as u32 + value_len as u32).to_be_bytes());
        out.extend_from_slice(&(KEY_BYTES as u32).to_be_bytes());
        out.extend_from_slice(&key.to_be_bytes());
        self.values.write(body, out);
        self.since_sync += out.len() - start;
    }

    fn end_block(&mut self, codec: Codec, out: &mut Vec<u8>) -> Result<()> {
        let Block { records, keys, value_lens, values } = std::mem::take(&mut self.block);
        if records == 0 {
            return Ok(());
        }
        let key_lens = vec![KEY_BYTES as u8; records as usize];
        let streams = [key_lens, keys, value_lens, values].map(|bytes| codec.compress(&bytes));
        self.write_sync(out);
        write_vint(out, records);
        for stream in streams {
            let stream = stream?;
            write_vint(out, stream.len() as i64);
            out.extend_from_slice(&stream);
        }
        Ok(())
    }
}

impl EventSerializer for SequenceFile {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"SEQ\x06");
        write_string(out, "org.apache.hadoop.io.LongWritable");
        write_string(out, self.values.class_name());
        let compressed = u8::from(self.codec.is_some());
        out.extend_from_slice(&[compressed, compressed]);
        if let Some(codec) = self.codec {
            write_string(out, codec.class_name());
        }
        out.extend_from_slice(&0_i32.to_be_bytes());
        out.extend_from_slice(&self.sync);
    }

    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        let key = self.key(event);
        let Some(codec) = self.codec else {
            self.append_record(key, event.body(), out);
            return Ok(());
        };
        let block = &mut self.block;
        block.records += 1;
        block.keys.extend_from_slice(&key.to_be_bytes());
        write_vint(&mut block.value_lens, self.values.len(event.body()) as i64);
        self.values.write(event.body(), &mut block.values);
        if block.keys.len() + block.values.len() >= BLOCK_BYTES { self.end_block(codec, out) } else { Ok(()) }
    }

    fn end_transaction(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.now_ms = None;
        match self.codec {
            Some(codec) => self.end_block(codec, out),
            None => {
                self.write_sync(out);
                Ok(())
            }
        }
    }

    fn abandon_transaction(&mut self) {
        self.now_ms = None;
        self.block = Block::default();
    }
}

// === impl ValueClass ===

impl ValueClass {
    fn class_name(self) -> &'static str {
        match self {
            Self::BytesWritable => "org.apache.hadoop.io.BytesWritable",
            Self::Text => "org.apache.hadoop.io.Text",
        }
    }

    /// Bytes that [`Self::write`] writes.
    fn len(self, body: &[u8]) -> usize {
        match self {
            Self::BytesWritable => 4 + body.len(),
            Self::Text => {
                let mut len = Vec::with_capacity(9);
                write_vint(&mut len, body.len() as i64);
                len.len() + body.len()
            }
        }
    }

    fn write(self, body: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::BytesWritable => out.extend_from_slice(&(body.len() as u32).to_be_bytes()),
            Self::Text => write_vint(out, body.len() as i64),
        }
        out.extend_from_slice(body);
    }
}

// === helpers ===

fn write_string(out: &mut Vec<u8>, text: &str) {
    write_vint(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

/// One byte from -112 to 127, else a byte with sign and length, then the magnitude, big endian.
fn write_vint(out: &mut Vec<u8>, value: i64) {
    if (-112..=127).contains(&value) {
        out.push(value as u8);
        return;
    }
    let (first, magnitude) = if value < 0 { (-120_i64, !value) } else { (-112, value) };
    let bytes = (8 - magnitude.leading_zeros() as usize / 8).max(1);
    out.push((first - bytes as i64) as u8);
    out.extend_from_slice(&magnitude.to_be_bytes()[8 - bytes..]);
}

/// Bytes of a LongWritable.
const KEY_BYTES: usize = 8;
/// Hadoop's, up to 2.10.
const SYNC_INTERVAL_BYTES: usize = 2000;
/// Hadoop's `io.seqfile.compress.blocksize`.
const BLOCK_BYTES: usize = 1_000_000;

#[cfg(test)]
mod tests;
