//! What the events of a client are called.
//!
//! A client draws an incarnation at random, and numbers its events from 0. A name is *settled* once its event was answered
//! OK or given up by the program; below the first name that is not settled, nothing can come again. That is the low-water
//! mark, and it travels with every call, so that receivers may forget.

use std::sync::Arc;

use millstream_core::{Error, IntervalSet, Result};
use parking_lot::Mutex;

/// The names of one client.
#[derive(Debug, Clone)]
pub(super) struct Series(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    incarnation: u128,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    next: u64,
    settled: IntervalSet,
}

/// What one event is called. Dropped, its event cannot come again.
#[derive(Debug)]
pub(super) struct Name {
    series: Series,
    sequence: u64,
    settled: bool,
}

// === impl Series ===

impl Series {
    /// # Errors
    /// `Io`: the system gives no random bytes.
    pub(super) fn draw() -> Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::io("draw", "a random id", std::io::Error::other(error.to_string())))?;
        Ok(Self(Arc::new(Inner { incarnation: u128::from_be_bytes(bytes), given: Mutex::default() })))
    }

    /// The first of `count` names that nobody else gets.
    pub(super) fn reserve(&self, count: u64) -> u64 {
        let mut given = self.0.given.lock();
        let first = given.next;
        given.next += count;
        first
    }

    /// A reserved name.
    pub(super) fn name(&self, sequence: u64) -> Name {
        Name { series: self.clone(), sequence, settled: false }
    }

    /// (Incarnation, the least name that may still come).
    pub(super) fn low_water(&self) -> (u128, u64) {
        (self.0.incarnation, self.0.given.lock().settled.run_end(0))
    }

    fn settle(&self, first: u64, count: u64) {
        self.0.given.lock().settled.insert(first..first + count);
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

// === impl Name ===

impl Name {
    pub(super) fn series(&self) -> &Series {
        &self.series
    }

    /// (Incarnation, sequence).
    pub(super) fn parts(&self) -> (u128, u64) {
        (self.series.0.incarnation, self.sequence)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if !self.settled {
            self.series.settle(self.sequence, 1);
        }
    }
}

/// Settles many names, those that follow each other together.
pub(super) fn settle(names: impl IntoIterator<Item = Name>) {
    let mut run: Option<(Series, u64, u64)> = None;
    for mut name in names {
        name.settled = true;
        match &mut run {
            Some((series, first, count)) if series.is(&name.series) && *first + *count == name.sequence => *count += 1,
            _ => {
                if let Some((series, first, count)) = run.replace((name.series.clone(), name.sequence, 1)) {
                    series.settle(first, count);
                }
            }
        }
    }
    if let Some((series, first, count)) = run {
        series.settle(first, count);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_mark_rises_over_what_is_answered_or_given_up_and_no_further() {
        let series = Series::draw().unwrap();
        let first = series.reserve(6);
        let mut names: Vec<Name> = (first..first + 6).map(|sequence| series.name(sequence)).collect();
        assert_eq!(series.low_water().1, 0);
        let rest = names.split_off(3);
        let kept = names.remove(1);
        settle(names);
        assert_eq!(series.low_water().1, 1, "the second one is neither");
        settle(rest);
        assert_eq!(series.low_water().1, 1);
        drop(kept);
        assert_eq!(series.low_water().1, 6);
    }

    #[test]
    fn no_two_clients_have_a_name_in_common() {
        let (one, other) = (Series::draw().unwrap(), Series::draw().unwrap());
        assert_ne!(one.low_water().0, other.low_water().0);
        assert_eq!((one.reserve(5), one.reserve(5)), (0, 5));
    }
}
