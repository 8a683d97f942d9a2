//! A damaged commit log: the total is right, or there is none and it is said why.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millstream_tests::demo::{Summary, different};
use millstream_tests::{Demo, Process, Trace};
use nix::sys::signal::Signal;

use crate::place::assert_says;

/// How long a test waits for a point to be passed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A demo that counted, stopped, counted again and was killed: a log of several files, the last of them with batches.
fn history() -> Demo {
    let demo = Demo::default();
    demo.spool("one", "a b\na\n");
    demo.assert_exact(&demo.until_idle());
    let process = Process::spawn(demo.command(&[]));
    for round in 0..5 {
        demo.spool(&format!("round{round}"), format!("a w{round} words\n"));
        process.until_true("counted", || {
            demo.path(&format!("spool/round{round}.COMPLETED")).exists()
                && different(&demo.oracle(), &demo.table()).is_none()
                && different(&demo.oracle(), &demo.texts()).is_none()
        });
    }
    process.signal(Signal::SIGKILL);
    assert_eq!(process.ended().code, None);
    demo
}

fn copied(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(status.success());
}

/// The files of the log, oldest first.
fn segments(demo: &Demo) -> Vec<PathBuf> {
    let entries = fs::read_dir(demo.path("job/commit")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    files.sort();
    files
}

/// What is done to a file's bytes.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// Bit of the byte at this many thousandths of the file.
    Flip(usize),
    /// So many thousandths are left.
    Cut(usize),
    /// So many bytes less.
    Shorter(usize),
    Zeros,
    Gone,
}

// === impl Damage ===

impl Damage {
    fn inflict(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match self {
            Self::Flip(at) => {
                let at = (bytes.len() * at / 1000).min(bytes.len() - 1);
                bytes[at] ^= 1 << (at % 8);
            }
            Self::Cut(left) => bytes.truncate(bytes.len() * left / 1000),
            Self::Shorter(less) => bytes.truncate(bytes.len().saturating_sub(less)),
            Self::Zeros => bytes.fill(0),
            Self::Gone => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

/// Runs a copy of `history` with one file of the log damaged; whether it was refused.
fn survives(history: &Demo, segment: usize, damage: Damage) -> bool {
    let demo = Demo::default();
    copied(&history.path(""), &demo.path(""));
    damage.inflict(&segments(&demo)[segment]);
    demo.spool("more", "a more\n");
    let output = demo.command(&["--until-idle", "--for", "60s"]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        demo.assert_exact(&Summary(serde_json::from_slice(&output.stdout).unwrap()));
        return false;
    }
    println!("{segment} {damage:?}: {}", log.lines().last().unwrap_or_default());
    assert!(matches!(output.status.code(), Some(74 | 78)), "{:?}: {log}", output.status);
    assert_says(&log, &["millstream: ", demo.path("").to_str().unwrap(), "restore", "away", "begin anew"]);
    // Nothing acknowledged was lost: with the log brought back, all is counted.
    fs::remove_dir_all(demo.path("job")).unwrap();
    fs::create_dir(demo.path("job")).unwrap();
    copied(&history.path("job"), &demo.path("job"));
    demo.assert_exact(&demo.until_idle());
    true
}

#[test]
fn a_flipped_bit_in_the_commit_log_never_gives_a_wrong_total() {
    let history = history();
    let files = segments(&history).len();
    assert!(files >= 1);
    for segment in 0..files {
        for at in (0..1000).step_by(59) {
            survives(&history, segment, Damage::Flip(at));
        }
    }
}

#[test]
fn a_commit_log_that_was_cut_emptied_or_deleted_never_gives_a_wrong_total() {
    let history = history();
    let files = segments(&history).len();
    let mut refused = 0;
    for segment in 0..files {
        for damage in [1, 8, 40, 200].map(Damage::Shorter).into_iter().chain([0, 100, 500, 900].map(Damage::Cut)) {
            refused += u32::from(survives(&history, segment, damage));
        }
        for damage in [Damage::Zeros, Damage::Gone] {
            refused += u32::from(survives(&history, segment, damage));
        }
    }
    assert!(refused > 0, "batches that an output has cannot be missing from the log and go unnoticed");
}

#[test]
fn batches_that_only_the_log_had_are_told_to_be_missing_when_it_loses_them() {
    let demo = Demo::default();
    demo.spool("one", "a b\na\n");
    demo.assert_exact(&demo.until_idle());
    // No output gets anything, while the channel is told that the batch is safe: the log alone has it.
    let mut command = demo.command(&[]);
    command.env("MILLSTREAM_FAILPOINT", "output.before-apply=error");
    let trace = Trace::attach(&mut command, &demo.path(""), "trace");
    demo.spool("two", "a c\n");
    let process = Process::spawn(command);
    process.until("not applied, will try again");
    assert!(trace.wait_for("channel.commit-written", 1, PATIENCE));
    process.signal(Signal::SIGKILL);
    assert_eq!(process.ended().code, None);
    for damage in [Damage::Cut(300), Damage::Zeros, Damage::Gone] {
        let harmed = Demo::default();
        copied(&demo.path(""), &harmed.path(""));
        damage.inflict(&segments(&harmed).pop().unwrap());
        let output = harmed.command(&["--until-idle", "--for", "60s"]).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        let told = log.lines().find(|line| line.contains("the commit log lacks events")).expect(&log);
        assert_says(told, &["WARN", "the totals are too low", "lost_events=1", "restore that directory from a copy"]);
        assert_says(told, &[harmed.path("job").to_str().unwrap()]);
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["ledger"]["lost"], 1, "{damage:?}");
    }
    // It was the log that had it: with the log, all is there.
    demo.assert_exact(&demo.until_idle());
    assert_eq!(demo.table().get("c"), Some(&1));
}
