//! What a job has counted, from its commit log alone.

use std::path::Path;
use std::sync::Arc;

use millstream_core::ledger::Committed;
use millstream_core::{BatchId, Error, Result};
use millstream_io::{DirLock, ViewDisk};
use millstream_journal::{Journal, Options};

use crate::commit::record::{Assembly, CHUNK, Checkpoint, PREPARED, VERSION, decode, encode};
use crate::job::LOG_DIR;
use crate::receiver::names::SeenNames;

/// What the commit log of a stopped job says.
#[derive(Debug)]
pub struct JobAudit {
    /// The job's name.
    pub job: String,
    /// The last batch committed.
    pub last_batch: BatchId,
    /// Events without names committed.
    pub unnamed: u64,
    dead_lettered: u64,
    seen: SeenNames,
}

/// Reads the job in `dir`, its checkpoint directory. Nothing is changed, and the job cannot start meanwhile.
///
/// # Errors
/// `InUse` while it runs; `Corrupt` and `Mismatch` as at its own start.
pub fn audit(dir: &Path) -> Result<JobAudit> {
    let _lock = DirLock::share(dir)?;
    let options = Options {
        name: format!("commit log in {}", dir.display()).into(),
        segment_bytes: u64::MAX,
        reserve_bytes: 0,
        max_record_bytes: u32::MAX,
    };
    let fresh = Checkpoint { version: VERSION, ..Checkpoint::default() };
    let view = Arc::new(ViewDisk::default());
    let (_journal, recovered) = Journal::open(view, &dir.join(LOG_DIR), options, encode(&fresh)?)?;
    let mut checkpoint: Checkpoint = decode(&recovered.snapshot)?;
    if checkpoint.version != VERSION {
        let problem = format!("is of version {}, this program reads version {VERSION}", checkpoint.version);
        return Err(Error::mismatch(dir.join(LOG_DIR).display(), problem));
    }
    let mut seen = SeenNames::restore(std::mem::take(&mut checkpoint.names));
    let mut assembly = Assembly::default();
    for record in recovered.records {
        if !matches!(record.kind, CHUNK | PREPARED) {
            continue;
        }
        let Some(batch) = assembly.push(record.kind, &record.payload)? else { continue };
        let head = batch.head;
        if head.batch > checkpoint.last_batch {
            head.inputs.iter().for_each(|input| seen.commit(&input.names));
            seen.restore_redelivered(head.redelivered);
            checkpoint.batch_committed(&head);
        }
    }
    let Checkpoint { job, last_batch, unnamed, dead_lettered, .. } = checkpoint;
    Ok(JobAudit { job, last_batch, unnamed, dead_lettered, seen })
}

// === impl JobAudit ===

impl JobAudit {
    /// For the ledger; `waiting` are the names of what a channel holds.
    pub fn committed(&self, waiting: &[(u128, std::ops::Range<u64>)]) -> Committed {
        Committed {
            counted: self.seen.counted().clone(),
            unnamed: self.unnamed,
            dead_lettered: self.dead_lettered,
            redelivered: self.seen.redelivered(),
            unacknowledged: waiting.iter().map(|(id, range)| self.seen.committed_of(*id, range.clone())).sum(),
        }
    }
}
