//! Where results leave: replicas of a job's commit log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::rows::Rows;

/// Identity of a job's commit log, drawn once per directory: results of one log are never mixed with another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogId(pub u128);

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Number of a batch in its log, from 1; never restarts.
pub type BatchId = u64;

/// Which batch of which log, by which of the log's openings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStamp {
    /// The log.
    pub log: LogId,
    /// Raised at every opening of the log: an older driver that wakes up is fenced by it.
    pub epoch: u64,
    /// The batch.
    pub batch: BatchId,
    /// When it was due, milliseconds since 1970 UTC.
    pub time_ms: u64,
}

/// What a batch brings to one output, as it lies in the commit record.
#[derive(Debug, Clone, PartialEq)]
pub struct Staged {
    /// The output's own encoding: rows, or names of fsynced temporary files.
    pub bytes: Bytes,
}

/// Takes the results of a job.
///
/// # Delivery
/// `apply` is called for every committed batch in order, again after a crash or an error, until it succeeds: it must be
/// repeatable. Exactly-once outputs keep the [`BatchStamp`] in the same transaction as the rows.
pub trait Output: Send + Sync {
    /// Prepares a batch before it is committed. The default carries the rows in the commit record.
    ///
    /// # Errors
    /// Fails the batch; it is computed again.
    fn stage(&self, _stamp: BatchStamp, rows: &Rows) -> Result<Staged> {
        Ok(Staged { bytes: rows.encode() })
    }

    /// Makes a committed batch visible.
    ///
    /// # Errors
    /// The runner obeys the reaction; other outputs go on.
    fn apply(&self, stamp: BatchStamp, staged: &Staged) -> Result<()>;

    /// The last batch applied, as the output itself remembers it; `None` when it is empty or keeps no memory of its own.
    fn last_applied(&self) -> Result<Option<(LogId, BatchId)>>;

    /// Whether [`Self::last_applied`] is its own memory. Where it is not, the commit log keeps the cursor, and a crash may
    /// repeat the batch that was being applied.
    fn remembers(&self) -> bool {
        true
    }

    /// What it is and where: for messages.
    fn describe(&self) -> String;
}
