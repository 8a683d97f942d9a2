//! Opening a commit log: what it says, and refusing what does not fit.

use std::fmt::Display;
use std::path::Path;

use bytes::Bytes;
use millstream_core::{BatchId, BatchStamp, Error, LogId, Result};
use millstream_journal::{Journal, Location, Recovered};

use crate::commit::log::GROUPS;
use crate::commit::record::{
    APPLIED, Applied, Assembly, CHUNK, Checkpoint, GROUP, Head, OPENED, Opened, PREPARED, Prepared, VERSION, decode,
};
use crate::receiver::names::{NamesSnapshot, SeenNames};
use crate::stage::{Stage, StateStage};

/// What an opened log gives back, beside the states.
#[derive(Debug)]
pub(crate) struct Restored {
    /// Whether the log was made just now.
    pub(crate) fresh: bool,
    pub(crate) checkpoint: Checkpoint,
    /// Names committed.
    pub(crate) seen: SeenNames,
    /// Outputs that programs had before.
    pub(crate) known_outputs: Vec<String>,
    /// Batches that are still in the log, ascending: outputs apply what they have not applied yet.
    pub(crate) replay: Vec<StagedBatch>,
    /// Heads of the batches in the log that have dead letters.
    pub(crate) with_letters: Vec<Head>,
    /// The first batch that is still in the log; later ones follow without a gap.
    pub(crate) first_batch: u64,
}

/// A committed batch, as its outputs see it.
#[derive(Debug, Clone)]
pub(crate) struct StagedBatch {
    pub(crate) stamp: BatchStamp,
    /// Per output of the program that runs now.
    pub(crate) staged: Vec<Option<Bytes>>,
    /// Where it lies.
    pub(crate) segment: u64,
}

/// Restores states and names from the log.
pub(crate) fn restore(
    journal: &Journal,
    recovered: Recovered,
    dir: &Path,
    job: &str,
    opened: &Opened,
    stages: &[Box<dyn Stage>],
    remembered: &[BatchId],
) -> Result<Restored> {
    let checkpoint: Checkpoint = decode(&recovered.snapshot)?;
    let place = format!("commit log {}", dir.display());
    if checkpoint.version != VERSION {
        let problem = format!("is of version {}, this program reads version {VERSION}", checkpoint.version);
        return Err(Error::mismatch(place, problem));
    }
    if checkpoint.job != job {
        let problem = format!("belongs to job {:?}, this is job {job:?}; choose another directory", checkpoint.job);
        return Err(Error::mismatch(place, problem));
    }
    let mut replayer = Replayer {
        id: LogId(recovered.log_id),
        place,
        wanted: opened,
        remembered,
        now: checkpoint.opened.clone(),
        states: stages.iter().filter_map(|stage| stage.state()).collect(),
        assembly: Assembly::default(),
        after: checkpoint.last_batch,
        last: None,
        first: None,
        round: Round::default(),
        seen: SeenNames::restore(checkpoint.names.clone()),
        replay: Vec::new(),
        with_letters: Vec::new(),
        checkpoint,
    };
    replayer.check_states()?;
    let segments = journal.segments();
    let newest = segments.last().copied().unwrap_or(0);
    // Behind the snapshot, where the newest could not be read: the opening gave those records already.
    let behind = recovered.records.first().map_or(newest, |record| record.location.segment);
    for &segment in segments.iter().filter(|segment| **segment < behind) {
        // Deltas older than the round of groups that the state rests on are replaced by that round.
        if let Some(snapshot) = journal.snapshot_of(segment)? {
            replayer.now = decode::<Checkpoint>(&snapshot)?.opened;
        }
        let mut reader = journal.reader(Location { segment, offset: 0 });
        while let Some((location, kind, payload)) = reader.next()? {
            if location.segment != segment {
                break;
            }
            replayer.record(location, kind, &payload)?;
        }
    }
    replayer.assembly = Assembly::default();
    replayer.now = replayer.checkpoint.opened.clone();
    for record in recovered.records {
        replayer.record(record.location, record.kind, &record.payload)?;
    }
    replayer.finish(recovered.fresh)
}

struct Replayer<'a> {
    id: LogId,
    place: String,
    wanted: &'a Opened,
    /// Per wanted output, the last batch that it says it has.
    remembered: &'a [BatchId],
    /// What the indexes of the records mean at this point of the log.
    now: Opened,
    states: Vec<&'a dyn StateStage>,
    checkpoint: Checkpoint,
    assembly: Assembly,
    /// Batches up to this one are in the newest checkpoint.
    after: BatchId,
    last: Option<BatchId>,
    first: Option<BatchId>,
    round: Round,
    seen: SeenNames,
    replay: Vec<StagedBatch>,
    with_letters: Vec<Head>,
}

/// Whether the log has every group of the state.
#[derive(Debug, Default)]
struct Round {
    /// The group that comes next, if none was missing so far.
    next: usize,
    /// One round is there without a gap.
    complete: bool,
}

impl Replayer<'_> {
    fn record(&mut self, location: Location, kind: u8, payload: &Bytes) -> Result<()> {
        match kind {
            CHUNK | PREPARED => {
                if let Some(prepared) = self.assembly.push(kind, payload)? {
                    self.prepared(location, prepared)?;
                }
            }
            GROUP => {
                let Some((prefix, group)) = payload.split_first_chunk::<3>() else {
                    return Err(Error::corrupt(&self.place, "a state group without its prefix"));
                };
                let index = usize::from(u16::from_le_bytes([prefix[0], prefix[1]]));
                self.round.group(index * GROUPS + usize::from(prefix[2]), self.now.states.len() * GROUPS);
                if let Some(state) = self.state(index) {
                    state.restore_group(prefix[2], group)?;
                }
            }
            APPLIED => {
                let applied: Applied = decode(payload)?;
                let known = self.checkpoint.cursors.iter_mut().find(|cursor| cursor.output == applied.output);
                match known {
                    Some(cursor) if cursor.batch < applied.batch => *cursor = applied,
                    Some(_) => {}
                    None => self.checkpoint.cursors.push(applied),
                }
            }
            OPENED => {
                self.now = decode(payload)?;
                if self.now.epoch > self.checkpoint.opened.epoch {
                    self.checkpoint.opened = self.now.clone();
                    self.check_states()?;
                }
            }
            other => return Err(Error::corrupt(&self.place, format_args!("a record of unknown kind {other}"))),
        }
        Ok(())
    }

    fn prepared(&mut self, location: Location, prepared: Prepared) -> Result<()> {
        let Prepared { head, deltas, staged } = prepared;
        if let Some(last) = self.last
            && head.batch != last + 1
        {
            return Err(self.gap(last + 1, head.batch));
        }
        self.first.get_or_insert(head.batch);
        self.last = Some(head.batch);
        for (index, delta) in deltas.iter().enumerate() {
            if let Some(state) = self.state(index) {
                delta.iter().try_for_each(|part| state.restore_delta(part))?;
            }
        }
        if head.batch > self.after {
            head.inputs.iter().for_each(|input| self.seen.commit(&input.names));
            self.seen.restore_redelivered(head.redelivered);
            self.checkpoint.batch_committed(&head);
        }
        let by_name = |(name, &has): (&String, &BatchId)| {
            let index = self.now.outputs.iter().position(|output| output == name)?;
            if head.batch <= has { None } else { staged.get(index).cloned().flatten() }
        };
        let staged = self.wanted.outputs.iter().zip(self.remembered).map(by_name).collect();
        let stamp = BatchStamp { log: self.id, epoch: head.epoch, batch: head.batch, time_ms: head.time_ms };
        self.replay.push(StagedBatch { stamp, staged, segment: location.segment });
        if !head.dead_letters.is_empty() {
            self.with_letters.push(head);
        }
        Ok(())
    }

    /// The running program's state of index `index` of the log.
    fn state(&self, index: usize) -> Option<&dyn StateStage> {
        let uid = &self.now.states.get(index)?.uid;
        self.states.iter().copied().find(|state| state.identity().uid == *uid)
    }

    /// Every state in the log must be in the program, with the same types and version.
    fn check_states(&self) -> Result<()> {
        for stored in &self.checkpoint.opened.states {
            let place = format!("{}: state {:?}", self.place, stored.uid);
            let Some(ours) = self.wanted.states.iter().find(|state| state.uid == stored.uid) else {
                let problem =
                    "is stored but not in this program; run the program that wrote it, or begin in another directory";
                return Err(Error::mismatch(place, problem));
            };
            if ours != stored {
                let problem = format!(
                    "is stored as {} version {}, this program has {} version {}; give the new form a new uid and fill it from the old output, or run the program that wrote it",
                    stored.types, stored.version, ours.types, ours.version
                );
                return Err(Error::mismatch(place, problem));
            }
        }
        Ok(())
    }

    fn gap(&self, first: u64, next: u64) -> Error {
        self.damaged(format_args!("batches {first} to {} are missing", next - 1))
    }

    fn damaged(&self, missing: impl Display) -> Error {
        Error::corrupt(
            &self.place,
            format_args!(
                "{missing}: the log was damaged, and what was counted there cannot be computed again; restore the directory from a copy, or move it and its outputs away together to begin anew with what still waits"
            ),
        )
    }

    fn finish(mut self, fresh: bool) -> Result<Restored> {
        if let Some(last) = self.last
            && last < self.checkpoint.last_batch
        {
            return Err(self.gap(last + 1, self.checkpoint.last_batch + 1));
        }
        let first = self.first.unwrap_or(self.checkpoint.last_batch + 1);
        if first > 1 && !self.round.complete && !self.checkpoint.opened.states.is_empty() {
            // The changes before the first batch are in the groups alone.
            return Err(self.damaged("a part of the state is missing"));
        }
        self.checkpoint.names = NamesSnapshot::default();
        let Self { checkpoint, seen, replay, with_letters, .. } = self;
        let known_outputs = checkpoint.opened.outputs.clone();
        Ok(Restored { fresh, checkpoint, seen, known_outputs, replay, with_letters, first_batch: first })
    }
}

// === impl Round ===

impl Round {
    /// Group `index` of `all` comes: a round goes through them in order, and may begin anew at any time.
    fn group(&mut self, index: usize, all: usize) {
        self.next = if index == 0 || index == self.next { index + 1 } else { all + 1 };
        self.complete |= self.next == all;
    }
}
