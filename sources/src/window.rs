//! Deliveries that are under way: several at once, so that one fsync of a channel serves many batches.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use millstream_core::{
    Batch, ComponentStatus, Delivery, Error, Kind, MetricName, OptionSpec, Reaction, Result, SourceContext, optional,
};
use tokio::task::JoinHandle;

/// Most deliveries open at once. A sync of the disk takes as long for little as for a few MB: 32 batches of 1000 lines keep
/// it busy at two thirds of its sequential rate (8 of them at 0.4), and more only hold memory.
const MOST_OPEN: usize = 32;

/// The longest pause of a window.
pub(crate) const MAX_BACKOFF_SLEEP: OptionSpec =
    optional("maxBackoffSleep", Kind::Millis, "5000", "Longest wait before a refused batch is offered again.");
/// How Flume's pauses grow.
pub(crate) const BACKOFF_SLEEP_INCREMENT: OptionSpec = optional(
    "backoffSleepIncrement",
    Kind::Millis,
    "1000",
    "No effect: the wait begins as the channel asks, then doubles.",
);

/// The open deliveries of one source, oldest first.
///
/// # Delivery
/// A delivery that fails in a way that may pass is repeated; where batches have positions, all later ones are too, in
/// order: a channel that has some of them trims those. Channels never store a batch behind one of its origin that failed.
#[derive(Debug)]
pub(crate) struct Window {
    open: VecDeque<Open>,
    /// Longest wait between two attempts.
    max_backoff: Duration,
    /// Whether batches are counted, beside their events.
    counts_batches: bool,
}

/// A batch that a channel has been given.
#[derive(Debug)]
struct Open {
    batch: Batch,
    outcome: Outcome,
}

/// What became of it. Its events are counted the moment it is stored, whoever looks at the window then.
#[derive(Debug)]
enum Outcome {
    Known(Result<()>),
    /// Waits and counts beside the source, which may be waiting for room, a line or a peer.
    Pending(JoinHandle<Result<()>>),
}

/// What is counted when a batch is stored.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    events: u64,
    batches: u64,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It was done.
    Done,
    /// The source was asked to stop before; nothing of it was stored.
    Stopped,
}

// === impl Window ===

impl Window {
    pub(crate) fn new(max_backoff: Duration) -> Self {
        Self { open: VecDeque::new(), max_backoff, counts_batches: true }
    }

    /// For a source of which Flume counts the events alone.
    pub(crate) fn of_events(max_backoff: Duration) -> Self {
        Self { counts_batches: false, ..Self::new(max_backoff) }
    }

    /// Hands over one batch, after waiting for the oldest open delivery if there are too many.
    ///
    /// # Errors
    /// Those that no retry can help.
    pub(crate) async fn deliver(&mut self, cx: &SourceContext, batch: Batch) -> Result<Progress> {
        while self.open.len() >= MOST_OPEN {
            if self.settle_oldest(cx).await? == Progress::Stopped {
                return Ok(Progress::Stopped);
            }
        }
        let accepted = self.accepted(&batch);
        if accepted.batches > 0 {
            cx.status.count(MetricName::AppendBatchReceivedCount, accepted.batches);
        }
        self.open(cx, batch, accepted).await
    }

    /// Waits until everything handed over is stored. Asked to stop, it still waits for what is under way, and gives up
    /// only on what would have to be repeated.
    ///
    /// # Errors
    /// Those that no retry can help.
    pub(crate) async fn settle(&mut self, cx: &SourceContext) -> Result<Progress> {
        while !self.open.is_empty() {
            if self.settle_oldest(cx).await? == Progress::Stopped {
                return Ok(Progress::Stopped);
            }
        }
        Ok(Progress::Done)
    }

    /// Where the oldest batch that is not known to be stored begins; `None` when all are stored.
    pub(crate) fn settled(&self) -> Option<u64> {
        self.open.front().and_then(|open| open.batch.coverage()).map(|coverage| coverage.start)
    }

    /// Tells the channels that `origin` may be forgotten, as its identity may come again; everything handed over of it is
    /// settled before.
    ///
    /// # Errors
    /// Those that no retry can help.
    pub(crate) async fn retire(&mut self, cx: &SourceContext, origin: Arc<str>) -> Result<Progress> {
        if self.settle(cx).await? == Progress::Stopped {
            return Ok(Progress::Stopped);
        }
        loop {
            let outcome = match cx.processor.retire(Arc::clone(&origin)).await {
                Ok(delivery) => delivery.stored().await,
                Err(error) => Err(error),
            };
            let Err(error) = outcome else { return Ok(Progress::Done) };
            let Reaction::Retry { after } = error.reaction() else { return Err(error) };
            if pause(cx, after.min(self.max_backoff)).await == Progress::Stopped {
                return Ok(Progress::Stopped);
            }
        }
    }

    /// Offers `batch` until a channel takes it; `accepted` is counted once it is stored.
    async fn open(&mut self, cx: &SourceContext, batch: Batch, accepted: Accepted) -> Result<Progress> {
        let Some(delivery) = attempt(cx, &batch, self.max_backoff).await? else { return Ok(Progress::Stopped) };
        let outcome = Outcome::of(delivery, accepted, &cx.status).await;
        self.open.push_back(Open { batch, outcome });
        Ok(Progress::Done)
    }

    async fn settle_oldest(&mut self, cx: &SourceContext) -> Result<Progress> {
        let Some(Open { batch, outcome }) = self.open.pop_front() else { return Ok(Progress::Done) };
        match outcome.known().await {
            Ok(()) => Ok(Progress::Done),
            Err(error) => self.repeat(cx, batch, error).await,
        }
    }

    /// Delivers a failed batch and all later ones again, in order.
    async fn repeat(&mut self, cx: &SourceContext, failed: Batch, error: Error) -> Result<Progress> {
        let Reaction::Retry { after } = error.reaction() else { return Err(error) };
        tracing::warn!(%error, "delivery failed, repeating it");
        cx.status.failed(&error);
        let accepted = self.accepted(&failed);
        let mut again = vec![(failed, accepted)];
        for Open { batch, outcome } in std::mem::take(&mut self.open) {
            // With positions it is offered again behind the one before it, stored or not: what was stored is trimmed.
            match outcome.known().await {
                Err(_) => again.push((batch.clone(), self.accepted(&batch))),
                Ok(()) if batch.coverage().is_some() => again.push((batch, Accepted::BEFORE)),
                Ok(()) => {}
            }
        }
        if pause(cx, after.min(self.max_backoff)).await == Progress::Stopped {
            return Ok(Progress::Stopped);
        }
        for (batch, accepted) in again {
            if self.open(cx, batch, accepted).await? == Progress::Stopped {
                return Ok(Progress::Stopped);
            }
        }
        Ok(Progress::Done)
    }

    fn accepted(&self, batch: &Batch) -> Accepted {
        // What only tells how far the source came is no batch of Flume's.
        let batches = u64::from(self.counts_batches && !batch.is_empty());
        Accepted { events: batch.len() as u64, batches }
    }
}

// === impl Outcome ===

impl Outcome {
    async fn of(delivery: Delivery, accepted: Accepted, status: &Arc<ComponentStatus>) -> Self {
        let mut stored = Box::pin(delivery.stored());
        // Most channels in memory have it by now, and need nobody who waits.
        if let Poll::Ready(outcome) = poll_fn(|cx| Poll::Ready(stored.as_mut().poll(cx))).await {
            if outcome.is_ok() {
                accepted.count(status);
            }
            return Self::Known(outcome);
        }
        let status = Arc::clone(status);
        Self::Pending(tokio::spawn(async move {
            let outcome = stored.await;
            if outcome.is_ok() {
                accepted.count(&status);
            }
            outcome
        }))
    }

    async fn known(self) -> Result<()> {
        match self {
            Self::Known(outcome) => outcome,
            // It is aborted by nobody but a runtime that ends.
            Self::Pending(waiting) => {
                waiting.await.unwrap_or_else(|_| Err(Error::Stopped { what: "the runtime".into() }))
            }
        }
    }
}

// === impl Accepted ===

impl Accepted {
    /// It was stored, and counted, before.
    const BEFORE: Self = Self { events: 0, batches: 0 };

    fn count(self, status: &ComponentStatus) {
        if self.events > 0 {
            status.count(MetricName::EventAcceptedCount, self.events);
        }
        if self.batches > 0 {
            status.count(MetricName::AppendBatchAcceptedCount, self.batches);
        }
    }
}

/// How many events of those that came together, at most `most`, every channel takes in one transaction.
pub(crate) fn together(cx: &SourceContext, most: usize) -> usize {
    let capacities = cx.processor.channels().iter().map(|channel| channel.transaction_capacity());
    let least = capacities.min().unwrap_or(u64::MAX).max(1);
    usize::try_from(least).map_or(most, |least| least.min(most))
}

/// Offers `batch` until a channel takes it; `None` when the source was asked to stop first.
async fn attempt(cx: &SourceContext, batch: &Batch, max_backoff: Duration) -> Result<Option<Delivery>> {
    let mut wait = Duration::ZERO;
    let mut warned = false;
    let mut stop = cx.stop.clone();
    loop {
        // Dropping the call while it waits for room stores nothing.
        let outcome = tokio::select! {
            biased;
            outcome = cx.deliver(batch.clone()) => outcome,
            () = stop.stopped() => return Ok(None),
        };
        let error = match outcome {
            Ok(delivery) => return Ok(Some(delivery)),
            Err(error) => error,
        };
        let Reaction::Retry { after } = error.reaction() else { return Err(error) };
        if !warned {
            tracing::warn!(component = %cx.name, %error, "channel refused a batch, trying again");
            warned = true;
        }
        cx.status.failed(&error);
        wait = (wait * 2).clamp(after.min(max_backoff), max_backoff);
        if pause(cx, wait).await == Progress::Stopped {
            return Ok(None);
        }
    }
}

/// Waits, unless the source is asked to stop.
pub(crate) async fn pause(cx: &SourceContext, wait: Duration) -> Progress {
    let mut stop = cx.stop.clone();
    tokio::select! {
        biased;
        () = stop.stopped() => Progress::Stopped,
        () = tokio::time::sleep(wait) => Progress::Done,
    }
}
