//! An agent that is stopped for a while (SIGSTOP, a virtual machine that is paused) goes on as if nothing had been.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use millstream_testkit::{AvroPeer, PeerKind, SparkPeer};
use millstream_tests::monitoring::{MONITORED, address, metrics};
use millstream_tests::{Process, until_true};
use nix::sys::signal::Signal;

/// Flume's least.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an agent that is about to wait may take until it waits.
const SETTLED: Duration = Duration::from_millis(200);

#[test]
fn answers_that_came_while_the_agent_was_stopped_for_longer_than_its_time_out_count() {
    let (dir, peer) = (tempfile::tempdir().unwrap(), AvroPeer::foreign());
    peer.hold(true);
    let config = dir.path().join("flume.properties");
    std::fs::write(&config, config_of(peer.port())).unwrap();
    let config = config.to_str().unwrap();
    let agent = Process::start(["agent", "-n", "a1", "-f", config].iter().chain(&MONITORED));
    until_true("the call has come", || peer.calls().len() == 1);
    std::thread::sleep(SETTLED); // sleeps: until the agent waits for the answer; were it earlier, it would wait no less
    agent.signal(Signal::SIGSTOP);
    peer.hold(false);
    std::thread::sleep(2 * REQUEST_TIMEOUT); // sleeps: the agent is stopped for so long
    agent.signal(Signal::SIGCONT);
    let monitoring = address(&agent);
    let drained = || metrics(&monitoring)["SINK.k1"]["EventDrainSuccessCount"] == "1";
    until_true("it is delivered", drained);
    agent.stop().expect_code(0);
    assert_eq!(peer.bodies(), ["0"], "once");
}

#[test]
fn an_ack_that_came_while_the_agent_was_stopped_for_longer_than_its_spark_sinks_time_out_counts() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("flume.properties");
    std::fs::write(&config, spark_config()).unwrap();
    let config = config.to_str().unwrap();
    let agent = Process::start(["agent", "-n", "a1", "-f", config].iter().chain(&MONITORED));
    let port = agent.until("spark sink listens").rsplit(':').next().unwrap().trim().parse().unwrap();
    let monitoring = address(&agent);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut peer = SparkPeer::connect(([127, 0, 0, 1], port).into(), PeerKind::Foreign).await;
        let batch = peer.poll(10).await;
        assert_eq!(batch.bodies, ["0"]);
        agent.signal(Signal::SIGSTOP);
        let acknowledging = tokio::spawn(async move {
            peer.ack(&batch.sequence_number).await;
            peer
        });
        std::thread::sleep(2 * REQUEST_TIMEOUT); // sleeps: the agent is stopped for so long
        agent.signal(Signal::SIGCONT);
        let _connected = acknowledging.await.unwrap();
        until_true("it is delivered", || metrics(&monitoring)["SINK.k1"]["EventDrainSuccessCount"] == "1");
    });
    agent.stop().expect_code(0);
}

fn spark_config() -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = seq\na1.sources.r1.totalEvents = 1\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\n\
         a1.sinks.k1.type = org.apache.spark.streaming.flume.sink.SparkSink\na1.sinks.k1.hostname = 127.0.0.1\n\
         a1.sinks.k1.port = 0\na1.sinks.k1.channel = c1\na1.sinks.k1.timeout = {}\n",
        REQUEST_TIMEOUT.as_secs()
    )
}

fn config_of(port: u16) -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = seq\na1.sources.r1.totalEvents = 1\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\n\
         a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.request-timeout = {}\n",
        REQUEST_TIMEOUT.as_millis()
    )
}
