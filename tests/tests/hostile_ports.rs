//! Hostile bytes on every port of an agent: claimed lengths, endless lines, bombs, peers that say nothing. The agent lives, its
//! memory stays within limits, what was wrong is counted, and good clients are served meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use millstream_testkit::hostile;
use millstream_testkit::peer::free_port;
use millstream_tests::memory::status_bytes;
use millstream_tests::{Process, varint};
use serde_json::Value;
use tempfile::TempDir;

/// What the agent may ever use, all attacks and connections together. A debug build alone takes some 40 MB.
const MOST_BYTES: u64 = 400 << 20;
/// Peers that connect and say nothing more, per port.
const SILENT: usize = 150;

/// Longest line of the netcat source unless it is told otherwise.
const MOST_CHARACTERS: usize = 512;

/// Ports of one agent, by source.
struct Ports {
    avro: u16,
    deflate: u16,
    thrift: u16,
    netcat: u16,
    syslog: u16,
    multiport: u16,
    http: u16,
    binary: u16,
    blob: u16,
    spark: u16,
    syslog_udp: u16,
    netcat_udp: u16,
}

struct Agent {
    process: Process,
    ports: Ports,
    monitoring: String,
    _dir: TempDir,
}

// === impl Agent ===

impl Agent {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port;
        let ports = Ports {
            avro: port(),
            deflate: port(),
            thrift: port(),
            netcat: port(),
            syslog: port(),
            multiport: port(),
            http: port(),
            binary: port(),
            blob: port(),
            spark: port(),
            syslog_udp: port(),
            netcat_udp: port(),
        };
        let source = |name: &str, keys: String| {
            format!("a1.sources.{name}.channels = c1\n")
                + &keys.lines().map(|key| format!("a1.sources.{name}.{}\n", key.trim())).collect::<String>()
        };
        let listening = |kind: &str, port: u16| format!("type = {kind}\nbind = 127.0.0.1\nport = {port}");
        let config = [
            "a1.sources = avro deflate thrift binary netcat syslog multiport http blob syslogudp netcatudp\na1.channels = c1\na1.sinks = null spark\n".into(),
            source("avro", listening("avro", ports.avro)),
            source("deflate", listening("avro", ports.deflate) + "\ncompression-type = deflate"),
            source("thrift", listening("thrift", ports.thrift)),
            source("netcat", listening("netcat", ports.netcat)),
            source("syslog", format!("type = syslogtcp\nhost = 127.0.0.1\nport = {}", ports.syslog)),
            source("multiport", format!("type = multiport_syslogtcp\nhost = 127.0.0.1\nports = {}", ports.multiport)),
            source("http", listening("http", ports.http)),
            source("binary", listening("thrift", ports.binary) + "\nprotocol = binary"),
            source("blob", listening("http", ports.blob) + "\nhandler = org.apache.flume.sink.solr.morphline.BlobHandler"),
            source("syslogudp", format!("type = syslogudp\nhost = 127.0.0.1\nport = {}", ports.syslog_udp)),
            source("netcatudp", listening("netcatudp", ports.netcat_udp)),
            "a1.channels.c1.type = memory\na1.channels.c1.capacity = 10000\na1.channels.c1.transactionCapacity = 1000\n".into(),
            "a1.sinks.null.type = null\na1.sinks.null.channel = c1\n".into(),
            format!("a1.sinks.spark.type = spark\na1.sinks.spark.channel = c1\na1.sinks.spark.hostname = 127.0.0.1\na1.sinks.spark.port = {}\n", ports.spark),
        ]
        .concat();
        let file = dir.path().join("flume.conf");
        std::fs::write(&file, config).unwrap();
        let monitoring =
            ["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0", "-Dflume.monitoring.host=127.0.0.1"];
        let file = file.display().to_string();
        let process = Process::start(["agent", "-n", "a1", "-f", &file].iter().chain(&monitoring));
        let told = process.until("monitoring serves http");
        let monitoring = told.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        process.until("agent is ready");
        Self { process, ports, monitoring, _dir: dir }
    }

    /// A counter of a source.
    fn counted(&self, source: &str, counter: &str) -> u64 {
        self.counted_by(&format!("SOURCE.{source}"), counter)
    }

    /// What went wrong at a port: of the sink, its connections.
    fn failures(&self, name: &str) -> u64 {
        match name {
            "spark" => self.counted_by("SINK.spark", "ConnectionFailedCount"),
            _ => self.counted(name, "EventReadFail") + self.counted(name, "GenericProcessingFail"),
        }
    }

    fn counted_by(&self, component: &str, counter: &str) -> u64 {
        let mut stream = TcpStream::connect(&self.monitoring).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = &answer[answer.find("\r\n\r\n").unwrap() + 4..];
        let json: Value = serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap();
        json[component][counter].as_str().unwrap().parse().unwrap()
    }

    /// Whether everything that serves still does.
    fn assert_serves(&self, what: &str) {
        let mut netcat = connect(self.ports.netcat);
        netcat.write_all(b"good\n").unwrap();
        let mut answer = [0; 3];
        netcat.read_exact(&mut answer).unwrap_or_else(|error| panic!("{what}: netcat: {error}"));
        assert_eq!(&answer, b"OK\n", "{what}");
        let mut http = connect(self.ports.http);
        let body = r#"[{"headers":{},"body":"good"}]"#;
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        http.write_all((head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
        for source in ["avro", "syslog"] {
            let before = self.counted(source, "EventAcceptedCount");
            match source {
                "avro" => good_avro(self.ports.avro, what),
                _ => connect(self.ports.syslog).write_all(b"<13>Nov 25 04:20:00 host good\n").unwrap(),
            }
            self.process.until_true(&format!("{source} accepts after {what}"), || {
                self.counted(source, "EventAcceptedCount") > before
            });
        }
        assert!(self.process.running().is_some(), "{what}");
        let most = status_bytes(self.process.id(), "VmHWM").unwrap();
        assert!(most < MOST_BYTES, "{what}: {} MB", most >> 20);
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends what the peer takes of it and says that this was all: then the peer closes too.
fn attack(port: u16, bytes: &[u8]) {
    let mut stream = connect(port);
    // Disconnected in the middle is as good as at the end.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    until_closed(stream, &format!("port {port}, {} bytes", bytes.len()));
}

/// Sends what the peer takes of it: it closes by itself, as it is told of no end.
fn closed_after(port: u16, bytes: &[u8]) {
    let mut stream = connect(port);
    // Disconnected in the middle is as good as at the end.
    let _ = stream.write_all(bytes);
    let shown: Vec<u8> = bytes.iter().copied().take(20).collect();
    until_closed(stream, &format!("port {port}, {shown:02x?} and so on"));
}

/// Reads until the other side ends the connection, well or by a reset.
fn until_closed(mut stream: TcpStream, what: &str) -> Vec<u8> {
    let mut read = Vec::new();
    let ended = stream.read_to_end(&mut read).map(drop).map_err(|error| error.kind());
    let closed = [Ok(()), Err(ErrorKind::ConnectionReset), Err(ErrorKind::BrokenPipe)];
    assert!(closed.contains(&ended), "{what}: not closed: {ended:?}");
    read
}

/// Sends a call that is wrong inside: it is answered, and the connection goes on until we end it.
fn answered(port: u16, bytes: &[u8]) {
    let mut stream = connect(port);
    let number = |stream: &mut TcpStream| {
        let mut number = [0; 4];
        stream.read_exact(&mut number).unwrap_or_else(|error| panic!("port {port}, {bytes:02x?}: {error}"));
        u32::from_be_bytes(number)
    };
    stream.write_all(bytes).unwrap();
    assert_eq!(number(&mut stream), 1, "the serial");
    for _ in 0..number(&mut stream) {
        let length = number(&mut stream);
        stream.read_exact(&mut vec![0; length as usize]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(until_closed(stream, "answered"), [0; 0]);
}

/// A call of `append` with its handshake, as Java's clients send it.
fn call(params: &[u8]) -> Vec<u8> {
    let mut payload = vec![7; 16];
    payload.push(0);
    payload.extend([7; 16]);
    payload.extend([2, 0, 0]);
    payload.extend([12]);
    payload.extend(b"append");
    payload.extend(params);
    frame(&payload)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 1, 0, 0, 0, 1];
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame
}

fn good_avro(port: u16, what: &str) {
    let mut stream = connect(port);
    stream.write_all(&call(&[0, 8, b'g', b'o', b'o', b'd'])).unwrap();
    let mut serial = [0; 4];
    stream.read_exact(&mut serial).unwrap_or_else(|error| panic!("{what}: avro: {error}"));
    assert_eq!(serial, [0, 0, 0, 1], "{what}");
}

/// A zigzag number of Avro.
fn long(value: i64) -> Vec<u8> {
    varint(((value << 1) ^ (value >> 63)) as u64)
}

/// What is no frame, or no call.
fn wrong_frames() -> Vec<Vec<u8>> {
    vec![
        [&[0, 0, 0, 1][..], &u32::MAX.to_be_bytes()].concat(),
        vec![0, 0, 0, 1, 0, 0, 0, 0],
        vec![0, 0, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff],
        vec![0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
        frame(&[0xff; 4096]),
        frame(&[]),
        [0x16, 0x03].repeat(50_000),
    ]
}

/// Calls with parameters that claim what they do not have.
fn wrong_calls() -> Vec<Vec<u8>> {
    let mut attacks = Vec::new();
    for claimed in [i64::MAX, i64::MIN, -1, 1 << 31, 1 << 40] {
        // As a number of headers, and as the length of a body.
        attacks.push(call(&long(claimed)));
        attacks.push(call(&[&[0][..], &long(claimed)].concat()));
    }
    attacks.push(call(&[0xff; 200]));
    attacks
}

fn bomb() -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    // One frame that claims what it may, and then goes on.
    encoder.write_all(&[0, 0, 0, 1, 0, 0, 0, 1, 0x03, 0xff, 0xff, 0xff]).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..512).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap()
}

fn thrift_attacks() -> Vec<Vec<u8>> {
    let framed = |payload: &[u8]| [&(payload.len() as u32).to_be_bytes()[..], payload].concat();
    let call = |params: &[u8]| framed(&[&[0x82, 0x21, 0x01, 0x06][..], b"append", params].concat());
    vec![
        vec![0x7f, 0xff, 0xff, 0xff],
        vec![0xff; 64],
        framed(&[0xff; 1000]),
        // A string, a list and a map that claim what they do not have.
        framed(&[&[0x82, 0x21, 0x01][..], &[0xff, 0xff, 0xff, 0xff, 0x07]].concat()),
        call(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07]),
        call(&[0x1c, 0x1b, 0xff, 0xff, 0xff, 0xff, 0x07, 0x88]),
        // Structures in structures.
        call(&[0x1c; 100_000]),
    ]
}

fn http_attacks() -> Vec<Vec<u8>> {
    let post = |headers: &str, body: &[u8]| {
        [format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n\r\n").as_bytes(), body].concat()
    };
    vec![
        posted("[".repeat(100_000).as_bytes()),
        posted(format!("[{{\"headers\":{}", "{\"a\":".repeat(100_000)).as_bytes()),
        posted(&[0xff; 5000]),
        post("Content-Length: 1000000000000000000000000000000", b""),
        post("Content-Length: 9223372036854775807", b"[{"),
        [&b"POST / HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(200_000)].concat(),
        [&b"POST /"[..], &vec![b'x'; 5 << 20]].concat(),
    ]
}

fn line_attacks() -> Vec<Vec<u8>> {
    vec![
        vec![b'x'; 30 << 20],
        [&b"<"[..], &vec![b'9'; 1 << 20], b">x\n"].concat(),
        b"1000000000000000000000000000000 <13>1 - - - - - - x\n".to_vec(),
        b"<13>99999999999999999999-99-99T99:99:99Z h m\n<>\n<13\n\n\0\0\0\n".to_vec(),
        vec![0; 1 << 20],
        vec![0xff; 1 << 20],
        b"\n".repeat(1 << 20),
    ]
}

impl Ports {
    /// Those that peers connect to.
    fn tcp(&self) -> [u16; 10] {
        let Self { avro, deflate, thrift, netcat, syslog, multiport, http, binary, blob, spark, .. } = *self;
        [avro, deflate, thrift, netcat, syslog, multiport, http, binary, blob, spark]
    }
}

/// The body of a request.
fn posted(body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Peers that begin what some ports take, and send the rest of it byte by byte.
struct Slow {
    ended: Arc<AtomicBool>,
    sending: JoinHandle<Vec<TcpStream>>,
}

impl Slow {
    fn start(ports: &Ports) -> Self {
        let begun: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nX: ";
        let peers: Vec<TcpStream> = ports.tcp().into_iter().flat_map(|port| [connect(port), connect(port)]).collect();
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let sending = std::thread::spawn(move || {
            for byte in begun.iter().copied().chain(std::iter::repeat(b'x')) {
                // One that was disconnected has its end.
                peers.iter().for_each(|mut peer| _ = peer.write(&[byte]));
                if told.load(Ordering::SeqCst) {
                    break;
                }
                // sleeps: being slow is what they do.
                std::thread::sleep(Duration::from_millis(20));
            }
            peers
        });
        Self { ended, sending }
    }

    /// Ends those that are connected still, as any bytes may go on for ever there; the others have been.
    fn end(self, ports: &Ports) {
        self.ended.store(true, Ordering::SeqCst);
        for peer in self.sending.join().unwrap() {
            let port = peer.peer_addr().map_or(0, |address| address.port());
            if [ports.netcat, ports.syslog, ports.multiport, ports.http, ports.blob].contains(&port) {
                let _ = peer.shutdown(Shutdown::Write);
            }
            until_closed(peer, &format!("a slow peer of port {port}"));
        }
    }
}

#[test]
fn every_kept_input_is_survived_on_every_port() {
    let agent = Agent::start();
    let ports = &agent.ports;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for input in hostile() {
        for port in ports.tcp() {
            attack(port, &input.bytes);
        }
        attack(ports.http, &posted(&input.bytes));
        attack(ports.blob, &posted(&input.bytes));
        for port in [ports.syslog_udp, ports.netcat_udp] {
            for datagram in input.bytes.chunks(50_000) {
                socket.send_to(datagram, ("127.0.0.1", port)).unwrap();
            }
        }
        assert!(agent.process.running().is_some(), "{}", input.name);
    }
    agent.assert_serves("all of them");
    for name in ["avro", "deflate", "thrift", "binary", "http", "blob", "netcat", "multiport", "spark"] {
        assert!(agent.failures(name) > 0, "{name}: nothing is counted");
    }
    // There, as in Flume, whatever comes is an event.
    assert!(agent.counted("syslog", "EventAcceptedCount") > 0);
    for source in ["syslogudp", "netcatudp"] {
        let before = agent.counted(source, "EventAcceptedCount");
        let port = if source == "syslogudp" { ports.syslog_udp } else { ports.netcat_udp };
        agent.process.until_true(&format!("{source} accepts"), || {
            socket.send_to(b"<13>- h good\n", ("127.0.0.1", port)).unwrap();
            agent.counted(source, "EventAcceptedCount") > before
        });
    }
    agent.process.stop().expect_code(0);
}

#[test]
fn an_agent_lives_through_hostile_bytes_on_all_of_its_ports_and_serves_others_meanwhile() {
    let agent = Agent::start();
    let ports = &agent.ports;
    agent.assert_serves("the start");
    // Peers that begin something and say nothing more stay to the end.
    let mut silent = Vec::new();
    for port in ports.tcp() {
        for _ in 0..SILENT {
            let mut stream = connect(port);
            stream.write_all(&[0, 0, 0]).unwrap();
            silent.push(stream);
        }
    }
    let slow = Slow::start(ports);
    agent.assert_serves("many silent and some slow peers");
    for port in [ports.avro, ports.spark] {
        wrong_frames().iter().for_each(|bytes| closed_after(port, bytes));
        wrong_calls().iter().for_each(|bytes| answered(port, bytes));
    }
    agent.assert_serves("wrong avro");
    closed_after(ports.deflate, &bomb());
    wrong_frames().iter().for_each(|bytes| closed_after(ports.deflate, bytes));
    agent.assert_serves("a bomb");
    for port in [ports.thrift, ports.binary] {
        thrift_attacks().iter().for_each(|bytes| closed_after(port, bytes));
    }
    agent.assert_serves("wrong thrift");
    http_attacks().iter().for_each(|bytes| closed_after(ports.http, bytes));
    attack(ports.http, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n[{");
    agent.assert_serves("wrong http");
    for port in [ports.netcat, ports.syslog, ports.multiport] {
        line_attacks().iter().for_each(|bytes| attack(port, bytes));
    }
    let is_too_long = |bytes: &&Vec<u8>| bytes.split(|byte| *byte == b'\n').any(|line| line.len() > MOST_CHARACTERS);
    line_attacks().iter().filter(is_too_long).for_each(|bytes| closed_after(ports.netcat, bytes));
    agent.assert_serves("wrong lines");
    slow.end(ports);
    for stream in silent {
        // Some could not be silent for ever, or were wrong with three bytes.
        let _ = stream.shutdown(Shutdown::Write);
        until_closed(stream, "a silent peer");
    }
    // Each of those that were cut off is counted, beside what was wrong.
    for name in ["avro", "deflate", "thrift", "binary", "http", "blob", "netcat", "multiport", "spark"] {
        agent.process.until_true(&format!("{name} counts"), || agent.failures(name) > SILENT as u64);
    }
    agent.assert_serves("everything");
    agent.process.stop().expect_code(0);
}
