//! Files and lines into a channel and out of it.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use millstream_testkit::PATIENCE;
use millstream_testkit::peer::{Peer, Place};

use crate::hops::{free_port, sample};
use crate::limits;
use crate::load::BODY_BYTES;
use crate::proc::Usage;
use crate::rounds::{Contestant, NamedCommand, Page, Row, Sample, Target};
use crate::subject::{Kind, Subject};

/// 400 MB.
const EVENTS: u64 = 2_000_000;
const FILES: u64 = 4;
/// Before what is measured.
const WARM: u64 = 200_000;

/// Who reads what, and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Work {
    source: &'static str,
    channel: &'static str,
    sink: &'static str,
    /// Whether our file_roll waits for the disk, as it does unless told; Flume's never does.
    synced: bool,
}

// === impl Work ===

impl Work {
    fn properties(self, place: &mut Place) -> String {
        let dir = place.dir().display().to_string();
        for part in ["in", "out"] {
            std::fs::create_dir_all(place.path(part)).unwrap();
        }
        let source = match self.source {
            "netcat" => {
                let port = place.port("netcat");
                format!(
                    "type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\na1.sources.r1.ack-every-event = false"
                )
            }
            "taildir" => format!(
                "type = TAILDIR\na1.sources.r1.filegroups = f\na1.sources.r1.filegroups.f = {dir}/in/.*\\.log\n\
                 a1.sources.r1.positionFile = {dir}/positions.json\na1.sources.r1.batchSize = 1000"
            ),
            _ => format!("type = spooldir\na1.sources.r1.spoolDir = {dir}/in\na1.sources.r1.batchSize = 1000"),
        };
        let channel = match self.channel {
            "file" => format!(
                "type = file\na1.channels.c1.checkpointDir = {dir}/checkpoint\na1.channels.c1.dataDirs = {dir}/data"
            ),
            _ => "type = memory\na1.channels.c1.byteCapacity = 500000000".to_owned(),
        };
        let sink = match self.sink {
            "file_roll" => format!(
                "type = file_roll\na1.sinks.k1.sink.directory = {dir}/out\na1.sinks.k1.sink.rollInterval = 0\na1.sinks.k1.sink.batchSize = 1000\n\
                 a1.sinks.k1.sink.fsync = {}",
                self.synced
            ),
            _ => "type = null\na1.sinks.k1.batchSize = 1000".to_owned(),
        };
        format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.{source}\na1.sources.r1.channels = c1\n\
             a1.channels.c1.{channel}\na1.channels.c1.capacity = 1000000\na1.channels.c1.transactionCapacity = 10000\n\
             a1.sinks.k1.{sink}\na1.sinks.k1.channel = c1\n"
        )
    }

    /// One round: an agent that runs gets a small file first and then everything.
    fn round(self, kind: Kind) -> Sample {
        let mut subject = Subject::start(kind, |place| self.properties(place));
        self.feed(&subject, "warm", WARM);
        subject.until_drained(WARM);
        let text = text(EVENTS / FILES);
        if self.source != "netcat" {
            (0..FILES).for_each(|file| std::fs::write(subject.place().path(&format!("file{file}")), &text).unwrap());
            // What was just written is on its way to the disk, and would be in the way.
            nix::unistd::sync();
        }
        let (before, begun) = (subject.usage(), Instant::now());
        if self.source == "netcat" {
            let mut stream = TcpStream::connect(("127.0.0.1", subject.port("netcat"))).unwrap();
            (0..FILES).for_each(|_| stream.write_all(&text).unwrap());
            subject.until_drained(WARM + EVENTS);
        } else {
            for file in 0..FILES {
                let name = format!("file{file}");
                let to = subject.place().path("in").join(format!("{name}.log"));
                std::fs::rename(subject.place().path(&name), to).unwrap();
            }
            subject.until_drained(WARM + EVENTS);
        }
        let (after, took) = (subject.usage(), begun.elapsed());
        if self.sink == "file_roll" {
            let written = bytes_in(&subject.place().path("out"));
            assert_eq!(written, (WARM + EVENTS) * BODY_BYTES as u64, "bytes in the files of {}", kind.name());
        }
        sample(EVENTS, took, after.cpu - before.cpu, after.peak_mb)
    }

    fn feed(self, subject: &Subject, name: &str, lines: u64) {
        if self.source == "netcat" {
            let mut stream = TcpStream::connect(("127.0.0.1", subject.port("netcat"))).unwrap();
            stream.write_all(&text(lines)).unwrap();
            return;
        }
        let hidden = subject.place().path(name);
        std::fs::write(&hidden, text(lines)).unwrap();
        std::fs::rename(hidden, subject.place().path("in").join(format!("{name}.log"))).unwrap();
    }

    /// The same for another program. What it takes is seen by what it writes.
    fn peer_round(self, peer: &NamedCommand) -> Sample {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let [from, to] = ["in", "out"].map(|part| dir.path().join(part));
        [&from, &to].into_iter().for_each(|part| std::fs::create_dir(part).unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {}", peer.command)]);
        command.env("IN", &from).env("OUT", &to).env("PORT", port.to_string());
        let mut process = Peer::start(&peer.name, dir.path(), &command);
        let send = |name: &str, lines: u64| {
            if self.source == "netcat" {
                let mut stream = connect(port);
                stream.write_all(&text(lines)).unwrap();
                return Some(stream);
            }
            let hidden = dir.path().join(name);
            std::fs::write(&hidden, text(lines)).unwrap();
            std::fs::rename(hidden, from.join(format!("{name}.log"))).unwrap();
            None
        };
        let until = |events: u64| {
            let (begun, bytes) = (Instant::now(), events * BODY_BYTES as u64);
            while bytes_in(&to) < bytes {
                let written = bytes_in(&to);
                assert!(begun.elapsed() < PATIENCE, "{} wrote {written} of {bytes} bytes", peer.name);
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        };
        let usage = |process: &mut Peer| Usage::of(process.id()).unwrap();
        let _open = send("warm", WARM);
        until(WARM);
        let (before, begun) = (usage(&mut process), Instant::now());
        let _open = send("all", EVENTS);
        until(WARM + EVENTS);
        let (after, took) = (usage(&mut process), begun.elapsed());
        sample(EVENTS, took, after.cpu - before.cpu, after.peak_mb)
    }

    /// With those who take part besides.
    fn contestants<'a>(self, peers: Vec<NamedCommand>) -> Vec<Contestant<'a>> {
        let mut contestants: Vec<_> =
            [Kind::Flume, Kind::Ours].map(|kind| Contestant::new(kind.name(), move || self.round(kind))).into();
        if self.sink == "file_roll" {
            let work = Self { synced: false, ..self };
            contestants.push(Contestant::new("millstream, sink.fsync = false", move || work.round(Kind::Ours)));
        }
        for peer in peers {
            contestants.push(Contestant::new(peer.name.clone(), move || self.peer_round(&peer)));
        }
        contestants
    }
}

/// To a program that may still be starting.
fn connect(port: u16) -> TcpStream {
    let begun = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "port {port}: {error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Lines of 200 bytes, newline and all.
fn text(lines: u64) -> Vec<u8> {
    let line = [&[b'x'; BODY_BYTES - 1][..], b"\n"].concat();
    line.repeat(lines as usize)
}

fn bytes_in(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// spooldir → file → null, beside the disk.
pub fn spool_to_file(page: &mut Page) {
    let mut contestants =
        Work { source: "spooldir", channel: "file", sink: "null", synced: true }.contestants(Vec::new());
    contestants.push(limits::disk());
    let title = "spooldir → file → null, 400 MB, batchSize 1000";
    page.row(Row { title, unit: "events/s", contestants, targets: vec![Target::rate((1, 2), 0.6)] });
}

/// Files into files, over memory.
pub fn files_to_files(page: &mut Page) {
    for source in ["spooldir", "taildir"] {
        let contestants = Work { source, channel: "memory", sink: "file_roll", synced: true }.contestants(page.peers());
        let title = format!("{source} → memory → file_roll, 400 MB");
        page.row(Row { title: &title, unit: "events/s", contestants, targets: vec![Target::cpu((2, 0), 0.1)] });
    }
}

/// Lines of a connection into files, over memory.
pub fn lines_to_files(page: &mut Page) {
    let contestants =
        Work { source: "netcat", channel: "memory", sink: "file_roll", synced: true }.contestants(page.peers());
    page.row(Row {
        title: "netcat (ack-every-event = false) → memory → file_roll, 400 MB",
        unit: "events/s",
        contestants,
        // Fluent Bit takes 0.60 for the same work, and does not wait for the disk either.
        targets: vec![Target::cpu_alone(2, 0.30), Target::cpu((2, 0), 0.1)],
    });
}
