//! Slow peers of sources, beside Flume's own: most of a large message at once, and then a byte now and then.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use millstream_testkit::peer::{Place, differs};
use millstream_tests::beside::{Both, exact_agent};
use millstream_tests::varint;

/// Of a body.
const BYTES: usize = 400_000;
/// What of a message comes at once.
const AT_ONCE: usize = 300_000;
const NAMES: [&str; 6] = ["avro", "thrift", "http", "netcat", "syslogtcp", "multiport"];
/// How often a byte comes.
const TRICKLE: Duration = Duration::from_millis(250);
/// For a busy machine: ours closes after ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A peer that has sent so much of its message.
struct Peer {
    stream: TcpStream,
    message: Vec<u8>,
    sent: usize,
}

// === impl Peer ===

impl Peer {
    fn begin(port: u16, message: Vec<u8>) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(&message[..AT_ONCE]).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, message, sent: AT_ONCE }
    }

    fn trickle(&mut self) {
        // Whether it is closed is what reading tells.
        self.sent += self.stream.write(&self.message[self.sent..=self.sent]).unwrap_or_default();
    }

    /// Whether the other side closed the connection.
    fn is_closed(&mut self) -> bool {
        loop {
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return true,
                // Why, in HTTP.
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// Sends the rest; how the answer begins, of which so much is wanted.
    fn finish(mut self, answer: usize) -> Vec<u8> {
        self.stream.set_nonblocking(false).unwrap();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.stream.write_all(&self.message[self.sent..]).unwrap();
        let mut begun = vec![0; answer];
        self.stream.read_exact(&mut begun).unwrap();
        begun
    }
}

fn agent(place: &mut Place) -> String {
    let sources = NAMES.map(|name| {
        let port = place.port(name);
        let keys = match name {
            "netcat" => format!("type = netcat\nbind = 127.0.0.1\nport = {port}\nmax-line-length = 1000000\n"),
            "syslogtcp" => format!("type = syslogtcp\nhost = 127.0.0.1\nport = {port}\neventSize = 1000000\n"),
            "multiport" => {
                format!("type = multiport_syslogtcp\nhost = 127.0.0.1\nports = {port}\neventSize = 1000000\n")
            }
            name => format!("type = {name}\nbind = 127.0.0.1\nport = {port}\n"),
        };
        (name, keys)
    });
    exact_agent(place, &sources)
}

/// A call in one frame behind its handshake.
fn avro_call() -> Vec<u8> {
    let hash = [7; 16];
    let params = [&[0][..], &varint(2 * BYTES as u64), &[b'x'; BYTES]].concat();
    let payload = [&hash[..], &[0], &hash, &[2, 0, 0, 12], b"append", &params].concat();
    [&[0, 0, 0, 1, 0, 0, 0, 1][..], &(payload.len() as u32).to_be_bytes(), &payload].concat()
}

fn thrift_call() -> Vec<u8> {
    let body = [&[0x1c, 0x1b, 0x00, 0x18][..], &varint(BYTES as u64), &[b'x'; BYTES], &[0, 0]].concat();
    let call = [&[0x82, 0x21, 0x01, 0x06][..], b"append", &body].concat();
    [&(call.len() as u32).to_be_bytes()[..], &call].concat()
}

/// What a peer says, and how it is answered.
fn message(name: &str) -> (Vec<u8>, &'static [u8]) {
    let text = "x".repeat(BYTES);
    match name {
        "avro" => (avro_call(), &[0, 0, 0, 1]),
        "thrift" => (thrift_call(), &[0, 0, 0]),
        "http" => {
            let body = format!("[{{\"body\":\"{text}\"}}]");
            let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
            ((head + &body).into_bytes(), b"HTTP/1.1 200")
        }
        "netcat" => (format!("{text}\n").into_bytes(), b"OK\n"),
        _ => (format!("<13>1 2020-05-04T10:11:12Z h {text}\n").into_bytes(), b""),
    }
}

#[test]
fn peers_that_trickle_are_closed_where_the_real_one_waits_for_them() {
    let both = Both::start(agent);
    let begin = |place: &Place| NAMES.map(|name| Peer::begin(place.chosen_port(name), message(name).0));
    let (mut ours, mut theirs) = (begin(both.ours.place()), begin(both.theirs.place()));
    let mut closed = [false; NAMES.len()];
    let begun = Instant::now();
    while closed != [true; NAMES.len()] {
        assert!(begun.elapsed() < PATIENCE, "closed of {NAMES:?}: {closed:?}");
        ours.iter_mut().chain(&mut theirs).for_each(Peer::trickle);
        for (closed, peer) in closed.iter_mut().zip(&mut ours) {
            *closed = *closed || peer.is_closed();
        }
        // sleeps: being slow is what they do.
        std::thread::sleep(TRICKLE);
    }
    let theirs_closed = theirs.each_mut().map(Peer::is_closed);
    assert_eq!(theirs_closed, [false; NAMES.len()], "{NAMES:?}");
    differs("slow-peers", closed, theirs_closed);
    for (peer, name) in theirs.into_iter().zip(NAMES) {
        let answer = message(name).1;
        assert_eq!(peer.finish(answer.len()), answer, "{name}");
    }
    // Nothing is known of the schema of this avro peer: it is answered that, and no more.
    for name in &NAMES[1..] {
        let [ours, theirs] = both.brought(name, 0, 1);
        assert!(ours.is_empty() && theirs[0].ends_with(&"x".repeat(BYTES)), "{name}: {}", ours.len());
    }
}
