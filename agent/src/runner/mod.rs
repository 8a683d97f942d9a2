//! Drives components: runs each until it ends, fails for good or is asked to stop.
//!
//! Runners alone retry. They obey [`Error::reaction`]: `Retry` waits, longer every time while it keeps failing, and `Stop`
//! ends the component, of which the status and the log tell. A panic is an error of the component alone: it is built
//! anew.

mod backoff;
mod sink;
mod source;

use std::future::Future;

use millstream_core::{ComponentStatus, Error, Reaction, Result, State, StopToken};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::pipeline::panicked;
pub(crate) use backoff::Backoff;
pub(crate) use sink::run_sink;
pub(crate) use source::run_source;

/// Runs what `run` gives, again after every failure that may pass, until it ends or is asked to stop.
async fn keep_running<F>(status: &ComponentStatus, stop: &StopToken, mut run: impl FnMut() -> F)
where
    F: Future<Output = Result<()>>,
{
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        let outcome = run().await;
        let Err(error) = outcome else {
            if !stop.is_stopped() {
                tracing::info!("ended by itself");
            }
            return status.enter(State::Stopped);
        };
        status.failed(&error);
        if stop.is_stopped() {
            tracing::warn!(%error, "failed while it stopped");
            return status.enter(State::Stopped);
        }
        let Some(after) = retry_after(&error) else {
            tracing::error!(%error, "failed for good, the others go on");
            return status.enter(State::Failed);
        };
        if began.elapsed() > backoff::CALM {
            backoff.reset();
        }
        let wait = backoff.next(after);
        status.enter(State::Retrying);
        tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "failed, starting again");
        if paused(stop, wait).await == Paused::Stopped {
            return status.enter(State::Stopped);
        }
    }
}

/// Runs a future on a task of its own, so that a panic ends it alone. Dropped, the task is too.
async fn contained<T: Send + 'static>(
    place: &str,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    use tracing::Instrument;
    let mut task = JoinSet::new();
    task.spawn(future.in_current_span());
    match task.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(ended)) if ended.is_panic() => Err(panicked(place, &*ended.into_panic())),
        _ => Err(Error::Stopped { what: place.into() }),
    }
}

/// How long to wait at least; `None` when the component cannot go on. A rejection of which nothing can be set aside can
/// only be repeated: nothing is lost, and the status shows why nothing moves.
fn retry_after(error: &Error) -> Option<std::time::Duration> {
    match error.reaction() {
        Reaction::Retry { after } => Some(after),
        Reaction::Reject => Some(backoff::MOST),
        Reaction::Stop => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paused {
    Done,
    Stopped,
}

/// Waits, unless it is time to stop.
async fn paused(stop: &StopToken, wait: std::time::Duration) -> Paused {
    let mut stop = stop.clone();
    tokio::select! {
        biased;
        () = stop.stopped() => Paused::Stopped,
        () = sleep(wait) => Paused::Done,
    }
}
