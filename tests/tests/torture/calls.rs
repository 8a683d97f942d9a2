//! Every call that the channel makes to its disk fails once, and then all of a kind from a moment on: the first, the
//! second, the third, as long as there is one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millstream_testkit::Dice;
use nix::libc::{EINTR, EIO, ENOSPC};
use tempfile::TempDir;

use crate::report::Loop;
use crate::rig::Rig;

/// A write of half the bytes.
const SHORT: i32 = 0;
const FAULTS: &[(&str, &[i32])] = &[
    ("write", &[EIO, ENOSPC, SHORT, EINTR]),
    ("pwrite", &[EIO, ENOSPC, SHORT, EINTR]),
    ("fdatasync", &[EIO, ENOSPC, EINTR]),
    ("fsync", &[EIO, ENOSPC]),
    ("rename", &[EIO, ENOSPC]),
    ("ftruncate", &[EIO, EINTR]),
    ("create", &[EIO, ENOSPC]),
    ("unlink", &[EIO]),
];
/// How long an agent works, with its segments rolled and removed, if the call does not come earlier.
const LIFE: Duration = Duration::from_millis(600);
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
fn a_call_that_fails_once_costs_nothing() {
    let torture = Loop::begin("the Nth call fails once", 24, 600);
    let faults = Faults::compile();
    let mut dice = Dice::new(torture.seed);
    let mut rig = Rig::new(torture.seed);
    let mark = faults.mark();
    let mut struck = 0;
    for _ in 0..torture.rounds {
        let (call, errors) = FAULTS[dice.below(FAULTS.len() as u64) as usize];
        let error = errors[dice.below(errors.len() as u64) as usize];
        let first = (1 + dice.below(MOST_CALLS)).to_string();
        let more = [("FAULT_FIRST", &*first), ("FAULT_TIMES", "1"), ("FAULT_MARK", mark.to_str().unwrap())];
        let agent = rig.spawn(faults.command(&rig, call, error, &more));
        rig.run_for(&agent, LIFE);
        let before = rig.producers.acknowledged();
        // A start that failed has ended, or tries again; one that works goes on.
        if agent.running().is_some() && rig.announce(&agent) {
            let what = format!("it goes on after {call} number {first} failed with {error}");
            agent.until_true(&what, || agent.running().is_none() || rig.producers.acknowledged() > before);
        }
        rig.kill(agent);
        if mark.exists() {
            std::fs::remove_file(&mark).unwrap();
            struck += 1;
        }
    }
    assert!(struck * 4 > torture.rounds, "only {struck} calls were hit: this run proves too little");
    let agent = rig.start();
    let counts = rig.finish(agent);
    torture.end(counts, &format!("{struck} calls failed"));
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
