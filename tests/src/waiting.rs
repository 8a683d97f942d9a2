//! Waiting for what another process does: looked at again and again, at most for so long.

use std::time::{Duration, Instant};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// Whether `holds` comes true in time.
pub fn comes_true(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(LOOK); // sleeps: between two looks at what no event tells
    }
    true
}

/// Waits until `holds`.
#[track_caller]
pub fn until_true(what: &str, holds: impl FnMut() -> bool) {
    assert!(comes_true(holds), "never: {what}");
}
