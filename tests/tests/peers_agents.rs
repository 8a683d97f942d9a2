//! How an agent begins and ends, beside the real one: names and files that are not there, signals.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use millstream_testkit::peer::{ClassPath, Flume, Place, Version, differs, program};
use millstream_tests::Process;
use millstream_tests::config::Config;
use millstream_tests::peers::OurAgent;
use nix::sys::signal::Signal;

fn path() -> String {
    let config = Config::default().source("r1", "type = seq\ntotalEvents = 1\nchannels = c1");
    config.memory_channel("c1", "").sink("k1", "type = null\nchannel = c1").text()
}

/// What Flume's log says of an agent that has nothing to do.
const NOTHING: &str = "Starting new configuration:{ sourceRunners:{} sinkRunners:{} channels:{} }";

/// The exit codes of both for this text, ours first; ours must say `told`, the real one must find nothing to do.
#[track_caller]
fn codes(text: &str, told: &str) -> [Option<i32>; 2] {
    let mut theirs = Flume::agent(Version::V1_11, |_| text.to_owned());
    theirs.peer().until_log("No configuration found for this host:a1");
    theirs.peer().until_log(NOTHING);
    let place = Place::default();
    let file = place.path("flume.properties");
    std::fs::write(&file, text).unwrap();
    let ours = Process::start(["agent", "-n", "a1", "-f", file.to_str().unwrap()]).ended();
    assert!(ours.lines_with(told).count() > 0, "{:#?}", ours.log);
    [ours.code, theirs.peer().has_ended().then_some(0)]
}

#[test]
fn an_agent_that_the_file_has_not_or_that_cannot_run_idles_in_the_real_one_and_ends_with_78_here() {
    let [ours, theirs] = codes(&path().replace("a1.", "b1."), "no agent named \"a1\"; there are b1");
    assert_eq!([ours, theirs], [Some(78), None]);
    differs("agent-name", ours, theirs);
    let [ours, theirs] = codes(&path().replace(".type = ", ".typ = "), "a1.sources.r1.typ");
    assert_eq!([ours, theirs], [Some(78), None]);
    differs("exit-code-of-bad-file", ours, theirs);
}

#[test]
fn a_file_that_is_not_there_ends_the_real_one_with_0_and_ours_with_66() {
    const MISSING: [&str; 5] = ["--name", "a1", "--no-reload-conf", "--conf-file", "/nowhere/flume.conf"];
    let place = Place::default();
    let mut theirs = program("org.apache.flume.node.Application", ClassPath::Flume111, place.dir(), &MISSING);
    theirs.until_log("Unable to read file /nowhere/flume.conf");
    theirs.ends_with(0);
    let ours = Process::start(["agent"].iter().chain(&MISSING)).ended();
    assert_eq!(ours.code, Some(66));
    differs("exit-code-of-bad-file", ours.code, Some(0));
}

#[test]
fn the_real_one_ends_by_sigterm_with_143_and_ours_with_0() {
    let mut theirs = Flume::agent(Version::V1_11, |_| path());
    let ours = OurAgent::start(|_| path());
    theirs.ends_by(Signal::SIGTERM, 143);
    ours.process().until("agent is ready");
    ours.process().signal(Signal::SIGTERM);
    let ended = ours.ended();
    assert_eq!(ended.code, Some(0));
    differs("exit-code-of-sigterm", ended.code, Some(143));
}
