//! An agent that is measured: ours or Flume's, of the same properties, as a process of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use millstream_testkit::peer::{Flume, Peer, Place, Version};
use serde_json::Value;

use crate::proc::Usage;

/// Longer than anything takes to begin.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at the counters, which cost the subject something too.
const LOOK: Duration = Duration::from_millis(10);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The release build beside this program.
    Ours,
    /// Apache Flume 1.11 in a JVM as its makers run it, 1 GiB heap.
    Flume,
}

/// One that runs. Ended when dropped.
#[derive(Debug)]
pub struct Subject(Running);

#[derive(Debug)]
enum Running {
    Ours(Box<(Place, Option<Peer>)>),
    Flume(Box<Flume>),
}

// === impl Kind ===

impl Kind {
    /// As shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "millstream",
            Self::Flume => "Flume 1.11",
        }
    }
}

// === impl Subject ===

impl Subject {
    /// Starts an agent with these properties of `a1`, and waits until it listens on the ports that they name.
    pub fn start(kind: Kind, properties: impl Fn(&mut Place) -> String) -> Self {
        if kind == Kind::Flume {
            return Self(Running::Flume(Box::new(Flume::measured_agent(Version::V1_11, properties))));
        }
        let mut subject = Self::prepared(properties);
        subject.restart();
        subject
    }

    /// Ours, not started yet.
    pub fn prepared(properties: impl Fn(&mut Place) -> String) -> Self {
        let mut place = Place::default();
        let text = properties(&mut place);
        place.port("monitoring");
        std::fs::write(place.path("flume.properties"), text).unwrap();
        Self(Running::Ours(Box::new((place, None))))
    }

    /// Starts ours, over what it left.
    pub fn restart(&mut self) {
        let Running::Ours(ours) = &mut self.0 else { panic!("only ours is started again here") };
        let (place, peer) = &mut **ours;
        let mut command = Command::new(millstream());
        command.args(["agent", "-n", "a1", "--no-reload-conf", "-f"]).arg(place.path("flume.properties"));
        let port = format!("-Dflume.monitoring.port={}", place.chosen_port("monitoring"));
        command
            .args(["-Dflume.monitoring.type=http", "-Dflume.monitoring.host=127.0.0.1", &port])
            .env_remove("RUST_LOG");
        let mut started = Peer::start("millstream", place.dir(), &command);
        started.until_log("agent is ready");
        *peer = Some(started);
    }

    /// Kills ours with -9.
    pub fn kill(&mut self) {
        let Running::Ours(ours) = &mut self.0 else { panic!("only ours is killed here") };
        ours.1.take().expect("it runs").kill();
    }

    /// Where it lives.
    pub fn place(&self) -> &Place {
        match &self.0 {
            Running::Ours(ours) => &ours.0,
            Running::Flume(flume) => flume.place(),
        }
    }

    /// The port that its properties asked for under this name.
    pub fn port(&self, name: &str) -> u16 {
        self.place().chosen_port(name)
    }

    /// Its process so far.
    pub fn usage(&mut self) -> Usage {
        let id = match &mut self.0 {
            Running::Ours(ours) => ours.1.as_ref().expect("it runs").id(),
            Running::Flume(flume) => flume.peer().id(),
        };
        Usage::of(id).unwrap_or_else(|error| panic!("/proc/{id}: {error}"))
    }

    /// Flume's counter of a component; 0 while it has none.
    pub fn counter(&self, component: &str, name: &str) -> u64 {
        let metrics = get(self.port("monitoring"), "/metrics").unwrap_or_default();
        metrics[component][name].as_str().and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Waits until so many events were taken from the channel `c1`: Flume's null sink counts nothing itself.
    pub fn until_drained(&self, events: u64) {
        self.until_taken(events);
    }

    /// The same; how many it were when they were seen.
    pub fn until_taken(&self, events: u64) -> u64 {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            let taken = self.counter("CHANNEL.c1", "EventTakeSuccessCount");
            if taken >= events {
                return taken;
            }
            if taken > last {
                (last, moved) = (taken, Instant::now());
            }
            assert!(moved.elapsed() < PATIENCE, "{taken} of {events} events taken, and no more for {PATIENCE:?}");
            std::thread::sleep(LOOK);
        }
    }
}

/// The program: built beside this one.
pub fn millstream() -> PathBuf {
    let own = std::env::current_exe().expect("a program has a path");
    let path = own.with_file_name("millstream");
    assert!(path.is_file(), "{}: not built; `make bench-peers` builds it first", path.display());
    path
}

fn get(port: u16, path: &str) -> std::io::Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str(body)?)
}
