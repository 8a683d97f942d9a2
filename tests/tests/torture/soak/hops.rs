//! Producers → avro, file channel, avro → a link → avro, file channel, avro → a peer.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use millstream_testkit::peer::free_port;
use millstream_testkit::{AvroPeer, Proxy};
use millstream_tests::memory::status_bytes;
use millstream_tests::monitoring::{self, MONITORED};
use millstream_tests::{Process, comes_true, millstream, released_millstream};
use nix::libc::ENOSPC;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::calls::Faults;
use crate::oracle::{Arrivals, Load, PRODUCERS, Producers};
use crate::report::Counts;
use crate::rig::ledger;

/// Most events of a call of the second agent.
const BATCH: u64 = 100;
/// Some 2,000 events a second.
const LOAD: Load = Load { most_events: 40, pace: Duration::from_millis(20) };
/// Ten times as many, and more.
const BURST: Load = Load { most_events: 500, pace: Duration::from_millis(10) };
/// Between two looks at what arrived.
const LOOK: Duration = Duration::from_millis(50);
/// At descriptors.
const LOOKS: u32 = 5;
/// The first agent's sources for strangers.
const STRANGE: [&str; 4] = ["r2", "r3", "r4", "r5"];
/// What writes.
const WRITES: &str = "write,create";

/// An agent's own directory, and how it is started.
struct Hop {
    dir: PathBuf,
    program: PathBuf,
}

/// Both agents, and what stands around them.
pub struct Hops {
    front: Process,
    back: Option<Process>,
    front_hop: Hop,
    back_hop: Hop,
    /// Ports of the first agent where strangers come: those of its other sources, of its monitoring, and the producers'.
    pub strange_ports: Vec<u16>,
    pub link: Proxy,
    pub peer: AvroPeer,
    pub producers: Producers,
    pub arrivals: Arrivals,
    faults: Faults,
    lives: u32,
    /// How often the first agent's configuration was changed.
    changes: u32,
    _runtime: Runtime,
    _dir: TempDir,
}

// === impl Hop ===

impl Hop {
    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// There while its disk is full.
    fn full(&self) -> PathBuf {
        self.dir.join("full")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("flume.properties")
    }

    fn spawn(&self, faults: &Faults) -> Process {
        let mut command = Command::new(&self.program);
        command.args(["agent", "-n", "a1", "--no-reload-conf", "-f"]).arg(self.config()).args(MONITORED);
        faults.attach(&mut command, &self.store(), WRITES, ENOSPC);
        command.env("FAULT_WHILE", self.full()).env_remove("RUST_LOG");
        Process::spawn(command)
    }

    fn file_channel(&self, most_bytes: u32) -> String {
        let store = self.store();
        let store = store.display();
        format!(
            "a1.channels.c1.type = file\na1.channels.c1.checkpointDir = {store}/checkpoint\n\
             a1.channels.c1.dataDirs = {store}/data\na1.channels.c1.keep-alive = 1\n\
             a1.channels.c1.minimumRequiredSpace = 1048576\na1.channels.c1.maxFileSize = {most_bytes}\n"
        )
    }
}

// === impl Hops ===

impl Hops {
    pub fn start(seed: u64, released: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = if released { released_millstream() } else { millstream() };
        let hop = |name: &str| {
            let hop = Hop { dir: dir.path().join(name), program: program.to_owned() };
            std::fs::create_dir_all(hop.store()).unwrap();
            hop
        };
        let (front_hop, back_hop) = (hop("front"), hop("back"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (peer, back_port, faults) = (AvroPeer::own(), free_port(), Faults::compile());
        let link = runtime.block_on(Proxy::to(([127, 0, 0, 1], back_port).into()));
        let strange_ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
        std::fs::write(front_hop.config(), front_config(&front_hop, &strange_ports, link.address.port(), 0)).unwrap();
        std::fs::write(back_hop.config(), back_config(&back_hop, back_port, peer.port())).unwrap();
        let (back, front) = (back_hop.spawn(&faults), front_hop.spawn(&faults));
        let (producers, arrivals) = (Producers::start(seed), Arrivals::default());
        producers.load(Some(LOAD));
        let mut hops = Self {
            front,
            back: Some(back),
            front_hop,
            back_hop,
            strange_ports,
            link,
            peer,
            producers,
            arrivals,
            faults,
            lives: 1,
            changes: 0,
            _runtime: runtime,
            _dir: dir,
        };
        let producers = hops.announce();
        let monitoring = monitoring::address(&hops.front).rsplit(':').next().unwrap().parse().unwrap();
        hops.strange_ports.extend([producers, monitoring]);
        hops
    }

    /// Has the producers send to the first agent, and says where.
    fn announce(&self) -> u16 {
        self.front.until("agent is ready");
        let told = self.front.until("a1.sources.r1\"}: millstream_sources::avro: avro source listens");
        let port = told.rsplit(':').next().unwrap().trim().parse().unwrap();
        self.producers.send_to(Some(port));
        port
    }

    pub fn burst(&self, burst: bool) {
        let load = if burst { BURST } else { LOAD };
        self.producers.load(Some(load));
    }

    pub fn front_is_full(&self, full: bool) {
        set(&self.front_hop.full(), full);
    }

    pub fn back_is_full(&self, full: bool) {
        set(&self.back_hop.full(), full);
    }

    pub fn signal_back(&self, signal: Signal) {
        self.back.iter().for_each(|back| back.signal(signal));
    }

    pub fn kill_back(&mut self) {
        let Some(back) = self.back.take() else { return };
        back.signal(Signal::SIGKILL);
        back.ended();
        self.collect();
    }

    pub fn start_back(&mut self) {
        if self.back.is_none() {
            self.lives += 1;
            self.back = Some(self.back_hop.spawn(&self.faults));
        }
    }

    /// Changes the first agent's configuration, and has it read.
    pub fn reload_front(&mut self) {
        self.changes += 1;
        let (hop, link) = (&self.front_hop, self.link.address.port());
        std::fs::write(hop.config(), front_config(hop, &self.strange_ports, link, self.changes)).unwrap();
        let taken_over = self.front.lines_with("configuration taken over").len();
        self.front.signal(Signal::SIGHUP);
        self.until("the configuration is taken over", |hops| {
            hops.front.lines_with("configuration taken over").len() > taken_over
        });
    }

    /// Notes what arrived. One that could not start on a full disk is started again, as a service manager does.
    fn collect(&mut self) {
        assert!(self.front.running().is_some(), "the first agent ended:\n{}", tail(&self.front));
        if self.back.as_ref().is_some_and(|back| back.running().is_none()) {
            let ended = self.back.take().unwrap().ended();
            assert_eq!(ended.lines_with("No space left on device").count().min(1), 1, "{}", ended.log.join("\n"));
            self.start_back();
        }
        self.arrivals.collect(&self.peer, &self.producers, self.lives);
    }

    /// Lets everything run, and `go_on` again and again.
    pub fn live_for(&mut self, time: Duration, mut go_on: impl FnMut(&mut Self)) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            go_on(self);
            self.collect();
            std::thread::sleep(LOOK.min(time)); // sleeps: a fault lasts for some time
        }
    }

    /// What a fault held up arrives, and something that was sent after it.
    pub fn fresh_event_arrives(&mut self) {
        let before = self.producers.acknowledged_each();
        self.until("a fresh event is acknowledged", |hops| {
            hops.producers.acknowledged_each().iter().zip(&before).all(|(now, before)| now > before)
        });
    }

    /// Waits until everything is through and nobody but the producers is connected.
    pub fn rest(&mut self) {
        self.producers.pause(true);
        self.until("all that was sent is acknowledged", |hops| hops.producers.are_settled());
        self.until("all that is acknowledged has arrived", |hops| {
            hops.arrivals.missing(hops.producers.acknowledged_each()) == 0
        });
        self.until("that is noted in both channels", |hops| {
            [Some(&hops.front), hops.back.as_ref()].into_iter().flatten().all(|agent| waiting(agent) == 0)
        });
        self.until("strangers are forgotten", Self::are_strangers_forgotten);
        self.producers.pause(false);
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let came_true = comes_true(|| {
            self.collect();
            holds(self)
        });
        if !came_true {
            let back = self.back.as_ref().map(tail).unwrap_or_default();
            panic!("never: {what}\n=== the first agent\n{}\n=== the second\n{back}", tail(&self.front));
        }
    }

    /// Whether nobody but the producers is connected to the first agent.
    fn are_strangers_forgotten(&mut self) -> bool {
        let metrics = monitoring::metrics(&monitoring::address(&self.front));
        let open = |source: &str| number(&metrics, &format!("SOURCE.{source}"), "OpenConnectionCount");
        open("r1") <= PRODUCERS as u64 && STRANGE.iter().all(|source| open(source) == 0)
    }

    /// Memory of both agents, and file descriptors of the first.
    pub fn measured(&self) -> (u64, usize, u64) {
        let resident = |agent: &Process| status_bytes(agent.id(), "VmRSS").unwrap();
        let open = || std::fs::read_dir(format!("/proc/{}/fd", self.front.id())).unwrap().count();
        let looks = (0..LOOKS).map(|_| {
            std::thread::sleep(LOOK / LOOKS); // sleeps: who asked for metrics is forgotten a moment after the answer
            open()
        });
        let descriptors = looks.min().unwrap();
        (resident(&self.front), descriptors, self.back.as_ref().map_or(0, resident))
    }

    /// In the middle of its work. Says how many lines its log had.
    pub fn kill_front_and_start_it_again(&mut self) -> usize {
        self.fresh_event_arrives();
        self.producers.send_to(None);
        self.front.signal(Signal::SIGKILL);
        let next = self.front_hop.spawn(&self.faults);
        let ended = std::mem::replace(&mut self.front, next).ended();
        self.announce();
        self.fresh_event_arrives();
        ended.log.len()
    }

    /// Ends the load and both agents once everything is through, and counts. Both channels must say the same.
    pub fn finish(mut self) -> Counts {
        self.producers.finish();
        let acknowledged = self.producers.acknowledged_each();
        self.until("all that is acknowledged has arrived", |hops| hops.arrivals.missing(acknowledged) == 0);
        let Self { front, back, front_hop, back_hop, .. } = self;
        let (front, back) = (front.stop(), back.unwrap().stop());
        front.expect_code(0);
        back.expect_code(0);
        self.arrivals.collect(&self.peer, &self.producers, self.lives);
        let all: u64 = acknowledged.iter().sum();
        for hop in [front_hop, back_hop] {
            let ledger = ledger(&hop.program, &hop.store());
            let said = ["in", "out", "waiting", "lost"].map(|key| ledger[key].as_u64());
            assert_eq!(said, [Some(all), Some(all), Some(0), Some(0)], "{}: {ledger}", hop.dir.display());
        }
        let Arrivals { alien, stored_twice, again, .. } = self.arrivals;
        assert_eq!((alien, stored_twice), (0, 0));
        Counts { acknowledged: all, lost: self.arrivals.missing(acknowledged), alien, stored_twice, again }
    }
}

/// Events that an agent's channel has not delivered, as far as it knows.
fn waiting(agent: &Process) -> u64 {
    number(&monitoring::metrics(&monitoring::address(agent)), "CHANNEL.c1", "ChannelSize")
}

/// The end of its log.
fn tail(agent: &Process) -> String {
    let lines = agent.lines_with("");
    lines[lines.len().saturating_sub(60)..].join("\n")
}

fn number(metrics: &Value, component: &str, name: &str) -> u64 {
    // A counter that never counted is not shown.
    metrics[component][name].as_str().map_or(0, |number| number.parse().unwrap())
}

fn set(mark: &std::path::Path, there: bool) {
    if there {
        std::fs::write(mark, "").unwrap();
    } else {
        // Two faults may end it.
        let _ = std::fs::remove_file(mark);
    }
}

/// The first agent: a source for the producers, and some beside it that strangers find; `change` makes it another.
fn front_config(hop: &Hop, strange_ports: &[u16], link: u16, change: u32) -> String {
    // The last one moves to another port and back, the channel for strangers changes its room, a sink its batches.
    let ports = strange_ports[..3].iter().chain([&strange_ports[3 + change as usize % 2]]);
    let strangers: String = ["netcat", "syslogtcp", "http", "avro"]
        .iter()
        .zip(STRANGE)
        .zip(ports)
        .map(|((kind, source), port)| {
            let host = if *kind == "syslogtcp" { "host" } else { "bind" };
            format!(
                "a1.sources.{source}.type = {kind}\na1.sources.{source}.{host} = 127.0.0.1\n\
                 a1.sources.{source}.port = {port}\na1.sources.{source}.channels = c2\n"
            )
        })
        .collect();
    format!(
        "a1.sources = r1 r2 r3 r4 r5\na1.channels = c1 c2\na1.sinks = k1 k2\n\
         a1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = 0\na1.sources.r1.channels = c1\n\
         {strangers}{file}\
         a1.channels.c2.type = memory\na1.channels.c2.capacity = {room}\na1.channels.c2.transactionCapacity = 1000\n\
         a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {link}\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.connect-timeout = 2000\na1.sinks.k1.request-timeout = 2000\na1.sinks.k1.batch-size = {batch}\n\
         a1.sinks.k2.type = null\na1.sinks.k2.channel = c2\n",
        file = hop.file_channel(4_000_000),
        room = 10_000 + change % 5 * 1_000,
        batch = 100 + change % 7 * 50,
    )
}

/// The second agent.
fn back_config(hop: &Hop, port: u16, peer: u16) -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\na1.sources.r1.channels = c1\n\
         {file}\
         a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {peer}\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.connect-timeout = 2000\na1.sinks.k1.request-timeout = 2000\na1.sinks.k1.batch-size = {BATCH}\n",
        file = hop.file_channel(500_000),
    )
}
