//! Start and rest: how soon a backlog goes on after a kill, and what an agent costs that has nothing to do.

use std::time::{Duration, Instant};

use millstream_testkit::peer::Place;
use millstream_testkit::{AvroPeer, PATIENCE};

use crate::hops::{agent, avro_to, fill, free_port};
use crate::rounds::Page;
use crate::subject::{Kind, Subject};

const BACKLOG: u64 = 800_000;

/// avro → file → avro, whose peer listens on `to`.
fn hop(place: &mut Place, to: u16) -> String {
    let port = place.port("avro");
    agent(place, port, "file", &avro_to(to))
}

/// Kill -9 with a backlog: from the start of the process until the first event is with its peer.
pub fn recovery(page: &mut Page) {
    page.write(&format!("\n## Recovery of {BACKLOG} queued events after kill -9\n"));
    let mut seconds = Vec::new();
    for _ in 0..page.rounds() {
        let free = free_port();
        let mut subject = Subject::start(Kind::Ours, |place| hop(place, free));
        fill(subject.port("avro"), BACKLOG);
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
        let closed = free_port();
        let mut subject = Subject::start(Kind::Ours, |place| hop(place, closed));
        std::thread::sleep(IDLE);
        idle.push(subject.usage().rss_mb);
        if !blocked.is_empty() {
            continue;
        }
        fill(subject.port("avro"), BACKLOG);
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
