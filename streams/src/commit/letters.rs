//! Dead letters, kept beyond the commit log: that is shortened, and nobody may have looked at them yet.
//!
//! # Delivery
//! A letter is in its batch's `Prepared` record. Then it is copied here, and the commit log is not shortened before that is
//! on the disk. An opening copies what a kill left uncopied. So a letter is in one of the two, or in both.
//!
//! # Layout
//! A journal in `<checkpoint directory>/deadletters/`. A record of kind 1 is a MessagePack [`Letter`], a segment's snapshot a
//! MessagePack [`Copied`]. Nothing is deleted.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Error, LogId, Result, Ticket, ticket};
use millstream_io::Disk;
use millstream_journal::{Durability, Journal, Options};
use serde::{Deserialize, Serialize};

use crate::commit::record::{DeadLetter, Head, decode, encode};

/// Directory beside the commit log's.
pub(crate) const LETTERS_DIR: &str = "deadletters";
const LETTER: u8 = 1;
const SEGMENT_BYTES: u64 = 16 << 20;
/// A body that a record of the commit log could hold.
const MAX_RECORD_BYTES: u32 = 1 << 30;

/// Which letter: log, batch, and its place in the batch.
pub(crate) type LetterKey = (u128, u64, u32);

/// A letter and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub(crate) key: LetterKey,
    /// When its batch was due.
    pub(crate) time_ms: u64,
    pub(crate) letter: DeadLetter,
}

/// The last letter that is here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Copied {
    last: LetterKey,
}

/// The letters of a running job.
pub(crate) struct Letters {
    place: Place,
    /// `None` until there is a first letter: most jobs never have one.
    journal: Option<Journal>,
    log: LogId,
    copied: Copied,
    /// Not on the disk here yet, in order.
    due: Vec<Letter>,
}

/// Where the journal is, and how it is opened.
struct Place {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
}

// === impl Letters ===

impl Letters {
    /// Opens the letters of `log` in `dir`; the caller holds the lock above it.
    pub(crate) fn open(disk: &Arc<dyn Disk>, dir: PathBuf, job: &str, log: LogId, reserve_bytes: u64) -> Result<Self> {
        let options = Options {
            name: format!("dead letters of {job}").into(),
            segment_bytes: SEGMENT_BYTES,
            reserve_bytes,
            max_record_bytes: MAX_RECORD_BYTES,
        };
        let there = disk.list(&dir).is_ok_and(|names| !names.is_empty());
        let place = Place { disk: Arc::clone(disk), dir, options };
        let mut letters = Self { place, journal: None, log, copied: Copied::default(), due: Vec::new() };
        if there {
            let (journal, copied) = letters.place.open()?;
            (letters.journal, letters.copied) = (Some(journal), copied);
        }
        Ok(letters)
    }

    /// The letters of a committed batch, unless they are here.
    pub(crate) fn note(&mut self, head: &Head) {
        let last = self.due.last().map_or(self.copied.last, |letter| letter.key);
        let new = of_batch(self.log, head).filter(|letter| letter.key.0 != last.0 || letter.key > last);
        self.due.extend(new);
    }

    /// Makes durable what was noted. What fails is tried again by the next call.
    pub(crate) fn keep(&mut self) -> Result<()> {
        let Some(last) = self.due.last().map(|letter| letter.key) else { return Ok(()) };
        let journal = match &mut self.journal {
            Some(journal) => journal,
            none => none.insert(self.place.open()?.0),
        };
        if journal.needs_roll() {
            journal.roll(encode(&self.copied)?)?;
        }
        let mut written = Ticket::ready(Ok(()));
        let mut wants_roll = false;
        for letter in &self.due {
            let (resolver, done) = ticket();
            let parts = vec![encode(letter)?];
            let done_with = Box::new(|outcome| resolver.resolve(outcome));
            wants_roll |= journal.append(LETTER, parts, Durability::Synced, done_with)?.wants_roll;
            written = done;
        }
        // One that failed takes those behind it along.
        written.wait()?;
        self.copied.last = last;
        self.due.clear();
        if wants_roll {
            journal.roll(encode(&self.copied)?)?;
        }
        Ok(())
    }
}

/// The letters in a batch.
pub(crate) fn of_batch(log: LogId, head: &Head) -> impl Iterator<Item = Letter> + '_ {
    head.dead_letters.iter().zip(0..).map(move |(letter, index)| Letter {
        key: (log.0, head.batch, index),
        time_ms: head.time_ms,
        letter: letter.clone(),
    })
}

/// Reads a record.
///
/// # Errors
/// `Corrupt`, where a checksum was right: written by something else.
pub(crate) fn read(kind: u8, payload: &[u8]) -> Result<Letter> {
    match kind {
        LETTER => decode(payload),
        other => Err(Error::corrupt("dead letters", format_args!("a record of unknown kind {other}"))),
    }
}

// === impl Place ===

impl Place {
    fn open(&self) -> Result<(Journal, Copied)> {
        let first: Bytes = encode(&Copied::default())?;
        let (journal, recovered) = Journal::open(Arc::clone(&self.disk), &self.dir, self.options.clone(), first)?;
        let mut copied: Copied = decode(&recovered.snapshot)?;
        for record in recovered.records {
            copied.last = read(record.kind, &record.payload)?.key;
        }
        Ok((journal, copied))
    }
}
