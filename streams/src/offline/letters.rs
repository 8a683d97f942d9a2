//! Dead letters, as a person sees them, and which of them were replayed.
//!
//! Letters are read without a lock: a job writes them, running or not. What was replayed is noted in a journal of its own,
//! `<checkpoint directory>/replayed/`, which only this writes, under its own lock. A record of kind 1 is a MessagePack list
//! of (log, batch, index).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Batch, Error, LogId, NameRun, Result, SlabBuilder, ticket};
use millstream_io::{DirLock, Disk, SystemDisk, ViewDisk};
use millstream_journal::{Durability, Finding, Journal, Options, survey};

use super::{find, is_job};
use crate::commit::letters::{self, LETTERS_DIR, LetterKey, of_batch};
use crate::commit::record::{Assembly, CHUNK, PREPARED, decode, encode};
use crate::job::LOG_DIR;

const REPLAYED_DIR: &str = "replayed";
const REPLAYED: u8 = 1;
/// A job that runs may remove a segment between two looks.
const TRIES: u32 = 3;
/// Letters of one batch that have names of their own; a batch has far fewer.
const LETTERS_PER_BATCH: u64 = 1 << 24;

/// An event that no retry could help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    key: LetterKey,
    /// The batch.
    pub batch: u64,
    /// Which one of the batch's.
    pub index: u32,
    /// When the batch was due, ms since 1970 UTC.
    pub time_ms: u64,
    /// Operator and line, and what it said.
    pub reason: String,
    /// Incarnation and sequence, if the event had a name.
    pub name: Option<(u128, u64)>,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// How often it was replayed.
    pub replayed: u64,
}

/// The dead letters of one job.
#[derive(Debug)]
pub struct DeadLetters {
    dir: PathBuf,
    letters: Vec<Letter>,
    /// Where what was replayed is noted; `None` for looking.
    replayed: Option<(Journal, DirLock)>,
    rounds: u64,
}

// === impl DeadLetters ===

impl DeadLetters {
    /// For looking; the job may run.
    ///
    /// # Errors
    /// `Mismatch` where there is no job; failed reads.
    pub fn read(dir: &Path) -> Result<Self> {
        if !is_job(dir) {
            let hint = match &find(dir)[..] {
                [] => "name the directory that the program gives to checkpoint".to_owned(),
                [one, ..] => format!("there is one in {}", one.display()),
            };
            let problem = format!("is no checkpoint directory of a job: there is no {LOG_DIR}/*.log in it; {hint}");
            return Err(Error::mismatch(dir.display(), problem));
        }
        let mut tries = 1;
        let found = loop {
            match read_letters(dir) {
                Err(Error::Io { .. }) if tries < TRIES => tries += 1,
                outcome => break outcome?,
            }
        };
        let view: Arc<dyn Disk> = Arc::new(ViewDisk::default());
        let marks = if dir.join(REPLAYED_DIR).is_dir() { open_marks(view, dir)?.1 } else { Vec::new() };
        Ok(Self::of(dir, found, marks, None))
    }

    /// For replaying. Another replay of the same job is refused meanwhile.
    ///
    /// # Errors
    /// As above, and `InUse` with the holder.
    pub fn open(dir: &Path) -> Result<Self> {
        // Before anything is made there.
        Self::read(dir)?;
        SystemDisk.create_dir_all(&dir.join(REPLAYED_DIR))?;
        let lock = DirLock::acquire(&dir.join(REPLAYED_DIR))?;
        let (journal, marks) = open_marks(Arc::new(SystemDisk), dir)?;
        Ok(Self::of(dir, read_letters(dir)?, marks, Some((journal, lock))))
    }

    fn of(
        dir: &Path,
        found: BTreeMap<LetterKey, letters::Letter>,
        marks: Vec<Vec<LetterKey>>,
        replayed: Option<(Journal, DirLock)>,
    ) -> Self {
        let rounds = marks.len() as u64;
        let mut times: BTreeMap<LetterKey, u64> = BTreeMap::new();
        marks.into_iter().flatten().for_each(|key| *times.entry(key).or_default() += 1);
        let letter = |letters::Letter { key, time_ms, letter }: letters::Letter| Letter {
            key,
            batch: key.1,
            index: key.2,
            time_ms,
            reason: letter.reason,
            name: letter.name,
            headers: letter.headers,
            body: letter.body,
            replayed: times.get(&key).copied().unwrap_or_default(),
        };
        let mut letters: Vec<Letter> = found.into_values().map(letter).collect();
        letters.sort_by_key(|letter| (letter.time_ms, letter.batch, letter.index));
        Self { dir: dir.to_owned(), letters, replayed, rounds }
    }

    /// All of them, oldest first.
    pub fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// The events of `letters`, to be sent.
    ///
    /// They do not have the names under which they were set aside: those are counted, and would be trimmed. The names
    /// given here are the same for every replay, so that one which was killed stores nothing twice where names are known;
    /// with `again` they are new.
    pub fn batch(&self, letters: &[Letter], again: bool) -> Batch {
        let mut buffer = Vec::new();
        let mut rows = Vec::with_capacity(letters.len());
        for letter in letters {
            let mut put = |bytes: &[u8]| {
                let start = buffer.len();
                buffer.extend_from_slice(bytes);
                start..buffer.len()
            };
            let headers: Vec<_> =
                letter.headers.iter().map(|(key, value)| (put(key.as_bytes()), put(value.as_bytes()))).collect();
            rows.push((headers, put(&letter.body)));
        }
        let mut builder = SlabBuilder::new(Bytes::from(buffer));
        for (headers, body) in rows {
            headers.into_iter().for_each(|(key, value)| builder.header(key, value));
            builder.row(body);
        }
        let generation = if again { u128::from(self.rounds) + 1 } else { 0 };
        let runs = letters.iter().zip(0..).map(|(letter, first_row)| NameRun {
            first_row,
            incarnation: letter.key.0 ^ generation,
            first: letter.batch * LETTERS_PER_BATCH + u64::from(letter.index),
        });
        builder.finish().with_names(runs.collect())
    }

    /// Notes, durably, that `letters` were replayed.
    ///
    /// # Errors
    /// What could not be written: then they are replayed again.
    pub async fn mark(&self, letters: &[Letter]) -> Result<()> {
        let Some((journal, _)) = &self.replayed else {
            return Err(Error::InUse { path: self.dir.clone(), holder: "a reader".to_owned() });
        };
        millstream_io::failpoint::hit("letters.before-mark")?;
        let keys: Vec<LetterKey> = letters.iter().map(|letter| letter.key).collect();
        let (resolver, written) = ticket();
        let done = Box::new(|outcome| resolver.resolve(outcome));
        journal.append(REPLAYED, vec![encode(&keys)?], Durability::Synced, done)?;
        written.await
    }
}

/// The letters that were copied, and those that are in the commit log alone.
fn read_letters(dir: &Path) -> Result<BTreeMap<LetterKey, letters::Letter>> {
    let mut found = BTreeMap::new();
    let view = ViewDisk::default();
    let mut heads = Vec::new();
    let mut assembly = Assembly::default();
    // First, as a letter leaves it only after it was copied.
    let log = survey(&view, &dir.join(LOG_DIR), &mut |finding| {
        let Finding::Record(record) = finding else { return Ok(()) };
        // A batch of which a piece is damaged is the job's to complain of.
        if matches!(record.kind, CHUNK | PREPARED)
            && let Ok(Some(batch)) = assembly.push(record.kind, &record.payload)
            && !batch.head.dead_letters.is_empty()
        {
            heads.push(batch.head);
        }
        Ok(())
    })?;
    let log = LogId(log.unwrap_or_default());
    found.extend(heads.iter().flat_map(|head| of_batch(log, head)).map(|letter| (letter.key, letter)));
    if dir.join(LETTERS_DIR).is_dir() {
        survey(&view, &dir.join(LETTERS_DIR), &mut |finding| {
            if let Finding::Record(record) = finding {
                let letter = letters::read(record.kind, &record.payload)?;
                found.insert(letter.key, letter);
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// What was replayed, a list per time.
fn open_marks(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Journal, Vec<Vec<LetterKey>>)> {
    let options = Options {
        name: format!("replayed letters of {}", dir.display()).into(),
        // A start reads it all: a few bytes a letter.
        segment_bytes: u64::MAX,
        reserve_bytes: 0,
        max_record_bytes: 1 << 30,
    };
    let (journal, recovered) = Journal::open(disk, &dir.join(REPLAYED_DIR), options, Bytes::new())?;
    let marks = recovered.records.iter().map(|record| decode(&record.payload)).collect::<Result<_>>()?;
    Ok((journal, marks))
}
