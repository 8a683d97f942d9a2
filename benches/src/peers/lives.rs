//! Start and rest: how soon a backlog goes on after a kill, and what an agent costs that has nothing to do.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use millstream_testkit::peer::Place;
use millstream_testkit::{AvroPeer, PATIENCE};

use crate::load::{Load, Sender, Shape};
use crate::rounds::Page;
use crate::subject::{Kind, Subject};

const BACKLOG: u64 = 800_000;

/// avro → file → avro, whose peer listens on `to`.
fn hop(place: &mut Place, to: u16) -> String {
    let (port, dir) = (place.port("avro"), place.dir().display().to_string());
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = file\na1.channels.c1.checkpointDir = {dir}/checkpoint\na1.channels.c1.dataDirs = {dir}/data\n\
         a1.channels.c1.capacity = 2000000\na1.channels.c1.transactionCapacity = 10000\n\
         a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {to}\na1.sinks.k1.batch-size = 1000\n\
         a1.sinks.k1.channel = c1\n"
    )
}

/// Kill -9 with a backlog: from the start of the process until the first event is with its peer.
pub fn recovery(page: &mut Page) {
    page.write(&format!("\n## Recovery of {BACKLOG} queued events after kill -9\n"));
    let mut seconds = Vec::new();
    for _ in 0..page.rounds() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut subject = Subject::start(Kind::Ours, |place| hop(place, free));
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape { clients: 4, batch: 1000 };
        Load::start(Sender::Native, dir.path(), subject.port("avro"), shape, 0, BACKLOG).run();
        subject.kill();
        let peer = AvroPeer::start(free, true);
        let begun = Instant::now();
        subject.restart();
        while peer.calls().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "nothing came out");
            std::thread::sleep(Duration::from_millis(1));
        }
        seconds.push(begun.elapsed().as_secs_f64());
    }
    page.figure("exec to first event out", seconds, 0.2, "s");
}

/// An agent with nothing to do, and one that cannot get rid of what it has.
pub fn memory(page: &mut Page) {
    page.write("\n## Memory\n");
    let (mut idle, mut blocked) = (Vec::new(), Vec::new());
    for _ in 0..page.rounds() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut subject = Subject::start(Kind::Ours, |place| hop(place, closed));
        std::thread::sleep(IDLE);
        idle.push(subject.usage().rss_mb);
        if !blocked.is_empty() {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape { clients: 4, batch: 1000 };
        Load::start(Sender::Native, dir.path(), subject.port("avro"), shape, 0, BACKLOG).run();
        std::thread::sleep(BLOCKED);
        blocked.push(subject.usage().peak_mb);
    }
    page.figure("RSS, idle for 10 s", idle, 12.0, "MB");
    page.figure(
        &format!("peak RSS, file channel with {BACKLOG} events behind a sink that is blocked for 10 minutes (once)"),
        blocked,
        30.0,
        "MB",
    );
}

const IDLE: Duration = Duration::from_secs(10);
const BLOCKED: Duration = Duration::from_secs(600);
