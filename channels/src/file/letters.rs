//! Dead letters: events that a sink rejects for good, kept beside the log until a person looks at them.
//!
//! # Delivery
//! A letter is on the disk before the take that holds its event is committed. A kill between the two brings the event back;
//! should it be rejected again, it is known by its name, and kept once.
//!
//! # Layout
//! `docs/formats/file-channel.md`. The directory is made with the first letter: most channels never have one. Nothing is
//! deleted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Batch, Error, NameSet, Result, Ticket, ticket};
use millstream_io::{Clock, Disk, SystemClock, failpoint};
use millstream_journal::{Durability, Journal, Location, Options, Record};

use super::format::{Reader, Writer, unknown};
use crate::sync::{Mutex, thread};

/// Directory of the letters, in the store's.
pub(super) const LETTERS: &str = "deadletters";
/// Kind of a record that holds a letter.
const LETTER: u8 = 1;
/// Of the snapshot.
const VERSION: u8 = 1;
/// A start reads no more than that.
const SEGMENT_BYTES: u64 = 16 << 20;
/// A record is longer: so many damaged bytes held at most so many letters.
const LEAST_LETTER_BYTES: u64 = 32;

/// The letters of an open channel.
#[derive(Debug)]
pub(super) struct Letters {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    channel: Arc<str>,
    /// Locked while a letter is written; before `kept`, never after it.
    writing: Mutex<Writing>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Writing {
    journal: Option<Journal>,
    closed: bool,
}

/// What is on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The greatest number given; the first one is 1.
    pub(super) last: u64,
    /// How many there are.
    letters: u64,
    /// The names of all of them: an event that comes again is not kept twice.
    pub(super) names: NameSet,
    /// Of these, events that the channel still had at its opening: not delivered, so not dead either.
    waiting: u64,
    /// Damaged places that were set aside at the opening.
    damaged: u64,
}

/// A letter as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) number: u64,
    /// When it was set aside, ms since 1970 UTC.
    pub(super) time_ms: u64,
    pub(super) sink: Arc<str>,
    pub(super) reason: Arc<str>,
    /// The event.
    pub(super) event: Batch,
}

// === impl Letters ===

impl Letters {
    /// The letters in the store at `dir`, whose locks the caller holds.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, channel: &Arc<str>) -> Result<Self> {
        let mut letters = Self {
            disk,
            dir: dir.join(LETTERS),
            channel: Arc::clone(channel),
            writing: Mutex::new(Writing::default()),
            kept: Mutex::new(Kept::default()),
        };
        if letters.disk.list(&letters.dir).is_ok_and(|names| !names.is_empty()) {
            let (journal, kept) = letters.open_journal()?;
            letters.writing = Mutex::new(Writing { journal: Some(journal), closed: false });
            letters.kept = Mutex::new(kept);
        }
        Ok(letters)
    }

    fn open_journal(&self) -> Result<(Journal, Kept)> {
        let options = Options {
            name: format!("{}-letters", self.channel).into(),
            segment_bytes: SEGMENT_BYTES,
            // A letter lets the events behind it go, which frees the disk.
            reserve_bytes: 0,
            // Whatever the log could hold, and why it was rejected.
            max_record_bytes: u32::MAX,
        };
        let first = Kept::default().encode();
        let (journal, recovered) = Journal::open(Arc::clone(&self.disk), &self.dir, options, first)?;
        let mut kept = Kept::decode(&recovered.snapshot)?;
        for record in &recovered.records {
            match Letter::decode(record) {
                Ok(letter) => kept.add(letter.number, &letter.event),
                Err(error) => tracing::warn!(channel = %self.channel, %error, "dead letter cannot be read"),
            }
        }
        let damaged: u64 = recovered.quarantined.iter().map(|place| place.length).sum();
        // What looks as if it was never finished may be the last letter, too.
        let damaged = damaged + recovered.torn_tail_bytes;
        if damaged > 0 {
            // Letters that are gone may have been replayed under their numbers: no other one gets those.
            kept.last += damaged / LEAST_LETTER_BYTES + 1;
        }
        kept.damaged = journal.stats().set_aside;
        Ok((journal, kept))
    }

    /// Takes note of the names that wait: letters that were kept and not committed.
    pub(super) fn hold_against(&self, waiting: impl FnOnce() -> Vec<(u128, std::ops::Range<u64>)>) {
        let mut kept = self.kept.lock();
        if kept.letters > 0 {
            kept.waiting = waiting().into_iter().map(|(id, range)| kept.names.count(id, range)).sum();
        }
    }

    /// How many there are of which the channel does not hold the event any more.
    pub(super) fn count(&self) -> u64 {
        let kept = self.kept.lock();
        kept.letters.saturating_sub(kept.waiting)
    }

    /// Damaged places that were set aside since it was opened.
    pub(super) fn damaged(&self) -> u64 {
        self.kept.lock().damaged
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept.lock().clone()
    }

    /// See [`millstream_core::Channel::set_aside`].
    pub(super) fn set_aside(self: &Arc<Self>, event: Batch, sink: &str, reason: &str) -> Ticket {
        let (resolver, written) = ticket();
        let (letters, sink, reason) = (Arc::clone(self), Arc::from(sink), Arc::from(reason));
        // Rare, and waits for the disk: the first one makes the directory.
        let spawned = thread::Builder::new()
            .name(format!("{}-letter", self.channel))
            .spawn(move || resolver.resolve(letters.keep(&event, sink, reason)));
        match spawned {
            Ok(_) => written,
            Err(error) => {
                Ticket::ready(Err(Error::io("start the thread that keeps a dead letter of", &*self.channel, error)))
            }
        }
    }

    fn keep(&self, event: &Batch, sink: Arc<str>, reason: Arc<str>) -> Result<()> {
        let mut writing = self.writing.lock();
        if writing.closed {
            return Err(Error::Stopped { what: Arc::clone(&self.channel) });
        }
        if self.kept.lock().knows(event) {
            tracing::info!(channel = %self.channel, name = %name_of(event), "rejected again, and kept as a dead letter already");
            return Ok(());
        }
        let journal = match &mut writing.journal {
            Some(journal) => journal,
            none => none.insert(self.open_journal()?.0),
        };
        if journal.needs_roll() {
            journal.roll(self.kept.lock().encode())?;
        }
        let number = self.kept.lock().last + 1;
        let time_ms = SystemClock::new().now_ms();
        let letter = Letter { number, time_ms, sink, reason, event: event.compact() };
        let (resolver, written) = ticket();
        let done = Box::new(|outcome| resolver.resolve(outcome));
        let appended = journal.append(LETTER, letter.encode(), Durability::Synced, done)?;
        written.wait()?;
        let mut kept = self.kept.lock();
        kept.add(number, event);
        if appended.wants_roll
            && let Err(error) = journal.roll(kept.encode())
        {
            tracing::debug!(channel = %self.channel, %error, "no new segment of dead letters yet");
        }
        drop(kept);
        let show = format!("millstream deadletter ls {}", self.data_dir().display());
        tracing::error!(
            channel = %self.channel, sink = %letter.sink, name = %name_of(event), reason = %letter.reason, show,
            "event set aside as a dead letter"
        );
        // It is on the disk, whatever a test asks for here.
        let _ = failpoint::hit("channel.letter-kept");
        Ok(())
    }

    /// The directory in `dataDirs`.
    fn data_dir(&self) -> &Path {
        self.dir.ancestors().nth(2).unwrap_or(&self.dir)
    }

    /// Reads all of them, so that damage is set aside.
    ///
    /// # Errors
    /// A failed read.
    pub(super) fn sweep(&self) -> Result<()> {
        let writing = self.writing.lock();
        let Some(journal) = &writing.journal else { return Ok(()) };
        let segment = journal.segments().first().copied().unwrap_or_default();
        let mut reader = journal.reader(Location { segment, offset: 0 });
        while reader.next()?.is_some() {}
        Ok(())
    }

    /// # Errors
    /// What could not be written: it was told already.
    pub(super) fn close(&self) -> Result<()> {
        let mut writing = self.writing.lock();
        writing.closed = true;
        writing.journal.take().map_or(Ok(()), |journal| journal.close())
    }
}

/// What an event is called; empty if it has no name.
fn name_of(event: &Batch) -> String {
    let run = event.names().into_iter().next();
    run.map_or_else(String::new, |run| format!("{:032x}:{}", run.incarnation, run.first))
}

// === impl Kept ===

impl Kept {
    fn add(&mut self, number: u64, event: &Batch) {
        self.last = self.last.max(number);
        self.letters += 1;
        for (incarnation, range) in event.name_ranges() {
            self.names.insert(incarnation, range);
        }
    }

    /// Whether the event is there already; then it waits no more, as it is about to be committed.
    fn knows(&mut self, event: &Batch) -> bool {
        let mut names = event.name_ranges().into_iter();
        let known = names.next().is_some_and(|(id, range)| self.names.count(id, range) > 0);
        self.waiting = self.waiting.saturating_sub(u64::from(known));
        known
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = Writer(vec![VERSION]);
        out.u64(self.last);
        out.u64(self.letters);
        out.name_set(&self.names);
        out.0.into()
    }

    /// Reads a snapshot of the letters.
    ///
    /// # Errors
    /// `Mismatch` for a later version; `Corrupt`, where a checksum was right: written by something else.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let read = |mut reader: Reader<'_>| {
            let [VERSION] = reader.array()? else { return None };
            let kept =
                Self { last: reader.u64()?, letters: reader.u64()?, names: reader.name_set()?, ..Self::default() };
            reader.0.is_empty().then_some(kept)
        };
        read(Reader(bytes)).ok_or_else(|| unknown("snapshot of dead letters", bytes, VERSION))
    }
}

// === impl Letter ===

impl Letter {
    fn encode(&self) -> Vec<Bytes> {
        let mut head = Writer(Vec::new());
        head.u64(self.number);
        head.u64(self.time_ms);
        head.text(&self.sink);
        head.text(&self.reason);
        let (meta, bytes) = self.event.flatten();
        vec![head.0.into(), meta, bytes]
    }

    /// Reads a record of the letters.
    ///
    /// # Errors
    /// `Corrupt`, where a checksum was right: written by something else.
    pub(super) fn decode(record: &Record) -> Result<Self> {
        if record.kind != LETTER {
            return Err(Error::corrupt("dead letters", format_args!("a record of unknown kind {}", record.kind)));
        }
        let mut reader = Reader(&record.payload);
        let mut head = || Some((reader.u64()?, reader.u64()?, reader.text()?, reader.text()?));
        let cut = || Error::corrupt("dead letter", "shorter than its head");
        let (number, time_ms, sink, reason) = head().ok_or_else(cut)?;
        let event = Batch::unflatten(&record.payload.slice(record.payload.len() - reader.0.len()..))?;
        if event.len() != 1 {
            return Err(Error::corrupt("dead letter", format_args!("{} events instead of 1", event.len())));
        }
        Ok(Self { number, time_ms, sink, reason, event })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn letter() -> Letter {
        let event = Batch::from_bodies(["a", "poison", "b"]).named(7 << 64, 20).slice(1..2);
        Letter { number: 3, time_ms: 99, sink: "a1.sinks.k1".into(), reason: "not to my taste".into(), event }
    }

    fn record(parts: &[Bytes]) -> Record {
        Record { location: Location { segment: 1, offset: 0 }, kind: LETTER, payload: parts.concat().into() }
    }

    #[test]
    fn a_letter_is_read_back_with_its_name_and_refused_when_cut() {
        let written = letter().encode();
        let read = Letter::decode(&record(&written)).unwrap();
        assert_eq!((read.number, read.time_ms, &*read.sink, &*read.reason), (3, 99, "a1.sinks.k1", "not to my taste"));
        assert_eq!(
            (read.event.event(0).body(), name_of(&read.event)),
            (&b"poison"[..], format!("{:032x}:21", 7u128 << 64))
        );
        let whole = record(&written);
        for length in 0..whole.payload.len() {
            let cut = Record { payload: whole.payload.slice(..length), ..whole.clone() };
            assert!(matches!(Letter::decode(&cut), Err(Error::Corrupt { .. })), "{length}");
        }
        assert!(Letter::decode(&Record { kind: 9, ..whole }).is_err());
    }

    #[test]
    fn what_is_kept_is_read_back_and_a_later_version_is_refused() {
        let mut kept = Kept::default();
        kept.add(3, &letter().event);
        let bytes = kept.encode();
        assert_eq!(Kept::decode(&bytes).unwrap(), kept);
        let later = [&[VERSION + 1], &bytes[1..]].concat();
        assert!(matches!(Kept::decode(&later), Err(Error::Mismatch { .. })));
        assert!(matches!(Kept::decode(&bytes[..bytes.len() - 1]), Err(Error::Corrupt { .. })));
    }
}
