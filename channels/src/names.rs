//! What the stored events are called, and what of it is still to be delivered.

use std::collections::VecDeque;
use std::ops::Range;

use millstream_core::{Batch, IntervalSet, NameRun};

/// Names of the events that are not acknowledged, or may be so again, by the channel's own sequence.
///
/// An event without a name is called by its sequence under the incarnation of the opening that stored it. One that came
/// with a name keeps it: those are remembered as runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Ascending; the last one is this process's.
    pub(crate) openings: Vec<Opening>,
    /// Events that came with a name, ascending.
    pub(crate) foreign: VecDeque<Foreign>,
}

/// One opening of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    /// What its own names carry.
    pub(crate) incarnation: u128,
    /// The first sequence that it gave.
    pub(crate) first: u64,
}

/// Events named elsewhere: local sequence `first + k` is called (`incarnation`, `name + k`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) first: u64,
    pub(crate) events: u64,
    pub(crate) incarnation: u128,
    pub(crate) name: u64,
}

// === impl Names ===

impl Names {
    /// Remembers the names that `batch`, stored from `first` on, came with.
    pub(crate) fn record(&mut self, first: u64, batch: &Batch, runs: &[NameRun]) {
        let ends = runs.iter().skip(1).map(|run| run.first_row).chain([batch.len() as u32]);
        for (run, end) in runs.iter().zip(ends) {
            let new = Foreign {
                first: first + u64::from(run.first_row),
                events: u64::from(end - run.first_row),
                incarnation: run.incarnation,
                name: run.first,
            };
            match self.foreign.back_mut() {
                Some(last) if last.is_continued_by(&new) => last.events += new.events,
                _ => self.foreign.push_back(new),
            }
        }
    }

    /// Begins an opening at `first`.
    pub(crate) fn open(&mut self, incarnation: u128, first: u64) {
        self.openings.push(Opening { incarnation, first });
    }

    /// Forgets names from `next` on: their put failed.
    pub(crate) fn cut(&mut self, next: u64) {
        while let Some(last) = self.foreign.back_mut() {
            if last.first < next {
                last.events = last.events.min(next - last.first);
                break;
            }
            self.foreign.pop_back();
        }
    }

    /// Forgets names below `floor`: nothing there can come again, whatever happens.
    pub(crate) fn forget(&mut self, floor: u64) {
        while self.foreign.front().is_some_and(|run| run.first + run.events <= floor) {
            self.foreign.pop_front();
        }
        let gone = self.openings.iter().skip(1).take_while(|next| next.first <= floor).count();
        self.openings.drain(..gone);
    }

    /// Per opening the lowest sequence that is not acknowledged. An opening is named for as long as its names are
    /// remembered: a receiver forgets those that are not, and after a power cut, which takes acknowledgements, would take
    /// their events for new.
    pub(crate) fn low_water(&self, acked: &IntervalSet) -> Vec<(u128, u64)> {
        let ends = self.openings.iter().skip(1).map(|next| next.first).chain([u64::MAX]);
        let with_events = self.openings.iter().zip(ends).filter(|(opening, end)| opening.first < *end);
        with_events.map(|(opening, end)| (opening.incarnation, acked.run_end(opening.first).min(end))).collect()
    }

    /// Names of the events in `range` that are not acknowledged.
    pub(crate) fn waiting(&self, acked: &IntervalSet, range: Range<u64>) -> Vec<(u128, Range<u64>)> {
        let mut names = Vec::new();
        let mut own: IntervalSet = acked.gaps(range).into_iter().collect();
        for run in &self.foreign {
            let waiting: Vec<Range<u64>> = own.overlaps(run.first..run.first + run.events).collect();
            for part in waiting {
                let name = run.name + (part.start - run.first);
                names.push((run.incarnation, name..name + (part.end - part.start)));
                own.remove(part);
            }
        }
        let ends = self.openings.iter().skip(1).map(|next| next.first).chain([u64::MAX]);
        for (opening, end) in self.openings.iter().zip(ends) {
            names.extend(own.overlaps(opening.first..end).map(|part| (opening.incarnation, part)));
        }
        names
    }
}

impl Foreign {
    fn is_continued_by(&self, next: &Self) -> bool {
        self.first + self.events == next.first
            && self.incarnation == next.incarnation
            && self.name.checked_add(self.events) == Some(next.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(names: &mut Names, first: u64, events: usize, incarnation: u128, name: u64) {
        let batch = Batch::from_bodies((0..events).map(|_| "x")).named(incarnation, name);
        names.record(first, &batch, &batch.names());
    }

    fn two_openings() -> Names {
        let mut names = Names::default();
        names.open(1, 0);
        foreign(&mut names, 4, 2, 9, 70);
        foreign(&mut names, 6, 2, 9, 72);
        names.open(2, 10);
        names
    }

    #[test]
    fn low_water_is_given_for_every_opening_until_it_is_forgotten() {
        let mut names = two_openings();
        let low_water = |ranges: [Range<u64>; 2]| names.low_water(&ranges.into_iter().collect());
        assert_eq!(low_water([0..1, 1..3]), [(1, 3), (2, 10)]);
        assert_eq!(low_water([0..3, 5..12]), [(1, 3), (2, 12)]);
        assert_eq!(low_water([0..10, 10..15]), [(1, 10), (2, 15)]);
        names.forget(10);
        assert_eq!(names.low_water(&IntervalSet::new()), [(2, 10)]);
    }

    #[test]
    fn waiting_events_are_known_by_the_names_they_came_with() {
        let mut names = two_openings();
        assert_eq!(names.foreign.len(), 1, "what continues is one run");
        let acked = [0..1, 5..6].into_iter().collect();
        let waiting = names.waiting(&acked, 0..12);
        assert_eq!(waiting, [(9, 70..71), (9, 72..74), (1, 1..4), (1, 8..10), (2, 10..12)]);
        names.forget(6);
        assert_eq!(names.foreign.len(), 1);
        names.forget(10);
        assert_eq!((names.foreign.len(), names.openings.len()), (0, 1));
    }

    #[test]
    fn names_of_a_failed_put_are_forgotten() {
        let mut names = two_openings();
        names.cut(5);
        assert_eq!(names.foreign, [Foreign { first: 4, events: 1, incarnation: 9, name: 70 }]);
        names.cut(4);
        assert!(names.foreign.is_empty());
    }
}
