//! Where each output goes on after a start: from its own memory where it has one, else from the log's.

use std::path::Path;

use millstream_core::{BatchId, Error, LogId, Result};

use crate::commit::recovery::Restored;
use crate::graph::OutputNode;

/// Where an output goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resume {
    /// It has everything up to this batch.
    pub(crate) applied: BatchId,
    /// The last batch that brought it anything.
    pub(crate) brought: BatchId,
    /// It was deleted, or is older than the log reaches: it gets the whole state first.
    pub(crate) refill: bool,
}

/// What an output says that it has.
pub(crate) type Memory = Option<(LogId, BatchId)>;

/// Asks every output.
///
/// # Errors
/// `Mismatch` when one has results, and `log` shows that there is no log yet they could be of.
pub(crate) fn memories(outputs: &[OutputNode], log_dir: &Path, log_is_new: bool) -> Result<Vec<Memory>> {
    let mut memories = Vec::with_capacity(outputs.len());
    for node in outputs {
        let memory = node.output.last_applied()?;
        if let (Some((log, batch)), true) = (memory, log_is_new) {
            let problem = format!(
                "holds results up to batch {batch} of commit log {log}, and {} holds no commit log; restore that directory, or move the results away to begin anew",
                log_dir.display()
            );
            return Err(Error::mismatch(node.output.describe(), problem));
        }
        memories.push(memory);
    }
    Ok(memories)
}

/// Decides for one output.
///
/// # Errors
/// `Mismatch` when it holds results of another log, or of a later batch than the log knows, or lacks results that the
/// log no longer has and no state can give.
pub(crate) fn resume(node: &OutputNode, memory: Memory, log: LogId, restored: &Restored) -> Result<Resume> {
    let last = restored.checkpoint.last_batch;
    let cursor = restored.checkpoint.cursors.iter().find(|cursor| cursor.output == node.name);
    let brought = cursor.map_or(0, |cursor| cursor.brought);
    if !node.output.remembers() {
        // One that is new to the job begins with what comes from now on.
        let known = cursor.is_some() || restored.known_outputs.contains(&node.name);
        let applied = cursor.map_or(if known { restored.first_batch - 1 } else { last }, |cursor| cursor.batch);
        return Ok(Resume { applied, brought, refill: false });
    }
    let has = match memory {
        Some((other, batch)) if other != log => {
            let problem = format!(
                "holds results up to batch {batch} of commit log {other}, this job's log is {log}; run the job that wrote them, or give this one another place"
            );
            return Err(Error::mismatch(node.output.describe(), problem));
        }
        Some((_, batch)) if batch > last => {
            let problem = format!(
                "holds batch {batch}, the commit log ends with batch {last}: the log is an older copy; restore the newer one, or move both away to begin anew"
            );
            return Err(Error::mismatch(node.output.describe(), problem));
        }
        Some((_, batch)) => batch,
        None => 0,
    };
    let in_the_log = has + 1 >= restored.first_batch;
    if in_the_log || brought <= has {
        // What lies between was nothing for it.
        let applied = if in_the_log { has } else { restored.first_batch - 1 };
        let new_to_the_job = memory.is_none() && cursor.is_none() && !restored.known_outputs.contains(&node.name);
        let refill = new_to_the_job && last > 0 && node.refill.is_some();
        return Ok(Resume { applied: if refill { last } else { applied }, brought: brought.max(has), refill });
    }
    if node.refill.is_some() {
        return Ok(Resume { applied: last, brought, refill: true });
    }
    let problem = format!(
        "holds results up to batch {has} only, and the commit log begins with batch {}: what lies between cannot be given again; restore the output, or give the job another directory and output to begin anew",
        restored.first_batch
    );
    Err(Error::mismatch(node.output.describe(), problem))
}
