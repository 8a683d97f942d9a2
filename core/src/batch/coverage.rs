//! Which part of an origin a batch accounts for.

use std::sync::Arc;

/// The range of an origin (a file, by identity) that was read to make a batch: its events, and what was dropped.
///
/// A channel stores it in the same record as the events, so a restarted source knows how far it came, even where no
/// event was left: a range that was filtered out or routed elsewhere is coverage without events. The end of a file
/// counts one beyond its last byte, so an empty file has a position too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Identity of the origin, never reused while it matters: `device:inode:birth` for a file.
    pub origin: Arc<str>,
    /// First position read. When a put fails, a channel refuses what begins behind it until it comes again; 0 is never
    /// refused.
    pub start: u64,
    /// Position after the last one read.
    pub end: u64,
    /// Events dropped within the range: name of the rule, count.
    pub dropped: Vec<(Arc<str>, u64)>,
    /// The origin was completed durably (renamed or deleted): its identity may be forgotten, and must be, since the file
    /// system reuses inodes at once.
    pub retire: bool,
}

impl Coverage {
    /// Covers `start..end` of `origin`, nothing dropped.
    pub fn new(origin: Arc<str>, start: u64, end: u64) -> Self {
        Self { origin, start, end, dropped: Vec::new(), retire: false }
    }

    /// Says that `origin` is completed.
    pub fn retired(origin: Arc<str>) -> Self {
        Self { origin, start: 0, end: 0, dropped: Vec::new(), retire: true }
    }

    /// Counts events dropped by `rule`.
    pub fn drop_by(&mut self, rule: &str, events: u64) {
        match self.dropped.iter_mut().find(|(name, _)| &**name == rule) {
            Some((_, count)) => *count += events,
            None => self.dropped.push((rule.into(), events)),
        }
    }
}
