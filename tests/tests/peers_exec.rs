//! The exec source beside Flume's own: commands that cannot be run, and what a stop leaves of them.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;

use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::beside::{Both, exact_agent};
use millstream_tests::monitoring::{MONITORED, Monitored};
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Whether the process runs whose id a command has told.
fn lives(told: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", id(told))).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn id(told: &str) -> i32 {
    told.trim_start_matches("| ").parse().unwrap()
}

#[test]
fn a_stop_ends_commands_as_that_of_the_real_one_but_for_what_they_started() {
    let mut both = Both::start(|place| {
        let exec =
            |command: &str| format!("type = exec\nshell = /bin/sh -c\ncommand = {command}\nbatchTimeout = 100\n");
        let sources =
            [("lone", exec("echo $$; exec sleep 1000")), ("pair", exec("sleep 1000 & echo $!; echo $$; wait"))];
        exact_agent(place, &sources)
    });
    let lone = both.brought("lone", 1, 1);
    let pair = both.brought("pair", 2, 2);
    assert!(lone.iter().chain(&pair).flatten().all(|told| lives(told)), "{lone:?} {pair:?}");
    both.ours.stop();
    both.theirs.stop();
    for shell in [&lone[0][0], &lone[1][0], &pair[0][1], &pair[1][1]] {
        until_true("a command ends with its agent", || !lives(shell));
    }
    until_true("what a command of ours started ends", || !lives(&pair[0][0]));
    let still = pair.map(|told| lives(&told[0]).then(|| id(&told[0])));
    differs("exec-stop", still[0], still[1]);
    kill(Pid::from_raw(still[1].unwrap()), Signal::SIGKILL).unwrap();
}

#[test]
fn commands_that_cannot_be_run_are_tried_again_as_by_the_real_one_or_else_their_source_fails() {
    let program = |place: &Place| place.path("program");
    let properties = |place: &mut Place| {
        let command = program(place).display().to_string();
        let sources = [
            ("once", format!("type = exec\ncommand = {command}\n")),
            (
                "again",
                format!("type = exec\ncommand = {command}\nrestart = true\nrestartThrottle = 100\nbatchSize = 1\n"),
            ),
        ];
        exact_agent(place, &sources)
    };
    let theirs = Flume::monitored_agent(Version::V1_11, properties);
    let mut both = Both { theirs, ours: OurAgent::start_with(&MONITORED, properties) };
    both.ours.process().until("command cannot be run, it is tried again");
    both.theirs.peer().until_log("Restarting in 100ms");
    both.ours.process().until("failed for good");
    both.theirs.peer().until_log("program] exited with");
    // Whether it is said to have stopped, and how often something failed in it.
    let shown = |source: Value| (source["StopTime"] != "0", source["GenericProcessingFail"].as_str() == Some("1"));
    let [ours, theirs] = [both.ours.component("SOURCE.ronce"), both.theirs.component("SOURCE.ronce")].map(shown);
    assert_eq!([ours, theirs], [(true, true), (false, false)]);
    differs("exec-cannot-run", ours, theirs);

    for place in [both.ours.place(), both.theirs.place()] {
        // What runs it finds no half of it.
        std::os::unix::fs::symlink("/bin/true", program(place)).unwrap();
    }
    both.ours.process().until("command ended status=exit status: 0");
    both.theirs.peer().until_log("Restarting in 100ms, exit code 0");
}
