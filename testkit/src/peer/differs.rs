//! Differences that tests assert.

use std::fmt::Debug;

/// Asserts that what the real one does is not what ours does: `id` is the difference's name in `docs/differences/`, from
/// where `docs/compat.md` takes what it says of it and of the test.
///
/// # Panics
/// When both are the same: then the difference has gone, and must go from there, too.
#[track_caller]
pub fn differs<O: PartialEq<T> + Debug, T: Debug>(id: &str, ours: O, theirs: T) {
    assert!(ours != theirs, "no difference any more, take {id} out of docs/differences: both are {ours:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_passes() {
        differs("one", vec!["a"], ["b"]);
    }

    #[test]
    #[should_panic(expected = "take one out of docs/differences")]
    fn a_difference_that_has_gone_fails() {
        differs("one", "a", "a");
    }
}
