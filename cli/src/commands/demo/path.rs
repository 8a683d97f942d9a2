//! The demo's path: an agent and a job, over a loopback socket, made of the very parts that also run apart.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use millstream_agent::{Agent, RunningAgent};
use millstream_core::{Error, Result, State};
use millstream_outputs::{Files, Sqlite, Top};
use millstream_streams::{FlumeUtils, Job, StreamingContext, StreamingListener};
use tokio::runtime::Handle;

use super::Mode;
use super::layout::Layout;

/// Small enough to look immediate, large enough to cost nothing when idle.
const BATCH_INTERVAL: Duration = Duration::from_millis(100);
pub(super) const AGENT: &str = "demo";
pub(super) const CHANNEL: &str = "log";

/// A port that nobody listens on just now.
///
/// # Errors
/// `Net` when loopback has none.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address.map_err(|error| Error::net("bind", "127.0.0.1:0", error))?.port())
}

/// The agent's properties, as they could stand in a file.
fn properties(layout: &Layout, mode: Mode, port: u16) -> String {
    let sink = match mode {
        Mode::Poll => "org.apache.spark.streaming.flume.sink.SparkSink",
        Mode::Push => "avro\ndemo.sinks.job.batch-size = 1000",
    };
    let (spool, channel) = (layout.spool.display(), layout.channel.display());
    format!(
        "demo.sources = spool
demo.channels = log
demo.sinks = job

demo.sources.spool.type = spooldir
demo.sources.spool.channels = log
demo.sources.spool.spoolDir = {spool}
demo.sources.spool.batchSize = 1000
demo.sources.spool.pollDelay = 40
demo.sources.spool.quietMillis = 200
demo.sources.spool.decodeErrorPolicy = REPLACE
demo.sources.spool.deserializer.maxLineLength = 1048576

demo.channels.log.type = file
demo.channels.log.checkpointDir = {channel}/checkpoint
demo.channels.log.dataDirs = {channel}/data

demo.sinks.job.type = {sink}
demo.sinks.job.channel = log
demo.sinks.job.hostname = 127.0.0.1
demo.sinks.job.port = {port}
"
    )
}

/// Starts the agent and waits until it works.
///
/// # Errors
/// What any of its components could not be built or started for: a demo is whole or not there.
pub(super) async fn start_agent(layout: &Layout, mode: Mode, port: u16) -> Result<RunningAgent> {
    let agent = Agent::builder().name(AGENT).config_text(properties(layout, mode, port)).start().await?;
    if let Some(warning) = agent.warnings().first() {
        return Err(Error::config("demo", warning));
    }
    agent.ready().await;
    for component in agent.status().components() {
        if component.state() == State::Failed {
            let problem = component.last_error().unwrap_or_default();
            return Err(Error::config(format_args!("demo {} {}", component.kind, component.name), problem));
        }
    }
    Ok(agent)
}

/// Starts the job: running totals of words, into the database and into text files. Blocks while its log is read.
///
/// # Errors
/// As [`StreamingContext::start`].
pub(super) fn start_job(
    layout: &Layout,
    mode: Mode,
    port: u16,
    handle: Handle,
    listener: impl StreamingListener + 'static,
) -> Result<(Job, Top)> {
    let mut ssc = StreamingContext::new("demo", BATCH_INTERVAL);
    ssc.checkpoint(&layout.job).runtime(handle).add_streaming_listener(listener);
    let lines = match mode {
        Mode::Poll => FlumeUtils::create_polling_stream(&ssc, "127.0.0.1", port),
        Mode::Push => FlumeUtils::create_stream(&ssc, "127.0.0.1", port),
    };
    let counts = lines.flat_map(|event| event.words()).map(|word| (word, 1_i64)).reduce_by_key(|a, b| a + b);
    let totals = counts.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
    let table = Sqlite::upsert(&layout.database, "word_counts");
    let table = table.key("word", millstream_core::ColumnKind::Text).value("count", millstream_core::ColumnKind::I64);
    let top = table.top();
    totals.save("sqlite", table);
    totals.save("text", Files::new(layout.texts.join("counts")).suffix("txt"));
    Ok((ssc.start()?, top))
}
