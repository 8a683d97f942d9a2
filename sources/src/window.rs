//! Deliveries that are under way: several at once, so that one fsync of a channel serves many batches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Batch, Delivery, Error, MetricName, Reaction, Result, SourceContext};

/// Most deliveries open at once. A sync of the disk takes as long for little as for a few MB: 32 batches of 1000 lines keep
/// it busy at two thirds of its sequential rate (8 of them at 0.4), and more only hold memory.
const MOST_OPEN: usize = 32;

/// The open deliveries of one source, oldest first.
///
/// # Delivery
/// A delivery that fails in a way that may pass is repeated; where batches have positions, all later ones are too, in
/// order: a channel that has some of them trims those. Channels never store a batch behind one of its origin that failed.
#[derive(Debug)]
pub(crate) struct Window {
    open: VecDeque<(Batch, Delivery)>,
    /// Longest wait between two attempts.
    max_backoff: Duration,
    /// Whether batches are counted, beside their events.
    counts_batches: bool,
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
        self.count_batch(cx, MetricName::AppendBatchReceivedCount, &batch);
        match attempt(cx, &batch, self.max_backoff).await? {
            Some(delivery) => self.open.push_back((batch, delivery)),
            None => return Ok(Progress::Stopped),
        }
        Ok(Progress::Done)
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
        self.open.front().and_then(|(batch, _)| batch.coverage()).map(|coverage| coverage.start)
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

    async fn settle_oldest(&mut self, cx: &SourceContext) -> Result<Progress> {
        let Some((batch, delivery)) = self.open.pop_front() else { return Ok(Progress::Done) };
        match delivery.stored().await {
            Ok(()) => {
                self.accepted(cx, &batch);
                Ok(Progress::Done)
            }
            Err(error) => self.repeat(cx, batch, error).await,
        }
    }

    /// Delivers a failed batch and all later ones again, in order.
    async fn repeat(&mut self, cx: &SourceContext, failed: Batch, error: Error) -> Result<Progress> {
        let Reaction::Retry { after } = error.reaction() else { return Err(error) };
        tracing::warn!(%error, "delivery failed, repeating it");
        cx.status.failed(&error);
        let mut again = vec![failed];
        for (batch, delivery) in std::mem::take(&mut self.open) {
            let outcome = delivery.stored().await;
            // With positions it is offered again behind the one before it, stored or not: what was stored is trimmed.
            if outcome.is_err() || batch.coverage().is_some() {
                again.push(batch);
            } else {
                self.accepted(cx, &batch);
            }
        }
        if pause(cx, after.min(self.max_backoff)).await == Progress::Stopped {
            return Ok(Progress::Stopped);
        }
        for batch in again {
            match attempt(cx, &batch, self.max_backoff).await? {
                Some(delivery) => self.open.push_back((batch, delivery)),
                None => return Ok(Progress::Stopped),
            }
        }
        Ok(Progress::Done)
    }

    fn accepted(&self, cx: &SourceContext, batch: &Batch) {
        cx.status.count(MetricName::EventAcceptedCount, batch.len() as u64);
        self.count_batch(cx, MetricName::AppendBatchAcceptedCount, batch);
    }

    /// What only tells how far the source came is no batch of Flume's.
    fn count_batch(&self, cx: &SourceContext, counter: MetricName, batch: &Batch) {
        if self.counts_batches && !batch.is_empty() {
            cx.status.count(counter, 1);
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
