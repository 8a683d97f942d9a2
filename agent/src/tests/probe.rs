//! A sink and a source that do as a test tells them. Specs build from options alone, so tests and components meet by name.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use millstream_core::{
    Batch, BuiltSink, Error, Fut, Kind, Options, Result, Sink, SinkSpec, Source, SourceContext, SourceSpec, optional,
    required,
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// What the next call does; [`Act::Work`] once there are no more.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Work,
    Fail(Error),
    Panic,
    /// Never resolves.
    Hang,
}

/// A test's end of its components.
#[derive(Clone)]
pub(super) struct Probe {
    pub(super) name: String,
    acts: Arc<Mutex<Vec<Act>>>,
    /// Bodies delivered.
    delivered: watch::Sender<Vec<String>>,
    /// Calls begun.
    calls: watch::Sender<usize>,
    /// Bodies that are rejected.
    poison: Arc<Mutex<Vec<String>>>,
    most_open: Arc<Mutex<usize>>,
    /// Deliveries wait while it is false.
    open: watch::Sender<bool>,
}

static PROBES: LazyLock<Mutex<HashMap<String, Probe>>> = LazyLock::new(Mutex::default);

pub(super) static PROBE_SINK: SinkSpec = SinkSpec {
    name: "probe",
    aliases: &[],
    summary: "Does as a test tells it.",
    options: &[
        required("name", Kind::Text, "The test's probe."),
        optional("batchSize", Kind::Int(1, 1_000_000), "100", "Most events of one transaction."),
    ],
    build: |options| {
        let sink = Box::new(ProbeSink(Probe::find(options)?));
        Ok(BuiltSink::Push { sink, batch_size: options.int("batchSize")? })
    },
};

pub(super) static PROBE_SOURCE: SourceSpec = SourceSpec {
    name: "probe",
    aliases: &[],
    summary: "Does as a test tells it.",
    options: &[required("name", Kind::Text, "The test's probe; none of this name panics.")],
    build: |options| Ok(Box::new(ProbeSource(Probe::find(options)?))),
};

struct ProbeSink(Probe);
struct ProbeSource(Probe);

/// Longest wait for what must happen.
pub(super) async fn in_time<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), pin!(event)).await.expect("happens in time")
}

impl Probe {
    /// A probe that first does `acts`.
    pub(super) fn new(name: &str, acts: impl IntoIterator<Item = Act>) -> Self {
        let probe = Self {
            name: name.to_owned(),
            acts: Arc::new(Mutex::new(acts.into_iter().collect())),
            delivered: watch::Sender::new(Vec::new()),
            calls: watch::Sender::new(0),
            poison: Arc::default(),
            most_open: Arc::new(Mutex::new(1)),
            open: watch::Sender::new(true),
        };
        assert!(PROBES.lock().insert(name.to_owned(), probe.clone()).is_none(), "one probe per test");
        probe
    }

    fn find(options: &Options) -> Result<Self> {
        let name = options.text("name")?;
        assert!(name != "nobody", "this build panics");
        PROBES.lock().get(name).cloned().ok_or_else(|| options.refuse("name", "no such probe"))
    }

    /// From now on every call works.
    pub(super) fn behave(&self) {
        self.acts.lock().clear();
    }

    /// From now on the sink takes so many deliveries at once.
    pub(super) fn at_once(&self, most: usize) {
        *self.most_open.lock() = most;
    }

    /// From now on these are rejected, and no others.
    pub(super) fn reject(&self, poison: &[u32]) {
        *self.poison.lock() = poison.iter().map(u32::to_string).collect();
    }

    pub(super) fn close(&self) {
        self.open.send_replace(false);
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(super) fn delivered(&self) -> Vec<String> {
        self.delivered.borrow().clone()
    }

    pub(super) async fn until_delivered(&self, events: usize) {
        let mut watcher = self.delivered.subscribe();
        in_time(watcher.wait_for(|bodies| bodies.len() >= events)).await.unwrap();
    }

    pub(super) async fn until_called(&self, times: usize) {
        let mut watcher = self.calls.subscribe();
        in_time(watcher.wait_for(|calls| *calls >= times)).await.unwrap();
    }

    fn next_act(&self) -> Act {
        self.calls.send_modify(|calls| *calls += 1);
        let mut acts = self.acts.lock();
        if acts.is_empty() { Act::Work } else { acts.remove(0) }
    }

    async fn act(&self) -> Result<()> {
        let act = self.next_act();
        // The sender lives in the probe.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        match act {
            Act::Work => Ok(()),
            Act::Fail(error) => Err(error),
            Act::Panic => panic!("a test asked for this"),
            Act::Hang => std::future::pending().await,
        }
    }
}

impl Sink for ProbeSink {
    fn most_open(&self) -> usize {
        *self.0.most_open.lock()
    }

    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        let probe = self.0.clone();
        Box::pin(async move {
            probe.act().await?;
            let bodies = batches.iter().flat_map(Batch::iter).map(|event| String::from_utf8_lossy(event.body()).into());
            let bodies: Vec<String> = bodies.collect();
            if let Some(poison) = bodies.iter().find(|body| probe.poison.lock().contains(body)) {
                return Err(Error::Rejected { reason: format!("{poison} is poison") });
            }
            probe.delivered.send_modify(|delivered| delivered.extend(bodies));
            Ok(())
        })
    }
}

impl Source for ProbeSource {
    fn run(self: Box<Self>, mut cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(async move {
            self.0.act().await?;
            cx.status.ready();
            cx.deliver(Batch::from_bodies(["hello"])).await?.stored().await?;
            cx.stop.stopped().await;
            Ok(())
        })
    }
}
