//! Two agents on the directories of one file channel, Flume's and ours: whoever comes second is kept out, and the first one
//! goes on.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use millstream_testkit::peer::{Flume, Place, Version};
use millstream_tests::beside::said;
use millstream_tests::config::Config;
use millstream_tests::monitoring::{MONITORED, Monitored};
use millstream_tests::peers::OurAgent;
use millstream_tests::{Process, until_true};

/// A netcat source, and the file channel in `dirs`, which nobody empties.
fn agent(place: &mut Place, dirs: &Path) -> String {
    let netcat = format!("type = netcat\nbind = 127.0.0.1\nport = {}\nchannels = c1", place.port("netcat"));
    let (checkpoint, data) = (dirs.join("checkpoint"), dirs.join("data"));
    let channel = format!("type = file\ncheckpointDir = {}\ndataDirs = {}", checkpoint.display(), data.display());
    Config::default().source("r1", &netcat).channel("c1", &channel).text()
}

/// Sends a line, which the source stores before it answers.
fn send(agent: &impl Monitored, port: u16) {
    let before = agent.received();
    assert_eq!(said(port, b"a line\n").trim(), "OK");
    until_true("it is stored", || agent.received() == before + 1);
}

#[test]
fn ours_is_kept_out_of_the_directories_of_a_flume_that_runs() {
    let dirs = tempfile::tempdir().unwrap();
    let theirs = Flume::monitored_agent(Version::V1_11, |place| agent(place, dirs.path()));
    send(&theirs, theirs.port("netcat"));
    // Its lock is gone: it closes the file a second time, and with that a process gives up a lock of fcntl(2). Its logs tell.
    let mut place = Place::default();
    let properties = place.path("flume.properties");
    fs::write(&properties, agent(&mut place, dirs.path())).unwrap();
    let ours = Process::start(["agent", "-n", "a1", "-f", &properties.display().to_string()]).ended();
    ours.expect_code(78);
    let told = ours.log.join("\n");
    let why = format!("{}: log-1 belongs to a file channel of Apache Flume", dirs.path().join("data").display());
    assert!(told.contains(&why), "{told}");
    assert!(!dirs.path().join("data/millstream").exists(), "nothing is made there");
    send(&theirs, theirs.port("netcat"));
}

#[test]
fn flume_is_kept_out_of_the_directories_of_an_agent_of_ours_that_runs() {
    let dirs = tempfile::tempdir().unwrap();
    let ours = OurAgent::start_with(&MONITORED, |place| agent(place, dirs.path()));
    send(&ours, ours.port("netcat"));
    let theirs = Flume::monitored_agent(Version::V1_11, |place| agent(place, dirs.path()));
    until_true("it says why", || theirs.log_tail().contains("The directory is already locked"));
    let left = |name: &str| fs::read_dir(dirs.path().join(name)).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left("data").all(|name| !name.to_string_lossy().starts_with("log-")), "it wrote beside ours");
    send(&ours, ours.port("netcat"));
}
