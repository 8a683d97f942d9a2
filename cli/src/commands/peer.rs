//! Sending batches to an avro source, for commands that are done once and not run.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::{
    Batch, BuiltSink, ComponentStatus, Error, Options, Reaction, Result, Setting, Sink, SinkContext, Stopper,
    stop_token,
};
use millstream_sinks::avro;

/// In a row, after which the peer is taken for gone.
const MOST_FAILURES: u32 = 5;
/// Longer after each failure.
const PAUSE: Duration = Duration::from_millis(500);

/// An avro source, of ours or of Flume's.
pub(super) struct Peer {
    sink: Box<dyn Sink>,
    command: &'static str,
    /// Dropped, it would stop the sink.
    stopper: Option<Stopper>,
}

// === impl Peer ===

impl Peer {
    /// # Errors
    /// `Config` where `address` is no `HOST:PORT`. Nothing is sent yet.
    pub(super) fn new(command: &'static str, address: &str) -> Result<Self> {
        let place = "--to";
        let split = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let (host, port) = split.ok_or_else(|| Error::config(place, format!("expected HOST:PORT, got {address:?}")))?;
        let setting = |key: &str, value: &str| Setting { key: key.into(), value: value.into(), place: place.into() };
        let settings = [setting("hostname", host.trim_matches(['[', ']'])), setting("port", port)];
        let (options, _) = Options::parse(place, avro::SPEC.options, &[], settings)?;
        let BuiltSink::Push { sink, .. } = (avro::SPEC.build)(&options)? else {
            return Err(Error::config(place, "expected a sink that delivers"));
        };
        Ok(Self { sink, command, stopper: None })
    }

    /// Before the first batch; within a runtime.
    pub(super) fn start(&mut self) {
        let (stopper, stop) = stop_token();
        let status = ComponentStatus::new("sink", self.command.into(), "avro".into());
        self.sink.start(SinkContext { name: self.command.into(), status, stop, spool: None });
        self.stopper = Some(stopper);
    }

    /// Returns once the peer answered that it has them.
    ///
    /// # Errors
    /// The last of several failures; the peer may have them or not.
    pub(super) async fn deliver(&mut self, batches: Arc<[Batch]>) -> Result<()> {
        let mut failures = 0;
        while let Err(error) = self.sink.deliver(Arc::clone(&batches)).await {
            failures += 1;
            if failures == MOST_FAILURES || matches!(error.reaction(), Reaction::Stop) {
                return Err(error);
            }
            tokio::time::sleep(PAUSE * failures).await;
        }
        Ok(())
    }

    pub(super) async fn close(mut self) -> Result<()> {
        self.sink.close().await
    }
}
