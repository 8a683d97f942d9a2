//! Time, so that tests can move it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_core::Fut;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Two clocks: the wall's, for names and people, and one that never jumps, for waiting.
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since 1970 UTC. May jump.
    fn now_ms(&self) -> u64;
    /// Time since some fixed start. Never goes back.
    fn monotonic(&self) -> Duration;
    /// Resolves once [`Self::monotonic`] has reached `due`.
    fn sleep_until(&self, due: Duration) -> Fut<'_, ()>;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: Mutex<u64>,
    monotonic: watch::Sender<Duration>,
}

// === impl SystemClock ===

impl SystemClock {
    /// Starts counting now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep_until(&self, due: Duration) -> Fut<'_, ()> {
        Box::pin(tokio::time::sleep_until((self.start + due).into()))
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// Stands at `wall_ms`, with nothing elapsed.
    pub fn new(wall_ms: u64) -> Arc<Self> {
        let (monotonic, _) = watch::channel(Duration::ZERO);
        Arc::new(Self { wall_ms: Mutex::new(wall_ms), monotonic })
    }

    /// Lets time pass on both clocks and wakes whose time has come.
    pub fn advance(&self, by: Duration) {
        *self.wall_ms.lock() += by.as_millis() as u64;
        self.monotonic.send_modify(|now| *now += by);
    }

    /// Moves the wall's clock alone, as an administrator does.
    pub fn set_wall(&self, wall_ms: u64) {
        *self.wall_ms.lock() = wall_ms;
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        *self.wall_ms.lock()
    }

    fn monotonic(&self) -> Duration {
        *self.monotonic.borrow()
    }

    fn sleep_until(&self, due: Duration) -> Fut<'_, ()> {
        let mut watcher = self.monotonic.subscribe();
        Box::pin(async move {
            // The sender lives in the clock, which this borrows.
            let _ = watcher.wait_for(|now| *now >= due).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_their_time_has_come() {
        let clock = ManualClock::new(1_000);
        let sleeper = {
            let clock = Arc::clone(&clock);
            tokio::spawn(async move { clock.sleep_until(Duration::from_secs(5)).await })
        };
        clock.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.expect("woken");
        assert_eq!(clock.now_ms(), 6_000);
        clock.set_wall(10);
        assert_eq!(clock.monotonic(), Duration::from_secs(5), "a jump of the wall clock moves nothing else");
    }
}
