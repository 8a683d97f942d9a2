//! Compression as Hadoop's codecs write it.
//!
//! | codec | extension | a stream is |
//! |---|---|---|
//! | `gzip` | `.gz` | a member of RFC 1952 |
//! | `deflate`, `default` | `.deflate` | a zlib stream of RFC 1950 |
//! | `bzip2` | `.bz2` | a bzip2 stream |
//! | `snappy` | `.snappy` | blocks: length, length compressed (each 4 bytes, big endian), raw snappy |
//!
//! A stream ends with each transaction, so a file is a chain of them, which readers take for one.
//!
//! # Source
//! `org.apache.hadoop.io.compress` (Hadoop 2.10), `CompressionCodecFactory`, `BlockCompressorStream`.

use std::io::Write;

use bzip2::write::BzEncoder;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use millstream_core::{Error, EventRef, Result};

use crate::serializer::EventSerializer;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Deflate,
    Bzip2,
    Snappy,
}

/// What another serializer writes, compressed.
#[derive(Debug)]
pub(super) struct Compressed {
    inner: Box<dyn EventSerializer>,
    codec: Codec,
    /// Of the transaction under way.
    plain: Vec<u8>,
}

// === impl Codec ===

impl Codec {
    /// By class name, simple class name, or that without `Codec`, in any case.
    pub(super) fn called(name: &str) -> Option<Self> {
        let simple = name.strip_prefix("org.apache.hadoop.io.compress.").unwrap_or(name).to_ascii_lowercase();
        Some(match simple.strip_suffix("codec").unwrap_or(&simple) {
            "gzip" => Self::Gzip,
            "deflate" | "default" => Self::Deflate,
            "bzip2" => Self::Bzip2,
            "snappy" => Self::Snappy,
            _ => return None,
        })
    }

    /// What file names end with.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Deflate => ".deflate",
            Self::Bzip2 => ".bz2",
            Self::Snappy => ".snappy",
        }
    }

    /// How a SequenceFile names it.
    pub(super) fn class_name(self) -> &'static str {
        match self {
            Self::Gzip => "org.apache.hadoop.io.compress.GzipCodec",
            Self::Deflate => "org.apache.hadoop.io.compress.DefaultCodec",
            Self::Bzip2 => "org.apache.hadoop.io.compress.BZip2Codec",
            Self::Snappy => "org.apache.hadoop.io.compress.SnappyCodec",
        }
    }

    /// `bytes` as one stream.
    pub(super) fn compress(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let compressed = match self {
            Self::Gzip => written(GzEncoder::new(Vec::new(), Compression::default()), bytes, GzEncoder::finish),
            Self::Deflate => written(ZlibEncoder::new(Vec::new(), Compression::default()), bytes, ZlibEncoder::finish),
            Self::Bzip2 => written(BzEncoder::new(Vec::new(), bzip2::Compression::best()), bytes, BzEncoder::finish),
            Self::Snappy => snappy_blocks(bytes),
        };
        compressed.map_err(|error| Error::io("compress a stream with", self.class_name(), error))
    }
}

fn written<E: Write>(
    mut encoder: E,
    bytes: &[u8],
    finish: fn(E) -> std::io::Result<Vec<u8>>,
) -> std::io::Result<Vec<u8>> {
    encoder.write_all(bytes)?;
    finish(encoder)
}

fn snappy_blocks(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for block in bytes.chunks(SNAPPY_BLOCK_BYTES) {
        let compressed = snap::raw::Encoder::new().compress_vec(block)?;
        out.extend_from_slice(&(block.len() as u32).to_be_bytes());
        out.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

// === impl Compressed ===

impl Compressed {
    pub(super) fn new(inner: Box<dyn EventSerializer>, codec: Codec) -> Self {
        Self { inner, codec, plain: Vec::new() }
    }
}

impl EventSerializer for Compressed {
    fn begin(&mut self, _out: &mut Vec<u8>) {
        self.inner.begin(&mut self.plain);
    }

    fn append(&mut self, event: EventRef<'_>, _out: &mut Vec<u8>) -> Result<()> {
        self.inner.append(event, &mut self.plain)
    }

    fn end_transaction(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.inner.end_transaction(&mut self.plain)?;
        out.extend_from_slice(&self.codec.compress(&self.plain)?);
        self.plain.clear();
        Ok(())
    }

    fn abandon_transaction(&mut self) {
        self.inner.abandon_transaction();
        self.plain.clear();
    }
}

/// Uncompressed bytes of a block; Hadoop's buffer has 256 KiB, and leaves room for what does not compress.
const SNAPPY_BLOCK_BYTES: usize = 200 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use bzip2::read::MultiBzDecoder;
    use flate2::read::{MultiGzDecoder, ZlibDecoder};

    use super::*;

    #[test]
    fn codecs_are_found_by_every_name_that_flume_takes() {
        for name in ["gzip", "GZIP", "GzipCodec", "gzipcodec", "org.apache.hadoop.io.compress.GzipCodec"] {
            assert_eq!(Codec::called(name), Some(Codec::Gzip), "{name}");
        }
        assert_eq!(Codec::called("DefaultCodec"), Some(Codec::Deflate));
        assert_eq!(Codec::called("BZip2Codec"), Some(Codec::Bzip2));
        assert_eq!(Codec::called("lzo"), None);
    }

    #[test]
    fn a_chain_of_streams_is_read_as_one() {
        let text = "all work and no play ".repeat(30_000);
        let (one, two) = text.as_bytes().split_at(100);
        let chain =
            |codec: Codec| [codec.compress(one), codec.compress(two)].map(|part| part.expect("compressed")).concat();
        let mut back = String::new();
        MultiGzDecoder::new(&chain(Codec::Gzip)[..]).read_to_string(&mut back).expect("gzip");
        assert_eq!(back, text);
        back.clear();
        MultiBzDecoder::new(&chain(Codec::Bzip2)[..]).read_to_string(&mut back).expect("bzip2");
        assert_eq!(back, text);
        back.clear();
        ZlibDecoder::new(&Codec::Deflate.compress(text.as_bytes()).expect("compressed")[..])
            .read_to_string(&mut back)
            .expect("zlib");
        assert_eq!(back, text);
    }

    #[test]
    fn snappy_comes_in_blocks_with_both_lengths() {
        let bytes = vec![7; SNAPPY_BLOCK_BYTES + 10];
        let mut rest = &Codec::Snappy.compress(&bytes).expect("compressed")[..];
        let mut back = Vec::new();
        while !rest.is_empty() {
            let number = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().expect("four bytes")) as usize;
            let (plain, compressed) = (number(0), number(4));
            let block = snap::raw::Decoder::new().decompress_vec(&rest[8..8 + compressed]).expect("snappy");
            assert_eq!(block.len(), plain);
            back.extend(block);
            rest = &rest[8 + compressed..];
        }
        assert_eq!(back, bytes);
    }
}
