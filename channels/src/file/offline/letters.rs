//! Dead letters, as a person sees them, and which of them were replayed.
//!
//! Letters are read without a lock: the agent that writes them may run. What was replayed is noted in a journal of its own,
//! `replayed/` beside `deadletters/`, which only this writes, under its own lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Batch, Error, NameRun, Result, ticket};
use millstream_io::{DirLock, Disk, SystemDisk, ViewDisk, failpoint};
use millstream_journal::{Durability, Finding, Journal, Options, survey};

use super::super::format::{self, Writer};
use super::super::letters::{self, LETTERS};
use super::super::options::STORE;
use super::located;

/// Directory of what was replayed, in the store's.
const REPLAYED_DIR: &str = "replayed";
const REPLAYED: u8 = 1;
/// A channel that runs may begin a segment between two looks.
const TRIES: u32 = 3;

/// An event that a sink rejected for good.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its number, from 1 on.
    pub number: u64,
    /// When it was set aside, ms since 1970 UTC.
    pub time_ms: u64,
    /// The sink's full name.
    pub sink: String,
    /// What the sink said.
    pub reason: String,
    /// The event, under the name that it had.
    pub event: Batch,
    /// How often it was replayed.
    pub replayed: u64,
}

/// The dead letters of one channel.
#[derive(Debug)]
pub struct DeadLetters {
    data_dir: PathBuf,
    /// Identity of their journal.
    log: u128,
    letters: Vec<Letter>,
    /// Where what was replayed is noted; `None` for looking.
    replayed: Option<(Journal, DirLock)>,
    rounds: u64,
}

// === impl DeadLetters ===

impl DeadLetters {
    /// For looking; the agent may run.
    ///
    /// # Errors
    /// `Mismatch` where there is no channel; failed reads.
    pub fn read(dir: &Path) -> Result<Self> {
        let data_dir = located(dir)?;
        let marks = match replayed_dir(&data_dir).is_dir() {
            true => open_marks(Arc::new(ViewDisk::default()), &data_dir)?.1,
            false => Vec::new(),
        };
        Self::of(data_dir, marks, None)
    }

    /// For replaying. Another replay of the same channel is refused meanwhile.
    ///
    /// # Errors
    /// As above, and `InUse` with the holder.
    pub fn open(dir: &Path) -> Result<Self> {
        // Before anything is made there.
        let data_dir = Self::read(dir)?.data_dir;
        let dir = replayed_dir(&data_dir);
        SystemDisk.create_dir_all(&dir)?;
        let lock = DirLock::acquire(&dir)?;
        let (journal, marks) = open_marks(Arc::new(SystemDisk), &data_dir)?;
        Self::of(data_dir, marks, Some((journal, lock)))
    }

    fn of(data_dir: PathBuf, marks: Vec<Vec<u64>>, replayed: Option<(Journal, DirLock)>) -> Result<Self> {
        let mut tries = 1;
        let (log, found) = loop {
            match read_letters(&data_dir) {
                Err(Error::Io { .. }) if tries < TRIES => tries += 1,
                outcome => break outcome?,
            }
        };
        let rounds = marks.len() as u64;
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        marks.into_iter().flatten().for_each(|number| *times.entry(number).or_default() += 1);
        let letters = found.into_values().map(|letter| Letter {
            number: letter.number,
            time_ms: letter.time_ms,
            sink: letter.sink.to_string(),
            reason: letter.reason.to_string(),
            event: letter.event,
            replayed: times.get(&letter.number).copied().unwrap_or_default(),
        });
        Ok(Self { letters: letters.collect(), data_dir, log, replayed, rounds })
    }

    /// All of them, oldest first.
    pub fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// The events of `letters`, to be sent.
    ///
    /// They do not have the names under which they were set aside: whoever knows those would trim them. The names given
    /// here are the same for every replay, so that one which was killed stores nothing twice where names are known; with
    /// `again` they are new.
    pub fn batches(&self, letters: &[Letter], again: bool) -> Vec<Batch> {
        let generation = if again { u128::from(self.rounds) + 1 } else { 0 };
        let incarnation = self.log ^ generation;
        let named = |letter: &Letter| {
            letter.event.clone().with_names(vec![NameRun { first_row: 0, incarnation, first: letter.number }])
        };
        letters.iter().map(named).collect()
    }

    /// Notes, durably, that `letters` were replayed.
    ///
    /// # Errors
    /// What could not be written: then they are replayed again.
    pub async fn mark(&self, letters: &[Letter]) -> Result<()> {
        let Some((journal, _)) = &self.replayed else {
            return Err(Error::InUse { path: self.data_dir.clone(), holder: "a reader".to_owned() });
        };
        failpoint::hit("channel.before-mark")?;
        let mut numbers = Writer(Vec::new());
        letters.iter().for_each(|letter| numbers.u64(letter.number));
        let (resolver, written) = ticket();
        let done = Box::new(|outcome| resolver.resolve(outcome));
        journal.append(REPLAYED, vec![numbers.0.into()], Durability::Synced, done)?;
        written.await
    }
}

fn replayed_dir(data_dir: &Path) -> PathBuf {
    data_dir.join(STORE).join(REPLAYED_DIR)
}

/// Identity of their journal, and the letters by number. None where there was never one.
fn read_letters(data_dir: &Path) -> Result<(u128, BTreeMap<u64, letters::Letter>)> {
    let (dir, mut found) = (data_dir.join(STORE).join(LETTERS), BTreeMap::new());
    if !dir.is_dir() {
        return Ok((0, found));
    }
    let log = survey(&ViewDisk::default(), &dir, &mut |finding| {
        match finding {
            Finding::Record(record) => {
                let letter = letters::Letter::decode(&record)?;
                found.insert(letter.number, letter);
            }
            Finding::Snapshot(_, bytes) => _ = letters::Kept::decode(&bytes)?,
            Finding::Segment { .. } | Finding::Damage(_) => {}
        }
        Ok(())
    })?;
    Ok((log.unwrap_or_default(), found))
}

/// What was replayed, a list per time.
fn open_marks(disk: Arc<dyn Disk>, data_dir: &Path) -> Result<(Journal, Vec<Vec<u64>>)> {
    let options = Options {
        name: format!("replayed letters of {}", data_dir.display()).into(),
        // A start reads it all: a few bytes a letter.
        segment_bytes: u64::MAX,
        reserve_bytes: 0,
        max_record_bytes: 1 << 30,
    };
    let (journal, recovered) = Journal::open(disk, &replayed_dir(data_dir), options, Bytes::new())?;
    let marks = recovered.records.iter().map(|record| format::numbers(&record.payload)).collect::<Result<_>>()?;
    Ok((journal, marks))
}
