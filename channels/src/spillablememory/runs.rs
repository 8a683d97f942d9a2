//! Which side comes next: the order of the puts over both sides.

use std::collections::VecDeque;
use std::ops::Range;

/// Where events are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Memory,
    Disk,
}

/// Puts that went to one side in a row, by the sequences of that side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) side: Side,
    pub(super) range: Range<u64>,
}

/// The runs, in the order of the puts. Each side gives out its own in that order, so this is all that is needed.
#[derive(Debug, Default)]
pub(super) struct Runs(VecDeque<Run>);

// === impl Runs ===

impl Runs {
    /// Events were put, behind all others.
    pub(super) fn put(&mut self, side: Side, range: Range<u64>) {
        if side == Side::Disk {
            self.cut_disk(range.start);
        }
        if range.is_empty() {
            return;
        }
        match self.0.back_mut() {
            Some(last) if last.side == side && last.range.end == range.start => last.range.end = range.end,
            _ => self.0.push_back(Run { side, range }),
        }
    }

    /// The puts from `next` on failed, as their sequences are given again.
    fn cut_disk(&mut self, next: u64) {
        for run in self.0.iter_mut().rev().filter(|run| run.side == Side::Disk) {
            if run.range.end <= next {
                break;
            }
            run.range.end = next.max(run.range.start);
        }
    }

    /// Forgets runs of which everything is delivered.
    pub(super) fn forget(&mut self, memory_floor: u64, disk_floor: u64) {
        let floor = |side| if side == Side::Memory { memory_floor } else { disk_floor };
        while self.0.front().is_some_and(|run| run.range.end <= floor(run.side).max(run.range.start)) {
            self.0.pop_front();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(runs: &Runs) -> Vec<(Side, Range<u64>)> {
        runs.iter().map(|run| (run.side, run.range.clone())).collect()
    }

    #[test]
    fn what_goes_on_is_one_run_and_what_is_delivered_is_forgotten_from_the_front() {
        let mut runs = Runs::default();
        runs.put(Side::Memory, 0..3);
        runs.put(Side::Memory, 3..5);
        runs.put(Side::Disk, 10..12);
        runs.put(Side::Memory, 5..6);
        assert_eq!(shown(&runs), [(Side::Memory, 0..5), (Side::Disk, 10..12), (Side::Memory, 5..6)]);
        runs.forget(4, 12);
        assert_eq!(shown(&runs).len(), 3, "the first one is not done");
        runs.forget(5, 11);
        assert_eq!(shown(&runs), [(Side::Disk, 10..12), (Side::Memory, 5..6)]);
        runs.forget(6, 12);
        assert!(shown(&runs).is_empty());
    }

    #[test]
    fn a_put_that_failed_gives_its_sequences_to_the_next_one() {
        let mut runs = Runs::default();
        runs.put(Side::Disk, 0..4);
        runs.put(Side::Memory, 0..2);
        runs.put(Side::Disk, 4..9);
        runs.put(Side::Memory, 2..3);
        runs.put(Side::Disk, 2..6);
        let expected =
            [(Side::Disk, 0..2), (Side::Memory, 0..2), (Side::Disk, 4..4), (Side::Memory, 2..3), (Side::Disk, 2..6)];
        assert_eq!(shown(&runs), expected);
    }
}
