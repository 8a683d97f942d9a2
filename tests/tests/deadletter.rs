//! An event on which a job's program fails: set aside, shown, and replayed once over a kill, to a program that can read it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::client::blocking::RpcClientFactory;
use millstream::outputs::Value as Cell;
use millstream::{FlumeUtils, Job, StreamingContext};
use millstream_testkit::peer::free_port;
use millstream_tests::{Process, millstream, until_true};
use serde_json::Value;

/// Words and totals, as the last batch with each said.
type Totals = Arc<Mutex<BTreeMap<String, i64>>>;

struct Tiers {
    dir: tempfile::TempDir,
    source: u16,
    job: u16,
}

// === impl Tiers ===

impl Tiers {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), source: free_port(), job: free_port() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn agent(&self) -> Process {
        let (at, file) = (self.dir.path().display(), self.path("agent.properties"));
        let text = format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1
             a1.sources.r1.port = {}\na1.sources.r1.channels = c1\na1.channels.c1.type = file
             a1.channels.c1.checkpointDir = {at}/checkpoint\na1.channels.c1.dataDirs = {at}/data
             a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {}\na1.sinks.k1.channel = c1\n",
            self.source, self.job
        );
        std::fs::write(&file, text).unwrap();
        let agent = Process::start(["agent", "-n", "a1", "-f", &*file.display().to_string()]);
        agent.until("avro source listens");
        agent
    }

    /// Counts words; one that does not know better fails on `poison`.
    fn job(&self, knows_better: bool) -> (Job, Totals) {
        let mut ssc = StreamingContext::new("deadletter", Duration::from_millis(20));
        ssc.checkpoint(self.path("job"));
        let lines = FlumeUtils::create_stream(&ssc, "127.0.0.1", self.job);
        let words = lines.flat_map(move |event| {
            assert!(knows_better || !event.text().contains("poison"), "cannot read this");
            event.words()
        });
        let counts = words.map(|word| (word, 1_i64)).reduce_by_key(|a, b| a + b);
        let totals = counts.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
        let seen = Totals::default();
        let table = Arc::clone(&seen);
        totals.for_each_batch(move |_, rows| {
            for row in 0..rows.len() {
                let (Cell::Text(word), Cell::I64(count)) = (rows.value(row, 0), rows.value(row, 1)) else { panic!() };
                table.lock().unwrap().insert(word.to_owned(), count);
            }
            Ok(())
        });
        (ssc.start().unwrap(), seen)
    }

    fn deadletter(&self, command: &str, more: &[&str]) -> Output {
        let mut command_line = Command::new(millstream());
        command_line.args(["deadletter", command]).arg(self.path("job")).args(more).output().unwrap()
    }

    #[track_caller]
    fn letters(&self) -> Vec<Value> {
        let output = self.deadletter("ls", &["--output", "json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["dead_letters"].as_array().unwrap().clone()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_poison_event_is_set_aside_shown_and_counted_once_after_a_replay_over_a_kill() {
    let path = Tiers::new();
    let agent = path.agent();
    let (job, totals) = path.job(false);
    let (file, headers) = (path.path("lines"), path.path("headers"));
    std::fs::write(&file, "good one\npoison pill\nanother good one\n").unwrap();
    std::fs::write(&headers, "from=there\n").unwrap();
    let port = path.source.to_string();
    let sent = Command::new(millstream())
        .args(["avro-client", "-H", "127.0.0.1", "-p", &port, "-F"])
        .arg(&file)
        .arg("-R")
        .arg(&headers)
        .output()
        .unwrap();
    told(&sent);
    until_true("everything is committed", || job.committed(&[]).counted.values().sum::<u64>() == 3 && job.is_idle());
    assert_eq!(job.committed(&[]).dead_lettered, 1);
    assert_eq!(totals.lock().unwrap().get("good"), Some(&2));

    // While the job runs.
    let letters = path.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((&letters[0]["body"], &letters[0]["replayed"]), (&"poison pill".into(), &0.into()));
    assert_eq!(letters[0]["headers"]["from"], "there");
    assert!(letters[0]["reason"].as_str().unwrap().contains("cannot read this"), "{letters:?}");
    assert!(letters[0]["name"].is_string());
    let shown = told(&path.deadletter("ls", &[]));
    assert!(shown.contains("cannot read this") && shown.contains("{from=there} poison pill"), "{shown}");
    job.stop().unwrap();
    drop(job);

    let (job, totals) = path.job(true);
    let source = format!("127.0.0.1:{port}");
    let unreachable = path.deadletter("replay", &["--to", "127.0.0.1:1"]);
    assert_eq!(unreachable.status.code(), Some(74), "{}", text(&unreachable.stderr));
    // Killed when the peer has it and nobody has noted it.
    let mut killed = Command::new(millstream());
    killed.args(["deadletter", "replay"]).arg(path.path("job")).args(["--to", &source]);
    killed.env("MILLSTREAM_FAILPOINT", "letters.before-mark=abort");
    assert!(!killed.output().unwrap().status.success());
    assert_eq!(path.letters()[0]["replayed"], 0);
    assert_eq!(told(&path.deadletter("replay", &["--to", &source])), "replayed 1\n");
    assert_eq!(path.letters()[0]["replayed"], 1);
    until_true("it is counted", || totals.lock().unwrap().get("poison") == Some(&1));

    let again = told(&path.deadletter("replay", &["--to", &source]));
    assert_eq!(again, "replayed 0; 1 were before, and come with --again\n");
    assert_eq!(told(&path.deadletter("replay", &["--to", &source, "--again"])), "replayed 1\n");
    until_true("it is counted again", || totals.lock().unwrap().get("poison") == Some(&2));
    until_true("all of it is committed", || job.is_idle());
    assert_eq!(job.committed(&[]).counted.values().sum::<u64>(), 5, "three lines and two replays that were asked for");
    agent.stop().expect_code(0);
    job.stop().unwrap();
    drop(job);

    let audited =
        Command::new(millstream()).arg("audit").arg(path.dir.path()).args(["--output", "json"]).output().unwrap();
    let ledger: Value = serde_json::from_str(&told(&audited)).unwrap();
    let (channel, job) = (&ledger["channels"][0], &ledger["jobs"][0]);
    let of = |row: &Value, keys: [&str; 4]| keys.map(|key| row[key].as_u64().unwrap());
    assert_eq!(
        of(channel, ["in", "out", "named_elsewhere", "redelivered"]),
        [5, 5, 5, 1],
        "every event came with a name: {ledger}"
    );
    assert_eq!(of(job, ["in", "counted", "dead_lettered", "lost"]), [5, 4, 1, 0], "{ledger}");
}

#[test]
fn letters_become_lines_of_a_file_or_nothing_is_written_and_nothing_marked() {
    let path = Tiers::new();
    let (job, _) = path.job(false);
    drop(job);
    assert_eq!(told(&path.deadletter("ls", &[])), format!("no dead letters in {}\n", path.path("job").display()));
    let missing = Command::new(millstream()).args(["deadletter", "ls"]).arg(path.dir.path()).output().unwrap();
    assert_eq!(missing.status.code(), Some(78));
    let hint = format!("there is one in {}", path.path("job").display());
    assert!(text(&missing.stderr).contains(&hint), "{}", text(&missing.stderr));

    let agent = path.agent();
    let (job, _) = path.job(false);
    let mut client = RpcClientFactory::get_default_instance("127.0.0.1", path.source).unwrap();
    let mut send = |bodies: &[&str]| {
        client
            .append_batch(bodies.iter().map(|body| millstream::client::Event::new(body.to_string())).collect())
            .unwrap();
    };
    send(&["poison a", "poison b"]);
    until_true("two are set aside", || job.committed(&[]).dead_lettered == 2);
    let file = path.path("again.txt");
    let to_file = |more: &[&str]| {
        let name = file.display().to_string();
        let arguments = [&["--to-file", &*name], more].concat();
        path.deadletter("replay", &arguments)
    };
    assert_eq!(told(&to_file(&[])), "replayed 2\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "poison a\npoison b\n");
    send(&["poison with\na line break"]);
    until_true("the third is set aside", || job.committed(&[]).dead_lettered == 3);
    std::fs::remove_file(&file).unwrap();
    let refused = to_file(&[]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(text(&refused.stderr).contains("line break"), "{}", text(&refused.stderr));
    assert!(!file.exists() && path.letters()[2]["replayed"] == 0);
    assert_eq!(told(&to_file(&["--format", "jsonl"])), "replayed 1; 2 were before, and come with --again\n");
    let line: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(line["body"], "poison with\na line break");
    drop((agent, job));
}
