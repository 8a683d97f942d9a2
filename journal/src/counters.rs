//! What a journal has done and what went wrong, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the journal was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records written.
    pub appends: u64,
    /// Bytes written, heads and padding included.
    pub bytes: u64,
    /// Calls of `fdatasync` that succeeded.
    pub fsyncs: u64,
    /// Segments begun.
    pub rolls: u64,
    /// Writes that failed, a full disk excepted.
    pub write_errors: u64,
    /// Syncs that failed.
    pub sync_errors: u64,
    /// Groups refused because the disk was full.
    pub disk_full: u64,
    /// Rolls that failed.
    pub roll_errors: u64,
    /// Old segments that could not be removed.
    pub delete_errors: u64,
    /// Damaged places met, at opening and by readers; one place is counted each time it is met.
    pub damaged: u64,
    /// Bytes in those places.
    pub damaged_bytes: u64,
    /// Damaged places that were set aside now, rather than at an earlier opening: over all openings, each once.
    pub set_aside: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appends: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) fsyncs: AtomicU64,
    pub(crate) rolls: AtomicU64,
    pub(crate) write_errors: AtomicU64,
    pub(crate) sync_errors: AtomicU64,
    pub(crate) disk_full: AtomicU64,
    pub(crate) roll_errors: AtomicU64,
    pub(crate) delete_errors: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) damaged_bytes: AtomicU64,
    pub(crate) set_aside: AtomicU64,
}

/// Adds to one counter. Counters are read for display alone, so no order between them is kept.
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}

impl Counters {
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            appends: self.appends.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            fsyncs: self.fsyncs.load(Relaxed),
            rolls: self.rolls.load(Relaxed),
            write_errors: self.write_errors.load(Relaxed),
            sync_errors: self.sync_errors.load(Relaxed),
            disk_full: self.disk_full.load(Relaxed),
            roll_errors: self.roll_errors.load(Relaxed),
            delete_errors: self.delete_errors.load(Relaxed),
            damaged: self.damaged.load(Relaxed),
            damaged_bytes: self.damaged_bytes.load(Relaxed),
            set_aside: self.set_aside.load(Relaxed),
        }
    }
}
