//! Sets of whole numbers kept as ranges.
//!
//! One piece of arithmetic behind everything that must know "which of these have I seen": a channel's acknowledged
//! events, a receiver's names, an origin's coverage, the ledger.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A set of `u64`, stored as disjoint, non-touching, half-open ranges in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct IntervalSet {
    /// Start of each range to its end (exclusive). No two ranges touch.
    ranges: BTreeMap<u64, u64>,
    /// Count of the members, kept so that the ledger never has to walk.
    members: u64,
}

/// A set as it was read, from bytes that nobody vouches for.
#[derive(Deserialize)]
struct Unchecked {
    ranges: BTreeMap<u64, u64>,
    members: u64,
}

impl TryFrom<Unchecked> for IntervalSet {
    type Error = &'static str;

    fn try_from(Unchecked { ranges, members }: Unchecked) -> Result<Self, Self::Error> {
        let set: Self = ranges.iter().map(|(&start, &end)| start..end).collect();
        if set.ranges != ranges || set.members != members {
            return Err("expected disjoint, non-touching ranges and the count of their members");
        }
        Ok(set)
    }
}

impl IntervalSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `range`; returns how many members were new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let (mut start, mut end) = (range.start, range.end);
        let mut swallowed = 0;
        // A range that begins at or before ours can touch it only if it is the nearest one to the left.
        if let Some((&left, &left_end)) = self.ranges.range(..=start).next_back()
            && left_end >= start
        {
            start = left;
            end = end.max(left_end);
            swallowed += left_end - left;
            self.ranges.remove(&left);
        }
        while let Some((&right, &right_end)) = self.ranges.range(start..=end).next() {
            end = end.max(right_end);
            swallowed += right_end - right;
            self.ranges.remove(&right);
        }
        self.ranges.insert(start, end);
        let added = end - start - swallowed;
        self.members += added;
        added
    }

    /// Takes `range` out; returns how many members left.
    pub fn remove(&mut self, range: Range<u64>) -> u64 {
        let mut removed = 0;
        let covered: Vec<Range<u64>> = self.overlaps(range.clone()).collect();
        for part in covered {
            let (&start, &end) = self.ranges.range(..=part.start).next_back().expect("an overlap lies in a range");
            self.ranges.remove(&start);
            if start < part.start {
                self.ranges.insert(start, part.start);
            }
            if part.end < end {
                self.ranges.insert(part.end, end);
            }
            removed += part.end - part.start;
        }
        self.members -= removed;
        removed
    }

    /// The parts of `range` that are in the set, ascending.
    pub fn overlaps(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.ranges.range(..=range.start).next_back().map_or(range.start, |(&start, _)| start);
        let Range { start, end } = range;
        self.ranges
            .range(first..end.max(first))
            .map(move |(&low, &high)| low.max(start)..high.min(end))
            .filter(|part| part.start < part.end)
    }

    /// The parts of `range` that are not in the set, ascending.
    pub fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for part in self.overlaps(range.clone()) {
            if at < part.start {
                gaps.push(at..part.start);
            }
            at = part.end;
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    /// Whether `value` is a member.
    pub fn contains(&self, value: u64) -> bool {
        self.ranges.range(..=value).next_back().is_some_and(|(_, &end)| value < end)
    }

    /// The end of the unbroken run that begins at `from`: the least value ≥ `from` that is not a member.
    pub fn run_end(&self, from: u64) -> u64 {
        match self.ranges.range(..=from).next_back() {
            Some((_, &end)) if end > from => end,
            _ => from,
        }
    }

    /// How many members.
    pub fn len(&self) -> u64 {
        self.members
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// How many ranges: what the set costs in memory (about 24 bytes each).
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }
}

impl FromIterator<Range<u64>> for IntervalSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A tiny generator so that the model run is the same everywhere.
    fn next(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn agrees_with_a_plain_set_over_random_inserts_and_removals() {
        for run in 1..200_u64 {
            let mut seed = run;
            let (mut set, mut model) = (IntervalSet::new(), BTreeSet::new());
            for _ in 0..60 {
                let start = next(&mut seed) % 50;
                let range = start..start + next(&mut seed) % 12;
                if next(&mut seed).is_multiple_of(3) {
                    let before = model.len();
                    model.retain(|value| !range.contains(value));
                    assert_eq!(set.remove(range), (before - model.len()) as u64, "seed {run}");
                } else {
                    let before = model.len();
                    model.extend(range.clone());
                    assert_eq!(set.insert(range), (model.len() - before) as u64, "seed {run}");
                }
                assert_eq!(set.ranges().flatten().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                assert_eq!(set.len(), model.len() as u64);
                let window = next(&mut seed) % 60..next(&mut seed) % 70;
                let gaps: Vec<u64> = set.gaps(window.clone()).into_iter().flatten().collect();
                assert_eq!(gaps, window.filter(|value| !model.contains(value)).collect::<Vec<_>>(), "seed {run}");
                let from = next(&mut seed) % 60;
                let end = (from..).find(|value| !model.contains(value)).expect("the set is finite");
                assert_eq!(set.run_end(from), end);
            }
        }
    }

    fn any_set() -> impl Strategy<Value = IntervalSet> {
        let near = (0..200_u64, 0..20_u64).prop_map(|(start, len)| start..start + len);
        let far = (any::<u64>(), any::<u64>()).prop_map(|(one, other)| one.min(other)..one.max(other));
        prop::collection::vec(prop_oneof![4 => near, 1 => far], 0..12).prop_map(IntervalSet::from_iter)
    }

    proptest! {
        #[test]
        fn a_set_survives_the_round_trip(set in any_set()) {
            let bytes = rmp_serde::to_vec(&set).expect("written");
            prop_assert_eq!(rmp_serde::from_slice::<IntervalSet>(&bytes).expect("read"), set);
        }

        /// What is no set is refused: one with touching ranges or a wrong count would fail later, far from here.
        #[test]
        fn damaged_bytes_are_a_set_or_refused(set in any_set(), at: prop::sample::Index, bit in 0..8_u8) {
            let mut bytes = rmp_serde::to_vec(&set).expect("written");
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(mut read) = rmp_serde::from_slice::<IntervalSet>(&bytes) {
                prop_assert_eq!(&IntervalSet::from_iter(read.ranges()), &read);
                let members = read.len();
                prop_assert_eq!(read.remove(0..u64::MAX), members);
                prop_assert!(read.is_empty());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = rmp_serde::from_slice::<IntervalSet>(&bytes);
        }
    }

    #[test]
    fn stored_ranges_that_are_none_are_refused() {
        for (ranges, members) in [
            (&[(0, 5), (5, 9)][..], 9), // They touch.
            (&[(0, 5), (3, 9)], 9),     // They overlap.
            (&[(5, 5)], 0),
            (&[(9, 5)], 4),
            (&[(0, 5)], 6),
        ] {
            let ranges: BTreeMap<u64, u64> = ranges.iter().copied().collect();
            let bytes = rmp_serde::to_vec(&(&ranges, members)).expect("written");
            let error = rmp_serde::from_slice::<IntervalSet>(&bytes).expect_err("refused");
            assert!(error.to_string().contains("non-touching"), "{ranges:?}: {error}");
        }
    }

    #[test]
    fn touching_ranges_become_one() {
        let set: IntervalSet = [0..5, 5..9, 20..21].into_iter().collect();
        assert_eq!(set.range_count(), 2);
    }
}
