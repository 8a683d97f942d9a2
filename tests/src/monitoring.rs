//! What an agent shows over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use millstream_testkit::peer::Flume;
use serde_json::Value;

use crate::peers::OurAgent;
use crate::{Process, until_true};

/// Arguments of an agent with monitoring on a free port.
pub const MONITORED: [&str; 3] =
    ["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0", "-Dflume.monitoring.host=127.0.0.1"];

/// How long nothing must have changed: a Spark sink waits for an answer up to 2 s, a sink that failed up to 5 s.
const AT_REST: Duration = Duration::from_secs(6);

/// An agent of either kind that shows its counters.
pub trait Monitored {
    /// Its component of this name, `CHANNEL.c1`, in Flume's JSON.
    fn component(&self, name: &str) -> Value;

    /// One of its counters.
    fn counter(&self, component: &str, attribute: &str) -> u64 {
        let component = self.component(component);
        component[attribute].as_str().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{component:#}"))
    }

    /// How many events have come into its channel `c1` since it was started.
    fn received(&self) -> u64 {
        self.counter("CHANNEL.c1", "EventPutSuccessCount")
    }
}

impl Monitored for OurAgent {
    fn component(&self, name: &str) -> Value {
        metrics(&address(self.process()))[name].take()
    }
}

impl Monitored for Flume {
    fn component(&self, name: &str) -> Value {
        metrics(&format!("127.0.0.1:{}", self.port("monitoring")))[name].take()
    }
}

/// Waits until the channels of all these agents are empty and none of them takes or gives anything any more: whatever would
/// come again has come.
#[track_caller]
pub fn until_at_rest(agents: &[&dyn Monitored]) {
    let counters = ["ChannelSize", "EventPutSuccessCount", "EventTakeSuccessCount"];
    let (mut last, mut since) = (Vec::new(), Instant::now());
    until_true("every channel is empty and at rest", || {
        let of_agent = |agent: &&dyn Monitored| counters.map(|attribute| agent.counter("CHANNEL.c1", attribute));
        let now: Vec<[u64; 3]> = agents.iter().map(of_agent).collect();
        if now != last || now.iter().any(|[size, ..]| *size > 0) {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > AT_REST
    });
}

/// Where the agent's monitoring listens.
pub fn address(agent: &Process) -> String {
    let line = agent.until("monitoring serves http");
    line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

/// Status line and body.
pub fn get(address: &str, path: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Flume's JSON.
pub fn metrics(address: &str) -> Value {
    serde_json::from_str(&get(address, "/metrics", "*/*").1).unwrap()
}
