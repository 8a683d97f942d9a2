//! The real Flume and ours side by side, of one text of properties.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::Duration;

use millstream_testkit::peer::{Flume, Place, Version, free_port};

use crate::peers::OurAgent;
use crate::written::{self, avro_events};
use crate::{comes_true, until_true};

/// Headers and body of an event.
pub type Event = (BTreeMap<String, String>, String);

/// An agent in which each of these sources has a channel of its own, and a directory of its own for what comes.
pub fn agent(place: &Place, sources: &[(&str, String)]) -> String {
    agent_with("header_and_text", place, sources)
}

/// The same, what comes being kept byte by byte: for [`Both::brought`].
pub fn exact_agent(place: &Place, sources: &[(&str, String)]) -> String {
    agent_with("avro_event", place, sources)
}

fn agent_with(serializer: &str, place: &Place, sources: &[(&str, String)]) -> String {
    let names: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
    let all = |letter| names.iter().map(|name| format!("{letter}{name}")).collect::<Vec<_>>().join(" ");
    let mut text = format!("a1.sources = {}\na1.channels = {}\na1.sinks = {}\n", all('r'), all('c'), all('k'));
    for (name, properties) in sources {
        let dir = place.path(name);
        fs::create_dir_all(&dir).unwrap();
        for line in properties.lines() {
            text.push_str(&format!("a1.sources.r{name}.{}\n", line.trim()));
        }
        text.push_str(&format!(
            "a1.sources.r{name}.channels = c{name}\na1.channels.c{name}.type = memory\n\
             a1.channels.c{name}.capacity = 10000\na1.channels.c{name}.transactionCapacity = 1000\n\
             a1.sinks.k{name}.type = file_roll\na1.sinks.k{name}.channel = c{name}\n\
             a1.sinks.k{name}.sink.directory = {}\na1.sinks.k{name}.sink.rollInterval = 0\n\
             a1.sinks.k{name}.sink.serializer = {serializer}\n",
            dir.display()
        ));
    }
    text
}

/// What a source brought, sorted: connections have no order among them.
pub fn events(place: &Place, name: &str) -> Vec<Event> {
    let files = fs::read_dir(place.path(name)).unwrap();
    let contents = files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect::<Vec<_>>();
    let text = String::from_utf8_lossy(&contents);
    let mut events: Vec<Event> = text.split_terminator('\n').map(event).collect();
    events.sort();
    events
}

/// Reads `{k=v, k2=v2} body`; Flume has the headers in the order of a hash table.
fn event(line: &str) -> Event {
    let (headers, body) = line.strip_prefix('{').and_then(|line| line.split_once("} ")).unwrap_or(("", line));
    let headers = headers.split(", ").filter_map(|header| header.split_once('='));
    (headers.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(), body.to_owned())
}

/// Both agents, of one text of properties.
#[derive(Debug)]
pub struct Both {
    /// An agent of ours.
    pub ours: OurAgent,
    /// The real one.
    pub theirs: Flume,
}

// === impl Both ===

impl Both {
    /// Starts both, and waits until both are ready.
    #[track_caller]
    pub fn start(properties: impl Fn(&mut Place) -> String) -> Self {
        let both = Self { theirs: Flume::agent(Version::V1_11, &properties), ours: OurAgent::start(&properties) };
        both.ours.process().until("agent is ready");
        both
    }

    /// Says `bytes` to the port of this name, each piece on a connection of its own; what each agent answered.
    pub fn say(&self, port: &str, pieces: &[&[u8]]) -> [Vec<String>; 2] {
        let ports = [self.ours.port(port), self.theirs.port(port)];
        ports.map(|port| pieces.iter().map(|piece| said(port, piece)).collect())
    }

    /// Waits until ours has so many events from a source of an [`exact_agent`], and theirs so many; gives them, in order,
    /// written as [`told`] does.
    #[track_caller]
    pub fn brought(&self, name: &str, ours: usize, theirs: usize) -> [Vec<String>; 2] {
        [(self.ours.place(), ours), (self.theirs.place(), theirs)].map(|(place, count)| {
            let dir = place.path(name);
            let there = comes_true(|| avro_events(&dir).len() >= count);
            let events: Vec<String> = avro_events(&dir).iter().map(told).collect();
            assert!(there, "{name}: {count} events wanted, got {events:#?}\n{}", self.theirs.log_tail());
            events
        })
    }

    /// As [`Self::brought`]; ours must have brought the ones, theirs the others.
    #[track_caller]
    pub fn brings(&self, name: &str, ours: &[&str], theirs: &[&str]) -> [Vec<String>; 2] {
        let brought = self.brought(name, ours.len(), theirs.len());
        assert_eq!(brought, [ours, theirs], "{name}: left is brought, ours first; right is wanted");
        brought
    }

    /// As [`Self::brings`], where both must have brought the same.
    #[track_caller]
    pub fn both_bring(&self, name: &str, wanted: &[&str]) {
        self.brings(name, wanted, wanted);
    }

    /// Waits until both have as many events from each of these sources, then ends both; the events must be equal.
    #[track_caller]
    pub fn compare(self, counts: &[(&str, usize)]) -> BTreeMap<String, Vec<Event>> {
        self.compare_but(counts, |_| {})
    }

    /// The same, once `reconcile` has made of each event of Flume's what it is here on purpose.
    #[track_caller]
    pub fn compare_but(self, counts: &[(&str, usize)], reconcile: impl Fn(&mut Event)) -> BTreeMap<String, Vec<Event>> {
        self.compare_differing(counts, reconcile).into_iter().map(|(name, [ours, _])| (name, ours)).collect()
    }

    /// The same; gives ours, and Flume's as they came, for [`differs`](millstream_testkit::peer::differs).
    #[track_caller]
    pub fn compare_differing(
        mut self,
        counts: &[(&str, usize)],
        reconcile: impl Fn(&mut Event),
    ) -> BTreeMap<String, [Vec<Event>; 2]> {
        for (name, count) in counts {
            until_true(&format!("{count} events of {name}"), || {
                [self.ours.place(), self.theirs.place()].iter().all(|place| events(place, name).len() >= *count)
            });
        }
        self.ours.stop();
        self.theirs.stop();
        let compared = counts.iter().map(|(name, _)| {
            let ours = events(self.ours.place(), name);
            let raw = events(self.theirs.place(), name);
            let mut theirs = raw.clone();
            theirs.iter_mut().for_each(&reconcile);
            theirs.sort();
            let (left, right): (Vec<Event>, Vec<Event>) =
                (ours.iter().map(shortened).collect(), theirs.iter().map(shortened).collect());
            assert_eq!(left, right, "{name}: ours is left, Flume's is right");
            ((*name).to_owned(), [ours, raw])
        });
        compared.collect()
    }
}

/// The bodies of events, sorted.
pub fn bodies(events: &[Event]) -> Vec<&str> {
    let mut bodies: Vec<&str> = events.iter().map(|(_, body)| body.as_str()).collect();
    bodies.sort_unstable();
    bodies
}

/// The headers of events, sorted.
pub fn headers(events: &[Event]) -> Vec<&BTreeMap<String, String>> {
    let mut headers: Vec<_> = events.iter().map(|(headers, _)| headers).collect();
    headers.sort_unstable();
    headers
}

/// An event for people: its headers in their order by name, and its body, where it is not text byte by byte.
pub fn told((headers, body): &written::Event) -> String {
    let headers: String = headers.iter().map(|(key, value)| format!("{key}={value} ")).collect();
    let mut text = String::new();
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02X}")));
    }
    format!("{headers}| {}", text.replace('\r', "\\r").replace('\n', "\\n"))
}

/// Of a long body, its beginning and length say enough.
fn shortened((headers, body): &Event) -> Event {
    let body = match body.char_indices().nth(100) {
        Some((end, _)) => format!("{}... {} bytes", &body[..end], body.len()),
        None => body.clone(),
    };
    (headers.clone(), body)
}

/// What is answered to `bytes`, until the connection is closed.
pub fn said(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // One that is cut off may be told so.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Chooses a UDP port for the source of this name.
pub fn choose_udp(place: &Place, name: &str) -> u16 {
    let port = free_port();
    fs::write(place.path(&format!("{name}.port")), port.to_string()).unwrap();
    port
}

/// Sends these by `socket` to the port that was chosen for a source, once it listens there.
#[track_caller]
pub fn send_udp(socket: &UdpSocket, place: &Place, name: &str, datagrams: &[impl AsRef<[u8]>]) {
    let port: u16 = fs::read_to_string(place.path(&format!("{name}.port"))).unwrap().parse().unwrap();
    until_true("somebody listens", || {
        let sockets = ["/proc/net/udp", "/proc/net/udp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
        sockets.concat().contains(&format!(":{port:04X} "))
    });
    for datagram in datagrams {
        socket.send_to(datagram.as_ref(), ("127.0.0.1", port)).unwrap();
    }
}
