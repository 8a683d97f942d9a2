//! The bytes of records and snapshots: `docs/formats/file-channel.md`.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Batch, Error, IntervalSet, NameSet, Result};
use millstream_journal::Record;

use super::origins::Positions;
use crate::names::{Foreign, Names, Opening};

/// Kind of a record that holds a put, or acknowledged ranges.
pub(super) const RECORD: u8 = 1;
/// Kind of a record of the log that holds how many events were trimmed.
pub(super) const TRIMMED: u8 = 2;
/// Kind of a record of the acks that holds ranges which are lost to damage.
pub(super) const LOST: u8 = 2;
/// The first one, of both snapshots.
const VERSION: u8 = 1;
/// Of the log's snapshot: 2 has the names received, 3 how many events were trimmed and how many came with a name.
const LOG_VERSION: u8 = 3;
/// Of the acks' snapshot: 2 has the ranges that are lost.
const ACK_VERSION: u8 = 2;
/// Bytes before the batch.
const HEAD_LEN: usize = 16;

/// What a segment of the log begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LogSnapshot {
    pub(super) store: u64,
    pub(super) next: u64,
    pub(super) body_bytes: u64,
    pub(super) origins: HashMap<Arc<str>, u64>,
    pub(super) dropped: BTreeMap<Arc<str>, u64>,
    pub(super) names: Names,
    /// Names that events came with, as long as they may come again.
    pub(super) received: NameSet,
    /// Events that came again and were known, by their names or positions.
    pub(super) trimmed: u64,
    /// Events that came with a name. Of those before version 3, the ones that were in the log then.
    pub(super) named_elsewhere: u64,
}

/// What the acks say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AckSnapshot {
    pub(super) store: u64,
    /// Sequences that will not be delivered again.
    pub(super) acked: IntervalSet,
    /// Of these, the ones that never were: their records are damaged.
    pub(super) lost: IntervalSet,
}

/// One put, as read back.
#[derive(Debug)]
pub(super) struct PutRecord {
    pub(super) first: u64,
    pub(super) opening: u64,
    pub(super) batch: Batch,
}

/// The name of an opening's events.
pub(super) fn incarnation(store: u64, opening: u64) -> u128 {
    u128::from(store) << 64 | u128::from(opening)
}

/// The record of a put, in parts; the batch's bytes are not copied.
pub(super) fn put_record(first: u64, opening: u64, batch: &Batch) -> Vec<Bytes> {
    let mut head = Vec::with_capacity(HEAD_LEN);
    head.extend_from_slice(&first.to_le_bytes());
    head.extend_from_slice(&opening.to_le_bytes());
    let (meta, bytes) = batch.flatten();
    vec![head.into(), meta, bytes]
}

// === impl PutRecord ===

impl PutRecord {
    /// Reads a record of the log.
    ///
    /// # Errors
    /// `Corrupt`, where a checksum was right: written by something else.
    pub(super) fn decode(record: &Bytes) -> Result<Self> {
        let mut reader = Reader(record);
        let head = reader.u64().zip(reader.u64());
        let (first, opening) = head.ok_or_else(|| Error::corrupt("put record", "shorter than its head"))?;
        Ok(Self { first, opening, batch: Batch::unflatten(&record.slice(HEAD_LEN..))? })
    }

    /// One behind the last event.
    pub(super) fn end(&self) -> u64 {
        self.first + self.batch.len() as u64
    }
}

// === impl LogSnapshot ===

impl LogSnapshot {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Writer(vec![LOG_VERSION]);
        [self.store, self.next, self.body_bytes].into_iter().for_each(|number| out.u64(number));
        out.count(self.origins.len());
        for (origin, end) in &self.origins {
            out.text(origin);
            out.u64(*end);
        }
        out.count(self.dropped.len());
        for (rule, events) in &self.dropped {
            out.text(rule);
            out.u64(*events);
        }
        out.count(self.names.openings.len());
        for opening in &self.names.openings {
            out.u64(opening.incarnation as u64);
            out.u64(opening.first);
        }
        out.count(self.names.foreign.len());
        for run in &self.names.foreign {
            out.u64(run.first);
            out.u64(run.events);
            out.0.extend_from_slice(&run.incarnation.to_le_bytes());
            out.u64(run.name);
        }
        out.name_set(&self.received);
        out.u64(self.trimmed);
        out.u64(self.named_elsewhere);
        out.0.into()
    }

    /// Adds what a record of the log says.
    ///
    /// # Errors
    /// `Corrupt`, where a checksum was right: written by something else.
    pub(super) fn replay(&mut self, record: &Record) -> Result<Option<PutRecord>> {
        if record.kind == TRIMMED {
            let read = record.payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
            let trimmed = read.ok_or_else(|| Error::corrupt("record of trimmed events", "shorter than a number"))?;
            self.trimmed = self.trimmed.max(trimmed);
            return Ok(None);
        }
        let put = PutRecord::decode(&record.payload)?;
        let opening = incarnation(self.store, put.opening);
        if self.names.openings.last().is_none_or(|last| last.incarnation != opening) {
            self.names.open(opening, put.first);
        }
        let runs = put.batch.names();
        let own = runs
            .iter()
            .all(|run| run.incarnation == opening && run.first == put.first.wrapping_add(u64::from(run.first_row)));
        if !own {
            self.named_elsewhere += put.batch.len() as u64;
            self.names.record(put.first, &put.batch, &runs);
            for (incarnation, range) in put.batch.name_ranges() {
                self.received.insert(incarnation, range);
            }
        }
        self.next = self.next.max(put.end());
        self.body_bytes += put.batch.body_bytes();
        if let Some(coverage) = put.batch.coverage() {
            let mut positions =
                Positions { ends: std::mem::take(&mut self.origins), dropped: std::mem::take(&mut self.dropped) };
            positions.apply(coverage);
            (self.origins, self.dropped) = (positions.ends, positions.dropped);
        }
        Ok(Some(put))
    }

    /// Reads a snapshot of the log.
    ///
    /// # Errors
    /// `Mismatch` for a later version; `Corrupt`, where a checksum was right: written by something else.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        Self::read(Reader(bytes)).ok_or_else(|| unknown("log snapshot", bytes, LOG_VERSION))
    }

    fn read(mut reader: Reader<'_>) -> Option<Self> {
        let [version] = reader.array()?;
        let (store, next, body_bytes) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let mut snapshot = Self { store, next, body_bytes, ..Self::default() };
        for _ in 0..reader.u32()? {
            snapshot.origins.insert(reader.text()?, reader.u64()?);
        }
        for _ in 0..reader.u32()? {
            snapshot.dropped.insert(reader.text()?, reader.u64()?);
        }
        for _ in 0..reader.u32()? {
            let incarnation = incarnation(store, reader.u64()?);
            snapshot.names.openings.push(Opening { incarnation, first: reader.u64()? });
        }
        for _ in 0..reader.u32()? {
            let (first, events) = (reader.u64()?, reader.u64()?);
            let (incarnation, name) = (reader.u128()?, reader.u64()?);
            snapshot.names.foreign.push_back(Foreign { first, events, incarnation, name });
        }
        snapshot.named_elsewhere = snapshot.names.foreign.iter().map(|run| run.events).sum();
        match version {
            VERSION => {}
            2 => snapshot.received = reader.name_set()?,
            LOG_VERSION => {
                snapshot.received = reader.name_set()?;
                (snapshot.trimmed, snapshot.named_elsewhere) = (reader.u64()?, reader.u64()?);
            }
            _ => return None,
        }
        reader.0.is_empty().then_some(snapshot)
    }
}

/// The record of acknowledged ranges.
pub(super) fn ack_record(ranges: impl IntoIterator<Item = Range<u64>>) -> Bytes {
    let mut out = Writer(Vec::new());
    ranges.into_iter().for_each(|range| out.range(range));
    out.0.into()
}

/// Reads a record of the acks.
///
/// # Errors
/// `Corrupt`, where a checksum was right: written by something else.
fn read_ack_record(bytes: &[u8]) -> Result<Vec<Range<u64>>> {
    let mut reader = Reader(bytes);
    let mut ranges = Vec::with_capacity(bytes.len() / 16);
    while !reader.0.is_empty() {
        let cut = || Error::corrupt("ack record", format_args!("{} bytes that are no ranges", bytes.len()));
        ranges.push(reader.range().ok_or_else(cut)?);
    }
    Ok(ranges)
}

/// Reads a record of numbers of letters.
///
/// # Errors
/// `Corrupt`, where a checksum was right: written by something else.
pub(super) fn numbers(bytes: &[u8]) -> Result<Vec<u64>> {
    let (numbers, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(Error::corrupt("record of replayed letters", format_args!("{} bytes, no numbers", bytes.len())));
    }
    Ok(numbers.iter().map(|number| u64::from_le_bytes(*number)).collect())
}

// === impl AckSnapshot ===

impl AckSnapshot {
    pub(super) fn encode(store: u64, acked: &IntervalSet, lost: &IntervalSet) -> Bytes {
        let mut out = Writer(vec![ACK_VERSION]);
        out.u64(store);
        for ranges in [acked, lost] {
            out.count(ranges.range_count());
            ranges.ranges().for_each(|range| out.range(range));
        }
        out.0.into()
    }

    /// Reads a snapshot of the acks.
    ///
    /// # Errors
    /// `Mismatch` for a later version; `Corrupt`, where a checksum was right: written by something else.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let read = |mut reader: Reader<'_>| {
            let [version] = reader.array()?;
            let (store, acked) = (reader.u64()?, reader.ranges()?);
            let lost = match version {
                VERSION => IntervalSet::new(),
                ACK_VERSION => reader.ranges()?,
                _ => return None,
            };
            reader.0.is_empty().then_some(Self { store, acked, lost })
        };
        read(Reader(bytes)).ok_or_else(|| unknown("ack snapshot", bytes, ACK_VERSION))
    }

    /// Adds what a record of the acks says.
    ///
    /// # Errors
    /// `Corrupt`, where a checksum was right: written by something else.
    pub(super) fn replay(&mut self, record: &Record) -> Result<()> {
        for range in read_ack_record(&record.payload)? {
            if record.kind == LOST {
                self.lost.insert(range.clone());
            }
            self.acked.insert(range);
        }
        Ok(())
    }
}

pub(super) fn unknown(what: &str, bytes: &[u8], newest: u8) -> Error {
    match bytes.first() {
        Some(&later) if later > newest => Error::mismatch(
            what,
            format!("is of version {later}, this program reads up to {newest}; run the program that wrote it"),
        ),
        _ => Error::corrupt(what, format!("{} bytes that are not one of version {newest}", bytes.len())),
    }
}

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("a list in memory is shorter than 4 Gi elements");
        self.0.extend_from_slice(&count.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn name_set(&mut self, names: &NameSet) {
        self.count(names.iter().len());
        for (incarnation, known) in names.iter() {
            self.0.extend_from_slice(&incarnation.to_le_bytes());
            self.count(known.range_count());
            known.ranges().for_each(|range| self.range(range));
        }
    }

    fn range(&mut self, range: Range<u64>) {
        self.u64(range.start);
        self.u64(range.end);
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Option<Arc<str>> {
        let len = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(String::from_utf8_lossy(text).into())
    }

    pub(super) fn name_set(&mut self) -> Option<NameSet> {
        let mut received = Vec::new();
        for _ in 0..self.u32()? {
            let incarnation = self.u128()?;
            let mut known = IntervalSet::new();
            for _ in 0..self.u32()? {
                known.insert(self.range()?);
            }
            received.push((incarnation, known));
        }
        Some(received.into_iter().collect())
    }

    fn ranges(&mut self) -> Option<IntervalSet> {
        let mut ranges = IntervalSet::new();
        for _ in 0..self.u32()? {
            ranges.insert(self.range()?);
        }
        Some(ranges)
    }

    fn range(&mut self) -> Option<Range<u64>> {
        Some(self.u64()?..self.u64()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn snapshots_are_read_back_and_refused_when_cut() {
        let mut names = Names::default();
        names.open(incarnation(3, 7), 0);
        names.foreign.push_back(Foreign { first: 2, events: 3, incarnation: 1 << 100 | 5, name: 9 });
        let snapshot = LogSnapshot {
            store: 3,
            next: 50,
            body_bytes: 1234,
            origins: [("8:1:2".into(), 77), ("é".into(), 1)].into(),
            dropped: [("rule".into(), 4)].into(),
            names,
            received: [(1 << 100, [4..6, 8..9].into_iter().collect())].into_iter().collect(),
            trimmed: 7,
            named_elsewhere: 30,
        };
        let bytes = snapshot.encode();
        assert_eq!(LogSnapshot::decode(&bytes).unwrap(), snapshot);
        let before = LogSnapshot { trimmed: 0, named_elsewhere: 3, ..snapshot };
        let as_version_2 = [&[2], &bytes[1..bytes.len() - 16]].concat();
        assert_eq!(LogSnapshot::decode(&as_version_2).unwrap(), before);
        let none = LogSnapshot { received: NameSet::default(), ..before };
        let bytes_of_none = none.encode();
        let as_version_1 = [&[VERSION], &bytes_of_none[1..bytes_of_none.len() - 20]].concat();
        assert_eq!(LogSnapshot::decode(&as_version_1).unwrap(), none);
        let acked: IntervalSet = [0..5, 9..12].into_iter().collect();
        let lost: IntervalSet = [9..10, 11..12].into_iter().collect();
        let acks = AckSnapshot::encode(3, &acked, &lost);
        let read = AckSnapshot { store: 3, acked: acked.clone(), lost };
        assert_eq!(AckSnapshot::decode(&acks).unwrap(), read);
        let without_lost = AckSnapshot::encode(3, &acked, &IntervalSet::new());
        let as_version_1 = [&[VERSION], &without_lost[1..without_lost.len() - 4]].concat();
        assert_eq!(AckSnapshot::decode(&as_version_1).unwrap(), AckSnapshot { lost: IntervalSet::new(), ..read });
        (0..bytes.len()).for_each(|cut| assert!(LogSnapshot::decode(&bytes[..cut]).is_err(), "{cut}"));
        (0..acks.len()).for_each(|cut| assert!(AckSnapshot::decode(&acks[..cut]).is_err(), "{cut}"));
        let later = [&[ACK_VERSION + 1], &acks[1..]].concat();
        assert!(matches!(AckSnapshot::decode(&later), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn records_are_read_back() {
        let batch = Batch::from_bodies(["a", "b"]).named(5, 40);
        let record = Bytes::from(put_record(40, 6, &batch).concat());
        let back = PutRecord::decode(&record).unwrap();
        assert_eq!((back.first, back.opening, back.end()), (40, 6, 42));
        assert_eq!(back.batch.name_ranges(), [(5, 40..42)]);
        assert!(PutRecord::decode(&record.slice(..15)).is_err());
        let ranges = vec![1..2, 5..900];
        assert_eq!(read_ack_record(&ack_record(ranges.clone())).unwrap(), ranges);
        assert!(read_ack_record(&[0; 17]).is_err());
    }
}
