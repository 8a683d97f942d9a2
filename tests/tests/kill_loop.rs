//! The demo, killed with -9 at random moments under a continuous feed: totals are exact.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_tests::{Demo, Process, Trace};
use nix::sys::signal::Signal;

const KILLS: u32 = 100;
/// A slow machine may need some more until enough of them have hit.
const MOST_KILLS: u32 = 150;
/// Kills that must fall between "first event of a batch received" and "output applied".
const WITHIN_A_BATCH: u32 = 80;
/// Outputs of the demo's job.
const OUTPUTS: usize = 2;

/// Points of the path that a life passes again and again, and the longest random while after each, in microseconds: a
/// block waits up to 100 ms for its batch, a batch takes a few ms.
const MOMENTS: &[(&str, u64)] = &[
    ("receiver.block-received", 50_000),
    ("receiver.block-received", 25_000),
    ("receiver.block-received", 5_000),
    ("channel.taken", 20_000),
    ("batch.drained", 1_000),
    ("batch.computed", 1_000),
    ("batch.staged", 800),
    ("commit.prepared-appended", 500),
    ("batch.committed", 300),
    ("batch.state-applied", 200),
    ("batch.acknowledged", 100),
    ("output.before-apply", 100),
];
/// A feed that never stops passes each of them within this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// A small generator; its seed is printed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Writes lines until it is told to stop: into files that grow while they are read, and now and then a whole file beside.
fn feed(demo: &Demo, stop: &AtomicBool, lines: &AtomicU64, mut random: Random) {
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        let path = demo.path("spool").join(format!("growing-{number:06}"));
        let mut growing = OpenOptions::new().create_new(true).append(true).open(path).unwrap();
        for step in 0..600 {
            let count = 1 + random.below(8);
            growing.write_all(text(&mut random, &format!("g{number}-{step}"), count).as_bytes()).unwrap();
            lines.fetch_add(count, Ordering::SeqCst);
            if step % 50 == 0 {
                let count = 1 + random.below(60);
                let name = format!("whole-{number:06}-{step}");
                demo.spool(&name, text(&mut random, &name, count));
                lines.fetch_add(count, Ordering::SeqCst);
            }
            if stop.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2 + random.below(6))); // sleeps: pace of the feed, not a wait for anything
        }
    }
}

fn text(random: &mut Random, origin: &str, lines: u64) -> String {
    let line = |line| format!("feed {origin} line-{line} w{} w{}\n", random.below(500), random.below(20));
    (0..lines).map(line).collect()
}

/// Whether a process that passed these points died with events received and not applied by every output.
fn was_within_a_batch(passed: &[String]) -> bool {
    let (mut received, mut computing, mut applied) = (false, false, OUTPUTS);
    for point in passed {
        match point.as_str() {
            "receiver.block-received" => received = true,
            "batch.drained" => (received, computing, applied) = (false, true, 0),
            "output.applied" if computing => applied += 1,
            _ => {}
        }
    }
    received || applied < OUTPUTS
}

#[test]
fn a_hundred_kills_under_a_continuous_feed_leave_exact_totals() {
    kill_again_and_again("poll", KILLS, WITHIN_A_BATCH);
}

#[test]
fn kills_of_an_agent_that_sends_to_its_job_leave_exact_totals() {
    kill_again_and_again("push", KILLS / 4, WITHIN_A_BATCH / 4);
}

/// Kills the demo so many times, so many of them at least within a batch, and checks what it counted.
#[track_caller]
fn kill_again_and_again(mode: &str, least_kills: u32, least_within: u32) {
    let most_kills = least_kills * MOST_KILLS / KILLS;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let demo = Arc::new(Demo::default());
    let (stop, lines) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let feeder = {
        let (demo, stop, lines) = (Arc::clone(&demo), Arc::clone(&stop), Arc::clone(&lines));
        std::thread::spawn(move || feed(&demo, &stop, &lines, Random(seed ^ 0x5eed)))
    };
    let (mut kills, mut within) = (0, 0);
    while kills < least_kills || (within < least_within && kills < most_kills) {
        kills += 1;
        let mut command = demo.command(&["--mode", mode]);
        let trace = Trace::attach(&mut command, &demo.path(""), &format!("trace-{kills}"));
        let process = Process::spawn(command);
        // A random moment of the path, and a random while after it; one in ten at any moment of a life.
        if random.below(10) > 0 {
            let (point, longest) = MOMENTS[random.below(MOMENTS.len() as u64) as usize];
            trace.wait_for(point, 1 + random.below(4) as usize, PATIENCE);
            // sleeps: the moment of the kill is meant to be random.
            std::thread::sleep(Duration::from_micros(random.below(longest)));
        } else {
            // sleeps: the moment of the kill is meant to be random.
            std::thread::sleep(Duration::from_millis(random.below(600)));
        }
        process.signal(Signal::SIGKILL);
        let ended = process.ended();
        assert_eq!(ended.code, None, "killed, not ended: {:?}", ended.log);
        within += u32::from(was_within_a_batch(&trace.passed()));
    }
    stop.store(true, Ordering::SeqCst);
    feeder.join().unwrap();
    let summary = demo.until_idle();
    println!("{within} of {kills} kills within a batch; {}", summary.0);
    demo.assert_exact(&summary);
    assert_eq!(summary.ledger("in"), lines.load(Ordering::SeqCst) as i64);
    assert_eq!(summary.ledger("counted"), lines.load(Ordering::SeqCst) as i64);
    assert!(within >= least_within, "only {within} kills were within a batch: this run proves too little");
    assert!(summary.ledger("redelivered") > 0, "nothing was redelivered: this run proves nothing");
}
