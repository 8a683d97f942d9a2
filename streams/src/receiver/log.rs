//! A receiver's own log: events that were answered for and are not committed by the job yet.
//!
//! # Delivery
//! An event is appended and synced before its peer hears OK. A restart gives every record in it to the job again, before
//! anything new comes; the job trims by name what it has committed. A segment is deleted once everything in it is
//! committed.
//!
//! # Names
//! Events without names are called by this log: its id and a random number drawn at every opening, then a sequence. The
//! marks say from which sequence on records are still here and so may come again.
//!
//! # Layout
//! A journal. A record is a flat batch; a snapshot is the log's id, 8 bytes little endian.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Batch, Error, Result, Ticket, ticket};
use millstream_io::Disk;
use millstream_journal::{Durability, Journal, Location, Options, Reader};
use parking_lot::Mutex;

/// Kind of a record that holds events.
const EVENTS: u8 = 1;
const SEGMENT_BYTES: u64 = 16 << 20;
/// The disk keeps this much free.
const RESERVE_BYTES: u64 = 16 << 20;
/// A frame is far smaller.
const MAX_RECORD_BYTES: u32 = 1 << 30;

/// The open log.
#[derive(Debug)]
pub(crate) struct ReceiverLog {
    journal: Journal,
    id: u64,
    incarnation: u128,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    segments: BTreeMap<u64, Segment>,
}

#[derive(Debug, Default)]
struct Segment {
    /// Records that are not committed.
    open: usize,
    /// The first sequence of each incarnation of this log's.
    firsts: Vec<(u128, u64)>,
}

/// A record, until it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    segment: u64,
}

// === impl ReceiverLog ===

impl ReceiverLog {
    /// Opens the log in `dir`, which the caller's lock keeps others from.
    pub(crate) fn open(disk: &Arc<dyn Disk>, dir: &Path, name: &str) -> Result<Self> {
        disk.create_dir_all(dir)?;
        let options = Options {
            name: format!("log of {name}").into(),
            segment_bytes: SEGMENT_BYTES,
            reserve_bytes: RESERVE_BYTES,
            max_record_bytes: MAX_RECORD_BYTES,
        };
        let first = Bytes::copy_from_slice(&random()?.to_le_bytes());
        let (journal, recovered) = Journal::open(Arc::clone(disk), dir, options, first)?;
        let id = recovered.snapshot.first_chunk().map(|id| u64::from_le_bytes(*id));
        let id = id.ok_or_else(|| Error::corrupt(dir.display(), "the snapshot of a receiver's log is too short"))?;
        let incarnation = u128::from(id) << 64 | u128::from(random()?);
        Ok(Self { journal, id, incarnation, state: Mutex::default() })
    }

    /// Reads what earlier openings left, oldest first. To be read to its end before anything is appended.
    pub(crate) fn left(&self) -> Left<'_> {
        let first = self.journal.segments().first().copied().unwrap_or_default();
        Left { log: self, reader: self.journal.reader(Location { segment: first, offset: 0 }) }
    }

    /// Appends a batch; gives it back under the names that it is stored with. The ticket resolves once it is on the disk.
    pub(crate) fn append(&self, batch: Batch) -> (Batch, Ticket<Stored>) {
        let mut state = self.state.lock();
        let (first, own) = (state.next, !batch.has_names());
        let batch = if own { batch.named(self.incarnation, first) } else { batch };
        let (resolver, stored) = ticket();
        let (meta, bytes) = batch.flatten();
        if self.journal.needs_roll()
            && let Err(error) = self.journal.roll(self.snapshot())
        {
            return (batch, Ticket::ready(Err(error)));
        }
        // Known only when it is enqueued, and wanted when it is told: told through this.
        let place = Arc::new(Mutex::new(None));
        let told = Arc::clone(&place);
        let done = move |outcome: Result<()>| {
            let place = *told.lock();
            let outcome = outcome.and_then(|()| place.ok_or(Error::Stopped { what: "receiver's log".into() }));
            resolver.resolve(outcome);
        };
        // Held until the place is noted, for the writing thread may be quicker.
        let mut noted = place.lock();
        let appended = self.journal.append(EVENTS, vec![meta, bytes], Durability::Synced, Box::new(done));
        let appended = match appended {
            Ok(appended) => appended,
            Err(error) => return (batch, Ticket::ready(Err(error))),
        };
        let segment = appended.location.segment;
        *noted = Some(Stored { segment });
        drop(noted);
        state.next += batch.len() as u64;
        state.note(segment, own.then_some((self.incarnation, first)));
        if appended.wants_roll
            && let Err(error) = self.journal.roll(self.snapshot())
        {
            tracing::warn!(%error, "no new segment of a receiver's log yet");
        }
        (batch, stored)
    }

    /// The job has committed a record: it is not needed any more.
    pub(crate) fn release(&self, stored: Stored) {
        let mut state = self.state.lock();
        if let Some(segment) = state.segments.get_mut(&stored.segment) {
            segment.open = segment.open.saturating_sub(1);
        }
        let newest = self.journal.segments().last().copied().unwrap_or_default();
        let needed = state.segments.iter().find(|(_, segment)| segment.open > 0).map_or(newest, |(number, _)| *number);
        let needed = needed.min(newest);
        if state.segments.first_key_value().is_some_and(|(oldest, _)| *oldest < needed) {
            match self.journal.delete_before(needed) {
                Ok(()) => state.segments = state.segments.split_off(&needed),
                Err(error) => tracing::warn!(%error, "old segments of a receiver's log stay for now"),
            }
        }
    }

    /// For [`super::Inbox::push`]: per incarnation of this log, the sequence below which no record is here any more.
    pub(crate) fn marks(&self) -> Vec<(u128, u64)> {
        let mut lowest: BTreeMap<u128, u64> = BTreeMap::new();
        for (incarnation, first) in self.state.lock().segments.values().flat_map(|segment| &segment.firsts) {
            lowest.entry(*incarnation).and_modify(|low| *low = (*low).min(*first)).or_insert(*first);
        }
        lowest.into_iter().collect()
    }

    fn snapshot(&self) -> Bytes {
        Bytes::copy_from_slice(&self.id.to_le_bytes())
    }
}

impl State {
    fn note(&mut self, segment: u64, name: Option<(u128, u64)>) {
        let segment = self.segments.entry(segment).or_default();
        segment.open += 1;
        if let Some((incarnation, first)) = name
            && segment.firsts.iter().all(|(known, _)| *known != incarnation)
        {
            segment.firsts.push((incarnation, first));
        }
    }
}

/// What earlier openings left.
pub(crate) struct Left<'a> {
    log: &'a ReceiverLog,
    reader: Reader,
}

impl Left<'_> {
    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// Those of the disk. What is damaged was set aside and told by the journal.
    pub(crate) fn next(&mut self) -> Result<Option<(Batch, Stored)>> {
        while let Some((location, kind, payload)) = self.reader.next()? {
            if kind != EVENTS {
                continue;
            }
            let batch = Batch::unflatten(&payload)?;
            let own =
                batch.name_ranges().into_iter().find(|(incarnation, _)| (incarnation >> 64) as u64 == self.log.id);
            let name = own.map(|(incarnation, range)| (incarnation, range.start));
            self.log.state.lock().note(location.segment, name);
            return Ok(Some((batch, Stored { segment: location.segment })));
        }
        Ok(None)
    }
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::io("read random bytes from", "/dev/urandom", std::io::Error::other(error.to_string()))
    })?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use millstream_io::SystemDisk;

    use super::*;

    fn open(dir: &Path) -> ReceiverLog {
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        ReceiverLog::open(&disk, dir, "test").unwrap()
    }

    fn left(log: &ReceiverLog) -> Vec<(Batch, Stored)> {
        let mut left = log.left();
        std::iter::from_fn(|| left.next().unwrap()).collect()
    }

    fn bodies(batch: &Batch) -> Vec<String> {
        batch.iter().map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect()
    }

    #[test]
    fn what_is_stored_and_not_released_is_there_after_a_restart_under_the_same_names() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let (first, stored) = log.append(Batch::from_bodies(["a", "b"]));
        stored.wait().unwrap();
        let (named, stored) = log.append(Batch::from_bodies(["c"]).named(5, 7));
        stored.wait().unwrap();
        assert_eq!(named.name_ranges(), [(5, 7..8)], "who has a name keeps it");
        drop(log);
        let log = open(dir.path());
        let again = left(&log);
        assert_eq!(again.len(), 2);
        assert_eq!(again[0].0.name_ranges(), first.name_ranges());
        assert_eq!((bodies(&again[0].0), bodies(&again[1].0)), (vec!["a".into(), "b".into()], vec!["c".into()]));
        let (new, stored) = log.append(Batch::from_bodies(["d"]));
        stored.wait().unwrap();
        assert_ne!(new.name_ranges()[0].0, first.name_ranges()[0].0, "an opening has names of its own");
        assert_eq!(log.marks().len(), 2, "both openings have records here");
    }

    #[test]
    fn a_segment_goes_once_everything_in_it_is_committed_and_the_marks_follow() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let body = vec![b'x'; 5 << 20];
        let mut stored = Vec::new();
        for _ in 0..10 {
            let (_, ticket) = log.append(Batch::from_bodies([&body]));
            stored.push(ticket.wait().unwrap());
        }
        let segments = log.journal.segments().len();
        assert!(segments >= 3, "{segments}");
        assert_eq!(log.marks()[0].1, 0);
        stored.iter().skip(1).for_each(|stored| log.release(*stored));
        assert_eq!(log.journal.segments().len(), segments, "the first record is needed");
        log.release(stored[0]);
        log.journal.sync().wait().unwrap();
        assert_eq!(log.journal.segments().len(), 1);
        assert!(log.marks().iter().all(|(_, low)| *low > 0));
        drop(log);
        assert!(left(&open(dir.path())).len() <= 3);
    }
}
