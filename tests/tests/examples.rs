//! The tutorial, as its page tells it: the very commands and files, on ports and in directories of the test's own.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use millstream_tests::demo::{Counts, find_table, oracle, table};
use millstream_tests::{Process, example, millstream};
use tempfile::TempDir;

/// The directory of the examples.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples")
}

/// Checks that the page tells to type `command`.
#[track_caller]
fn page_says(command: &str) {
    let page = fs::read_to_string(examples().join("README.md")).unwrap();
    let mut commands = page.split("```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    assert!(commands.any(|told| told == command), "the page does not tell: {command}");
}

/// A directory in which a reader follows the page.
struct Reader(TempDir);

// === impl Reader ===

impl Reader {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A script of `examples/`, with the built program on PATH.
    fn script(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(examples().join(name));
        let path = format!("{}:/usr/bin:/bin", millstream().parent().unwrap().display());
        command.args(arguments).current_dir(self.0.path()).env("PATH", path).env_remove("RUST_LOG");
        command.stdin(Stdio::null());
        command
    }

    /// The agent on a free port, and that port.
    fn agent(&self) -> (Process, u16) {
        let agent = Process::spawn(self.script("flume_start.sh", &["-Dagent.sinks.spark.port=0"]));
        let port = port_of(&agent);
        (agent, port)
    }

    /// The job, its standard output in the file `printed`.
    fn job(&self, port: u16) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" >>printed"]).arg(example("polling_word_count"));
        command.args(["localhost", &port.to_string(), "tutorial/word-count"]).current_dir(self.0.path());
        Process::spawn(command)
    }

    fn totals(&self) -> PathBuf {
        self.path("tutorial/word-count/counts.sqlite")
    }
}

fn port_of(agent: &Process) -> u16 {
    let listens = agent.until("spark sink listens");
    listens.rsplit(':').next().unwrap().trim().parse().unwrap()
}

/// The words of hellospark.txt, so many times.
fn hello(times: u64) -> Counts {
    let once = oracle([examples().join("hellospark.txt")]);
    once.into_iter().map(|(word, count)| (word, count * times)).collect()
}

#[test]
fn the_tutorial_does_what_its_page_says() {
    let reader = Reader::new();
    page_says("examples/flume_start.sh");
    let (agent, port) = reader.agent();
    agent.until("spooldir spool → file log → spark spark");
    agent.until("agent is ready");
    page_says("cargo run --release -p millstream --example polling_word_count localhost 41414 tutorial/word-count");
    let job = reader.job(port);
    page_says("examples/echo2file.sh");
    let said = reader.script("echo2file.sh", &["tutorial/spool", "10", "0"]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let names: Vec<String> = String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(names.len(), 10);
    let completed = || names.iter().all(|name| reader.path(&format!("{name}.COMPLETED")).exists());
    agent.until_true("every file is completed", completed);
    job.until_true("all is counted", || find_table(&reader.totals()) == Some(hello(10)));
    let query = "SELECT word, count FROM word_counts ORDER BY count DESC, word LIMIT 3";
    page_says(&format!("sqlite3 tutorial/word-count/counts.sqlite '{query}'"));
    let shown = Command::new("sqlite3").arg(reader.totals()).arg(query).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let page = fs::read_to_string(examples().join("README.md")).unwrap();
    let lines: Vec<String> = shown.lines().map(|line| format!("`{line}`")).collect();
    assert!(page.contains(&lines.join(", ")), "{shown}");
    job.stop().expect_code(0);
    agent.stop().expect_code(0);
    let printed = fs::read_to_string(reader.path("printed")).unwrap();
    assert!(printed.starts_with("-------------------------------------------\nTime: "), "{printed}");
    // Ten pairs of a batch, as Spark shows them: which ones, nobody promises.
    let pairs: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix('(')?.strip_suffix(')')).collect();
    let is_counted = |pair: &str| {
        let (word, count) = pair.rsplit_once(',')?;
        let most = hello(10).get(word).copied()?;
        (1..=most).contains(&count.parse().ok()?).then_some(())
    };
    assert!(!pairs.is_empty() && pairs.iter().all(|pair| is_counted(pair).is_some()), "{printed}");
}

#[test]
fn both_scripts_go_on_in_the_same_directory_after_a_stop() {
    let reader = Reader::new();
    for times in 1..=2 {
        let (agent, port) = reader.agent();
        let job = reader.job(port);
        let said = reader.script("echo2file.sh", &["tutorial/spool", "1", "0"]).output().unwrap();
        assert!(said.status.success());
        job.until_true("counted", || find_table(&reader.totals()) == Some(hello(times)));
        job.stop().expect_code(0);
        agent.stop().expect_code(0);
    }
    assert_eq!(table(&reader.totals()), hello(2));
}

#[test]
fn the_agent_is_started_from_the_build_directory_too_and_its_absence_is_told_with_the_remedy() {
    let reader = Reader::new();
    let with_target = |dir: &Path| {
        let mut command = reader.script("flume_start.sh", &["-Dagent.sinks.spark.port=0"]);
        command.env("PATH", "/usr/bin:/bin").env("CARGO_TARGET_DIR", dir);
        Process::spawn(command)
    };
    // <target directory>/<profile>/millstream
    let agent = with_target(millstream().ancestors().nth(2).unwrap());
    agent.until("agent is ready");
    agent.stop().expect_code(0);
    let ended = with_target(&reader.path("empty")).ended();
    ended.expect_code(127);
    assert_eq!(ended.lines_with("build it: cargo build --release -p millstream-cli").count(), 1, "{:?}", ended.log);
}

#[test]
fn keys_of_the_tutorial_can_be_replaced_as_its_page_says() {
    let reader = Reader::new();
    page_says("examples/flume_start.sh -Dagent.sinks.spark.port=41415 -Dagent.sources.spool.spoolDir=/var/spool/logs");
    fs::create_dir(reader.path("logs")).unwrap();
    let spool = format!("-Dagent.sources.spool.spoolDir={}", reader.path("logs").display());
    let agent = Process::spawn(reader.script("flume_start.sh", &["-Dagent.sinks.spark.port=0", &spool]));
    let job = reader.job(port_of(&agent));
    let said = reader.script("echo2file.sh", &["logs", "1", "0"]).output().unwrap();
    assert!(said.status.success());
    job.until_true("counted", || find_table(&reader.totals()) == Some(hello(1)));
    job.stop().expect_code(0);
    agent.stop().expect_code(0);
}

/// The custom source with a property file whose ticker has `more`.
fn custom(reader: &Reader, more: &str) -> Process {
    let file = reader.path("ticker.properties");
    let text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = ticker\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\na1.sinks.k1.type = logger\na1.sinks.k1.channel = c1\n{more}"
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(example("custom_source"));
    command.arg(file).env_remove("RUST_LOG");
    Process::spawn(command)
}

#[test]
fn a_source_of_ones_own_is_used_by_a_property_file_or_by_itself() {
    page_says("cargo run --release -p millstream --example custom_source");
    let alone = Process::spawn(Command::new(example("custom_source")));
    alone.until(" tick }");
    alone.signal(nix::sys::signal::Signal::SIGINT);
    alone.ended().expect_code(0);

    let reader = Reader::new();
    let process = custom(&reader, "a1.sources.r1.text = hello\na1.sources.r1.intervalMillis = 5\n");
    process.until(" hello }");
    process.signal(nix::sys::signal::Signal::SIGINT);
    process.ended().expect_code(0);
}

#[test]
fn a_wrong_option_of_a_source_of_ones_own_is_told_with_place_and_nearest_key() {
    let reader = Reader::new();
    let process = custom(&reader, "a1.sources.r1.intervalMilis = 5\na1.sources.r1.text = hello\n");
    let told = process.until("unknown key");
    let wanted = "ticker.properties:9: a1.sources.r1.intervalMilis: unknown key, ignored; did you mean intervalMillis?";
    assert!(told.contains("WARN") && told.contains(wanted), "{told}");
    process.until(" hello }");
    process.signal(nix::sys::signal::Signal::SIGINT);
    process.ended().expect_code(0);

    let refused = custom(&reader, "a1.sources.r1.intervalMillis = soon\n");
    let told = refused.until("intervalMillis");
    let wanted =
        "ticker.properties:9: a1.sources.r1.intervalMillis: expected a whole number of milliseconds, got \"soon\"";
    assert!(told.contains(wanted), "{told}");
}
