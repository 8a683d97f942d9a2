//! Cuts Avro container files into the datums they hold.
//!
//! A body is a datum as it stands in the file; a header tells its schema. A position counts records, doubled: an end that is
//! stored is odd, so it is known from the record that may follow when the file grew.
//!
//! # Layout
//! | part | encoding |
//! |---|---|
//! | magic | `Obj`, 01 |
//! | metadata | map of bytes: `avro.schema`, `avro.codec` |
//! | sync | 16 bytes |
//! | blocks | long: count of records; long: bytes that follow; the records, compressed; sync |
//!
//! # Source
//! Avro 1.11 specification, "Object Container Files"; `org.apache.flume.serialization.AvroEventDeserializer` (Flume 1.11).

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use apache_avro::{Codec, Schema};
use bytes::Bytes;
use millstream_core::{Batch, CommonHeader, SlabBuilder};
use millstream_wire::WireError;
use millstream_wire::reader::Reader;

use super::datum::Datums;
use super::format::Cut;
use super::schema_type::SchemaType;

/// A container under way.
#[derive(Debug, Default)]
pub(super) struct Container {
    header: Option<Header>,
    /// Records of the next block that were delivered before.
    skip: u64,
    /// Where blocks begin, oldest first: records before, bytes before. The last one has not come yet.
    blocks: VecDeque<(u64, u64)>,
}

#[derive(Debug)]
struct Header {
    datums: Datums,
    told: CommonHeader,
    codec: Codec,
    sync: [u8; SYNC_BYTES],
    len: usize,
}

/// A block's place: where its records begin, from its own beginning.
#[derive(Debug, Clone, Copy)]
struct Block {
    records: u64,
    data: usize,
    size: usize,
}

// === impl Container ===

impl Container {
    /// Goes on at `position`; also gives the byte at which to read.
    ///
    /// # Errors
    /// The reason, when the file cannot be the one that was read up to there.
    pub(super) fn resume(kind: SchemaType, file: &File, position: u64) -> Result<(Self, u64), String> {
        if position == 0 {
            return Ok((Self::default(), 0));
        }
        let wanted = position / 2;
        let header = Header::of(kind, file)?;
        let (records, at) = walk(file, &header, |records, _, block| records + block.records <= wanted)?;
        let block = Block::at(file, at)?;
        if block.map_or(0, |block| block.records) < wanted - records {
            return Err(format!("{wanted} records of it were read before, but it has only {records} now"));
        }
        let blocks = VecDeque::from([(records, at)]);
        Ok((Self { header: Some(header), skip: wanted - records, blocks }, at))
    }

    /// The position at a byte where Flume was: that of the sync before the block it read.
    ///
    /// # Errors
    /// The reason, when the file cannot be read up to there.
    pub(super) fn position_at(kind: SchemaType, file: &File, offset: u64) -> Result<u64, String> {
        if offset == 0 {
            return Ok(0);
        }
        let header = Header::of(kind, file)?;
        let (records, _) = walk(file, &header, |_, at, _| at < offset + SYNC_BYTES as u64)?;
        Ok(records * 2)
    }

    /// Cuts whole blocks from `bytes`, which lie in the file at `base`.
    pub(super) fn cut(
        &mut self,
        kind: SchemaType,
        batch_events: usize,
        (bytes, base): (&Bytes, u64),
        ended: bool,
    ) -> Cut {
        let mut cut = Cut::default();
        cut.problem = self.cut_into(&mut cut, kind, batch_events, (bytes, base), ended).err();
        cut
    }

    /// The position at the end.
    pub(super) fn end(&self) -> u64 {
        self.blocks.back().map_or(0, |(records, _)| records * 2) + 1
    }

    /// What Flume would track when everything before `position` is stored.
    pub(super) fn offset(&mut self, position: u64) -> u64 {
        while self.blocks.get(1).is_some_and(|(records, _)| *records <= position / 2) {
            self.blocks.pop_front();
        }
        self.blocks.front().map_or(0, |(_, at)| at.saturating_sub(SYNC_BYTES as u64))
    }

    fn cut_into(
        &mut self,
        cut: &mut Cut,
        kind: SchemaType,
        batch_events: usize,
        (bytes, base): (&Bytes, u64),
        ended: bool,
    ) -> Result<(), String> {
        if self.header.is_none() {
            match Header::parse(kind, bytes)? {
                Some(header) => {
                    cut.consumed = header.len;
                    self.blocks.push_back((0, header.len as u64));
                    self.header = Some(header);
                }
                None if ended => return Err("it ends before the header of an Avro container file does".into()),
                None => return Ok(()),
            }
        }
        let Some(header) = &self.header else { return Ok(()) };
        while cut.consumed < bytes.len() {
            let at = base + cut.consumed as u64;
            let place = |problem: String| format!("block at byte {at}: {problem}");
            let rest = bytes.slice(cut.consumed..);
            let block = Block::parse(&rest).map_err(place)?;
            let Some(block) = block.filter(|block| block.len() <= rest.len()) else {
                return if ended { Err(place("it is not whole".into())) } else { Ok(()) };
            };
            if rest[block.data + block.size..block.len()] != header.sync {
                return Err(place("its sync marker is not the one of the file".into()));
            }
            let data = header.decompress(rest.slice(block.data..block.data + block.size)).map_err(place)?;
            let first = self.blocks.back().map_or(0, |(records, _)| *records);
            let (datums, problem) = header.datums(&data, block.records);
            let skip = std::mem::take(&mut self.skip).min(datums.len() as u64);
            let fresh = &datums[skip as usize..];
            let mut record = first + skip;
            for group in fresh.chunks(batch_events) {
                cut.batches.push(batch(&data, group, record).with_common_header(header.told.clone()));
                record += group.len() as u64;
            }
            if let Some(problem) = problem {
                return Err(place(problem));
            }
            cut.consumed += block.len();
            self.blocks.push_back((first + block.records, at + block.len() as u64));
        }
        Ok(())
    }
}

// === impl Header ===

impl Header {
    /// `None` when more bytes are needed.
    fn parse(kind: SchemaType, bytes: &[u8]) -> Result<Option<Self>, String> {
        if !MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
            return Err("it is no Avro container file".into());
        }
        match Self::parse_whole(kind, bytes) {
            Ok(parsed) => parsed.map(Some),
            Err(WireError::Truncated { .. }) if bytes.len() < MOST_HEADER_BYTES => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn parse_whole(kind: SchemaType, bytes: &[u8]) -> Result<Result<Self, String>, WireError> {
        let mut reader = Reader::new(bytes);
        reader.fixed::<4>(HEADER)?;
        let (mut schema, mut codec) = (None, "null");
        while let Some(entries) = reader.block(HEADER, 2)? {
            for _ in 0..entries {
                let key = reader.text(HEADER)?;
                let value = &bytes[reader.span(HEADER)?];
                match key {
                    "avro.schema" => schema = std::str::from_utf8(value).ok(),
                    "avro.codec" => codec = std::str::from_utf8(value).unwrap_or("which is no text"),
                    _ => {}
                }
            }
        }
        let sync = reader.fixed(HEADER)?;
        let Some(text) = schema else { return Ok(Err("its header has no schema".into())) };
        let Ok(codec) = codec.parse::<Codec>() else {
            let wanted = "expected null, deflate, snappy or bzip2";
            return Ok(Err(format!("codec: {wanted}, got {codec:?}; write it with one of these")));
        };
        let len = reader.position();
        let told = kind.header(text).map_err(|error| error.to_string());
        let schema = Schema::parse_str(text).map_err(|error| error.to_string());
        let parsed = schema.and_then(|schema| Ok((told?, Datums::of(&schema)?)));
        let parsed = parsed.map_err(|problem| format!("schema: {problem}"));
        Ok(parsed.map(|(told, datums)| Self { datums, told, codec, sync, len }))
    }

    /// Reads the header of a file that was read before.
    fn of(kind: SchemaType, file: &File) -> Result<Self, String> {
        let mut bytes = Vec::new();
        loop {
            let held = bytes.len();
            bytes.resize(held + HEADER_CHUNK_BYTES, 0);
            let got = read_at(file, &mut bytes[held..], held as u64)?;
            bytes.truncate(held + got);
            if let Some(header) = Self::parse(kind, &bytes)? {
                return Ok(header);
            }
            if got == 0 {
                return Err("it was read before, but now it ends before its header does".into());
            }
        }
    }

    fn decompress(&self, data: Bytes) -> Result<Bytes, String> {
        if self.codec == Codec::Null {
            return Ok(data);
        }
        let mut records = data.to_vec();
        self.codec.decompress(&mut records).map_err(|error| error.to_string())?;
        Ok(records.into())
    }

    /// Where the datums lie in `data`, and what is wrong with the first that cannot be read.
    fn datums(&self, data: &[u8], records: u64) -> (Vec<Range<usize>>, Option<String>) {
        let mut datums = Vec::new();
        if records > (data.len() as u64).max(MOST_EMPTY_RECORDS) {
            return (datums, Some(format!("it claims {records} records in {} bytes", data.len())));
        }
        let mut reader = Reader::new(data);
        for record in 0..records {
            let start = reader.position();
            if let Err(problem) = self.datums.skip(&mut reader) {
                return (datums, Some(format!("record {record} of it: {problem}")));
            }
            datums.push(start..reader.position());
        }
        let left = reader.remaining();
        let problem = (left > 0).then(|| format!("{left} bytes follow its last record"));
        (datums, problem)
    }
}

// === impl Block ===

impl Block {
    /// `None` when more bytes are needed.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut reader = Reader::new(bytes);
        let (records, size) = match (reader.long(BLOCK), reader.long(BLOCK)) {
            (Ok(records), Ok(size)) => (records, size),
            (Err(WireError::Truncated { .. }), _) | (_, Err(WireError::Truncated { .. })) => return Ok(None),
            (Err(error), _) | (_, Err(error)) => return Err(error.to_string()),
        };
        match (u64::try_from(records), usize::try_from(size)) {
            (Ok(records), Ok(size)) if size <= MOST_BLOCK_BYTES => {
                Ok(Some(Self { records, data: reader.position(), size }))
            }
            _ => Err(format!("it claims {records} records in {size} bytes; at most {MOST_BLOCK_BYTES} bytes are read")),
        }
    }

    /// The block that begins at a byte of the file, if it begins there.
    fn at(file: &File, at: u64) -> Result<Option<Self>, String> {
        let mut head = [0; 20];
        let got = read_at(file, &mut head, at)?;
        Self::parse(&head[..got])
    }

    fn len(&self) -> usize {
        self.data + self.size + SYNC_BYTES
    }
}

/// Passes over blocks while `passes`, told of the records and bytes before; how many of both were passed.
fn walk(file: &File, header: &Header, passes: impl Fn(u64, u64, &Block) -> bool) -> Result<(u64, u64), String> {
    let (mut records, mut at) = (0, header.len as u64);
    while let Some(block) = Block::at(file, at)?.filter(|block| passes(records, at, block)) {
        let mut sync = [0; SYNC_BYTES];
        let got = read_at(file, &mut sync, at + (block.data + block.size) as u64)?;
        if got < SYNC_BYTES {
            break;
        }
        if sync != header.sync {
            return Err(format!("block at byte {at}: its sync marker is not the one of the file"));
        }
        records += block.records;
        at += block.len() as u64;
    }
    Ok((records, at))
}

/// Fills `buffer` as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> Result<usize, String> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("read at byte {at}: {error}")),
        }
    }
    Ok(got)
}

/// A batch of `datums`, the first of which is the record of this number in the file.
fn batch(data: &Bytes, datums: &[Range<usize>], first: u64) -> Batch {
    let (Some(start), Some(end)) = (datums.first(), datums.last()) else { return Batch::empty() };
    let (start, end) = (start.start, end.end);
    let mut builder = SlabBuilder::with_capacity(data.slice(start..end), datums.len());
    for (datum, record) in datums.iter().zip(first..) {
        builder.row_ending_at(datum.start - start..datum.end - start, 2 * (record + 1));
    }
    builder.finish()
}

const MAGIC: &[u8] = b"Obj\x01";
const HEADER: &str = "Avro container header";
const BLOCK: &str = "Avro container block";
const SYNC_BYTES: usize = 16;
const HEADER_CHUNK_BYTES: usize = 64 << 10;
/// A schema is text that someone wrote.
const MOST_HEADER_BYTES: usize = 16 << 20;
/// A block is held in memory. Java writes 64 kB.
const MOST_BLOCK_BYTES: usize = 256 << 20;
/// Records without a byte (of `null`) cost nothing in the file, but memory here.
const MOST_EMPTY_RECORDS: u64 = 1 << 20;
