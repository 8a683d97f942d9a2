//! Logs of a program, as events of an agent.
//!
//! ```no_run
//! use millstream::client::FlumeLayer;
//! use tracing_subscriber::prelude::*;
//!
//! let (layer, guard) = FlumeLayer::to("127.0.0.1", 4141).start()?;
//! tracing_subscriber::registry().with(layer).init();
//! tracing::info!(user = "ann", "logged in");
//! drop(guard); // sends what waits
//! # Ok::<(), millstream::Error>(())
//! ```
//!
//! # Layout
//! The body is the message, then the other fields as ` key=value`. Headers are those of Flume's log4j appender:
//!
//! | Header | Value |
//! |---|---|
//! | `flume.client.log4j.logger.name` | the target, by default the module |
//! | `flume.client.log4j.log.level` | log4j's number: TRACE 5000, DEBUG 10000, INFO 20000, WARN 30000, ERROR 40000 |
//! | `flume.client.log4j.timestamp` | ms since 1970 |
//! | `flume.client.log4j.address` | address of this host; left out where it has none |
//! | `flume.client.log4j.message.encoding` | `UTF8` |
//!
//! # Delivery
//! A line goes into a queue, from which a thread sends; a batch that fails is sent again, under the same names, until it is
//! stored. Where an agent is away for longer than the queue lasts, lines are dropped and counted, and the agent is told the
//! count once it is back; with [`WhenFull::Block`] the program waits instead. What the guard cannot send in its time is
//! told on standard error.
//!
//! # Source
//! `org.apache.flume.clients.log4jappender.Log4jAppender` (1.11). Different on purpose: it sends each line by itself and makes the
//! program wait for the answer; with `UnsafeMode` it swallows what fails.

mod queue;
mod sender;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_core::{Error, Result, Setting};
use millstream_io::local_host::LocalHost;
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Event;
use super::properties::{self, Plan};
use queue::Queue;
use sender::Sender;

/// Sends what the program logs to an agent's avro source.
#[derive(Debug)]
pub struct FlumeLayer {
    queue: Arc<Queue>,
    when_full: WhenFull,
    address: Option<String>,
}

/// What becomes of a line while the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It is dropped and counted; the program goes on.
    #[default]
    Drop,
    /// The program waits: nothing is lost while it runs, and nothing is done while the agent is away.
    Block,
}

/// How a layer is to be.
#[derive(Debug)]
pub struct FlumeLayerBuilder {
    settings: Vec<Setting>,
    when_full: WhenFull,
    capacity_events: usize,
    flush_limit: Duration,
}

/// Keeps the layer sending. Dropped, it sends what waits, for as long as it may, and ends the thread; lines after that are
/// dropped.
#[derive(Debug)]
pub struct FlumeGuard {
    queue: Arc<Queue>,
    flush_limit: Duration,
    ended: mpsc::Receiver<u64>,
    thread: Option<JoinHandle<()>>,
}

// === impl FlumeLayer ===

impl FlumeLayer {
    /// A layer that logs to one avro source.
    pub fn to(host: &str, port: u16) -> FlumeLayerBuilder {
        FlumeLayerBuilder::of(properties::of_host(host, port))
    }

    /// A layer that logs through a client with these properties: of several agents, with TLS.
    pub fn with_properties<K: Into<String>, V: Into<String>>(
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> FlumeLayerBuilder {
        FlumeLayerBuilder::of(properties::settings(properties))
    }

    fn event(&self, logged: &tracing::Event<'_>) -> Event {
        let mut body = Body::default();
        logged.record(&mut body);
        let metadata = logged.metadata();
        let event = line(body.finish(), metadata.target(), metadata.level());
        match &self.address {
            Some(address) => event.with_header("flume.client.log4j.address", address),
            None => event,
        }
    }
}

impl<S: Subscriber> Layer<S> for FlumeLayer {
    fn on_event(&self, logged: &tracing::Event<'_>, _: Context<'_, S>) {
        // What the sending itself logs would never end.
        if sender::is_this_thread() {
            return;
        }
        self.queue.push(self.event(logged), self.when_full);
    }
}

// === impl FlumeLayerBuilder ===

impl FlumeLayerBuilder {
    fn of(settings: Vec<Setting>) -> Self {
        Self { settings, when_full: WhenFull::Drop, capacity_events: CAPACITY_EVENTS, flush_limit: FLUSH_LIMIT }
    }

    /// What becomes of a line while the queue is full; dropped unless given.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Most lines that wait; 10,000 unless given. They wait for at most 64 MiB, too.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity_events = events.max(1);
        self
    }

    /// How long the guard may take to send what waits; 5 s unless given.
    pub fn flush_limit(mut self, limit: Duration) -> Self {
        self.flush_limit = limit;
        self
    }

    /// Starts the thread that sends. The agent need not be there yet.
    ///
    /// # Errors
    /// `Config` at the property that cannot be used; `Io` when there is no thread to be had.
    pub fn start(self) -> Result<(FlumeLayer, FlumeGuard)> {
        let Self { settings, when_full, capacity_events, flush_limit } = self;
        let batch_size = Plan::of(settings.clone())?.batch_size;
        let queue = Arc::new(Queue::new(capacity_events, CAPACITY_BYTES));
        let (tell, ended) = mpsc::channel();
        let sender = Sender::new(Arc::clone(&queue), settings, batch_size);
        let thread = std::thread::Builder::new().name("flume-layer".into()).spawn(move || {
            // A guard that stopped waiting knows enough.
            let _ = tell.send(sender.run());
        });
        let thread = Some(thread.map_err(|error| Error::io("start", "thread flume-layer", error))?);
        let address = LocalHost::look_up().ok().map(|host| host.address.to_string());
        let layer = FlumeLayer { queue: Arc::clone(&queue), when_full, address };
        Ok((layer, FlumeGuard { queue, flush_limit, ended, thread }))
    }
}

// === impl FlumeGuard ===

impl FlumeGuard {
    /// Lines that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

impl Drop for FlumeGuard {
    fn drop(&mut self) {
        self.queue.close(Instant::now() + self.flush_limit);
        // The sender keeps the limit by itself between two attempts, and a connection that hangs must not hold us longer.
        match self.ended.recv_timeout(self.flush_limit + GRACE) {
            Ok(left) => {
                _ = self.thread.take().map(JoinHandle::join);
                tell_lost(left, self.dropped());
            }
            Err(_) => tell_lost(self.queue.waiting(), self.dropped()),
        }
    }
}

fn tell_lost(left: u64, dropped: u64) {
    if left + dropped > 0 {
        // There is no better place left, and a closed standard error is nobody's loss.
        let _ = writeln_stderr(format_args!(
            "millstream: log lines that did not reach the agent: {left} were waiting at the end, {dropped} dropped before"
        ));
    }
}

fn writeln_stderr(text: fmt::Arguments<'_>) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stderr(), "{text}")
}

/// The formatted line: the message first, whatever its place among the fields.
#[derive(Debug, Default)]
struct Body {
    message: String,
    fields: String,
}

// === impl Body ===

impl Body {
    fn finish(self) -> String {
        match self.message.is_empty() {
            true => self.fields.trim_start().to_owned(),
            false => self.message + &self.fields,
        }
    }
}

impl Visit for Body {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A value whose `Debug` fails is shown as far as it went.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// A line with all of its headers but the address.
fn line(body: String, target: &str, level: &Level) -> Event {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Event::new(body)
        .with_header("flume.client.log4j.logger.name", target)
        .with_header("flume.client.log4j.log.level", log4j_level(level))
        .with_header("flume.client.log4j.timestamp", now_ms.to_string())
        .with_header("flume.client.log4j.message.encoding", "UTF8")
}

fn log4j_level(level: &Level) -> &'static str {
    match *level {
        Level::TRACE => "5000",
        Level::DEBUG => "10000",
        Level::INFO => "20000",
        Level::WARN => "30000",
        Level::ERROR => "40000",
    }
}

const CAPACITY_EVENTS: usize = 10_000;
const CAPACITY_BYTES: usize = 64 << 20;
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_millis(500);
