//! What the callers, the readers and the writer of one journal share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Error, Resolver};
use millstream_io::Disk;

use crate::counters::{Counters, add};
use crate::journal::{Done, Durability, Location, Options};
use crate::quarantine;
use crate::sync::{Condvar, Mutex};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) log_id: u128,
    pub(crate) queue: Mutex<Queue>,
    /// Wakes the writer.
    pub(crate) wake: Condvar,
    /// Every segment that exists, with the end of what readers may read. Never locked together with `queue`.
    pub(crate) segments: Mutex<BTreeMap<u64, u64>>,
    /// Held by the reader that sets something aside: another one may be at the same place.
    pub(crate) aside: Mutex<()>,
    pub(crate) counters: Counters,
}

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) commands: Vec<Command>,
    /// Where the next record will be.
    pub(crate) cursor: Location,
    /// Number of the next segment; no number is used twice.
    pub(crate) next_segment: u64,
    pub(crate) state: State,
    /// Why appends have failed whose `done` is being told just now. A snapshot would stand for them still, and an append
    /// would be stored behind them unawares.
    pub(crate) telling: Option<Error>,
    /// Why the last roll did not happen.
    pub(crate) roll_failed: Option<Error>,
    /// The next deletion was perhaps computed for a snapshot that is not there.
    pub(crate) refuse_delete: bool,
    /// What went wrong after the journal was closed.
    pub(crate) close_failed: Option<Error>,
}

#[derive(Debug)]
pub(crate) enum State {
    Open,
    /// The current segment was given up: a roll comes next.
    Failed(Error),
    Closed,
}

pub(crate) enum Command {
    Append(Append),
    Roll { segment: u64, snapshot: Bytes },
    Delete { before: u64 },
    Sync(Resolver),
    Close,
}

pub(crate) struct Append {
    pub(crate) kind: u8,
    pub(crate) parts: Vec<Bytes>,
    /// Sum of the parts' lengths in bytes.
    pub(crate) length: u32,
    pub(crate) durability: Durability,
    pub(crate) done: Done,
}

// === impl Queue ===

impl Queue {
    pub(crate) fn roll_has_failed(&mut self, error: &Error) {
        self.roll_failed = Some(error.clone());
        self.refuse_delete = true;
    }
}

// === impl Shared ===

impl Shared {
    /// Sets a damaged place aside and counts it.
    pub(crate) fn damaged(&self, segment: u64, offset: u64, length: u64) {
        let aside = self.aside.lock();
        let (_, now) = quarantine::set_aside(self.disk.as_ref(), &self.dir, segment, offset, length);
        drop(aside);
        add(&self.counters.set_aside, now.into());
        add(&self.counters.damaged, 1);
        add(&self.counters.damaged_bytes, length);
    }

    pub(crate) fn stopped(&self) -> Error {
        Error::Stopped { what: Arc::clone(&self.options.name) }
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Append(_) => "Append",
            Self::Roll { .. } => "Roll",
            Self::Delete { .. } => "Delete",
            Self::Sync(_) => "Sync",
            Self::Close => "Close",
        })
    }
}
