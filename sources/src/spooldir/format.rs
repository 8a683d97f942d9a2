//! What the bytes of a file are, and how they become events: the `deserializer` option.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Batch, Options, Result, SlabBuilder};
use millstream_io::FileIdentity;

use super::container::Container;
use super::schema_type::SchemaType;
use crate::charset::Decoder;
use crate::files::{read_range, sliced};
use crate::line::{self, Line, split};

/// What files hold.
#[derive(Debug)]
pub(super) enum Format {
    /// Lines, cut where they are longer than so many UTF-16 units.
    Lines { most_units: usize, decoder: Decoder },
    /// One event, cut after so many bytes.
    Blob { most_bytes: usize },
    /// The records of an Avro container.
    Avro { schema_type: SchemaType },
}

/// What is known of one file's content.
#[derive(Debug)]
pub(super) enum Cutter {
    /// Nothing: positions are bytes.
    Bytes,
    /// Positions count records.
    Records(Box<Container>),
}

/// What became of some bytes.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// Their events, with positions, up to the first that cannot be read.
    pub(super) batches: Vec<Batch>,
    /// Bytes that are done with; what follows is no whole event yet.
    pub(super) consumed: usize,
    pub(super) problem: Option<String>,
}

// === impl Format ===

impl Format {
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        let name = options.text("deserializer")?;
        let called = |names: [&str; 2]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if called([AVRO, AVRO_CLASS]) {
            let is_literal = options.text("deserializer.schemaType")?.eq_ignore_ascii_case("LITERAL");
            return Ok(Self::Avro { schema_type: if is_literal { SchemaType::Literal } else { SchemaType::Hash } });
        }
        if called([BLOB, BLOB_CLASS]) {
            return Ok(Self::Blob { most_bytes: options.int("deserializer.maxBlobLength")? });
        }
        let length_key = match options.find("bufferMaxLineLength") {
            Some(_) => "bufferMaxLineLength",
            None => "deserializer.maxLineLength",
        };
        let most_units = options.int::<usize>(length_key)?.min(line::MOST_UNITS);
        Ok(Self::Lines { most_units, decoder: Decoder::from_options(options)? })
    }

    /// Under which name channels know how far a file was read: a number of records is no number of bytes.
    pub(super) fn origin(&self, identity: FileIdentity) -> Arc<str> {
        match self {
            Self::Lines { .. } | Self::Blob { .. } => identity.to_string().into(),
            Self::Avro { .. } => format!("{identity}/records").into(),
        }
    }

    /// Goes on at `position` of a file that has `len` bytes; also gives the byte at which to read.
    ///
    /// # Errors
    /// The reason, when the file cannot be the one that was read up to there.
    pub(super) fn resume(&self, file: &File, len: u64, position: u64) -> Result<(Cutter, u64), String> {
        if let Self::Avro { schema_type } = self {
            let (container, at) = Container::resume(*schema_type, file, position)?;
            return Ok((Cutter::Records(container.into()), at));
        }
        if position > len + 1 {
            return Err(format!("{} bytes of it were read before, but it has only {len} now", position - 1));
        }
        let at = position.min(len);
        let grew = at == position && self.grew_behind_its_end(file, position);
        Ok((Cutter::Bytes, if grew { position - 1 } else { at }))
    }

    /// The position at a byte that Flume tracked.
    ///
    /// # Errors
    /// The reason, when the file cannot be the one that was read up to there.
    pub(super) fn position_at(&self, file: &File, len: u64, offset: u64) -> Result<u64, String> {
        if offset > len {
            return Err(format!("the tracker has {offset} bytes of it, but it has only {len}"));
        }
        match self {
            Self::Lines { .. } | Self::Blob { .. } => Ok(offset),
            Self::Avro { schema_type } => Container::position_at(*schema_type, file, offset),
        }
    }

    /// Whether `position` counts the end of a file that has grown since: a place where no event begins. The byte before
    /// it was not read then.
    fn grew_behind_its_end(&self, file: &File, position: u64) -> bool {
        let Some(last) = position.checked_sub(1) else { return false };
        let most_units = match self {
            Self::Lines { most_units, .. } => *most_units,
            // A blob is cut after just so many bytes.
            Self::Blob { most_bytes } => return !position.is_multiple_of(*most_bytes as u64),
            Self::Avro { .. } => return false,
        };
        let before = read_range(file, position.saturating_sub(most_units as u64), position).unwrap_or_default();
        match before.split_last() {
            Some((b'\n', _)) | None => false,
            // A cut leaves at least so many bytes without a newline, less one for a character of two units.
            Some((_, line)) => last < most_units as u64 - 1 || line.contains(&b'\n'),
        }
    }
}

// === impl Cutter ===

impl Cutter {
    /// Cuts events from `bytes`, which lie in the file at `base`; with `ended` nothing follows.
    pub(super) fn cut(
        &mut self,
        format: &Format,
        batch_events: usize,
        (bytes, base): (&Bytes, u64),
        ended: bool,
    ) -> Cut {
        match (format, self) {
            (Format::Avro { schema_type }, Self::Records(container)) => {
                container.cut(*schema_type, batch_events, (bytes, base), ended)
            }
            (Format::Lines { most_units, decoder }, _) => {
                let lines = split(bytes, ended, *most_units);
                grouped(Some(*decoder), batch_events, (bytes, base), &lines)
            }
            (Format::Blob { most_bytes }, _) => {
                let blobs = blobs(bytes.len(), *most_bytes, ended);
                grouped(None, batch_events, (bytes, base), &blobs)
            }
            (Format::Avro { .. }, Self::Bytes) => unreachable!("a container is resumed with its format"),
        }
    }

    /// The position at the end of a file of `len` bytes: one beyond the last event's.
    pub(super) fn end(&self, len: u64) -> u64 {
        match self {
            Self::Bytes => len + 1,
            Self::Records(container) => container.end(),
        }
    }

    /// What Flume would track when everything before `position` is stored, of a file that is read up to `read`.
    pub(super) fn offset(&mut self, position: u64, read: u64) -> u64 {
        match self {
            Self::Bytes => position.min(read),
            Self::Records(container) => container.offset(position),
        }
    }

    /// How much lies before `position`, in words.
    pub(super) fn amount(&self, position: u64) -> String {
        match self {
            Self::Bytes => format!("{position} bytes"),
            Self::Records(_) => format!("{} records", position / 2),
        }
    }
}

/// Where the blobs lie in so many bytes.
fn blobs(len: usize, most_bytes: usize, ended: bool) -> Vec<Line> {
    let starts = (0..len).step_by(most_bytes);
    let blobs = starts.map(|start| (start, len.min(start + most_bytes)));
    let whole = blobs.filter(|(start, end)| ended || end - start == most_bytes);
    whole.map(|(start, end)| Line { start, end, next: end }).collect()
}

/// Batches over `lines`, up to the first that cannot be decoded.
fn grouped(decoder: Option<Decoder>, batch_events: usize, (bytes, base): (&Bytes, u64), lines: &[Line]) -> Cut {
    let consumed = lines.last().map_or(0, |line| line.next);
    let decoder = decoder.filter(|decoder| !decoder.passes(&bytes[..consumed]));
    let mut cut = Cut { consumed, ..Cut::default() };
    for group in lines.chunks(batch_events) {
        let (batch, problem) = match decoder {
            None => (sliced(bytes, base, group), None),
            Some(decoder) => decoded(decoder, bytes, base, group),
        };
        if !batch.is_empty() {
            cut.batches.push(batch);
        }
        if problem.is_some() {
            cut.problem = problem;
            break;
        }
    }
    cut
}

/// A batch of `lines` decoded into a buffer of its own, up to the first that cannot be.
fn decoded(decoder: Decoder, bytes: &Bytes, base: u64, lines: &[Line]) -> (Batch, Option<String>) {
    let mut buffer = Vec::with_capacity(lines.iter().map(|line| line.end - line.start).sum());
    let mut rows = Vec::with_capacity(lines.len());
    let mut problem = None;
    for line in lines {
        let start = buffer.len();
        if let Err(bad) = decoder.decode(&bytes[line.start..line.end], &mut buffer) {
            let at = base + (line.start + bad.at) as u64;
            problem = Some(format!("byte {:#04x} at offset {at} is not valid in inputCharset", bad.byte));
            break;
        }
        rows.push((start..buffer.len(), base + line.next as u64));
    }
    let mut builder = SlabBuilder::with_capacity(buffer.into(), rows.len());
    rows.into_iter().for_each(|(body, end)| builder.row_ending_at(body, end));
    (builder.finish(), problem)
}

/// Names of the deserializers.
pub(super) const DESERIALIZERS: &[&str] = &[LINE, AVRO, BLOB, LINE_CLASS, AVRO_CLASS, BLOB_CLASS];

const LINE: &str = "LINE";
const AVRO: &str = "AVRO";
const BLOB: &str = "BLOB";
const LINE_CLASS: &str = "org.apache.flume.serialization.LineDeserializer$Builder";
const AVRO_CLASS: &str = "org.apache.flume.serialization.AvroEventDeserializer$Builder";
const BLOB_CLASS: &str = "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder";
