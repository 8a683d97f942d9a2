//! A batch as bytes: how it lies in a journal record.
//!
//! # Layout
//! A record is `meta` followed by `bytes`; `bytes` is the part of the slab's buffer that the rows use, never copied. All
//! numbers in `meta` are LEB128 varints, signed ones zigzag.
//!
//! | field | encoding |
//! |---|---|
//! | version | 1 |
//! | flags | bit 0 positions, bit 1 coverage |
//! | rows | count, then per row: body start − end of the span before (signed), body length, header count, per header: key start − end of the span before (signed), key length, the same for the value; with bit 0 the position − the row's before it |
//! | names | count, then per run: first row, incarnation (16 bytes LE), first sequence |
//! | common headers | count, then per header: keep_existing (0, 1), key length, key, value length, value |
//! | coverage (bit 1) | origin length, origin, start, end, retire (0, 1), count of rules, per rule: length, name, events |

use std::sync::Arc;

use bytes::Bytes;

use super::{Batch, CommonHeader, Coverage, NameRun, SlabBuilder};
use crate::error::{Error, Result};

const VERSION: u64 = 1;
const HAS_POSITIONS: u64 = 1;
const HAS_COVERAGE: u64 = 2;

impl Batch {
    /// The batch as (meta, bytes); together they are one record. `bytes` shares the slab's buffer.
    pub fn flatten(&self) -> (Bytes, Bytes) {
        let (low, high) = self.used_span();
        let mut out = Writer(Vec::with_capacity(64 + self.len() * 6));
        let positions = !self.slab.ends.is_empty() && !self.is_empty();
        let flags = u64::from(positions) * HAS_POSITIONS + u64::from(self.coverage.is_some()) * HAS_COVERAGE;
        out.varint(VERSION);
        out.varint(flags);
        out.varint(self.len() as u64);
        let (mut at, mut position) = (low, 0);
        for event in self.iter() {
            let row = self.slab.rows[event.row];
            out.span(&mut at, row.body, row.body_len);
            let headers = event.header_spans();
            out.varint(headers.len() as u64);
            for header in headers {
                out.span(&mut at, header.key, header.key_len);
                out.span(&mut at, header.value, header.value_len);
            }
            if let Some(end) = event.end() {
                out.varint(end.wrapping_sub(position));
                position = end;
            }
        }
        let names = self.names();
        out.varint(names.len() as u64);
        for run in names {
            out.varint(u64::from(run.first_row));
            out.0.extend_from_slice(&run.incarnation.to_le_bytes());
            out.varint(run.first);
        }
        out.varint(self.common_headers().len() as u64);
        for header in self.common_headers() {
            out.varint(u64::from(header.keep_existing));
            out.text(&header.key);
            out.text(&header.value);
        }
        if let Some(coverage) = self.coverage() {
            out.text(coverage.origin.as_bytes());
            out.varint(coverage.start);
            out.varint(coverage.end);
            out.varint(u64::from(coverage.retire));
            out.varint(coverage.dropped.len() as u64);
            for (rule, events) in &coverage.dropped {
                out.text(rule.as_bytes());
                out.varint(*events);
            }
        }
        (out.0.into(), self.slab.buffer.slice(low as usize..high as usize))
    }

    /// Reads a record written by [`Self::flatten`], meta and bytes in one buffer, without copying a body.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the record is not one: a broken invariant where a checksum was verified.
    pub fn unflatten(record: &Bytes) -> Result<Self> {
        Reader { bytes: record, at: 0 }.batch().ok_or_else(|| {
            Error::corrupt(
                "batch record",
                format_args!("{} bytes that are not a batch of version {VERSION}", record.len()),
            )
        })
    }

    /// The least span of the buffer that holds every row shown.
    fn used_span(&self) -> (u32, u32) {
        let (mut low, mut high) = (u32::MAX, 0);
        for event in self.iter() {
            let row = self.slab.rows[event.row];
            (low, high) = (low.min(row.body), high.max(row.body + row.body_len));
            for header in event.header_spans() {
                low = low.min(header.key).min(header.value);
                high = high.max(header.key + header.key_len).max(header.value + header.value_len);
            }
        }
        (low.min(high), high)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A span, its start relative to the end of the span before.
    fn span(&mut self, at: &mut u32, start: u32, len: u32) {
        let delta = i64::from(start) - i64::from(*at);
        self.varint(((delta << 1) ^ (delta >> 63)) as u64);
        self.varint(u64::from(len));
        *at = start + len;
    }

    fn text(&mut self, text: &[u8]) {
        self.varint(text.len() as u64);
        self.0.extend_from_slice(text);
    }
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

/// Spans of a row as read: relative to the first byte after the meta.
type Spans = (i64, i64);

impl Reader<'_> {
    fn batch(mut self) -> Option<Batch> {
        let (VERSION, flags) = (self.varint()?, self.varint()?) else { return None };
        let count = self.count()?;
        let mut rows: Vec<(Spans, usize, u64)> = Vec::with_capacity(count);
        let mut headers: Vec<(Spans, Spans)> = Vec::new();
        let (mut at, mut position) = (0, 0_u64);
        for _ in 0..count {
            let body = self.span(&mut at)?;
            for _ in 0..self.count()? {
                let (key, value) = (self.span(&mut at)?, self.span(&mut at)?);
                headers.push((key, value));
            }
            if flags & HAS_POSITIONS != 0 {
                position = position.wrapping_add(self.varint()?);
            }
            rows.push((body, headers.len(), position));
        }
        let mut names = Vec::new();
        for _ in 0..self.count()? {
            let first_row = u32::try_from(self.varint()?).ok()?;
            let incarnation = u128::from_le_bytes(self.take(16)?.as_ref().try_into().ok()?);
            names.push(NameRun { first_row, incarnation, first: self.varint()? });
        }
        if !are_runs_of(&names, rows.len()) {
            return None;
        }
        let mut common = Vec::new();
        for _ in 0..self.count()? {
            let keep_existing = self.varint()? == 1;
            common.push(CommonHeader { keep_existing, key: self.text()?, value: self.text()? });
        }
        let coverage = if flags & HAS_COVERAGE != 0 { Some(self.coverage()?) } else { None };

        let base = self.at as i64;
        let len = self.bytes.len();
        let place = |span: Spans| {
            let (start, end) = (base.checked_add(span.0)?, base.checked_add(span.1)?);
            let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
            (range.start >= base as usize && range.end <= len).then_some(range)
        };
        let mut builder = SlabBuilder::with_capacity(self.bytes.clone(), rows.len());
        let mut header = 0;
        for (body, headers_end, end) in rows {
            for &(key, value) in headers.get(header..headers_end)? {
                builder.header(place(key)?, place(value)?);
            }
            header = headers_end;
            match flags & HAS_POSITIONS {
                0 => builder.row(place(body)?),
                _ => builder.row_ending_at(place(body)?, end),
            }
        }
        let mut batch = builder.finish();
        if !names.is_empty() {
            batch = batch.with_names(names);
        }
        if !common.is_empty() {
            batch.overlay = Some(Arc::new(common));
        }
        Some(match coverage {
            Some(coverage) => batch.with_coverage(coverage),
            None => batch,
        })
    }

    fn coverage(&mut self) -> Option<Coverage> {
        let origin = self.string()?;
        let (start, end, retire) = (self.varint()?, self.varint()?, self.varint()? == 1);
        let mut dropped = Vec::new();
        for _ in 0..self.count()? {
            dropped.push((self.string()?, self.varint()?));
        }
        Some(Coverage { origin, start, end, dropped, retire })
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A count of things that take at least one byte each, so a wild one is refused before anything is reserved.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.varint()?).ok()?;
        (count <= self.bytes.len() - self.at).then_some(count)
    }

    fn span(&mut self, at: &mut i64) -> Option<Spans> {
        let zigzag = self.varint()?;
        let start = at.checked_add((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))?;
        let end = start.checked_add(i64::try_from(self.varint()?).ok()?)?;
        *at = end;
        Some((start, end))
    }

    fn take(&mut self, len: usize) -> Option<Bytes> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len())?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Some(taken)
    }

    fn text(&mut self) -> Option<Bytes> {
        let len = self.count()?;
        self.take(len)
    }

    fn string(&mut self) -> Option<Arc<str>> {
        Some(String::from_utf8_lossy(&self.text()?).into())
    }
}

/// Whether the runs begin at the first of `rows` rows, ascend, and end below 2^64; or there is none.
fn are_runs_of(runs: &[NameRun], rows: usize) -> bool {
    let ends = runs.iter().skip(1).map(|run| run.first_row as usize).chain([rows]);
    let is_run = |(run, end): (&NameRun, usize)| {
        end.checked_sub(run.first_row as usize)
            .is_some_and(|len| len > 0 && run.first.checked_add(len as u64).is_some())
    };
    runs.first().is_none_or(|first| first.first_row == 0) && runs.iter().zip(ends).all(is_run)
}
