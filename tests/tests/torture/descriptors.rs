//! No file descriptor is left.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use millstream_tests::memory::cpu;

use crate::report::Loop;
use crate::rig::Rig;

/// Enough for an agent with its producers, and no more.
const DESCRIPTORS: &str = "--nofile=48";
/// More than it can take, and fewer than a system lets wait in line.
const STRANGERS: usize = 120;

#[test]
fn without_a_descriptor_left_what_is_stored_is_delivered_and_nothing_spins() {
    let torture = Loop::begin("no file descriptor is left", 2, 20);
    let mut rig = Rig::new(torture.seed);
    let agent = rig.start_with(rig.command(&["prlimit", DESCRIPTORS]));
    for _ in 0..torture.rounds {
        rig.until_acknowledged(&agent, 100);
        // A producer that is refused connects anew, which it could not.
        rig.producers.pause(true);
        agent.until_true("nothing is under way", || rig.producers.are_settled());
        let listens = agent.lines_with("avro source listens");
        let address = listens.last().unwrap().rsplit(' ').next().unwrap().rsplit('=').next().unwrap().to_owned();
        let strangers: Vec<TcpStream> = (0..STRANGERS).map_while(|_| TcpStream::connect(&address).ok()).collect();
        assert!(strangers.len() > 48, "{} connections to {address}", strangers.len());
        let full = || std::fs::read_dir(format!("/proc/{}/fd", agent.id())).unwrap().count() >= 46;
        agent.until_true("no descriptor is left", full);
        rig.until_arrived(&agent);
        let (used, began) = (cpu(agent.id()), Instant::now());
        std::thread::sleep(Duration::from_secs(1)); // sleeps: what it uses in this time is measured
        let share = (cpu(agent.id()) - used).as_secs_f64() / began.elapsed().as_secs_f64();
        assert!(share < 0.3, "it spins: {share:.2} of a processor");
        agent.until("accept failed");
        drop(strangers);
        rig.producers.pause(false);
        rig.until_acknowledged(&agent, 100);
        rig.until_arrived(&agent);
    }
    let counts = rig.finish(agent);
    torture.end(counts, "prlimit --nofile=48, 120 strangers");
}
