//! How long a peer is waited for.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

/// After the limit: as long as it takes to read what has come.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// Waits for `work` until `deadline`, and looks once more when that is over.
///
/// A process that was stopped for longer (SIGSTOP, a frozen machine) finds its timers over before it has seen what came
/// meanwhile: `epoll_wait` then ends with EINTR (signal(7)), and nothing is read. An answer would count as none, and its
/// events go out again.
///
/// # Errors
/// The time is over.
pub async fn until<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    match timeout_at(deadline, &mut work).await {
        Ok(outcome) => Ok(outcome),
        Err(_) => timeout(LAST_LOOK, work).await,
    }
}

/// The same, from now on.
///
/// # Errors
/// As [`until`].
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    until(Instant::now() + limit, work).await
}
