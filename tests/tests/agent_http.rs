//! What an agent shows over HTTP, and what it does when its files change: the real binary, real sockets.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use millstream_tests::Process;
use millstream_tests::monitoring::{MONITORED, address, get, metrics};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.totalEvents = 50
a1.sources.r1.batchSize = 10
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
";

/// A directory with the configuration.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("");
        place
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("flume.conf")
    }

    fn write(&self, more: &str) {
        std::fs::write(self.file(), format!("{CONFIG}{more}")).unwrap();
    }

    fn start(&self, more: &[&str]) -> Process {
        let file = self.file().display().to_string();
        Process::start(["agent", "-n", "a1", "-f", &file].iter().chain(more))
    }
}

#[test]
fn flumes_json_counts_every_event_at_every_station() {
    let place = Place::new();
    let agent = place.start(&MONITORED);
    let address = address(&agent);
    agent.until_true("all delivered", || metrics(&address)["SINK.k1"]["EventDrainSuccessCount"] == "50");
    let metrics = metrics(&address);
    for (component, attribute, wanted) in [
        ("SOURCE.r1", "Type", "SOURCE"),
        ("SOURCE.r1", "EventAcceptedCount", "50"),
        ("CHANNEL.c1", "EventPutAttemptCount", "50"),
        ("CHANNEL.c1", "EventPutSuccessCount", "50"),
        ("CHANNEL.c1", "EventTakeSuccessCount", "50"),
        ("CHANNEL.c1", "ChannelSize", "0"),
        ("CHANNEL.c1", "ChannelCapacity", "100"),
        ("CHANNEL.c1", "ChannelFillPercentage", "0.0"),
        ("CHANNEL.c1", "StopTime", "0"),
        ("SINK.k1", "EventDrainAttemptCount", "50"),
    ] {
        assert_eq!(metrics[component][attribute], wanted, "{component}.{attribute}: {metrics:#}");
    }
    let number = |attribute: &str| metrics["CHANNEL.c1"][attribute].as_str().unwrap().parse::<u64>().unwrap();
    assert!(number("EventTakeAttemptCount") >= 51, "empty takes count too: {metrics:#}");
    assert!(number("StartTime") > 1_600_000_000_000);
    let (code, text) = get(&address, "/metrics", "application/openmetrics-text");
    assert_eq!(code, "HTTP/1.1 200 OK");
    let line = "millstream_event_put_success_total{kind=\"channel\",component=\"c1\",type=\"memory\"} 50";
    assert!(text.contains(line), "{text}");
    assert_eq!(get(&address, "/readyz", "*/*"), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    let status: Value = serde_json::from_str(&get(&address, "/api/v1/status", "*/*").1).unwrap();
    assert_eq!(status["path"], "seq r1 → memory c1 → null k1");
    agent.stop().expect_code(0);
}

/// See `tests/golden/monitoring/flume.conf`.
#[test]
fn every_component_has_the_attributes_that_the_real_flume_shows() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/monitoring");
    let recorded: Value = serde_json::from_slice(&std::fs::read(golden.join("metrics.json")).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (file, place) = (golden.join("flume.conf").display().to_string(), format!("-Ddir={}", dir.path().display()));
    let own = ["agent", "-n", "a1", "-f", &file, &place, "-Da1.sources.r2.port=0"];
    let agent = Process::start(own.iter().chain(&MONITORED));
    let address = address(&agent);
    agent.until_true("all delivered", || metrics(&address)["CHANNEL.c1"]["EventTakeSuccessCount"] == "50");
    let mut metrics = metrics(&address);
    let members = |component: &Value| component.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for ours in ["EventLostCount", "QuarantineCount", "EventDeadLetterCount"] {
        let file = metrics["CHANNEL.c2"].as_object_mut().unwrap();
        assert_eq!(file.remove(ours), Some("0".into()), "damage that nobody did");
    }
    for (name, component) in recorded.as_object().unwrap() {
        assert_eq!(members(&metrics[name]), members(component), "{name}");
        assert!(metrics[name].as_object().unwrap().values().all(Value::is_string), "{name}: {metrics:#}");
    }
    // What depends neither on the time nor on a peer that is not there is the same, too.
    let same = |name: &str, attributes: &[&str]| {
        for attribute in attributes {
            assert_eq!(metrics[name][*attribute], recorded[name][*attribute], "{name}.{attribute}");
        }
    };
    let puts = ["EventPutAttemptCount", "EventPutSuccessCount", "EventTakeSuccessCount", "StopTime", "Type"];
    let fill = ["ChannelSize", "ChannelCapacity", "ChannelFillPercentage"];
    same("CHANNEL.c1", &[&puts[..], &fill].concat());
    same("CHANNEL.c2", &[&puts[..], &fill, &["Open", "Closed", "Unhealthy", "CheckpointWriteErrorCount"]].concat());
    same("SOURCE.r1", &["EventAcceptedCount", "AppendBatchAcceptedCount", "ChannelWriteFail", "EventReadFail", "Type"]);
    same("SINK.k2", &["EventDrainSuccessCount", "ConnectionCreatedCount", "Type"]);
    agent.stop().expect_code(0);
}

#[test]
fn a_reporter_that_is_not_built_in_is_told_and_the_agent_works() {
    let place = Place::new();
    let agent = place.start(&["-Dflume.monitoring.type=ganglia", "-Dflume.monitoring.hosts=127.0.0.1:8651"]);
    let told = agent.until("no monitoring");
    assert!(told.contains("-Dflume.monitoring.type: expected http") && told.contains("got \"ganglia\""), "{told}");
    agent.until("agent is ready");
    agent.stop().expect_code(0);
}

#[test]
fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
    let place = Place::new();
    let arguments: Vec<&str> = MONITORED.iter().copied().chain(["-i", "1"]).collect();
    let agent = place.start(&arguments);
    let address = address(&agent);
    agent.until_true("all delivered", || metrics(&address)["SINK.k1"]["EventDrainSuccessCount"] == "50");
    place.write("a1.sinks.k1.batchSize = none\n");
    let told = agent.until("configuration not taken over");
    assert!(told.contains("flume.conf"), "{told}");
    agent.until("a1.sinks.k1.batchSize: expected a whole number");
    place.write("a1.sinks.k1.batchSize = 7\n");
    let told = agent.until("configuration taken over");
    assert!(told.contains("started=\"a1.sinks.k1\""), "{told}");
    assert_eq!(metrics(&address)["SOURCE.r1"]["EventAcceptedCount"], "50", "the source went on");
    agent.stop().expect_code(0);
}

#[test]
fn sighup_reads_the_file_at_once_also_where_it_is_not_watched() {
    let place = Place::new();
    let agent = place.start(&["--no-reload-conf"]);
    agent.until("agent is ready");
    agent.signal(Signal::SIGHUP);
    agent.until("configuration read again, nothing changed");
    place.write("a1.sinks.k1.type = logger\n");
    agent.signal(Signal::SIGHUP);
    agent.until("memory c1 → logger k1");
    agent.stop().expect_code(0);
}
