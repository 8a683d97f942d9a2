//! A channel in memory that remembers positions, fails on demand and tells what happened: for the tests of sources.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{
    Batch, Channel, ChannelProcessor, ChannelRef, ChannelTotals, ComponentStatus, Error, Fut, Limit, MetricName,
    Result, Room, Route, Routes, Selector, Setting, Source, SourceContext, Stopper, Take, Ticket, stop_token,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a [`TestChannel`] was given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) headers: Vec<BTreeMap<String, String>>,
    /// Events of each put that had some.
    pub(crate) puts: Vec<usize>,
    pub(crate) covered: BTreeMap<String, u64>,
    /// Origins that were completed, in order.
    pub(crate) retired: Vec<String>,
    refuse_reservations: u32,
    fail_puts: u32,
}

#[derive(Debug)]
pub(crate) struct TestChannel {
    name: Arc<str>,
    stored: watch::Sender<Stored>,
}

/// A source under test.
pub(crate) struct Running {
    stopper: Stopper,
    task: JoinHandle<Result<()>>,
    pub(crate) status: Arc<ComponentStatus>,
    pub(crate) cx: SourceContext,
}

pub(crate) fn setting(key: &str, value: &str) -> Setting {
    Setting { key: key.into(), value: value.into(), place: format!("flume.conf:7: a1.sources.r1.{key}") }
}

/// Runs `source` over `channel`.
pub(crate) fn start(source: Box<dyn Source>, channel: &Arc<TestChannel>) -> Running {
    struct All;
    impl Selector for All {
        fn select(&self, _: &Batch) -> Routes {
            Routes { channels: vec![Route::Required] }
        }
    }
    let (stopper, stop) = stop_token();
    let status = ComponentStatus::new("source", "r1".into(), "test".into());
    let channel: ChannelRef = Arc::clone(channel) as _;
    let processor = Arc::new(ChannelProcessor::new(vec![], Box::new(All), vec![channel]));
    let cx = SourceContext { name: "r1".into(), processor, status: Arc::clone(&status), stop };
    Running { stopper, task: tokio::spawn(source.run(cx.clone())), status, cx }
}

impl Running {
    /// Asks the source to stop and waits for its outcome.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stopper.stop();
        self.outcome().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn outcome(self) -> Result<()> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the source ends in time").unwrap()
    }

    /// Waits until `counter` is at least `value`.
    pub(crate) async fn until_counted(&self, counter: MetricName, value: u64) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.status.counters().value(counter) < value {
                tokio::task::yield_now().await;
            }
        });
        waited.await.expect("counted in time");
    }

    /// Ends it where it is, as a crash would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

impl TestChannel {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { name: "c1".into(), stored: watch::Sender::new(Stored::default()) })
    }

    /// Waits until `holds` of what is stored.
    pub(crate) async fn until(&self, holds: impl Fn(&Stored) -> bool) {
        let mut watcher = self.stored.subscribe();
        let waited = tokio::time::timeout(PATIENCE, watcher.wait_for(|stored| holds(stored))).await;
        if waited.is_err() {
            let stored = self.stored.borrow();
            panic!("never held; {} events, retired {:?}", stored.bodies.len(), stored.retired);
        }
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.stored.borrow().bodies.iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect()
    }

    pub(crate) fn puts(&self) -> Vec<usize> {
        self.stored.borrow().puts.clone()
    }

    pub(crate) fn stored(&self) -> Stored {
        self.stored.borrow().clone()
    }

    /// As if everything before `end` of `origin` had been stored in an earlier life.
    pub(crate) fn cover(&self, origin: &str, end: u64) {
        self.stored.send_modify(|stored| _ = stored.covered.insert(origin.to_owned(), end));
    }

    /// The next `count` calls for room find none.
    pub(crate) fn refuse_reservations(&self, count: u32) {
        self.stored.send_modify(|stored| stored.refuse_reservations = count);
    }

    /// The next `count` puts are lost.
    pub(crate) fn fail_puts(&self, count: u32) {
        self.stored.send_modify(|stored| stored.fail_puts = count);
    }
}

/// Whether a call that has `left` failures to show fails.
fn fails(left: &mut u32) -> bool {
    let fails = *left > 0;
    *left = left.saturating_sub(1);
    fails
}

impl Channel for TestChannel {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn reserve(&self, _: u64, _: u64) -> Fut<'_, Result<Room>> {
        let mut refused = false;
        self.stored.send_modify(|stored| refused = fails(&mut stored.refuse_reservations));
        let full = Error::ChannelFull {
            channel: "c1".into(),
            queued_events: 1,
            capacity_events: 1,
            queued_bytes: 1,
            capacity_bytes: 1,
        };
        Box::pin(std::future::ready(if refused { Err(full) } else { Ok(Room::unbounded()) }))
    }

    fn put(&self, batch: Batch, _: Room) -> Ticket {
        let mut failed = false;
        self.stored.send_modify(|stored| {
            failed = fails(&mut stored.fail_puts);
            if !failed {
                failed = !stored.put(&batch);
            }
        });
        let lost = || Error::io("fdatasync", "/test", std::io::Error::other("the disk went away"));
        Ticket::ready(if failed { Err(lost()) } else { Ok(()) })
    }

    fn take(&self, _: Limit) -> Fut<'_, Result<Take>> {
        Box::pin(std::future::ready(Ok(Take::empty())))
    }

    fn covered(&self, origin: &str) -> Option<u64> {
        self.stored.borrow().covered.get(origin).copied()
    }

    fn transaction_capacity(&self) -> u64 {
        u64::MAX
    }

    fn totals(&self) -> ChannelTotals {
        ChannelTotals::default()
    }
}

impl Stored {
    /// `false` for a batch behind a gap: one before it failed.
    fn put(&mut self, batch: &Batch) -> bool {
        let mut fresh = batch.clone();
        if let Some(coverage) = batch.coverage() {
            if coverage.retire {
                self.covered.remove(&*coverage.origin);
                self.retired.push(coverage.origin.to_string());
                return true;
            }
            let covered = self.covered.entry(coverage.origin.to_string()).or_default();
            if coverage.start > *covered {
                return false;
            }
            fresh = batch.without_covered(*covered);
            *covered = coverage.end.max(*covered);
        }
        for event in fresh.iter() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            self.bodies.push(event.body().to_vec());
            self.headers.push(event.headers().map(|(key, value)| (text(key), text(value))).collect());
        }
        if !fresh.is_empty() {
            self.puts.push(fresh.len());
        }
        true
    }
}
