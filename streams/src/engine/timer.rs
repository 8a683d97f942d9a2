//! When a batch is due.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::StopToken;
use millstream_io::Clock;

use crate::receiver::Intake;

/// Waits on the clock that never jumps; labels batches by the wall's.
pub(crate) struct Timer {
    clock: Arc<dyn Clock>,
    interval: Duration,
    /// On the monotonic clock.
    next: Duration,
    last_label_ms: u64,
}

/// A batch that is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    /// Since when, on the monotonic clock.
    pub(crate) at: Duration,
    /// The batch's time, milliseconds since 1970 UTC: later than the one before, whatever the wall clock did.
    pub(crate) time_ms: u64,
}

// === impl Timer ===

impl Timer {
    /// The first batch is due at the wall clock's next multiple of `interval`, as in Spark.
    pub(crate) fn new(clock: Arc<dyn Clock>, interval: Duration, last_label_ms: u64) -> Self {
        let millis = (interval.as_millis() as u64).max(1);
        let wait = millis - clock.now_ms() % millis;
        let next = clock.monotonic() + if interval.is_zero() { interval } else { Duration::from_millis(wait) };
        Self { clock, interval, next, last_label_ms }
    }

    /// Resolves when a batch is due. Several that were missed are one, due since the first of them. Once `hurry` is
    /// asked for, whatever arrives is due at once.
    ///
    /// # Cancel safety
    /// Dropped, nothing happened.
    pub(crate) async fn due(&mut self, intake: &Intake, hurry: &StopToken) -> Due {
        let mut hurried = hurry.clone();
        let at = tokio::select! {
            () = self.clock.sleep_until(self.next), if !self.interval.is_zero() => {
                let at = self.next;
                let missed = (self.clock.monotonic() - at).as_nanos() / self.interval.as_nanos();
                self.next += self.interval * (u32::try_from(missed).unwrap_or(u32::MAX - 1) + 1);
                at
            }
            () = async {
                if !self.interval.is_zero() {
                    hurried.stopped().await;
                }
                intake.arrived().await;
            } => self.clock.monotonic(),
        };
        let millis = (self.interval.as_millis() as u64).max(1);
        let label = self.clock.now_ms() / millis * millis;
        self.last_label_ms = label.max(self.last_label_ms + 1);
        Due { at, time_ms: self.last_label_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::names::SeenNames;
    use millstream_core::{RoomKeeper, stop_token};
    use millstream_io::ManualClock;

    #[tokio::test]
    async fn missed_batches_are_one_and_a_wall_clock_that_jumps_moves_only_labels() {
        let clock = ManualClock::new(1_050);
        let mut timer = Timer::new(clock.clone(), Duration::from_millis(100), 0);
        let intake = Intake::new(RoomKeeper::new(1, 1), SeenNames::default(), 0);
        let (_stopper, hurry) = stop_token();
        clock.advance(Duration::from_millis(50));
        let first = timer.due(&intake, &hurry).await;
        assert_eq!((first.at, first.time_ms), (Duration::from_millis(50), 1_100));
        clock.advance(Duration::from_millis(310));
        let second = timer.due(&intake, &hurry).await;
        assert_eq!((second.at, second.time_ms), (Duration::from_millis(150), 1_400));
        clock.set_wall(10);
        clock.advance(Duration::from_millis(90));
        let third = timer.due(&intake, &hurry).await;
        assert_eq!((third.at, third.time_ms), (Duration::from_millis(450), 1_401));
    }
}
