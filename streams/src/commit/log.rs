//! Writing the commit log: batches, the state group by group, cursors, and shortening it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{BatchId, LogId, Result, Ticket, ticket};
use millstream_journal::{Durability, Journal, Options};

use crate::commit::letters::{LETTERS_DIR, Letters};
use crate::commit::record::{
    APPLIED, Applied, CHUNK, CHUNK_BYTES, Checkpoint, GROUP, OPENED, Opened, PREPARED, Prepared, VERSION, encode,
};
use crate::commit::recovery::{Restored, restore};
use crate::context::Settings;
use crate::job::LOG_DIR;
use crate::receiver::names::NamesSnapshot;
use crate::stage::{Stage, StateStage};

/// Key groups per state.
pub(crate) const GROUPS: usize = 256;
/// The disk keeps this much free; a full disk stops the job before it stops the machine.
const RESERVE_BYTES: u64 = 16 << 20;
/// How much of the state is rewritten per byte written: two rounds are in the log at most, so it stays within about four
/// times the state.
const REWRITE_PER_BYTE: u64 = 1;

/// What a record costs beside its payload.
const RECORD_BYTES: u64 = 32;

/// The open commit log of one job.
pub(crate) struct CommitLog {
    journal: Journal,
    id: LogId,
    /// What the next segment's snapshot says, but for the names, which the inboxes hold.
    checkpoint: Checkpoint,
    rewrite: Rewrite,
    /// Segment of every batch that an output has not applied yet.
    unapplied: BTreeMap<BatchId, u64>,
    wants_roll: bool,
    letters: Letters,
}

/// Where the rewriting of the state stands.
struct Rewrite {
    /// Next (state, group), as one number.
    next: usize,
    /// Segment in which this round began.
    began: u64,
    /// Bytes of groups that may be written now.
    credit: u64,
}

// === impl CommitLog ===

impl CommitLog {
    /// Opens the log of the job in `checkpoint_dir`, restores the states of `stages`, and raises the epoch. `remembered`
    /// is, per output, the last batch that it says it has: earlier ones are not kept for it.
    ///
    /// # Errors
    /// `InUse` when another process has it; `Mismatch` when it belongs to another job or another shape of state;
    /// `Corrupt` when batches are missing from it: nothing is guessed.
    pub(crate) fn open(
        settings: &Settings,
        checkpoint_dir: &Path,
        opened: Opened,
        stages: &[Box<dyn Stage>],
        remembered: &[BatchId],
    ) -> Result<(Self, Restored)> {
        let dir = &checkpoint_dir.join(LOG_DIR);
        let options = Options {
            name: format!("commit log of {}", settings.app_name).into(),
            segment_bytes: settings.segment_bytes,
            reserve_bytes: RESERVE_BYTES,
            max_record_bytes: (CHUNK_BYTES + (64 << 20)) as u32,
        };
        let job = &settings.app_name;
        let fresh = Checkpoint { version: VERSION, job: job.clone(), ..Checkpoint::default() };
        let (journal, recovered) = Journal::open(Arc::clone(&settings.disk), dir, options, encode(&fresh)?)?;
        let id = LogId(recovered.log_id);
        let mut restored = restore(&journal, recovered, dir, job, &opened, stages, remembered)?;
        let mut checkpoint = restored.checkpoint.clone();
        checkpoint.opened = Opened { epoch: restored.checkpoint.opened.epoch + 1, ..opened };
        restored.checkpoint = checkpoint.clone();
        let newest = journal.segments().last().copied().unwrap_or(0);
        if restored.fresh {
            checkpoint.base = newest;
        }
        let unapplied = restored.replay.iter().map(|batch| (batch.stamp.batch, batch.segment)).collect();
        let rewrite = Rewrite { next: 0, began: newest, credit: 0 };
        let letters_dir = checkpoint_dir.join(LETTERS_DIR);
        let mut letters = Letters::open(&settings.disk, letters_dir, job, id, RESERVE_BYTES)?;
        restored.with_letters.iter().for_each(|head| letters.note(head));
        letters.keep()?;
        let mut log = Self { journal, id, checkpoint, rewrite, unapplied, wants_roll: false, letters };
        let opened = encode(&log.checkpoint.opened)?;
        log.append(OPENED, vec![opened], Durability::Synced)?.wait()?;
        Ok((log, restored))
    }

    /// The log's identity.
    pub(crate) fn id(&self) -> LogId {
        self.id
    }

    /// Raised at every opening.
    pub(crate) fn epoch(&self) -> u64 {
        self.checkpoint.opened.epoch
    }

    /// The last batch committed; 0 before the first.
    pub(crate) fn last_batch(&self) -> BatchId {
        self.checkpoint.last_batch
    }

    /// Makes a batch durable. It is committed once this returns well, and only then.
    ///
    /// # Errors
    /// `DiskFull` and `Io` may be tried again with the same batch, after [`Self::repair`].
    pub(crate) fn commit(&mut self, prepared: &Prepared) -> Result<()> {
        let payloads = prepared.payloads()?;
        let last = payloads.len() - 1;
        let written: u64 = payloads.iter().flatten().map(|part| part.len() as u64).sum();
        let mut durable = Ticket::ready(Ok(()));
        for (index, payload) in payloads.into_iter().enumerate() {
            let (kind, durability) =
                if index == last { (PREPARED, Durability::Synced) } else { (CHUNK, Durability::Lazy) };
            durable = self.append(kind, payload, durability)?;
        }
        millstream_io::failpoint::hit("commit.prepared-appended")?;
        durable.wait()?;
        let head = &prepared.head;
        self.checkpoint.batch_committed(head);
        let segment = self.newest_segment();
        self.unapplied.insert(head.batch, segment);
        self.rewrite.credit += written * REWRITE_PER_BYTE;
        self.letters.note(head);
        if let Err(error) = self.letters.keep() {
            // They are in the log, which is not shortened before they are copied.
            tracing::warn!(%error, "dead letters not copied yet, will try again");
        }
        Ok(())
    }

    /// Begins a new segment if a failed write asks for one, so that the next append can succeed.
    pub(crate) fn repair(&mut self, names: impl FnOnce() -> NamesSnapshot) -> Result<()> {
        if !self.journal.needs_roll() {
            return Ok(());
        }
        // Groups that were not synced may be gone with the old segment.
        self.rewrite.next = 0;
        self.roll(names())?;
        self.rewrite.began = self.newest_segment();
        Ok(())
    }

    /// Rewrites as much of the state as the changes so far have earned. Called after a commit was applied.
    pub(crate) fn rewrite_state(&mut self, states: &[&dyn StateStage]) -> Result<()> {
        let all = states.len() * GROUPS;
        if self.rewrite.next == 0 && self.rewrite.began == self.checkpoint.base {
            // A second round in the segment of the last one would free nothing.
            self.rewrite.began = self.newest_segment();
            if self.rewrite.began == self.checkpoint.base {
                self.rewrite.credit = 0;
                return Ok(());
            }
        }
        while self.rewrite.credit > 0 && all > 0 {
            let (state, group) = (self.rewrite.next / GROUPS, (self.rewrite.next % GROUPS) as u8);
            let bytes = states[state].write_group(group);
            // An empty group costs its record all the same.
            self.rewrite.credit = self.rewrite.credit.saturating_sub(bytes.len() as u64 + RECORD_BYTES);
            let mut prefix = (state as u16).to_le_bytes().to_vec();
            prefix.push(group);
            drop(self.append(GROUP, vec![prefix.into(), bytes], Durability::Lazy)?);
            self.rewrite.next += 1;
            if self.rewrite.next == all {
                self.rewrite.next = 0;
                // Once a whole round is on the disk, what is older than its beginning is not needed for the state.
                self.journal.sync().wait()?;
                self.checkpoint.base = self.rewrite.began;
                break;
            }
        }
        Ok(())
    }

    /// Notes how far the outputs have come; with `true` the output has no memory of its own, and the log keeps it.
    pub(crate) fn applied(&mut self, cursors: Vec<(Applied, bool)>) -> Result<()> {
        let lowest = cursors.iter().map(|(cursor, _)| cursor.batch).min().unwrap_or(BatchId::MAX);
        self.unapplied = self.unapplied.split_off(&(lowest.saturating_add(1)));
        for (cursor, keep) in cursors {
            let known = self.checkpoint.cursors.iter_mut().find(|known| known.output == cursor.output);
            let moved = known.as_ref().is_none_or(|known| known.batch != cursor.batch);
            let record = if moved && keep { Some(encode(&cursor)?) } else { None };
            match known {
                Some(known) => *known = cursor,
                None => self.checkpoint.cursors.push(cursor),
            }
            if let Some(record) = record {
                drop(self.append(APPLIED, vec![record], Durability::Lazy)?);
            }
        }
        Ok(())
    }

    /// Begins a new segment when the current one is full, and deletes what neither the state nor an output needs.
    pub(crate) fn shorten(&mut self, names: impl FnOnce() -> NamesSnapshot) -> Result<()> {
        if !self.wants_roll {
            return Ok(());
        }
        self.letters.keep()?;
        self.roll(names())?;
        let needed = self.unapplied.values().min().copied().unwrap_or(u64::MAX).min(self.checkpoint.base);
        self.journal.delete_before(needed)
    }

    /// Events set aside since the log began.
    pub(crate) fn dead_lettered(&self) -> u64 {
        self.checkpoint.dead_lettered
    }

    /// Events without names committed since the log began.
    pub(crate) fn unnamed(&self) -> u64 {
        self.checkpoint.unnamed
    }

    /// Writes a last checkpoint and closes the files.
    pub(crate) fn close(mut self, names: NamesSnapshot) -> Result<()> {
        // A short log opens at once; the checkpoint also saves restoring names one batch at a time.
        if let Err(error) = self.roll(names) {
            tracing::warn!(%error, "no checkpoint at close; the next start reads a longer log");
        }
        self.journal.close()
    }

    fn newest_segment(&self) -> u64 {
        self.journal.segments().last().copied().unwrap_or(0)
    }

    fn roll(&mut self, names: NamesSnapshot) -> Result<()> {
        self.checkpoint.names = names;
        self.journal.roll(encode(&self.checkpoint)?)?;
        self.wants_roll = false;
        Ok(())
    }

    fn append(&mut self, kind: u8, parts: Vec<Bytes>, durability: Durability) -> Result<Ticket> {
        let (resolver, durable) = ticket();
        let appended = self.journal.append(kind, parts, durability, Box::new(|outcome| resolver.resolve(outcome)))?;
        self.wants_roll |= appended.wants_roll;
        Ok(durable)
    }
}
