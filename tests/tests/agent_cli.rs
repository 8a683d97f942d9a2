//! `millstream agent` as its users meet it: the real binary, real files and sockets.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use millstream_tests::{Ended, Process, millstream};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Two agents: `a1` counts into its log, `b1` spools through a file channel.
const CONFIG: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.totalEvents = 5
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
b1.sources = r1
b1.channels = c1
b1.sinks = k1
b1.sources.r1.type = spooldir
b1.sources.r1.spoolDir = ${sys:dir}/spool
b1.sources.r1.pollDelay = 20
b1.sources.r1.channels = c1
b1.channels.c1.type = file
b1.channels.c1.checkpointDir = ${sys:dir}/checkpoint
b1.channels.c1.dataDirs = ${sys:dir}/data
b1.sinks.k1.type = logger
b1.sinks.k1.channel = c1
";

/// A directory with the configuration.
struct Place(TempDir);

impl Place {
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("spool")).unwrap();
        std::fs::write(dir.path().join("flume.conf"), format!("{CONFIG}{more}")).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn arguments(&self, agent: &str, more: &[&str]) -> Vec<String> {
        let file = self.path("flume.conf").display().to_string();
        let dir = format!("-Ddir={}", self.0.path().display());
        let mut arguments: Vec<String> =
            ["agent", "-n", agent, "-c", "conf", "-f", &file, &dir].map(str::to_owned).into();
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    }

    fn start(&self, agent: &str, more: &[&str]) -> Process {
        Process::start(self.arguments(agent, more))
    }
}

/// The bodies that the logger sink wrote, in order; of each, what it shows as text.
fn bodies(ended: &Ended) -> Vec<String> {
    let lines = ended.lines_with("Event: { headers:{} body: ");
    lines.map(|line| line.trim_end_matches(" }").rsplit(' ').next().unwrap().to_owned()).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[test]
fn an_agent_tells_its_path_runs_and_ends_well_when_it_is_asked_to() {
    let place = Place::new("");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let agent = place.start("a1", &[]);
        let path = agent.until("agent runs");
        assert!(path.contains("seq r1 → memory c1 → logger k1"), "{path}");
        agent.until("agent is ready");
        agent.until("body: 34");
        agent.signal(signal);
        let ended = agent.ended();
        ended.expect_code(0);
        assert_eq!(bodies(&ended), numbers(5));
        assert!(!ended.log.concat().contains('\u{1b}'), "no colours, since this is no terminal");
    }
}

#[test]
fn a_wrong_agent_name_ends_with_78_and_lists_those_that_there_are() {
    let place = Place::new("");
    let ended = place.start("a2", &[]).ended();
    ended.expect_code(78);
    assert_eq!(ended.lines_with("no agent named \"a2\"; there are a1, b1: choose one with -n").count(), 1);
}

#[test]
fn a_wrong_key_is_told_with_the_nearest_and_the_agent_runs() {
    let place = Place::new("a1.sources.r1.batchsise = 2\n");
    let agent = place.start("a1", &[]);
    let warning = agent.until("unknown key");
    assert!(warning.contains("WARN"), "{warning}");
    assert!(warning.contains("flume.conf:22: a1.sources.r1.batchsise: unknown key, ignored; did you mean batchSize?"));
    agent.until("body: 34");
    agent.stop().expect_code(0);
}

#[test]
fn a_broken_component_is_refused_alone_and_the_rest_runs() {
    let place =
        Place::new("a1.sinks = k1 k2\na1.sinks.k2.type = spark\na1.sinks.k2.port = 99999\na1.sinks.k2.channel = c1\n");
    let agent = place.start("a1", &[]);
    let warning = agent.until("so a1.sinks.k2 is not run");
    assert!(warning.contains("flume.conf:24: a1.sinks.k2.port: expected a whole number in 0..=65535, got \"99999\""));
    agent.until("body: 34");
    agent.stop().expect_code(0);
}

#[test]
fn an_agent_of_which_nothing_can_run_ends_with_78_and_every_reason() {
    let place = Place::new("a1.sources.r1.type = sec\na1.sinks.k1.type = loger\n");
    let ended = place.start("a1", &[]).ended();
    ended.expect_code(78);
    for part in ["did you mean seq?", "did you mean logger?"] {
        assert!(ended.lines_with(part).count() > 0, "{part}: {:#?}", ended.log);
    }
}

#[test]
fn a_port_in_use_is_told_and_waited_for() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let sink = "a1.sinks.k1.type = spark\na1.sinks.k1.hostname = 127.0.0.1\na1.sources.r1.totalEvents = 0\n";
    let place = Place::new(&format!("{sink}a1.sinks.k1.port = {port}\n"));
    let agent = place.start("a1", &[]);
    let warning = agent.until("failed, starting again");
    assert!(warning.contains(&format!("bind 127.0.0.1:{port}: Address already in use")), "{warning}");
    assert!(warning.contains("a1.sinks.k1"), "{warning}");
    drop(holder);
    agent.until("spark sink listens");
    agent.stop().expect_code(0);
}

#[test]
fn a_missing_spool_directory_is_told_with_its_place_and_remedy() {
    let place = Place::new("b1.sources.r1.spoolDir = ${sys:dir}/elsewhere\n");
    let agent = place.start("b1", &[]);
    let error = agent.until("failed for good");
    assert!(error.contains("flume.conf:22: b1.sources.r1.spoolDir: expected a directory, but "), "{error}");
    assert!(error.contains("/elsewhere is not there or is none; create it"), "{error}");
    agent.until("agent is ready");
    agent.stop().expect_code(0);
}

#[test]
fn a_stop_loses_nothing_and_the_next_start_goes_on_where_it_stopped() {
    let place = Place::new("");
    let (before, all) = (100_000, 101_000);
    std::fs::write(place.path("spool/1"), numbers(before).join("\n") + "\n").unwrap();
    let agent = place.start("b1", &[]);
    // One line of many: as a rule most are still to be read, or wait in the channel.
    agent.until("Event: ");
    let first = agent.stop();
    first.expect_code(0);
    std::fs::write(place.path("spool/2"), numbers(all)[before..].join("\n") + "\n").unwrap();
    let agent = place.start("b1", &[]);
    agent.until(" 100999 }");
    let second = agent.stop();
    second.expect_code(0);
    assert!([bodies(&first), bodies(&second)].concat() == numbers(all), "in order, nothing missing, nothing twice");
}

#[test]
fn a_stop_empties_a_channel_that_forgets() {
    let place = Place::new("a1.sources.r1.totalEvents = 1000000000\na1.sources.r1.batchSize = 10\n");
    let agent = place.start("a1", &[]);
    agent.until("Event: ");
    let ended = agent.stop();
    ended.expect_code(0);
    let seen = bodies(&ended);
    assert_eq!(seen, numbers(seen.len()));
    assert_eq!(seen.len() % 10, 0, "every batch that the source handed over was delivered");
    assert_eq!(ended.lines_with("channel forgets what was not delivered").count(), 0);
}

#[test]
fn properties_of_the_command_line_replace_keys() {
    let place = Place::new("");
    let agent = place.start("a1", &["-Da1.sources.r1.totalEvents=2", "-D", "a1.sinks.k1.maxBytesToLog=4"]);
    agent.until("body: 31");
    let ended = agent.stop();
    ended.expect_code(0);
    assert_eq!(bodies(&ended), numbers(2));
}

#[test]
fn the_level_of_the_log_is_that_of_flumes_property() {
    let place = Place::new("a1.sources.r1.batchsise = 2\n");
    let agent = place.start("a1", &["-Dflume.root.logger=WARN,console"]);
    agent.until("unknown key");
    let ended = agent.stop();
    ended.expect_code(0);
    assert_eq!(ended.lines_with(" INFO ").count(), 0, "{:#?}", ended.log);
    let ended = place.start("a1", &["-Dflume.root.logger=WRN"]).ended();
    ended.expect_code(64);
    assert_eq!(ended.lines_with("did you mean WARN?").count(), 1);
}

#[test]
fn a_second_agent_on_the_same_directories_is_told_who_has_them() {
    let place = Place::new("");
    let agent = place.start("b1", &[]);
    agent.until("agent is ready");
    let ended = place.start("b1", &[]).ended();
    ended.expect_code(75);
    assert!(ended.lines_with("is in use by process").count() > 0, "{:#?}", ended.log);
    agent.stop().expect_code(0);
}

#[test]
fn a_wrong_command_line_ends_with_64_and_a_missing_file_with_66() {
    for arguments in [&["agnt"][..], &["agent", "-n", "a1"], &["agent", "-f", "x"], &["agent", "--nonsense"], &[]] {
        Process::start(arguments).ended().expect_code(64);
    }
    let ended = Process::start(["agent", "-n", "a1", "-f", "/nowhere/flume.conf"]).ended();
    ended.expect_code(66);
    assert!(ended.lines_with("/nowhere/flume.conf: No such file").count() == 1, "{:#?}", ended.log);
}

#[test]
fn help_and_version_go_to_standard_output_and_end_well() {
    for (arguments, part) in
        [(&["agent", "--help"][..], "--conf-file"), (&["version"], "Millstream "), (&["--help"], "agent")]
    {
        let output = Command::new(millstream()).args(arguments).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains(part), "{arguments:?}");
    }
}

#[test]
fn output_that_nobody_reads_harms_nothing() {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    for arguments in [&["version"][..], &["--help"]] {
        let status =
            Command::new(millstream()).args(arguments).stdout(closed()).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((status.status.code(), status.stderr.len()), (Some(0), 0), "{arguments:?}");
    }
    // Its log goes nowhere; that it works shows in the spool directory.
    let place = Place::new("");
    std::fs::write(place.path("spool/x"), "one\n").unwrap();
    let mut command = Command::new(millstream());
    command.args(place.arguments("b1", &[])).env_remove("RUST_LOG").stderr(closed()).stdout(closed());
    let mut agent = command.spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !place.path("spool/x.COMPLETED").exists() {
        assert!(agent.try_wait().unwrap().is_none(), "it ended");
        assert!(std::time::Instant::now() < deadline, "never completed");
        std::thread::yield_now();
    }
    let pid = nix::unistd::Pid::from_raw(agent.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(agent.wait().unwrap().code(), Some(0));
}
