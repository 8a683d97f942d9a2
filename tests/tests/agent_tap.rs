//! `millstream tap`: the events that pass each kind of component of a running agent, seen by another process.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use millstream_tests::{Process, millstream};
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = "\
a1.sources = r1
a1.channels = c1 c2
a1.sinks = k1 k2
a1.sources.r1.type = netcat
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = 0
a1.sources.r1.max-line-length = 10000
a1.sources.r1.channels = c1 c2
a1.sources.r1.interceptors = i1
a1.sources.r1.interceptors.i1.type = static
a1.sources.r1.interceptors.i1.key = site
a1.sources.r1.interceptors.i1.value = north
a1.channels.c1.type = memory
a1.channels.c2.type = memory
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
a1.sinks.k2.type = null
a1.sinks.k2.channel = c2
a1.sinkgroups = g1
a1.sinkgroups.g1.sinks = k2
";

struct Tapped {
    agent: Process,
    _dir: TempDir,
    netcat: TcpStream,
    monitoring: String,
}

impl Tapped {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("flume.conf");
        std::fs::write(&file, CONFIG).unwrap();
        let monitored =
            ["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0", "-Dflume.monitoring.host=127.0.0.1"];
        let file = file.display().to_string();
        let agent = Process::start(["agent", "-n", "a1", "-f", &file].iter().chain(&monitored));
        let address = |line: &str| {
            let address = agent.until(line);
            address.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
        };
        let monitoring = address("monitoring serves http");
        let netcat = TcpStream::connect(address("netcat source listens")).unwrap();
        Self { agent, _dir: dir, netcat, monitoring }
    }

    /// A tap that the agent has begun to serve.
    fn tap(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(millstream());
        command.arg("tap").args(["--at", &self.monitoring]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Sends lines until every tap has ended by itself.
    fn send_until_seen(&mut self, line: &str, taps: &mut [Child]) {
        self.send_until(line, || taps.iter_mut().all(|tap| tap.try_wait().unwrap().is_some()));
    }

    /// Sends lines until it holds: a tap sees what passes after it came.
    fn send_until(&mut self, line: &str, mut holds: impl FnMut() -> bool) {
        let mut netcat = self.netcat.try_clone().unwrap();
        let mut answers = BufReader::new(self.netcat.try_clone().unwrap());
        self.agent.until_true("every tap has seen enough", || {
            writeln!(netcat, "{line}").unwrap();
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            assert_eq!(answer, "OK\n");
            holds()
        });
    }
}

fn output(tap: Child) -> String {
    let output = tap.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_kind_of_component_shows_what_passes_it() {
    let mut tapped = Tapped::start();
    let mut taps = ["r1", "c1", "sink.k1", "k2"].map(|name| tapped.tap(&["--count", "2", name]));
    tapped.send_until_seen("one \u{1b}[1m line", &mut taps);
    for tap in taps {
        assert_eq!(output(tap), "{site=north} one \\u{1b}[1m line\n".repeat(2));
    }
}

#[test]
fn json_shows_headers_and_a_long_body_is_cut_with_its_length() {
    let mut tapped = Tapped::start();
    let mut taps = [tapped.tap(&["--count", "1", "--output", "json", "k1"])];
    tapped.send_until_seen(&"x".repeat(5000), &mut taps);
    let [tap] = taps;
    let event: Value = serde_json::from_str(&output(tap)).unwrap();
    assert_eq!(event, json!({"headers": {"site": "north"}, "body": "x".repeat(4096), "body_bytes": 5000}));
}

#[test]
fn a_name_that_is_none_is_answered_with_those_there_are_and_a_stopped_agent_ends_the_tap() {
    let mut tapped = Tapped::start();
    let wrong = tapped.tap(&["k9"]).wait_with_output().unwrap();
    assert_eq!(wrong.status.code(), Some(69));
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("one of source.r1 channel.c1"), "{said}");

    let mut seeing = tapped.tap(&["r1"]);
    let mut lines = BufReader::new(seeing.stdout.take().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    // Reads on until the tap ends: one whose reader left would end for that.
    std::thread::spawn(move || {
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            let _ = tell.send(std::mem::take(&mut line));
        }
    });
    tapped.send_until("on", || told.try_recv().is_ok_and(|line| line == "{site=north} on\n"));
    tapped.agent.stop().expect_code(0);
    let ended = seeing.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    // Whichever is first: the end of the source, or that of the process.
    let told = match ended.status.code() {
        Some(0) => said.contains("source r1 stopped or was replaced"),
        Some(69) => said.contains(&format!("read {}", tapped.monitoring)),
        _ => false,
    };
    assert!(told, "{:?} {said}", ended.status);
}
