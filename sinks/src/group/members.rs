//! The sinks of a group, and which of them are held back after a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millstream_core::{Batch, Error, Member, MetricName, Reaction, Result, Sink, SinkContext, State};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The members of a group, in the order of the configuration.
pub(super) struct Members(Vec<Slot>);

struct Slot {
    name: Arc<str>,
    batch_size: usize,
    status: Arc<millstream_core::ComponentStatus>,
    sink: Mutex<Box<dyn Sink>>,
    penalty: Mutex<Option<Penalty>>,
    /// Deliveries that have begun and not ended.
    open: AtomicUsize,
}

/// Counts a delivery as long as it lives.
struct Open<'a>(&'a AtomicUsize);

/// Of a member that failed.
#[derive(Debug, Clone, Copy)]
struct Penalty {
    /// In a row.
    failures: u32,
    failed: Instant,
    until: Instant,
}

/// What became of one delivery so far.
#[derive(Debug, Default)]
pub(super) struct Failures {
    last: Option<Error>,
    /// Members that reject the events for good.
    rejected: usize,
}

// === impl Members ===

impl Members {
    pub(super) fn new(members: Vec<Member>) -> Self {
        let slot = |member: Member| {
            let Member { name, sink, batch_size, status } = member;
            Slot {
                name,
                batch_size,
                status,
                sink: Mutex::new(sink),
                penalty: Mutex::new(None),
                open: AtomicUsize::new(0),
            }
        };
        Self(members.into_iter().map(slot).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of the member of this name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|slot| *slot.name == *name)
    }

    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|slot| &*slot.name).collect();
        names.join(" ")
    }

    /// Whether the member is not held back.
    pub(super) fn is_live(&self, index: usize) -> bool {
        self.0[index].penalty.lock().is_none_or(|penalty| penalty.until <= Instant::now())
    }

    /// How many deliveries the member takes at once.
    pub(super) fn most_open(&self, index: usize) -> usize {
        self.0[index].sink.lock().most_open().max(1)
    }

    /// Whether it takes a further delivery at once.
    pub(super) fn has_room(&self, index: usize) -> bool {
        self.0[index].open.load(Ordering::Relaxed) < self.most_open(index)
    }

    pub(super) fn start(&self, cx: &SinkContext) {
        for slot in &self.0 {
            let (name, status) = (Arc::clone(&slot.name), Arc::clone(&slot.status));
            slot.sink.lock().start(SinkContext { name, status, ..cx.clone() });
            slot.status.ready();
        }
    }

    /// # Errors
    /// The first member's; the others are closed all the same.
    pub(super) async fn close(&self) -> Result<()> {
        let mut outcome = Ok(());
        for slot in &self.0 {
            let closing = slot.sink.lock().close();
            outcome = outcome.and(closing.await);
            slot.status.enter(State::Stopped);
        }
        outcome
    }

    /// Delivers by one member; counted as Flume counts it. After a failure it is held back for 2 s, twice as long with each
    /// further one, at most `most`.
    pub(super) async fn deliver(&self, index: usize, batches: Arc<[Batch]>, most: Duration) -> Result<()> {
        let slot = &self.0[index];
        let events: usize = batches.iter().map(Batch::len).sum();
        let full =
            if events >= slot.batch_size { MetricName::BatchCompleteCount } else { MetricName::BatchUnderflowCount };
        slot.status.count(full, 1);
        slot.status.count(MetricName::EventDrainAttemptCount, events as u64);
        slot.status.see(&batches);
        let (began, _open) = (Instant::now(), Open::of(&slot.open));
        let delivery = slot.sink.lock().deliver(batches);
        let outcome = delivery.await;
        match &outcome {
            Ok(()) => {
                slot.status.count(MetricName::EventDrainSuccessCount, events as u64);
                if slot.penalty.lock().take().is_some() {
                    tracing::info!(sink = %slot.name, "delivers again");
                    slot.status.ready();
                }
            }
            // The events are at fault: the next ones may do.
            Err(error) if error.reaction() == Reaction::Reject => {
                slot.status.count(MetricName::EventWriteFail, 1);
                slot.status.failed(error);
            }
            Err(error) => slot.failed(error, began, most),
        }
        outcome
    }

    /// No member is left to try. What every member rejects is rejected; where one could not be asked, it may yet be taken.
    pub(super) fn none_left(&self, failures: Failures) -> Error {
        let Failures { last, rejected } = failures;
        if let Some(error) = &last
            && rejected == self.0.len()
        {
            return error.clone();
        }
        let why = last.map_or("each is held back after a failure".to_owned(), |error| error.to_string());
        let text = format!("all sinks failed to process, nothing left to fail over to; last: {why}");
        Error::net("deliver by", format!("one of {}", self.names()), std::io::Error::other(text))
    }
}

impl Failures {
    pub(super) fn add(&mut self, error: Error) {
        self.rejected += usize::from(error.reaction() == Reaction::Reject);
        self.last = Some(error);
    }
}

impl Slot {
    fn failed(&self, error: &Error, began: Instant, most: Duration) {
        self.status.count(MetricName::EventWriteFail, 1);
        self.status.failed(error);
        self.status.enter(State::Retrying);
        let mut penalty = self.penalty.lock();
        // Deliveries that were open together fail together: that is one failure.
        if penalty.is_some_and(|penalty| penalty.failed >= began) {
            return;
        }
        let failures = penalty.map_or(0, |penalty| penalty.failures).saturating_add(1);
        let wait = FIRST_PENALTY.saturating_mul(1 << (failures - 1).min(MOST_DOUBLINGS)).min(most);
        let failed = Instant::now();
        *penalty = Some(Penalty { failures, failed, until: failed + wait });
        if failures == 1 {
            tracing::warn!(%error, sink = %self.name, held_back_ms = wait.as_millis() as u64, "failed, another one takes over");
        }
    }
}

// === impl Open ===

impl<'a> Open<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// After the first failure, as in Flume.
const FIRST_PENALTY: Duration = Duration::from_secs(2);
const MOST_DOUBLINGS: u32 = 16;

/// For the tests of the processors.
#[cfg(test)]
pub(super) mod tests {
    use millstream_core::{ComponentStatus, Fut, Options, stop_token};
    use millstream_testkit::setting;

    use super::*;

    /// What the sinks of one group did.
    #[derive(Clone, Default)]
    pub(crate) struct Log(Arc<Mutex<Vec<(String, String)>>>);

    /// A sink that fails while its switch is on.
    pub(crate) struct Switched {
        name: String,
        log: Log,
        pub(crate) broken: Arc<std::sync::atomic::AtomicBool>,
    }

    impl Log {
        /// The member that delivered each event, in order.
        pub(crate) fn taken(&self) -> String {
            let mut taken = String::new();
            self.0.lock().drain(..).for_each(|(name, _)| taken.push_str(&name));
            taken
        }

        /// Bodies of what was delivered.
        pub(crate) fn bodies(&self) -> Vec<String> {
            self.0.lock().iter().map(|(_, body)| body.clone()).collect()
        }
    }

    impl Sink for Switched {
        fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
            let poison = batches.iter().flat_map(Batch::iter).any(|event| event.body() == b"poison");
            let outcome = if poison {
                Err(Error::Rejected { reason: format!("not to the taste of {}", self.name) })
            } else if self.broken.load(Ordering::SeqCst) {
                Err(Error::net("deliver to", &self.name, std::io::ErrorKind::ConnectionRefused.into()))
            } else {
                let bodies = batches.iter().flat_map(Batch::iter);
                let bodies = bodies.map(|event| String::from_utf8_lossy(event.body()).into_owned());
                self.log.0.lock().extend(bodies.map(|body| (self.name.clone(), body)));
                Ok(())
            };
            Box::pin(std::future::ready(outcome))
        }
    }

    /// Members of these names, and the switches that break them.
    pub(crate) fn members(names: &[&str], log: &Log) -> (Vec<Member>, Vec<Arc<std::sync::atomic::AtomicBool>>) {
        let member = |name: &&str| {
            let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let sink = Box::new(Switched { name: (*name).into(), log: log.clone(), broken: Arc::clone(&broken) });
            let status = ComponentStatus::new("sink", (*name).into(), "switched".into());
            (Member { name: (*name).into(), sink, batch_size: 2, status }, broken)
        };
        names.iter().map(member).unzip()
    }

    pub(crate) fn options(specs: &[millstream_core::OptionSpec], settings: &[(&str, &str)]) -> Result<Options> {
        let settings = settings.iter().map(|(key, value)| setting(key, value));
        Ok(Options::parse("a1.sinkgroups.g1.processor", specs, &[], settings)?.0)
    }

    pub(crate) fn context() -> SinkContext {
        let status = ComponentStatus::new("sinkgroup", "g1".into(), "test".into());
        SinkContext { name: "g1".into(), status, stop: stop_token().1, spool: None }
    }

    pub(crate) fn one(body: &str) -> Arc<[Batch]> {
        Arc::from([Batch::from_bodies([body])])
    }
}
