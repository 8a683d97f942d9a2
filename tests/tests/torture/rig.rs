//! The agent, and what stands around it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use millstream_testkit::AvroPeer;
use millstream_tests::monitoring::{self, MONITORED};
use millstream_tests::{Ended, Process, comes_true, millstream, until_true};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::oracle::{Arrivals, Producers};
use crate::report::Counts;

/// Most events of a call of the sink. A foreign peer has one under way at a time, one of ours many.
pub const BATCH: u64 = 100;

/// An agent's configuration, with producers in front of it and a peer behind it.
pub struct Rig {
    dir: TempDir,
    /// Where the channel is.
    store: PathBuf,
    pub peer: AvroPeer,
    pub producers: Producers,
    pub arrivals: Arrivals,
    /// Lives of the agent so far.
    pub lives: u32,
}

// === impl Rig ===

impl Rig {
    /// With the channel in a directory of its own, in front of a peer of ours.
    pub fn new(seed: u64) -> Self {
        Self::before(AvroPeer::own(), seed)
    }

    /// The same, in front of `peer`.
    pub fn before(peer: AvroPeer, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        std::fs::create_dir(&store).unwrap();
        Self::within(dir, store, peer, seed)
    }

    /// With the channel in `store`.
    pub fn within(dir: TempDir, store: PathBuf, peer: AvroPeer, seed: u64) -> Self {
        Self::with_channel(dir, store, peer, seed, "maxFileSize = 60000")
    }

    /// In front of `peer`, with this property of the channel.
    pub fn with(property: &str, peer: AvroPeer, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        Self::with_channel(dir, store, peer, seed, property)
    }

    fn with_channel(dir: TempDir, store: PathBuf, peer: AvroPeer, seed: u64, property: &str) -> Self {
        let config = format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
             a1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = 0\na1.sources.r1.channels = c1\n\
             a1.channels.c1.type = file\na1.channels.c1.checkpointDir = {store}/checkpoint\na1.channels.c1.dataDirs = {store}/data\n\
             a1.channels.c1.keep-alive = 1\na1.channels.c1.minimumRequiredSpace = 1048576\na1.channels.c1.{property}\n\
             a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\na1.sinks.k1.channel = c1\n\
             a1.sinks.k1.batch-size = {BATCH}\n",
            store = store.display(),
            port = peer.port(),
        );
        std::fs::write(dir.path().join("flume.properties"), config).unwrap();
        let (producers, arrivals) = (Producers::start(seed), Arrivals::default());
        Self { dir, store, peer, producers, arrivals, lives: 0 }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the channel is, or something there.
    pub fn store(&self, name: &str) -> PathBuf {
        self.store.join(name)
    }

    /// The command; `wrapper` is what starts it, if not the test itself.
    pub fn command(&self, wrapper: &[&str]) -> Command {
        let words: Vec<&Path> = wrapper.iter().map(Path::new).chain([millstream()]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["agent", "-n", "a1", "-f"]).arg(self.path("flume.properties")).args(MONITORED);
        command.env_remove("RUST_LOG");
        command
    }

    /// Starts the agent, and has the producers send to it.
    pub fn start(&mut self) -> Process {
        self.start_with(self.command(&[]))
    }

    pub fn start_with(&mut self, command: Command) -> Process {
        let agent = self.spawn(command);
        agent.until("agent is ready");
        agent.until("avro source listens");
        self.announce(&agent);
        agent
    }

    /// Starts the agent without waiting for it.
    pub fn spawn(&mut self, command: Command) -> Process {
        self.lives += 1;
        self.producers.send_to(None);
        Process::spawn(command)
    }

    /// Has the producers send to where the agent listens, if it does so already.
    pub fn announce(&self, agent: &Process) -> bool {
        let told = agent.lines_with("avro source listens");
        let port = told.last().map(|line| line.rsplit(':').next().unwrap().trim().parse().unwrap());
        self.producers.send_to(port);
        port.is_some()
    }

    /// Lets the agent run for `time`, and has the producers send to it as soon as that can be.
    pub fn run_for(&self, agent: &Process, time: Duration) {
        let end = Instant::now() + time;
        let mut announced = false;
        while Instant::now() < end {
            announced = announced || self.announce(agent);
            std::thread::sleep(Duration::from_millis(1)); // sleeps: the moment at which this ends is meant to be random
        }
    }

    /// What a running agent says of its channel.
    pub fn counted(&self, agent: &Process, counter: &str) -> u64 {
        let metrics = monitoring::metrics(&monitoring::address(agent));
        metrics["CHANNEL.c1"][counter].as_str().unwrap().parse().unwrap()
    }

    /// Kills it, and notes what it had delivered.
    pub fn kill(&mut self, agent: Process) -> Ended {
        agent.signal(Signal::SIGKILL);
        let ended = agent.ended();
        self.collect();
        ended
    }

    pub fn collect(&mut self) {
        self.arrivals.collect(&self.peer, &self.producers, self.lives);
    }

    /// Waits until so many more events than `before` are acknowledged.
    #[track_caller]
    pub fn until_acknowledged(&self, agent: &Process, more: u64) {
        let before = self.producers.acknowledged();
        agent.until_true("events are acknowledged", || self.producers.acknowledged() >= before + more);
    }

    /// Waits until all that is acknowledged has arrived.
    #[track_caller]
    pub fn until_arrived(&mut self, agent: &Process) {
        agent.until_true("a fresh event arrives", || {
            let acknowledged = self.producers.acknowledged_each();
            self.arrivals.collect(&self.peer, &self.producers, self.lives);
            self.arrivals.missing(acknowledged) == 0
        });
    }

    /// Ends the load and the agent once everything is through, and counts. The channel must say the same of itself.
    #[track_caller]
    pub fn finish(mut self, agent: Process) -> Counts {
        self.until_acknowledged(&agent, 1);
        self.producers.finish();
        let acknowledged = self.producers.acknowledged_each();
        let arrived = comes_true(|| {
            self.arrivals.collect(&self.peer, &self.producers, self.lives);
            self.arrivals.missing(acknowledged) == 0
        });
        let log = agent.stop();
        assert!(arrived, "{} are lost:\n{}", self.arrivals.missing(acknowledged), log.log.join("\n"));
        log.expect_code(0);
        self.collect();
        let all: u64 = acknowledged.iter().sum();
        let ledger = self.ledger();
        assert_eq!(
            (&ledger["in"], &ledger["waiting"], &ledger["lost"]),
            (&all.into(), &0.into(), &0.into()),
            "{ledger}"
        );
        let counts = self.counts();
        assert_eq!((counts.lost, counts.alien, counts.stored_twice), (0, 0, 0), "{:?}", log.log);
        counts
    }

    pub fn counts(&self) -> Counts {
        Counts {
            acknowledged: self.producers.acknowledged(),
            lost: self.arrivals.missing(self.producers.acknowledged_each()),
            alien: self.arrivals.alien,
            stored_twice: self.arrivals.stored_twice,
            again: self.arrivals.again,
        }
    }

    /// Where the events of the channel are, once no agent has it.
    pub fn ledger(&self) -> Value {
        ledger(millstream(), &self.store)
    }

    /// Fills the channel with some events that nobody takes, and ends the agent. The producers pause.
    pub fn fill(&mut self, events: u64) {
        self.peer.refuse(usize::MAX);
        let agent = self.start();
        self.until_acknowledged(&agent, events);
        self.producers.pause(true);
        until_true("all that was sent is acknowledged", || self.producers.are_settled());
        agent.stop().expect_code(0);
        self.producers.send_to(None);
        self.peer.refuse(0);
    }
}

/// Where the events of the channel in `store` are, once no agent has it.
pub fn ledger(program: &Path, store: &Path) -> Value {
    let output = Command::new(program).arg("audit").arg(store).args(["--output", "json"]).output();
    let output = output.unwrap();
    // It ends with another code where something is lost.
    let ledger = serde_json::from_slice::<Value>(&output.stdout);
    ledger.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))["channels"][0].clone()
}
