//! Drives a sink: takes from the channel, has it delivered, commits; or lets the sink's peers take.
//!
//! # Delivery
//! A take is committed after its delivery and rolled back otherwise. One is open at a time, so the channel's order is
//! kept. Events that the sink rejects for good go back as well and are offered again, with the longest wait: they hold up
//! what is behind them, and nothing is lost.

use std::sync::Arc;

use millstream_core::{
    Batch, BuiltSink, ChannelRef, Limit, MetricName, Reaction, Result, Sink, SinkContext, SinkSpec, State, StopToken,
    Take, Ticket,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::{Backoff, Paused, contained, keep_running, paused, retry_after};
use crate::pipeline::{Component, build_sink};

/// Runs the sink on the channel until it is asked to stop or cannot go on.
pub(crate) async fn run_sink(component: Component<SinkSpec>, sink: BuiltSink, channel: ChannelRef, stop: StopToken) {
    let status = Arc::clone(&component.status);
    let cx = SinkContext { name: Arc::clone(&component.name), status: Arc::clone(&status), stop };
    let mut built = Some(sink);
    let run = || {
        let sink = match built.take() {
            Some(sink) => Ok(sink),
            None => build_sink(component.spec, &component.options, &component.full_name),
        };
        let (cx, channel, place) = (cx.clone(), Arc::clone(&channel), component.full_name.clone());
        async move {
            match sink? {
                BuiltSink::Pull(sink) => contained(&place, sink.serve(channel, cx)).await,
                BuiltSink::Push { sink, batch_size } => {
                    contained(&place, Draining::new(sink, batch_size, channel, cx).run()).await
                }
            }
        }
    };
    keep_running(&status, &cx.stop, run).await;
}

/// A sink to which the runner brings what it takes.
struct Draining {
    sink: Box<dyn Sink>,
    channel: ChannelRef,
    batch_size: usize,
    cx: SinkContext,
    backoff: Backoff,
    /// When a failure was told last.
    told: Option<Instant>,
    /// Commits under way, awaited apart: a channel may write them down together, later.
    commits: mpsc::Sender<Ticket>,
    /// Reports those that fail; ends once `commits` is gone.
    commit_watch: JoinSet<()>,
}

// === impl Draining ===

impl Draining {
    fn new(sink: Box<dyn Sink>, batch_size: usize, channel: ChannelRef, cx: SinkContext) -> Self {
        let (commits, tickets) = mpsc::channel(MOST_COMMITS);
        let commit_watch = JoinSet::from_iter([watch_commits(tickets, cx.clone())]);
        Self { sink, channel, batch_size, cx, backoff: Backoff::default(), told: None, commits, commit_watch }
    }

    /// How much to take: a channel may change its bounds while it is open.
    fn limit(&self) -> Limit {
        let most = usize::try_from(self.channel.transaction_capacity()).unwrap_or(usize::MAX);
        Limit { events: self.batch_size.min(most).max(1), bytes: TAKE_BYTES }
    }

    async fn run(mut self) -> Result<()> {
        self.sink.start(self.cx.clone());
        self.cx.status.ready();
        let mut stop = self.cx.stop.clone();
        loop {
            let (asked, limit) = (Instant::now(), self.limit());
            // A take that is dropped while it waits gives back what it had.
            let taken = tokio::select! {
                biased;
                () = stop.stopped() => break,
                taken = self.channel.take(limit) => taken,
            };
            let step = match taken {
                Ok(take) if take.is_empty() => self.rest(take, asked).await,
                Ok(take) => self.deliver(take, limit).await?,
                Err(error) => {
                    self.count(MetricName::ChannelReadFail, 1);
                    self.back_off(error, 0).await?
                }
            };
            if step == Paused::Stopped {
                break;
            }
        }
        if let Err(error) = self.sink.close().await {
            tracing::warn!(%error, "sink could not be closed well");
            self.cx.status.failed(&error);
        }
        let Self { commits, mut commit_watch, .. } = self;
        drop(commits);
        while commit_watch.join_next().await.is_some() {}
        Ok(())
    }

    /// Nothing came within the channel's keep-alive.
    async fn rest(&mut self, take: Take, asked: Instant) -> Paused {
        self.count(MetricName::BatchEmptyCount, 1);
        drop(take.commit());
        // Over already, unless the keep-alive is very short.
        paused(&self.cx.stop, LEAST_REST.saturating_sub(asked.elapsed())).await
    }

    async fn deliver(&mut self, take: Take, limit: Limit) -> Result<Paused> {
        let events = take.events() as u64;
        let full = take.events() >= limit.events;
        self.count(if full { MetricName::BatchCompleteCount } else { MetricName::BatchUnderflowCount }, 1);
        self.count(MetricName::EventDrainAttemptCount, events);
        let batches = with_marks(&take);
        if let Err(error) = self.sink.deliver(batches).await {
            self.count(MetricName::EventWriteFail, 1);
            drop(take);
            return self.back_off(error, events).await;
        }
        let ticket = take.commit();
        self.count(MetricName::EventDrainSuccessCount, events);
        // Only a panic of the watch could close it; the commit stands in any case.
        let _ = self.commits.send(ticket).await;
        if self.backoff.attempts() > 0 {
            tracing::info!(failures = self.backoff.attempts(), "delivers again");
            self.backoff.reset();
            self.cx.status.ready();
        }
        Ok(Paused::Done)
    }

    /// Waits before the next attempt. The events in question are in the channel again.
    ///
    /// # Errors
    /// The error itself, when the sink cannot go on.
    async fn back_off(&mut self, error: millstream_core::Error, events: u64) -> Result<Paused> {
        let Some(after) = retry_after(&error) else { return Err(error) };
        let wait = self.backoff.next(after);
        let (attempt, wait_ms) = (self.backoff.attempts(), wait.as_millis() as u64);
        match error.reaction() {
            Reaction::Reject => {
                tracing::error!(%error, events, attempt, wait_ms, "sink rejects events, they stay and are tried again");
            }
            _ if self.tells() => tracing::warn!(%error, events, attempt, wait_ms, "delivery failed, trying again"),
            _ => tracing::debug!(%error, events, attempt, wait_ms, "delivery failed, trying again"),
        }
        self.cx.status.failed(&error);
        self.cx.status.enter(State::Retrying);
        Ok(paused(&self.cx.stop, wait).await)
    }

    /// Whether a failure is worth a line: the first one in a row, and one from time to time. A peer that is not there yet
    /// must not fill the log.
    fn tells(&mut self) -> bool {
        let tells = self.backoff.attempts() <= 1 || self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if tells {
            self.told = Some(Instant::now());
        }
        tells
    }

    fn count(&self, name: MetricName, by: u64) {
        self.cx.status.count(name, by);
    }
}

/// The batches of a take; the first one carries the channel's low-water marks, for sinks whose peers know names.
fn with_marks(take: &Take) -> Arc<[Batch]> {
    let mut batches = take.batches().to_vec();
    if let (Some(first), false) = (batches.first_mut(), take.low_water().is_empty()) {
        *first = first.clone().with_low_water(take.low_water());
    }
    batches.into()
}

/// Waits for commits in order and reports those that fail: these events may be delivered again after a restart.
async fn watch_commits(mut tickets: mpsc::Receiver<Ticket>, cx: SinkContext) {
    while let Some(ticket) = tickets.recv().await {
        if let Err(error) = ticket.await {
            tracing::warn!(%error, "events were delivered, but that could not be noted; they may come again");
            cx.status.failed(&error);
        }
    }
}

/// Most bytes of bodies in one take.
const TAKE_BYTES: u64 = 8 << 20;
/// Most commits that are not written down yet; more would only hide a disk that does not answer.
const MOST_COMMITS: usize = 8192;
/// While deliveries keep failing, how often that is told.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// However short a channel's keep-alive is, an empty one does not keep a core busy.
const LEAST_REST: Duration = Duration::from_millis(10);
