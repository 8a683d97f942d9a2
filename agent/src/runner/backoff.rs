//! How long to wait between two attempts.

use std::time::Duration;

/// Longest wait: Flume's for a sink that failed.
pub(crate) const MOST: Duration = Duration::from_secs(5);
/// What ran so long before it failed is not failing over and over.
pub(crate) const CALM: Duration = Duration::from_secs(30);
/// Least wait, whatever the error asks for.
const LEAST: Duration = Duration::from_millis(10);

/// Waits that double while attempts keep failing.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    last: Duration,
    attempts: u64,
}

// === impl Backoff ===

impl Backoff {
    /// The next wait: at least `after`, twice the one before, at most [`MOST`].
    pub(crate) fn next(&mut self, after: Duration) -> Duration {
        self.attempts += 1;
        self.last = (self.last * 2).max(after).clamp(LEAST, MOST);
        self.last
    }

    /// How many failures in a row.
    pub(crate) fn attempts(&self) -> u64 {
        self.attempts
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_anew_after_success() {
        let mut backoff = Backoff::default();
        let ms = |backoff: &mut Backoff| backoff.next(Duration::from_millis(250)).as_millis();
        let waits: Vec<u128> = (0..7).map(|_| ms(&mut backoff)).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(backoff.attempts(), 7);
        backoff.reset();
        assert_eq!((ms(&mut backoff), backoff.attempts()), (250, 1));
    }

    #[test]
    fn an_error_that_asks_for_no_wait_does_not_spin() {
        assert_eq!(Backoff::default().next(Duration::ZERO), LEAST);
    }
}
