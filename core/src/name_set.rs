//! Which named events were seen: what trims an event that comes again under its name.
//!
//! Sequences are kept as intervals, per incarnation; events that come in order cost one interval, and those that went
//! elsewhere in between one more each. The sender adds its *low-water marks*: names below are acknowledged, so it sends them no more (ADR 2).
//! They say which names may be forgotten when there are many intervals, and nothing about what may arrive: acknowledged
//! means that some next hop has the events, and that one may yet hand them on to here. What was not seen always passes.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::interval::IntervalSet;

/// Intervals of one incarnation beyond which those below its mark are forgotten, the oldest first: some 3 MB.
const MOST_RANGES: usize = 1 << 16;
/// Openings of one store beyond which those that its marks do not name are forgotten, the least first.
const MOST_OPENINGS: usize = 1024;

/// Names, per incarnation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct NameSet {
    incarnations: BTreeMap<u128, IntervalSet>,
}

/// As a commit log holds it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Stored(BTreeMap<u128, StoredNames>);

#[derive(Serialize, Deserialize)]
struct StoredNames {
    /// Everything below was seen: written by earlier versions, 0 by this one.
    floor: u64,
    above: IntervalSet,
}

// === impl NameSet ===

impl NameSet {
    /// The parts of `range` that are not in the set.
    pub fn gaps(&self, incarnation: u128, range: Range<u64>) -> Vec<Range<u64>> {
        match self.incarnations.get(&incarnation) {
            Some(known) => known.gaps(range),
            None => vec![range],
        }
    }

    /// How many of `range` are in the set.
    pub fn count(&self, incarnation: u128, range: Range<u64>) -> u64 {
        let Some(known) = self.incarnations.get(&incarnation) else { return 0 };
        known.overlaps(range).map(|part| part.end - part.start).sum()
    }

    /// Adds names.
    pub fn insert(&mut self, incarnation: u128, range: Range<u64>) {
        self.incarnations.entry(incarnation).or_default().insert(range);
    }

    /// Leaves of `batch` what is not in the set. Events without names always pass.
    pub fn trim(&self, batch: &Batch) -> Batch {
        trim_to(batch, |incarnation, range| self.gaps(incarnation, range))
    }

    /// Forgets, where there is much, names below these marks, and other openings of the same stores unless `keep` holds
    /// for them. What is forgotten would pass again.
    pub fn collapse(&mut self, low_water: &[(u128, u64)], keep: impl Fn(u128) -> bool) {
        for &(incarnation, low) in low_water {
            let Some(known) = self.incarnations.get_mut(&incarnation) else { continue };
            while known.range_count() > MOST_RANGES {
                let oldest = known.ranges().next().filter(|range| range.end <= low);
                let Some(oldest) = oldest else { break };
                known.remove(oldest);
            }
        }
        for store in low_water.iter().map(|(incarnation, _)| incarnation >> 64) {
            let openings = || (store << 64)..=(store << 64 | u128::from(u64::MAX));
            let surplus = self.incarnations.range(openings()).count().saturating_sub(MOST_OPENINGS);
            let listed = |incarnation: u128| low_water.iter().any(|(other, _)| *other == incarnation);
            let others = self.incarnations.range(openings()).map(|(incarnation, _)| *incarnation);
            let others = others.filter(|incarnation| !listed(*incarnation) && !keep(*incarnation));
            let forgotten: Vec<u128> = others.take(surplus).collect();
            forgotten.into_iter().for_each(|incarnation| _ = self.incarnations.remove(&incarnation));
        }
    }

    /// Everything in it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u128, &IntervalSet)> + '_ {
        self.incarnations.iter().map(|(incarnation, known)| (*incarnation, known))
    }
}

impl FromIterator<(u128, IntervalSet)> for NameSet {
    fn from_iter<I: IntoIterator<Item = (u128, IntervalSet)>>(known: I) -> Self {
        Self { incarnations: known.into_iter().collect() }
    }
}

impl From<Stored> for NameSet {
    fn from(stored: Stored) -> Self {
        let known = stored.0.into_iter().map(|(incarnation, StoredNames { floor, mut above })| {
            above.insert(0..floor);
            (incarnation, above)
        });
        known.collect()
    }
}

impl From<NameSet> for Stored {
    fn from(set: NameSet) -> Self {
        let known = set.incarnations.into_iter();
        Self(known.map(|(incarnation, above)| (incarnation, StoredNames { floor: 0, above })).collect())
    }
}

/// Leaves of `batch` the events whose names `gaps` gives back; called for each run of names, in order.
pub fn trim_to(batch: &Batch, mut gaps: impl FnMut(u128, Range<u64>) -> Vec<Range<u64>>) -> Batch {
    let mut fresh = IntervalSet::new();
    let mut row = 0_u64;
    for (incarnation, range) in batch.name_ranges() {
        let base = row;
        row += range.end - range.start;
        for gap in gaps(incarnation, range.clone()) {
            fresh.insert(base + gap.start - range.start..base + gap.end - range.start);
        }
    }
    if row == 0 || fresh.len() == batch.len() as u64 {
        return batch.clone();
    }
    batch.filter(|index| fresh.contains(index as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: u128 = 5 << 64;

    fn batch(first: u64, events: usize) -> Batch {
        Batch::from_bodies((0..events).map(|i| format!("{}", first + i as u64))).named(STORE | 1, first)
    }

    fn bodies(batch: &Batch) -> Vec<String> {
        batch.iter().map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect()
    }

    #[test]
    fn a_batch_is_trimmed_to_what_is_new() {
        let mut set = NameSet::default();
        set.insert(STORE | 1, 10..15);
        assert_eq!(bodies(&set.trim(&batch(8, 10))), ["8", "9", "15", "16", "17"]);
        assert!(set.trim(&batch(11, 3)).is_empty());
        assert_eq!(set.trim(&Batch::from_bodies(["without a name"])).len(), 1);
    }

    #[test]
    fn what_was_not_seen_passes_also_below_a_low_water_mark() {
        let mut set = NameSet::default();
        set.insert(STORE | 1, 0..50);
        set.insert(STORE | 1, 60..100);
        set.collapse(&[(STORE | 1, 90)], |_| false);
        assert_eq!(bodies(&set.trim(&batch(48, 13))), ["50", "51", "52", "53", "54", "55", "56", "57", "58", "59"]);
        assert_eq!(set.count(STORE | 1, 40..70), 20);
    }

    #[test]
    fn where_there_is_much_the_oldest_below_the_mark_is_forgotten() {
        let mut set = NameSet::default();
        (0..MOST_RANGES as u64 + 10).for_each(|n| set.insert(STORE | 1, 2 * n..2 * n + 1));
        set.collapse(&[(STORE | 1, 9)], |_| false);
        assert_eq!(set.count(STORE | 1, 0..20), 5, "only below the mark");
        set.collapse(&[(STORE | 1, 100)], |_| false);
        let (_, known) = set.iter().next().expect("one incarnation");
        assert_eq!(known.range_count(), MOST_RANGES);
    }

    #[test]
    fn of_many_openings_of_a_store_those_without_marks_are_forgotten() {
        let mut set = NameSet::default();
        (0..MOST_OPENINGS as u128 + 5).for_each(|opening| set.insert(STORE | opening, 0..1));
        set.insert(7 << 64, 0..1);
        set.collapse(&[(STORE, 0)], |incarnation| incarnation == STORE | 1);
        assert_eq!(set.iter().len(), MOST_OPENINGS + 1);
        let kept = |opening| set.iter().any(|(incarnation, _)| incarnation == STORE | opening);
        assert!(kept(0) && kept(1) && !kept(2), "the one with a mark and the one that is kept");
        set.collapse(&[], |_| false);
        assert_eq!(set.iter().len(), MOST_OPENINGS + 1, "who says nothing forgets nothing");
    }

    #[test]
    fn what_earlier_versions_wrote_is_read() {
        #[derive(Serialize)]
        struct Old {
            floor: u64,
            above: IntervalSet,
        }
        let old = Old { floor: 5, above: [5..7, 9..10].into_iter().collect() };
        let old: BTreeMap<u128, Old> = [(STORE, old)].into();
        let bytes = rmp_serde::to_vec_named(&old).expect("encodes");
        let set: NameSet = rmp_serde::from_slice(&bytes).expect("decodes");
        assert_eq!(set.gaps(STORE, 0..12), [7..9, 10..12]);
        let again: NameSet = rmp_serde::from_slice(&rmp_serde::to_vec_named(&set).expect("encodes")).expect("decodes");
        assert_eq!(again, set);
    }
}
