//! Components at work, without an agent around them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use millstream_core::{
    Batch, BuiltSink, ChannelProcessor, ChannelRef, ComponentStatus, Limit, MetricName, Result, Route, Routes,
    Selector, Setting, Sink, SinkContext, Source, SourceContext, State, Stopper, stop_token,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{PATIENCE, TestChannel};

/// A source or sink at work.
pub struct Running<C> {
    stopper: Stopper,
    task: JoinHandle<Result<()>>,
    /// Its counters and state.
    pub status: Arc<ComponentStatus>,
    /// What it was given to work with.
    pub cx: C,
}

/// One key as it stands in line 7 of a configuration file.
pub fn setting(key: &str, value: &str) -> Setting {
    Setting { key: key.into(), value: value.into(), place: format!("flume.conf:7: a1.sources.r1.{key}") }
}

/// Runs `source` over `channel`.
pub fn start_source(source: Box<dyn Source>, channel: &TestChannel) -> Running<SourceContext> {
    start_source_into(source, channel.shared())
}

/// Runs `source` over a channel of any kind.
pub fn start_source_into(source: Box<dyn Source>, channel: ChannelRef) -> Running<SourceContext> {
    struct All;
    impl Selector for All {
        fn select(&self, _: &Batch) -> Routes {
            Routes { channels: vec![Route::Required] }
        }
    }
    let (stopper, stop) = stop_token();
    let status = ComponentStatus::new("source", "r1".into(), "test".into());
    let processor = Arc::new(ChannelProcessor::new(vec![], Box::new(All), vec![channel]));
    let cx = SourceContext { name: "r1".into(), processor, status: Arc::clone(&status), stop };
    Running { stopper, task: tokio::spawn(source.run(cx.clone())), status, cx }
}

/// Runs `sink` at `channel`. One that is delivered to gets one take after the other, again at once when it fails, and
/// nothing is counted: that is the agent's part.
pub fn start_sink(sink: BuiltSink, channel: &TestChannel) -> Running<SinkContext> {
    let (stopper, stop) = stop_token();
    let status = ComponentStatus::new("sink", "k1".into(), "test".into());
    let cx = SinkContext { name: "k1".into(), status: Arc::clone(&status), stop, spool: None };
    let task = match sink {
        BuiltSink::Pull(sink) => tokio::spawn(sink.serve(channel.shared(), cx.clone())),
        BuiltSink::Push { sink, batch_size } => tokio::spawn(drain(sink, batch_size, channel.shared(), cx.clone())),
    };
    Running { stopper, task, status, cx }
}

async fn drain(mut sink: Box<dyn Sink>, batch_size: usize, channel: ChannelRef, mut cx: SinkContext) -> Result<()> {
    sink.start(cx.clone());
    cx.status.ready();
    let limit = Limit { events: batch_size, bytes: u64::MAX };
    loop {
        let take = tokio::select! {
            biased;
            () = cx.stop.stopped() => return sink.close().await,
            take = channel.take(limit) => take?,
        };
        match sink.deliver(take.batches().into()).await {
            Ok(()) => take.commit().await?,
            Err(error) => cx.status.failed(&error),
        }
        tokio::task::yield_now().await;
    }
}

// === impl Running ===

impl<C> Running<C> {
    /// Waits until it says that it works.
    pub async fn until_ready(&self) {
        let state = timeout(PATIENCE, self.status.settled()).await.expect("ready in time");
        assert_eq!(state, State::Running);
    }

    /// Asks it to stop and waits for its outcome.
    pub async fn stop(self) -> Result<()> {
        self.ask_to_stop();
        self.outcome().await
    }

    /// Asks it to stop.
    pub fn ask_to_stop(&self) {
        self.stopper.stop();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it ends by itself.
    pub async fn outcome(self) -> Result<()> {
        timeout(PATIENCE, self.task).await.expect("ends in time").unwrap()
    }

    /// The value of a counter.
    pub fn counted(&self, counter: MetricName) -> u64 {
        self.status.counters().value(counter)
    }

    /// Waits until `counter` is at least `value`.
    pub async fn until_counted(&self, counter: MetricName, value: u64) {
        let counted = async {
            while self.counted(counter) < value {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, counted).await.expect("counted in time");
    }

    /// Ends it where it is, as a crash would.
    pub async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }
}
