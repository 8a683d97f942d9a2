//! The demo, ended at every named point of its path: whatever was half done, totals are exact.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use millstream_tests::points::{
    AFTER_FAILURES, AT_WORK, DEMO, DRAIN, FIRST_START, LETTERS, RECOVERY, REPAIR, UNMADE, UNREADABLE,
};
use millstream_tests::{Demo, Trace};
use nix::sys::signal::Signal;

/// Names of all failpoints in the sources below `dir`.
fn named_in(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["target", ".git", "tests", "docs", "demo"].contains(&name.as_str()) {
            named_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            names
                .extend(text.split("failpoint::hit(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
}

#[test]
fn every_failpoint_of_the_program_is_in_a_list_of_those_at_which_a_process_is_ended() {
    let mut named = BTreeSet::new();
    named_in(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap(), &mut named);
    let lists = [DEMO, AT_WORK, FIRST_START, RECOVERY, UNREADABLE, UNMADE, REPAIR, DRAIN, LETTERS];
    let known = lists.into_iter().flatten().copied().chain(AFTER_FAILURES.iter().map(|(point, _)| *point));
    assert_eq!(named, known.map(str::to_owned).collect());
}

/// Runs a fresh demo that ends itself at `point`, then one that does not, and checks the totals.
fn end_at(point: &str, pass: u32) {
    let demo = Demo::default();
    demo.spool("one", "a b c\na b\na\n".repeat(700));
    demo.spool("two", "d e f\nd e\nd\n".repeat(30));
    demo.spool("empty", "");
    let mut command = demo.command(&["--until-idle", "--for", "30s"]);
    command.env("MILLSTREAM_FAILPOINT", format!("{point}=abort@{pass}"));
    let trace = Trace::attach(&mut command, &demo.path(""), "trace");
    let output = command.output().unwrap();
    let passed = trace.passed().iter().filter(|passed| *passed == point).count();
    assert!(passed > 0, "{point} is not on the path of the demo");
    if passed < pass as usize {
        assert!(output.status.success(), "{point}@{pass}: {}", String::from_utf8_lossy(&output.stderr));
    } else {
        assert_eq!(output.status.signal(), Some(Signal::SIGABRT as i32), "{point}@{pass} ends the process");
    }
    demo.spool("three", "g h\n".repeat(10));
    let summary = demo.until_idle();
    demo.assert_exact(&summary);
    assert_eq!(summary.ledger("in"), 2100 + 90 + 10, "{point}@{pass}: {}", summary.0);
}

#[test]
fn ended_at_any_point_at_its_first_passes_the_totals_are_exact() {
    for point in DEMO {
        for pass in 1..=3 {
            end_at(point, pass);
        }
    }
}

#[test]
fn a_life_that_ends_right_after_a_life_that_ended_is_made_good_too() {
    // Two crashes in a row, the second while the first is being made good.
    let demo = Demo::default();
    demo.spool("one", "a b c\na b\na\n".repeat(700));
    for point in ["batch.committed", "output.before-apply", "sqlite.rows-written", "files.renamed", "channel.taken"] {
        let mut command = demo.command(&["--until-idle", "--for", "30s"]);
        let status = command.env("MILLSTREAM_FAILPOINT", format!("{point}=abort")).output().unwrap().status;
        assert!(status.success() || status.signal() == Some(Signal::SIGABRT as i32), "{point}: {status}");
    }
    let summary = demo.until_idle();
    demo.assert_exact(&summary);
}
