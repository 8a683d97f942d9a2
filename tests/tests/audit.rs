//! `millstream audit`: what it says of directories of killed processes, against `wc` and `grep` over the files that were read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use millstream_tests::{Demo, Process, Trace, millstream};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

fn audit(dirs: &[&Path]) -> Output {
    Command::new(millstream()).arg("audit").args(dirs).args(["--output", "json"]).output().unwrap()
}

#[track_caller]
fn audited(dirs: &[&Path], code: i32) -> Value {
    let output = audit(dirs);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(code), "{}{}", said(&output.stdout), said(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a pipeline of the shell counts in all files of `dir`, whatever they are called by now.
fn shell(dir: &Path, pipeline: &str) -> u64 {
    let script = format!("find . -type f ! -path '*/.flumespool/*' -exec cat {{}} + | {pipeline}");
    let output = Command::new("sh").arg("-c").arg(script).current_dir(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn lines(from: u32, to: u32) -> String {
    (from..to).map(|line| format!("line {line} of some words\n")).collect()
}

/// An agent whose interceptor drops lines with a 7.
fn filtering(dir: &Path) -> PathBuf {
    let (at, file) = (dir.display(), dir.join("agent.properties"));
    let text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sources.r1.type = spooldir\na1.sources.r1.spoolDir = {at}/spool
         a1.sources.r1.batchSize = 10\na1.sources.r1.channels = c1\na1.sources.r1.interceptors = sevens
         a1.sources.r1.interceptors.sevens.type = regex_filter\na1.sources.r1.interceptors.sevens.regex = 7
         a1.sources.r1.interceptors.sevens.excludeEvents = true\na1.channels.c1.type = file
         a1.channels.c1.checkpointDir = {at}/checkpoint\na1.channels.c1.dataDirs = {at}/data\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn agent(file: &Path) -> Command {
    let mut command = Command::new(millstream());
    command.args(["agent", "-n", "a1", "-f"]).arg(file);
    command
}

#[test]
fn after_a_kill_amid_a_batch_everything_is_in_waiting_or_counted_and_in_the_end_what_wc_says() {
    let demo = Demo::default();
    let all = demo.path("");
    for (round, point) in ["commit.prepared-appended", "batch.committed", "batch.acknowledged"].iter().enumerate() {
        let from = round as u32 * 5000;
        demo.spool(&format!("whole-{round}"), lines(from, from + 5000));
        let mut command = demo.command(&[]);
        let trace = Trace::attach(&mut command, &all, &format!("trace-{round}"));
        let process = Process::spawn(command);
        assert!(trace.wait_for(point, 1, PATIENCE));
        drop(process);

        let ledger = audited(&[&all], 0);
        let (channel, job) = (&ledger["channels"][0], &ledger["jobs"][0]);
        let number = |row: &Value, key: &str| row[key].as_u64().unwrap();
        assert_eq!(number(channel, "in"), number(channel, "out") + number(channel, "waiting"), "{ledger}");
        // Before the first commit nothing says which channel the job empties.
        if round > 0 || number(job, "counted") > 0 {
            assert_eq!(number(job, "in"), number(channel, "in"), "{ledger}");
        }
        assert_eq!(number(job, "in"), number(job, "counted") + number(job, "waiting"), "{ledger}");
        assert!(number(job, "counted") >= number(channel, "out"), "acknowledged before it was committed: {ledger}");
        assert!(number(job, "in") <= shell(&all.join("spool"), "wc -l"), "{ledger}");
        assert_eq!(audited(&[&all], 0), ledger, "looking changed something");
    }
    let summary = demo.until_idle();
    demo.assert_exact(&summary);
    let ledger = audited(&[&all], 0);
    let job = &ledger["jobs"][0];
    assert_eq!(job["counted"], shell(&all.join("spool"), "wc -l"), "{ledger}");
    for key in ["in", "counted", "waiting", "dead_lettered", "dropped", "redelivered", "lost"] {
        assert_eq!(job[key], summary.0["ledger"][key], "{key}: {ledger}");
    }
    // The channel alone, without the job that emptied it, and the other way round.
    let channel = audited(&[&all.join("channel")], 0);
    assert_eq!(channel["channels"], ledger["channels"]);
    assert_eq!(audited(&[&all.join("job")], 0)["jobs"][0]["in"], job["in"]);
}

#[test]
fn what_an_interceptor_dropped_is_counted_under_its_rule_over_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, file) = (dir.path().join("spool"), filtering(dir.path()));
    std::fs::create_dir(&spool).unwrap();
    std::fs::write(spool.join("first"), lines(0, 3000)).unwrap();
    let mut command = agent(&file);
    let trace = Trace::attach(&mut command, dir.path(), "trace");
    let process = Process::spawn(command);
    assert!(trace.wait_for("channel.put-durable", 1, PATIENCE));
    drop(process);
    let ledger = audited(&[dir.path()], 0);
    let number = |key: &str| ledger["channels"][0][key].as_u64().unwrap();
    assert!(number("in") > 0 && number("in") == number("waiting") && number("out") == 0, "{ledger}");

    std::fs::write(spool.join("second"), lines(3000, 4000)).unwrap();
    let process = Process::spawn(agent(&file));
    process.until_true("both files", || {
        ["first", "second"].iter().all(|name| spool.join(format!("{name}.COMPLETED")).exists())
    });
    drop(process);
    let ledger = audited(&[dir.path()], 0);
    let channel = &ledger["channels"][0];
    assert_eq!(channel["in"], shell(&spool, "grep -vc 7"), "{ledger}");
    let dropped = channel["dropped"].as_object().unwrap();
    assert_eq!(dropped.keys().collect::<Vec<_>>(), ["regex_filter"], "{ledger}");
    assert_eq!(dropped["regex_filter"], shell(&spool, "grep -c 7"), "{ledger}");
}

#[test]
fn a_directory_in_use_is_named_with_its_holder_and_nothing_found_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("spool")).unwrap();
    let process = Process::spawn(agent(&filtering(dir.path())));
    let first = dir.path().join("data/millstream/log/0000000001.log");
    process.until_true("a segment", || first.exists());
    let ledger = audited(&[dir.path()], 75);
    assert_eq!(ledger["channels"][0]["in_use_by"], format!("process {}", process.id()));
    process.stop().expect_code(0);
    assert_eq!(audited(&[dir.path()], 0)["channels"][0]["in"], 0);
    let nothing = tempfile::tempdir().unwrap();
    let refused = audit(&[nothing.path()]);
    assert_eq!(refused.status.code(), Some(66));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no file channel and no job"));
}
