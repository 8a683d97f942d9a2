//! `millstream check`, `why`, `completions` and `man` as their users meet them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use millstream_tests::{Process, millstream};
use serde_json::Value;

fn ran(arguments: &[&str]) -> Output {
    Command::new(millstream()).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Every property file below `dir`.
fn property_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(property_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "properties") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_property_file_of_the_examples_runs_and_has_no_unknown_key() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files = property_files(&examples.canonicalize().unwrap());
    assert!(!files.is_empty(), "there are none in {}", examples.display());
    for file in files {
        // What the file itself says that must be there.
        let dir = tempfile::tempdir().unwrap();
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            if let Some(directories) = line.strip_prefix("#   mkdir -p ") {
                directories.split(' ').for_each(|name| std::fs::create_dir_all(dir.path().join(name)).unwrap());
            }
        }
        let mut check = Command::new(millstream());
        check.args(["check", "--output", "json", file.to_str().unwrap()]).current_dir(dir.path());
        let output = check.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}: {report:#}", file.display());
        for agent in report["agents"].as_array().unwrap() {
            for key in agent["keys"].as_array().unwrap() {
                assert!(key["standing"] != "unknown" && key["standing"] != "broken", "{}: {key:#}", file.display());
            }
        }
    }
}

/// What is recorded beside each property file of `golden/check`: the README there says how.
#[test]
fn what_is_said_of_every_key_of_flume_is_as_recorded() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/check");
    let files = property_files(&golden);
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap();
        let output =
            Command::new(millstream()).args(["check", "--all"]).arg(name).current_dir(&golden).output().unwrap();
        let said = text(&output);
        let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("  note ")).collect();
        let recorded = std::fs::read_to_string(file.with_extension("txt")).unwrap();
        for (said, recorded) in said.iter().zip(recorded.lines()) {
            assert_eq!(*said, recorded, "said is left, recorded is right");
        }
        assert_eq!(said.len(), recorded.lines().count(), "{}", file.display());
        let is_broken = said.iter().any(|line| line.starts_with("  broken "));
        assert_eq!(output.status.code(), Some(if is_broken { 78 } else { 0 }), "{}", file.display());
    }
}

/// A file with something of everything.
fn mixed(dir: &Path) -> String {
    let file = dir.join("flume.conf");
    let config =
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = seq\na1.sources.r1.channels = c1
        a1.sources.r1.batchsise = 5\na1.channels.c1.type = file\na1.channels.c1.checkpointInterval = 9
        a1.channels.c1.dataDirs = data,more\na1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n";
    std::fs::write(&file, config).unwrap();
    file.display().to_string()
}

#[test]
fn a_line_per_key_says_what_becomes_of_it_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = mixed(dir.path());
    let output = ran(&["check", &file]);
    assert_eq!(output.status.code(), Some(0));
    let told = text(&output);
    for line in [
        format!("  unknown    {file}:6: a1.sources.r1.batchsise: no effect; did you mean batchSize?"),
        format!("  ignored    {file}:8: a1.channels.c1.checkpointInterval: there are no checkpoints"),
    ] {
        assert!(told.lines().any(|written| written == line), "{line} is not in\n{told}");
    }
    assert!(told.contains(&format!("  different  {file}:9: a1.channels.c1.dataDirs: Flume: ")), "{told}");
    assert!(told.ends_with("  11 keys: 8 honoured, 1 different, 1 ignored, 1 unknown\n"), "{told}");
    let notes =
        |told: &str| told.lines().filter(|line| line.starts_with("  note ")).map(str::to_owned).collect::<Vec<_>>();
    let (note, everything) = (notes(&told), text(&ran(&["check", "--all", &file])));
    assert!(note.len() == 1 && note[0].ends_with("docs/compat.md, or --all"), "{told}");
    assert!(note[0].contains(&format!("{} more differences", notes(&everything).len())), "{note:?} of {everything}");
    assert!(!told.contains("  honoured "), "only on request");
    assert!(everything.contains("  honoured   "));
    assert!(!dir.path().join("data").exists(), "nothing is opened");
}

#[test]
fn what_cannot_run_ends_with_78_and_a_file_that_is_not_there_with_66() {
    let dir = tempfile::tempdir().unwrap();
    let file = mixed(dir.path());
    let output = ran(&["check", "-Da1.sinks.k1.batchSize=many", "-n", "a1", &file]);
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output);
    assert!(told.contains("  broken     -D: a1.sinks.k1.batchSize: expected a whole number"), "{told}");
    assert_eq!(ran(&["check", "-n", "a9", &file]).status.code(), Some(78));
    assert_eq!(ran(&["check", "/nowhere/x.properties"]).status.code(), Some(66));
    assert_eq!(ran(&["check"]).status.code(), Some(64));
}

#[test]
fn why_says_what_holds_the_events_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flume.conf");
    let config = |sink: &str| {
        format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = seq\na1.sources.r1.channels = c1
             a1.channels.c1.type = memory\na1.sinks.k1.channel = c1\n{sink}"
        )
    };
    // Nobody listens there: a port that was free a moment ago.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let avro =
        format!("a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {}", closed.port());
    std::fs::write(&file, config(&avro)).unwrap();
    let file = file.display().to_string();
    let monitored = ["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0", "-Dflume.monitoring.host=127.0.0.1"];
    let agent = Process::start(["agent", "-n", "a1", "-f", &file].iter().chain(&monitored));
    let line = agent.until("monitoring serves http");
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let told = || text(&ran(&["why", &address]));
    agent.until_true("the channel is full", || told().contains("Channel c1 is full, 100 of 100 events"));
    let told = told();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("seq r1 → memory c1 → avro k1"), "{told}");
    assert!(
        lines[1].starts_with("Sink k1 (avro) fails, tries again") && lines[1].contains("Connection refused"),
        "{told}"
    );
    agent.stop().expect_code(0);
    let output = ran(&["why", &address]);
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("connect {address}: Connection refused")));
}

/// Starts an agent of one source, memory channel and sink, and waits until `why` says `wanted`.
#[track_caller]
fn why_says(config: &str, wanted: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flume.conf");
    let head = "a1.sources = r1\na1.channels = c1\na1.sources.r1.channels = c1\na1.channels.c1.type = memory\n";
    std::fs::write(&file, format!("{head}{config}")).unwrap();
    let file = file.display().to_string();
    let monitored = ["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0", "-Dflume.monitoring.host=127.0.0.1"];
    let agent = Process::start(["agent", "-n", "a1", "-f", &file].iter().chain(&monitored));
    let line = agent.until("monitoring serves http");
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    agent.until_true(wanted, || text(&ran(&["why", &address])).contains(wanted));
    agent.stop().expect_code(0);
}

#[test]
fn why_tells_of_a_spark_sink_that_nobody_asks_of_a_channel_full_by_bytes_and_of_one_without_a_sink() {
    let spark = "a1.sinks = k1\na1.sinks.k1.type = org.apache.spark.streaming.flume.sink.SparkSink
        a1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = 0\na1.sinks.k1.channel = c1\n";
    let fifty = "a1.sources.r1.type = seq\na1.sources.r1.totalEvents = 50\n";
    why_says(&format!("{fifty}{spark}"), "Channel c1 holds 50 events, and none of them was taken for");
    why_says(fifty, "neither by a sink nor by the peer that a SparkSink waits for");
    let stress = "a1.sources.r1.type = stress\na1.channels.c1.byteCapacity = 100000\n";
    why_says(&format!("{stress}{spark}"), "of 100000 bytes, so its sources wait: nothing was taken from it for");
}

#[test]
fn completions_and_the_manual_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&ran(&["completions", shell]));
        for word in ["agent", "check", "conf-file", "no-reload-conf"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    assert!(text(&ran(&["man"])).contains(".TH millstream 1"));
    let dir = tempfile::tempdir().unwrap();
    assert!(ran(&["man", "--dir", dir.path().to_str().unwrap()]).status.success());
    for page in ["millstream.1", "millstream-agent.1", "millstream-check.1"] {
        assert!(dir.path().join(page).exists(), "{page}");
    }
}
