//! Peers that claim a lot, send most of it at once, and then nothing, or a byte now and then: together more than the source has
//! for unfinished messages. A good peer is served within seconds all the same; theirs are closed, counted and named in the log.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use millstream_testkit::peer::free_port;
use millstream_tests::memory::status_bytes;
use millstream_tests::{Process, varint};
use serde_json::Value;
use tempfile::TempDir;

/// What an agent may use under attack: 256 MiB of unfinished messages, what is read of one beside, and itself in a debug build.
const MOST_BYTES: u64 = 400 << 20;
/// A good peer is answered within this time, however slow the others are.
const SERVED_WITHIN: Duration = Duration::from_secs(5);
/// Slow peers are disconnected within this time: the window of ten seconds, and what a busy machine adds.
const CLOSED_WITHIN: Duration = Duration::from_secs(18);
/// How often those that trickle do.
const TRICKLE: Duration = Duration::from_millis(250);

/// What is done to one agent.
struct Attack {
    /// Of the component under attack.
    metrics: &'static str,
    /// Counts the connections that are closed.
    counter: &'static str,
    /// What lies around the component.
    config: fn(port: u16) -> String,
    peers: usize,
    /// What each of them says first.
    head: Vec<u8>,
    /// How much of the rest it sends, and with what.
    fill: (u8, usize),
    /// Whether a byte comes now and then.
    trickles: bool,
    good: Vec<u8>,
    /// How the answer to `good` begins; where nothing is answered, the source counts it as accepted.
    answer: &'static [u8],
}

struct Agent {
    process: Process,
    port: u16,
    monitoring: String,
    _dir: TempDir,
}

// === impl Agent ===

impl Agent {
    fn start(config: fn(u16) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let file = dir.path().join("flume.conf");
        let channel = "a1.channels = c1\na1.channels.c1.type = memory\n";
        std::fs::write(&file, config(port) + channel).unwrap();
        let file = file.display().to_string();
        let monitoring =
            ["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0", "-Dflume.monitoring.host=127.0.0.1"];
        let process = Process::start(["agent", "-n", "a1", "-f", &file].iter().chain(&monitoring));
        let told = process.until("monitoring serves http");
        let monitoring = told.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        process.until("agent is ready");
        Self { process, port, monitoring, _dir: dir }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_write_timeout(Some(SERVED_WITHIN)).unwrap();
        stream
    }

    fn counted(&self, component: &str, counter: &str) -> u64 {
        let mut stream = TcpStream::connect(&self.monitoring).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let json: Value =
            serde_json::from_str(&answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()]).unwrap();
        json[component][counter].as_str().unwrap().parse().unwrap()
    }
}

// === impl Attack ===

impl Attack {
    fn run(&self) {
        let agent = Agent::start(self.config);
        let mut open: Vec<TcpStream> = (0..self.peers).map(|_| self.begin(&agent)).collect();
        self.assert_served(&agent, "when the memory is used up");
        let begun = Instant::now();
        let mut last_good = begun;
        while !open.is_empty() {
            assert!(begun.elapsed() < CLOSED_WITHIN, "{} of {} slow peers are still connected", open.len(), self.peers);
            open.retain_mut(|peer| {
                if self.trickles {
                    // Whether it is closed is what reading tells.
                    let _ = peer.write(&[self.fill.0]);
                }
                !is_closed(peer)
            });
            if last_good.elapsed() > Duration::from_secs(2) {
                self.assert_served(&agent, "meanwhile");
                last_good = Instant::now();
            }
            // sleeps: being slow is what they do.
            std::thread::sleep(TRICKLE);
        }
        self.assert_served(&agent, "afterwards");
        let peers = self.peers as u64;
        let counted = agent.counted(self.metrics, self.counter);
        assert!(counted >= peers, "{counted} of {peers} are counted");
        let named = agent.process.lines_with("peer=127.0.0.1:");
        let reasons = ["hold too many bytes", "came too slowly"];
        let named = named.iter().filter(|line| reasons.iter().any(|reason| line.contains(reason))).count();
        assert_eq!(named, self.peers, "each is in the log once, with its reason");
        let most = status_bytes(agent.process.id(), "VmHWM").unwrap();
        assert!(most < MOST_BYTES, "{} MB", most >> 20);
        agent.process.stop().expect_code(0);
    }

    /// Sends what is taken of it, and stays.
    fn begin(&self, agent: &Agent) -> TcpStream {
        let mut peer = agent.connect();
        peer.write_all(&self.head).unwrap();
        let (byte, mut left) = self.fill;
        let chunk = vec![byte; 1 << 20];
        while left > 0 {
            match peer.write(&chunk[..left.min(chunk.len())]) {
                Ok(written) => left -= written,
                // Dropped for another already.
                Err(_) => break,
            }
        }
        peer.set_nonblocking(true).unwrap();
        peer
    }

    fn assert_served(&self, agent: &Agent, when: &str) {
        let begun = Instant::now();
        let accepted = || agent.counted(self.metrics, "EventAcceptedCount");
        let before = if self.answer.is_empty() { accepted() } else { 0 };
        let mut peer = agent.connect();
        peer.set_read_timeout(Some(SERVED_WITHIN)).unwrap();
        peer.write_all(&self.good).unwrap_or_else(|error| panic!("{when}: {error}"));
        let mut answer = vec![0; self.answer.len()];
        peer.read_exact(&mut answer).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(String::from_utf8_lossy(&answer), String::from_utf8_lossy(self.answer), "{when}");
        if self.answer.is_empty() {
            agent.process.until_true(when, || accepted() > before);
        }
        assert!(begun.elapsed() < SERVED_WITHIN, "{when}: {:?}", begun.elapsed());
    }
}

/// Whether the other side closed the connection; ours did not.
fn is_closed(mut peer: &TcpStream) -> bool {
    loop {
        match peer.read(&mut [0; 4096]) {
            Ok(0) => return true,
            // Why, in HTTP.
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

fn source(port: u16, keys: &str) -> String {
    let keys: String = keys.lines().map(|key| format!("a1.sources.r1.{key}\n")).collect();
    format!(
        "a1.sources = r1\na1.sinks = k1\na1.sources.r1.channels = c1\na1.sources.r1.port = {port}\n{keys}\
         a1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n"
    )
}

/// Bytes of a good message.
const GOOD_BYTES: usize = 200_000;

/// One frame that holds one call, with its handshake.
fn avro_call(message: &str, params: &[u8]) -> Vec<u8> {
    let hash = [7; 16];
    let payload = [&hash[..], &[0], &hash, &[2, 0, 0, 2 * message.len() as u8], message.as_bytes(), params].concat();
    [&[0, 0, 0, 1, 0, 0, 0, 1][..], &(payload.len() as u32).to_be_bytes(), &payload].concat()
}

fn avro_append() -> Vec<u8> {
    avro_call("append", &[&[0][..], &varint(2 * GOOD_BYTES as u64), &[b'x'; GOOD_BYTES]].concat())
}

fn avro(trickles: bool) -> Attack {
    Attack {
        metrics: "SOURCE.r1",
        counter: "GenericProcessingFail",
        config: |port| source(port, "type = avro\nbind = 127.0.0.1"),
        peers: 6,
        head: [&[0, 0, 0, 1, 0, 0, 0, 1][..], &(64_u32 << 20).to_be_bytes()].concat(),
        fill: (0, 60 << 20),
        trickles,
        good: avro_append(),
        answer: &[0, 0, 0, 1],
    }
}

#[test]
fn silent_thrift_peers_are_closed_and_good_ones_served() {
    let body = [&[0x1c, 0x1b, 0x00, 0x18][..], &varint(GOOD_BYTES as u64), &[b'x'; GOOD_BYTES], &[0, 0]].concat();
    let call = [&[0x82, 0x21, 0x01, 0x06][..], b"append", &body].concat();
    let attack = Attack {
        metrics: "SOURCE.r1",
        counter: "GenericProcessingFail",
        config: |port| source(port, "type = thrift\nbind = 127.0.0.1"),
        peers: 25,
        head: 16_000_000_u32.to_be_bytes().to_vec(),
        fill: (0, 13_000_000),
        trickles: false,
        good: [&(call.len() as u32).to_be_bytes()[..], &call].concat(),
        answer: &[0, 0, 0],
    };
    attack.run();
}

#[test]
fn trickling_avro_peers_are_closed_and_good_ones_served() {
    avro(true).run();
}

#[test]
fn silent_avro_peers_are_closed_and_good_ones_served() {
    avro(false).run();
}

#[test]
fn trickling_http_bodies_are_refused_and_good_ones_taken() {
    let head = |length: usize| format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    let body = format!("[{{\"body\":\"{}\"}}]", "x".repeat(GOOD_BYTES));
    let attack = Attack {
        metrics: "SOURCE.r1",
        counter: "EventReadFail",
        config: |port| source(port, "type = http\nbind = 127.0.0.1"),
        peers: 4,
        head: head(128 << 20),
        fill: (b' ', 120 << 20),
        trickles: true,
        good: [head(body.len()), body.into_bytes()].concat(),
        answer: b"HTTP/1.1 200",
    };
    attack.run();
}

/// A line that never ends, where long ones are allowed.
fn lines(config: fn(u16) -> String) -> Attack {
    Attack {
        metrics: "SOURCE.r1",
        counter: "GenericProcessingFail",
        config,
        peers: 12,
        head: b"<13>".to_vec(),
        fill: (b'x', 12 << 20),
        trickles: true,
        good: [&[b'x'; GOOD_BYTES][..], b"\n"].concat(),
        answer: b"",
    }
}

#[test]
fn trickling_netcat_lines_are_closed_and_good_ones_answered() {
    let config = |port| source(port, "type = netcat\nbind = 127.0.0.1\nmax-line-length = 16000000");
    Attack { answer: b"OK\n", ..lines(config) }.run();
}

#[test]
fn trickling_syslog_messages_are_closed() {
    lines(|port| source(port, "type = syslogtcp\nhost = 127.0.0.1\neventSize = 16000000")).run();
}

#[test]
fn trickling_messages_are_closed_on_each_of_several_ports() {
    let config = |port: u16| {
        let keys = format!("type = multiport_syslogtcp\nhost = 127.0.0.1\neventSize = 16000000\nports = {port}");
        source(port, &keys).replace(&format!("a1.sources.r1.port = {port}\n"), "")
    };
    lines(config).run();
}

#[test]
fn slow_calls_of_the_spark_sink_are_closed_and_good_ones_answered() {
    let attack = Attack {
        metrics: "SINK.k1",
        counter: "ConnectionFailedCount",
        config: |port| {
            format!(
                "a1.sources = r1\na1.sinks = k1\na1.sources.r1.channels = c1\na1.sources.r1.type = seq\na1.sources.r1.totalEvents = 1\n\
                 a1.sinks.k1.type = spark\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\na1.sinks.k1.channel = c1\n"
            )
        },
        peers: 90,
        head: [&[0, 0, 0, 1, 0, 0, 0, 1][..], &(1_u32 << 20).to_be_bytes()].concat(),
        fill: (0, 900 << 10),
        trickles: true,
        good: avro_call("unknown", &[0; GOOD_BYTES]),
        answer: &[0, 0, 0, 1],
    };
    attack.run();
}

#[test]
fn trickling_http_heads_are_closed_and_counted_and_peers_that_say_nothing_only_closed() {
    const SLOW: usize = 5;
    /// What a head may take, and what a busy machine adds.
    const HEAD: Duration = Duration::from_secs(60);
    let agent = Agent::start(|port| source(port, "type = http\nbind = 127.0.0.1"));
    let idle = |first: &[u8]| {
        let mut peer = agent.connect();
        peer.write_all(first).unwrap();
        peer
    };
    let body = r#"[{"body":"good"}]"#;
    let good = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut open = vec![idle(b""), idle(good.as_bytes())];
    open.extend((0..SLOW).map(|_| idle(b"POST / HTTP/1.1\r\nX: ")));
    open.iter().for_each(|peer| peer.set_nonblocking(true).unwrap());
    let begun = Instant::now();
    while !open.is_empty() {
        assert!(begun.elapsed() < HEAD, "{} peers are still connected", open.len());
        // The slow ones are the last.
        let slow = open.len().min(SLOW);
        open.iter_mut().rev().take(slow).for_each(|peer| _ = peer.write(b"x"));
        open.retain(|peer| !is_closed(peer));
        // sleeps: being slow is what they do.
        std::thread::sleep(TRICKLE);
    }
    let named = agent.process.lines_with("the head of a request came too slowly");
    assert_eq!((named.len(), agent.counted("SOURCE.r1", "GenericProcessingFail")), (SLOW, SLOW as u64), "{named:?}");
    agent.process.stop().expect_code(0);
}
