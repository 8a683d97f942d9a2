//! Flume's JSON beside ours while nothing works: peers that are away, channels that are full.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use millstream_testkit::peer::{Flume, Place, Version, differs, free_port};
use millstream_tests::beside::said;
use millstream_tests::config::Config;
use millstream_tests::monitoring::{MONITORED, Monitored};
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;

/// Lines of a file: one has room in the channel, the next has not.
const LINES: u64 = 5;

/// An avro and a thrift sink behind http sources, with nobody at the other end, and a spool before a channel that is too small.
fn agent(place: &mut Place) -> String {
    let away = free_port();
    let mut config = Config::default();
    for kind in ["avro", "thrift"] {
        let source = format!("type = http\nbind = 127.0.0.1\nport = {}\nchannels = {kind}", place.port(kind));
        let sink = format!("type = {kind}\nhostname = 127.0.0.1\nport = {away}\nchannel = {kind}");
        config = config.source(kind, &source).channel(kind, "type = memory").sink(kind, &sink);
    }
    let spool = place.path("spool");
    fs::create_dir_all(&spool).unwrap();
    for file in ["fits", "too-much"] {
        fs::write(spool.join(file), "line\n".repeat(LINES as usize)).unwrap();
    }
    let source = format!(
        "type = spooldir\nspoolDir = {}\nchannels = small\nbatchSize = {LINES}\nmaxBackoff = 100",
        spool.display()
    );
    let small = format!("type = memory\ncapacity = {LINES}\ntransactionCapacity = {LINES}\nkeep-alive = 0");
    config.source("spool", &source).channel("small", &small).text()
}

#[test]
fn counters_of_what_cannot_be_delivered_or_stored_are_those_that_are_listed() {
    let ours = OurAgent::start_with(&MONITORED, agent);
    ours.process().until("agent is ready");
    let theirs = Flume::monitored_agent(Version::V1_11, agent);
    let body = r#"[{"body":"x"}]"#;
    let request =
        format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for port in ["avro", "thrift"].into_iter().flat_map(|kind| [ours.port(kind), theirs.port(kind)]) {
        assert!(said(port, request.as_bytes()).contains("200"));
    }
    let tried = |agent: &dyn Monitored| agent.counter("SINK.avro", "ConnectionFailedCount") >= 2;
    until_true("both have tried", || tried(&ours) && tried(&theirs));
    let attempts = |agent: &dyn Monitored| {
        ["EventDrainAttemptCount", "BatchUnderflowCount"].map(|name| agent.counter("SINK.avro", name) > 0)
    };
    assert_eq!((attempts(&ours), attempts(&theirs)), ([true, true], [false, false]));
    differs("metrics-peer-away", attempts(&ours), attempts(&theirs));
    let connections = |agent: &dyn Monitored| {
        ["ConnectionCreatedCount", "ConnectionFailedCount"].map(|name| agent.counter("SINK.thrift", name) > 0)
    };
    until_true("thrift has tried, too", || connections(&ours)[1] && connections(&theirs)[0]);
    assert_eq!((connections(&ours), connections(&theirs)), ([false, true], [true, false]));
    differs("metrics-thrift-away", connections(&ours), connections(&theirs));

    let received = |agent: &dyn Monitored| agent.counter("SOURCE.spool", "EventReceivedCount");
    until_true("the real one has read it again", || received(&theirs) > 3 * LINES);
    assert_eq!(received(&ours), LINES);
    differs("metrics-refused", received(&ours), received(&theirs));
}
