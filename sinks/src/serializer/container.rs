//! Container files of Avro, whatever their records are.
//!
//! # Layout
//! | part | encoding |
//! |---|---|
//! | magic | `Obj`, 01 |
//! | metadata | map of bytes: `avro.schema`, `avro.codec` |
//! | sync | 16 random bytes, one value per file |
//! | blocks | long: count of records; long: bytes that follow; the records, compressed; sync |
//!
//! A block ends with the transaction, or when it has `syncIntervalBytes`. The blocks of `deflate` have no zlib header,
//! those of `snappy` end with the CRC-32 of the records, big endian.
//!
//! # Source
//! Avro 1.11 specification, "Object Container Files".

use std::io::Write;

use bzip2::write::BzEncoder;
use flate2::Crc;
use flate2::write::DeflateEncoder;
use millstream_core::{Error, Result};
use millstream_wire::writer;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Null,
    Deflate,
    Snappy,
    Bzip2,
}

/// A container under way.
#[derive(Debug)]
pub(super) struct Container {
    codec: Codec,
    /// Bytes of records that end a block within a transaction.
    block_bytes: usize,
    sync: [u8; 16],
    /// Records of the block under way.
    records: Vec<u8>,
    /// How many.
    count: i64,
}

// === impl Codec ===

impl Codec {
    pub(super) fn called(name: &str) -> Option<Self> {
        [Self::Null, Self::Deflate, Self::Snappy, Self::Bzip2]
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Bzip2 => "bzip2",
        }
    }

    fn compress(self, records: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Null => Ok(records.to_vec()),
            Self::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(records)?;
                encoder.finish()
            }
            Self::Snappy => {
                let mut block = snap::raw::Encoder::new().compress_vec(records)?;
                let mut crc = Crc::new();
                crc.update(records);
                block.extend_from_slice(&crc.sum().to_be_bytes());
                Ok(block)
            }
            Self::Bzip2 => {
                let mut encoder = BzEncoder::new(Vec::new(), bzip2::Compression::best());
                encoder.write_all(records)?;
                encoder.finish()
            }
        }
    }
}

// === impl Container ===

impl Container {
    pub(super) fn new(codec: Codec, block_bytes: usize) -> Self {
        let mut sync = [0; 16];
        // Without chance from the system any value does: it only has to differ from what the records hold.
        if getrandom::fill(&mut sync).is_err() {
            sync = *b"Millstream sync\n";
        }
        Self { codec, block_bytes, sync, records: Vec::new(), count: 0 }
    }

    /// What the file begins with.
    pub(super) fn begin(&self, schema: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Obj\x01");
        writer::long(out, 2);
        for (key, value) in [("avro.schema", schema), ("avro.codec", self.codec.name())] {
            writer::bytes(out, key.as_bytes());
            writer::bytes(out, value.as_bytes());
        }
        writer::long(out, 0);
        out.extend_from_slice(&self.sync);
    }

    /// Adds the record that `encode` writes.
    pub(super) fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) -> Result<()> {
        encode(&mut self.records);
        self.count += 1;
        if self.records.len() >= self.block_bytes { self.end_block(out) } else { Ok(()) }
    }

    /// Writes the block under way.
    pub(super) fn end_block(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let compressed = self.codec.compress(&self.records);
        let block = compressed.map_err(|error| Error::io("compress a block for", self.codec.name(), error))?;
        writer::long(out, self.count);
        writer::bytes(out, &block);
        out.extend_from_slice(&self.sync);
        self.abandon_block();
        Ok(())
    }

    /// Forgets the block under way.
    pub(super) fn abandon_block(&mut self) {
        self.records.clear();
        self.count = 0;
    }
}
