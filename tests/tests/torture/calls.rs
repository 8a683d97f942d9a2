//! Every call that the channel makes to its disk fails once, and then all of a kind from a moment on: the first, the
//! second, the third, as long as there is one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream_testkit::Dice;
use nix::libc::{EINTR, EIO, ENFILE, ENOSPC};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::report::Loop;
use crate::rig::Rig;

/// A write or a read of half the bytes.
const SHORT: i32 = 0;
const FAULTS: &[(&str, &[i32])] = &[
    ("write", &[EIO, ENOSPC, SHORT, EINTR]),
    ("fdatasync", &[EIO, ENOSPC, EINTR]),
    ("fsync", &[EIO, ENOSPC, EINTR]),
    ("rename", &[EIO, ENOSPC]),
    ("ftruncate", &[EIO, ENOSPC, EINTR]),
    ("create", &[EIO, ENOSPC]),
    ("unlink", &[EIO]),
    ("read", &[EIO, SHORT, EINTR]),
    ("open", &[EIO, ENFILE]),
    ("stat", &[EIO]),
    ("mkdir", &[EIO, ENOSPC]),
    ("list", &[EIO]),
];
/// Events of one life: enough for a segment to be begun, and one to be removed.
const WORK: u64 = 500;
/// Lives in a row that did not come to the call: no life has so many. One alone may have put more into a write.
const ENOUGH: u32 = 3;
/// In `make test`, so many of the first ones for each call and error.
const SAMPLE: u32 = 3;
const FIRST_ONES: u64 = 8;
/// The first calls are those of a start; later ones are alike.
const MOST_CALLS: u64 = 40;

/// The library that lets calls fail.
pub struct Faults {
    dir: TempDir,
}

// === impl Faults ===

impl Faults {
    pub fn compile() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture/faults.c");
        let mut cc = Command::new("cc");
        cc.args(["-Wall", "-Wextra", "-Wshadow", "-Werror", "-shared", "-fPIC", "-O1", "-o"])
            .arg(dir.path().join("faults.so"));
        let output = cc.arg(source).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { dir }
    }

    /// Lets `calls` below the channel of `rig` fail.
    pub fn command(&self, rig: &Rig, calls: &str, error: i32, more: &[(&str, &str)]) -> Command {
        let mut command = rig.command(&[]);
        self.attach(&mut command, &rig.store(""), calls, error);
        command.envs(more.iter().copied());
        command
    }

    /// Lets `calls` below a directory fail.
    pub fn attach(&self, command: &mut Command, below: &Path, calls: &str, error: i32) {
        command.env("LD_PRELOAD", self.dir.path().join("faults.so")).env("FAULT_BELOW", below);
        command.env("FAULT_CALLS", calls).env("FAULT_ERROR", error.to_string());
    }

    /// Made when the first call fails.
    fn mark(&self) -> PathBuf {
        self.dir.path().join("mark")
    }
}

#[test]
fn each_call_of_a_life_that_fails_once_costs_nothing() {
    let mut torture = Loop::begin("the Nth call fails once, for every N", SAMPLE * 20, 100);
    let faults = Faults::compile();
    let mut dice = Dice::new(torture.seed);
    let mut rig = Rig::new(torture.seed);
    let (mut struck, mut lives, mut most) = (0, 0, BTreeMap::new());
    for (call, errors) in FAULTS {
        for error in *errors {
            if !Loop::is_long() {
                for _ in 0..SAMPLE {
                    let first = 1 + dice.below(FIRST_ONES);
                    struck += u32::from(life(&mut rig, &faults, call, *error, first));
                    lives += 1;
                }
                continue;
            }
            // With a part of the rounds, only some of the numbers.
            let step = 100 / u64::from(torture.rounds).clamp(1, 100);
            let (mut first, mut without) = (1, 0);
            while without < ENOUGH {
                let hit = life(&mut rig, &faults, call, *error, first);
                without = if hit { 0 } else { without + 1 };
                struck += u32::from(hit);
                lives += 1;
                if hit {
                    let reached = most.entry(*call).or_insert(0);
                    *reached = first.max(*reached);
                }
                first += step;
            }
        }
    }
    assert!(struck * 4 > lives, "only {struck} calls were hit: this run proves too little");
    torture.rounds = lives;
    let agent = rig.start();
    let counts = rig.finish(agent);
    let most: Vec<String> = most.iter().map(|(call, most)| format!("{call} {most}")).collect();
    let most = if most.is_empty() { "the first ones only".into() } else { format!("up to {}", most.join(", ")) };
    torture.end(counts, &format!("{struck} calls failed: {most}"));
}

/// A whole life, from the start to a stop in order, with some work; one call in it fails. Whether it came to that call.
fn life(rig: &mut Rig, faults: &Faults, call: &str, error: i32, first: u64) -> bool {
    let (mark, number) = (faults.mark(), first.to_string());
    let what = format!("after {call} number {first} failed with {error}");
    let more = [("FAULT_FIRST", &*number), ("FAULT_TIMES", "1"), ("FAULT_MARK", mark.to_str().unwrap())];
    let agent = rig.spawn(faults.command(rig, call, error, &more));
    // A start that failed has ended; one that works goes on, and so does everything that was sent to it.
    let ended = || agent.running().is_none();
    rig.producers.pause(false);
    agent.until_true(&format!("it listens {what}"), || ended() || rig.announce(&agent));
    let before = rig.producers.acknowledged();
    let worked = |rig: &Rig| rig.producers.acknowledged() >= before + WORK;
    agent.until_true(&format!("it goes on {what}"), || ended() || worked(rig));
    rig.producers.pause(true);
    agent.until_true(&format!("all is acknowledged {what}"), || ended() || rig.producers.are_settled());
    agent.until_true(&format!("all is delivered {what}"), || {
        rig.collect();
        ended() || rig.arrivals.missing(rig.producers.acknowledged_each()) == 0
    });
    if agent.running().is_some() {
        agent.signal(Signal::SIGTERM);
    }
    let ended = agent.ended();
    assert_eq!(ended.lines_with("panicked").next(), None, "{what}");
    rig.collect();
    let hit = mark.exists();
    if hit {
        std::fs::remove_file(&mark).unwrap();
    }
    rig.producers.pause(false);
    hit
}

#[test]
fn nothing_is_acknowledged_while_every_sync_fails_and_nothing_before_is_lost() {
    let torture = Loop::begin("every fdatasync fails from the Nth on", 3, 60);
    let faults = Faults::compile();
    let mut dice = Dice::new(torture.seed);
    let mut rig = Rig::new(torture.seed);
    let mark = faults.mark();
    for _ in 0..torture.rounds {
        let first = (5 + dice.below(MOST_CALLS)).to_string();
        let more = [("FAULT_FIRST", &*first), ("FAULT_MARK", mark.to_str().unwrap())];
        let agent = rig.start_with(faults.command(&rig, "fdatasync", EIO, &more));
        agent.until_true("a sync fails", || mark.exists());
        let (at, calls) = (rig.producers.acknowledged_each(), rig.producers.answered_calls());
        agent.until_true("calls are answered", || rig.producers.answered_calls() > calls + 10);
        // A call may have been synced before the failure, and answered after it: one of each producer.
        let now = rig.producers.acknowledged_each();
        let late: u64 = now.iter().zip(&at).map(|(now, at)| now - at).sum();
        assert!(late <= 2 * 40, "{late} events were acknowledged after a failed sync");
        let told = agent.lines_with("fdatasync");
        assert!(!told.is_empty(), "the failure is told");
        rig.kill(agent);
        std::fs::remove_file(&mark).unwrap();
        let agent = rig.start();
        rig.until_arrived(&agent);
        rig.kill(agent);
    }
    let agent = rig.start();
    let counts = rig.finish(agent);
    torture.end(counts, "only calls under way at the failure may have been answered OK");
}
