//! Drives a sink: takes from the channel, has it delivered, commits; or lets the sink's peers take.
//!
//! # Delivery
//! A take is committed after its delivery and rolled back otherwise. One is open at a time, until its commit is written, so
//! the channel's order is kept and a crash repeats one take at most, unless the sink takes more. Events that the sink
//! rejects for good go back as well, and the one at fault among them is found and set aside: [`millstream_core::poison`].

use std::sync::Arc;

use millstream_core::poison::{Letterbox, Suspicion, Verdict, Why};
use millstream_core::{
    Batch, BuiltSink, ChannelRef, Error, Fut, Limit, MetricName, Reaction, Result, Sink, SinkContext, State, StopToken,
    Take,
};
use tokio::task::coop::consume_budget;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Duration, Instant, sleep_until};
use tracing::Instrument;

use super::{Backoff, contained, keep_running, retry_after};
use crate::pipeline::{SinkPart, panicked};

/// Runs the sink on the channel until it is asked to stop or cannot go on. `spool`: see [`SinkContext`].
pub(crate) async fn run_sink(part: SinkPart, channel: ChannelRef, spool: Option<ChannelRef>, stop: StopToken) {
    let SinkPart { full_name, name, status, sink, build, .. } = part;
    let cx = SinkContext { name, status: Arc::clone(&status), stop, spool };
    let mut built = Some(sink);
    let run = || {
        let sink = built.take().map_or_else(&build, Ok);
        let (cx, channel, place) = (cx.clone(), Arc::clone(&channel), full_name.clone());
        async move {
            match sink? {
                BuiltSink::Pull(sink) => contained(&place, sink.serve(channel, cx)).await,
                BuiltSink::Push { sink, batch_size } => {
                    contained(&place, Draining::new(sink, batch_size, channel, cx, &place).run()).await
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
    /// Its full name.
    place: String,
    open: JoinSet<Delivered>,
    /// Bytes of what is open.
    open_bytes: u64,
    /// Until when nothing is taken, after a failure or an empty take.
    paused: Option<Instant>,
    backoff: Backoff,
    suspicion: Suspicion,
    /// Takes that were open beside one that was rejected, and are still: they say nothing of it.
    beside: usize,
    /// When a failure was told last.
    told: Option<Instant>,
}

/// What became of a take.
struct Delivered {
    events: u64,
    bytes: u64,
    /// An error: the take is rolled back, unless its only event was set aside.
    outcome: Result<()>,
    aside: Aside,
    /// Of the commit of what was delivered.
    written: Result<()>,
}

/// Whether the only event of a take was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aside {
    No,
    Yes,
    /// It was to be, and the channel has no place for it.
    NoPlace,
}

/// A take under way.
struct Taking<'a> {
    asked: Instant,
    limit: Limit,
    take: Fut<'a, Result<Take>>,
}

// === impl Draining ===

impl Draining {
    fn new(sink: Box<dyn Sink>, batch_size: usize, channel: ChannelRef, cx: SinkContext, place: &str) -> Self {
        Self {
            sink,
            channel,
            batch_size,
            cx,
            place: place.to_owned(),
            open: JoinSet::new(),
            open_bytes: 0,
            paused: None,
            backoff: Backoff::default(),
            suspicion: Suspicion::default(),
            beside: 0,
            told: None,
        }
    }

    /// How much to take: a channel may change its bounds while it is open.
    fn limit(&self) -> Limit {
        let most = usize::try_from(self.channel.transaction_capacity()).unwrap_or(usize::MAX);
        Limit { events: self.suspicion.limit(self.batch_size.min(most).max(1)), bytes: TAKE_BYTES }
    }

    async fn run(mut self) -> Result<()> {
        self.sink.start(self.cx.clone());
        self.cx.status.ready();
        self.exchange().await?;
        if let Err(error) = self.sink.close().await {
            tracing::warn!(%error, "sink could not be closed well");
            self.cx.status.failed(&error);
        }
        Ok(())
    }

    /// Takes and delivers until it is asked to stop and nothing is open.
    async fn exchange(&mut self) -> Result<()> {
        let (channel, mut stop) = (Arc::clone(&self.channel), self.cx.stop.clone());
        let (mut taking, mut stopping) = (None, false);
        loop {
            // What is always ready would not let others have their turn.
            consume_budget().await;
            if stopping && self.open.is_empty() {
                return Ok(());
            }
            if stopping || !self.may_take() {
                // A take that is dropped while it waits gives back what it had.
                taking = None;
            } else if taking.is_none() {
                let (asked, limit) = (Instant::now(), self.limit());
                taking = Some(Taking { asked, limit, take: channel.take(limit) });
            }
            tokio::select! {
                biased;
                () = stop.stopped(), if !stopping => stopping = true,
                Some(delivered) = self.open.join_next() => self.settle(delivered)?,
                taken = taken(&mut taking) => {
                    if let Some(Taking { asked, limit, .. }) = taking.take() {
                        self.begin(taken, asked, limit).await?;
                    }
                }
                () = until(self.paused) => self.paused = None,
            }
        }
    }

    fn may_take(&self) -> bool {
        let most = if self.suspicion.is_roused() { 1 } else { self.sink.most_open().max(1) };
        let few = self.open.len() < most;
        self.paused.is_none() && few && (self.open.is_empty() || self.open_bytes < OPEN_BYTES)
    }

    async fn begin(&mut self, taken: Result<Take>, asked: Instant, limit: Limit) -> Result<()> {
        match taken {
            // Nothing came within the channel's keep-alive; over already, unless that is very short.
            Ok(take) if take.is_empty() => {
                self.count(MetricName::BatchEmptyCount, 1);
                drop(take.commit());
                self.paused = Some(asked + LEAST_REST);
                Ok(())
            }
            Ok(take) => {
                let delivered = self.deliver(take, limit);
                if self.sink.most_open() > 1 {
                    self.open.spawn(delivered.in_current_span());
                    return Ok(());
                }
                // Here, not beside: a task of its own would wait for its turn behind all that fill the channel.
                let delivered = delivered.await;
                self.settle(Ok(delivered))
            }
            Err(error) => {
                self.count(MetricName::ChannelReadFail, 1);
                self.back_off(&error)
            }
        }
    }

    fn deliver(&mut self, mut take: Take, limit: Limit) -> impl Future<Output = Delivered> + Send + 'static {
        let full = take.events() >= limit.events;
        self.count(if full { MetricName::BatchCompleteCount } else { MetricName::BatchUnderflowCount }, 1);
        self.count(MetricName::EventDrainAttemptCount, take.events() as u64);
        let batches = with_marks(&take);
        self.cx.status.see(&batches);
        let bytes = batches.iter().map(Batch::body_bytes).sum();
        let alone = take.events() == 1 && self.suspicion.may_set_aside();
        let letterbox = batches.first().filter(|_| alone).map(|batch| Letterbox {
            // A group may have a channel of its own.
            channels: [&self.channel].into_iter().chain(&self.cx.spool).map(Arc::clone).collect(),
            sink: self.place.as_str().into(),
            event: batch.slice(0..1),
        });
        let delivery = self.sink.deliver(batches);
        if self.sink.most_open() > 1 {
            // The answers may take long: until then the channel need not hold all of it in memory.
            take.release();
        }
        self.open_bytes += bytes;
        delivered(delivery, take, bytes, letterbox)
    }

    fn settle(&mut self, delivered: Result<Delivered, JoinError>) -> Result<()> {
        let Delivered { events, bytes, outcome, aside, written } = match delivered {
            Ok(delivered) => delivered,
            Err(ended) if ended.is_panic() => return Err(panicked(&self.place, &*ended.into_panic())),
            Err(_) => return Err(Error::Stopped { what: self.place.as_str().into() }),
        };
        self.open_bytes -= bytes;
        let beside = self.beside > 0;
        self.beside -= usize::from(beside);
        match outcome {
            Ok(()) => {
                self.count(MetricName::EventDrainSuccessCount, events);
                if !beside {
                    self.suspicion.delivered(events as usize);
                }
            }
            Err(error) => {
                self.count(MetricName::EventWriteFail, 1);
                match aside {
                    Aside::Yes => self.is_rid_of_one(&error),
                    _ if error.reaction() == Reaction::Reject => {
                        if beside || self.paused.is_some() {
                            self.cx.status.failed(&error);
                        } else {
                            self.beside = self.open.len();
                            self.rejected(error, events, aside);
                        }
                        return Ok(());
                    }
                    _ => return self.back_off(&error),
                }
            }
        }
        if let Err(error) = written {
            tracing::warn!(%error, events, "delivered, but that could not be noted; they may come again");
            self.cx.status.failed(&error);
        }
        if self.backoff.attempts() > 0 && self.paused.is_none() {
            tracing::info!(failures = self.backoff.attempts(), "delivers again");
            self.backoff.reset();
            self.cx.status.ready();
        }
        Ok(())
    }

    /// Takes nothing for a while. The events in question are in the channel again.
    ///
    /// # Errors
    /// The error itself, when the sink cannot go on.
    fn back_off(&mut self, error: &Error) -> Result<()> {
        let Some(after) = retry_after(error) else { return Err(error.clone()) };
        if let Some((attempt, wait_ms)) = self.pause(error, after) {
            match self.tells() {
                true => tracing::warn!(%error, attempt, wait_ms, "delivery failed, trying again"),
                false => tracing::debug!(%error, attempt, wait_ms, "delivery failed, trying again"),
            }
        }
        Ok(())
    }

    /// The event that was rejected is set aside, of which the channel has told.
    fn is_rid_of_one(&mut self, error: &Error) {
        self.cx.status.failed(error);
        self.suspicion.set_aside();
        if self.backoff.attempts() > 0 {
            self.backoff.reset();
            self.cx.status.ready();
        }
    }

    /// Has events that were rejected offered again, or in parts. They are in the channel again.
    fn rejected(&mut self, error: Error, events: u64, aside: Aside) {
        let verdict = match aside {
            Aside::NoPlace => self.suspicion.has_no_place(),
            Aside::No | Aside::Yes => self.suspicion.rejected(events as usize),
        };
        match verdict {
            Verdict::Divide => {
                self.cx.status.failed(&error);
                tracing::debug!(%error, events, "sink rejects one of these events, it is looked for");
                // What is being taken meanwhile is as much as was usual.
                self.paused = Some(Instant::now());
            }
            Verdict::Again => {
                if let Some((attempt, wait_ms)) = self.pause(&error, BEFORE_AGAIN) {
                    tracing::warn!(%error, events, attempt, wait_ms, "sink rejects events, they stay and are tried again");
                }
            }
            Verdict::Stays(why, new) => {
                let error = because(error, why);
                let after = retry_after(&error).unwrap_or(BEFORE_AGAIN);
                let Some((attempt, wait_ms)) = self.pause(&error, after) else { return };
                match self.tells() || new {
                    true => tracing::error!(%error, attempt, wait_ms, "sink rejects an event, it stays"),
                    false => tracing::debug!(%error, attempt, wait_ms, "sink rejects an event, it stays"),
                }
            }
        }
    }

    /// Waits at least `after`, longer after several failures in a row. How many, and for how many ms; `None` when it waits
    /// already, as something failed that was open beside it.
    fn pause(&mut self, error: &Error, after: Duration) -> Option<(u64, u64)> {
        self.cx.status.failed(error);
        self.cx.status.enter(State::Retrying);
        if self.paused.is_some() {
            return None;
        }
        let wait = self.backoff.next(after);
        self.paused = Some(Instant::now() + wait);
        Some((self.backoff.attempts(), wait.as_millis() as u64))
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

async fn taken(taking: &mut Option<Taking<'_>>) -> Result<Take> {
    match taking {
        Some(Taking { take, .. }) => take.await,
        None => std::future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
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

/// Commits the take once it is delivered or set aside, and waits until that is written: a crash in between delivers it
/// again.
async fn delivered(
    delivery: Fut<'static, Result<()>>,
    take: Take,
    bytes: u64,
    letterbox: Option<Letterbox>,
) -> Delivered {
    let (mut outcome, events, mut aside) = (delivery.await, take.events() as u64, Aside::No);
    if let Err(error) = &outcome
        && error.reaction() == Reaction::Reject
        && let Some(letterbox) = letterbox
    {
        match letterbox.keep(error).await {
            Some(Ok(())) => aside = Aside::Yes,
            Some(Err(error)) => {
                // What can never be written has no place either.
                aside = if error.reaction() == Reaction::Reject { Aside::NoPlace } else { Aside::No };
                outcome = Err(error);
            }
            None => aside = Aside::NoPlace,
        }
    }
    let written = match outcome.is_ok() || aside == Aside::Yes {
        true => take.commit().await,
        false => Ok(()),
    };
    Delivered { events, bytes, outcome, aside, written }
}

/// A rejection of which nobody is rid, with what to do.
fn because(error: Error, why: Why) -> Error {
    let reason = match error {
        Error::Rejected { reason } => reason,
        other => other.to_string(),
    };
    Error::Rejected { reason: format!("{reason}; {}", why.text()) }
}

/// Most bytes of bodies in one take.
const TAKE_BYTES: u64 = 8 << 20;
/// Bytes of bodies in all open takes beyond which no further one is made.
const OPEN_BYTES: u64 = 16 << 20;
/// While deliveries keep failing, how often that is told.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// However short a channel's keep-alive is, an empty one does not keep a core busy. Flume waits 1 to 5 s.
const LEAST_REST: Duration = Duration::from_millis(100);
/// Before events that were rejected are offered again: longer every time.
const BEFORE_AGAIN: Duration = Duration::from_millis(250);
