//! The agent and the job as two processes, by poll and by push, in either start order, each killed with -9 and started again
//! while the other runs: totals are exact.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream::outputs::{ColumnKind, Sqlite};
use millstream::{FlumeUtils, StreamingContext};
use millstream_tests::demo::{different, find_table, oracle};
use millstream_tests::{Process, Trace, example, millstream};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const KILLS: u32 = 10;
/// A feed that never stops passes every point within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where an agent is killed, and up to so many microseconds later.
const AGENT_MOMENTS: &[(&str, u64)] = &[
    ("channel.put-enqueued", 2_000),
    ("channel.put-durable", 2_000),
    ("spooldir.stored", 500),
    ("spooldir.completed", 500),
    ("channel.taken", 20_000),
    ("channel.commit-enqueued", 300),
    ("channel.commit-written", 300),
];
/// Where a job is killed.
const JOB_MOMENTS: &[(&str, u64)] = &[
    ("receiver.block-received", 300_000),
    ("batch.computed", 1_000),
    ("commit.prepared-appended", 500),
    ("batch.committed", 50),
    ("batch.state-applied", 50),
    ("batch.acknowledged", 100),
    ("output.before-apply", 200),
    ("sqlite.committed", 200),
];

/// A small generator; its seed is printed.
struct Random(u64);

/// Who connects to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Poll,
    Push,
}

/// A directory for both.
struct Pair {
    mode: Mode,
    dir: TempDir,
    port: u16,
    lives: AtomicU64,
}

/// Puts files into the spool until it is stopped.
struct Feed {
    stop: Arc<AtomicBool>,
    lines: JoinHandle<u64>,
}

// === impl Random ===

impl Random {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
        println!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

// === impl Pair ===

impl Pair {
    fn new(mode: Mode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("spool")).unwrap();
        // Both must know it over all their lives.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { mode, dir, port, lives: AtomicU64::new(0) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The agent of the tutorial, in a hurry.
    fn agent(&self) -> (Process, Trace) {
        let mut command = Command::new(millstream());
        let (file, sink) = match self.mode {
            Mode::Poll => ("sparksink.properties", "spark"),
            Mode::Push => ("avrosink.properties", "avro"),
        };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples").join(file);
        command.args(["agent", "-n", "agent", "-f"]).arg(file);
        let dir = self.dir.path().display();
        command.args([
            format!("-Dagent.sources.spool.spoolDir={dir}/spool"),
            "-Dagent.sources.spool.pollDelay=10".to_owned(),
            format!("-Dagent.channels.log.checkpointDir={dir}/checkpoint"),
            format!("-Dagent.channels.log.dataDirs={dir}/data"),
            format!("-Dagent.sinks.{sink}.port={}", self.port),
        ]);
        self.started(command)
    }

    /// The program of the tutorial.
    fn job(&self) -> (Process, Trace) {
        let mut command = Command::new(example(match self.mode {
            Mode::Poll => "polling_word_count",
            Mode::Push => "push_word_count",
        }));
        command.args(["localhost", &self.port.to_string()]).arg(self.path("job"));
        self.started(command)
    }

    fn started(&self, mut command: Command) -> (Process, Trace) {
        command.env_remove("RUST_LOG");
        let life = self.lives.fetch_add(1, Ordering::SeqCst);
        let trace = Trace::attach(&mut command, self.dir.path(), &format!("trace-{life}"));
        (Process::spawn(command), trace)
    }

    /// Puts a whole file into the spool. It is old, so that nobody waits whether it grows.
    fn spool(&self, name: &str, content: &str) {
        let hidden = self.path("spool").join(format!(".{name}"));
        fs::write(&hidden, content).unwrap();
        let file = File::options().append(true).open(&hidden).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(10)).unwrap();
        fs::hard_link(&hidden, self.path("spool").join(name)).unwrap();
        fs::remove_file(hidden).unwrap();
    }

    fn feed(self: &Arc<Self>, mut random: Random) -> Feed {
        let (pair, stop) = (Arc::clone(self), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let lines = std::thread::spawn(move || {
            let (mut lines, mut number) = (0, 0);
            while !stopped.load(Ordering::SeqCst) {
                let count = 1 + random.below(30);
                let line = |line| format!("f{number} l{line} w{} w{}\n", random.below(500), random.below(20));
                let text: String = (0..count).map(line).collect();
                pair.spool(&format!("file-{number:06}"), &text);
                (lines, number) = (lines + count, number + 1);
                std::thread::sleep(Duration::from_millis(2 + random.below(15))); // sleeps: pace of the feed
            }
            lines
        });
        Feed { stop, lines }
    }

    /// Names in the spool that end so.
    fn spooled(&self, completed: bool) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("spool")).unwrap().map(|entry| entry.unwrap().path());
        // The tracker of what is half read lies there too.
        let files = entries.filter(|path| path.is_file());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "COMPLETED") == completed).collect()
    }

    /// Waits until both, which run, have counted everything, ends them, and checks the totals against the oracle. Returns
    /// what the job's log says: events counted, and events that came again and were known.
    #[track_caller]
    fn settled(&self, agent: Process, job: Process) -> (u64, u64) {
        let counts = self.path("job/counts.sqlite");
        agent.until_true("all is read", || self.spooled(false).is_empty());
        let wanted = oracle(self.spooled(true));
        job.until_true("all is counted", || {
            find_table(&counts).is_some_and(|table| different(&wanted, &table).is_none())
        });
        job.stop().expect_code(0);
        agent.stop().expect_code(0);
        let found = find_table(&counts).unwrap();
        assert_eq!(different(&wanted, &found), None, "what came when all was counted was counted twice");
        self.ledger()
    }

    /// The durable side of the job's ledger: its log, opened by the same program, which finds no agent.
    fn ledger(&self) -> (u64, u64) {
        let dir = self.path("job");
        let name = match self.mode {
            Mode::Poll => "FlumePollingWordCount",
            Mode::Push => "FlumeWordCount",
        };
        let mut ssc = StreamingContext::new(name, Duration::from_millis(500));
        ssc.checkpoint(&dir);
        let lines = match self.mode {
            Mode::Poll => FlumeUtils::create_polling_stream(&ssc, "localhost", self.port),
            Mode::Push => FlumeUtils::create_stream(&ssc, "localhost", self.port),
        };
        let counts = lines.flat_map(|event| event.words()).map(|word| (word, 1_i64)).reduce_by_key(|a, b| a + b);
        counts.print();
        let totals = counts.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
        let table = Sqlite::upsert(dir.join("counts.sqlite"), "word_counts");
        totals.save("counts", table.key("word", ColumnKind::Text).value("count", ColumnKind::I64));
        let job = ssc.start().unwrap();
        let committed = job.committed(&[]);
        job.stop().unwrap();
        (committed.counted.values().sum(), committed.redelivered)
    }

    /// Checks that every line was counted once, and that lines came again: else nothing is proven.
    #[track_caller]
    fn assert_exact_and_redelivered(&self, feed: Feed, agent: Process, job: Process) {
        feed.stop.store(true, Ordering::SeqCst);
        let lines = feed.lines.join().unwrap();
        let (counted, redelivered) = self.settled(agent, job);
        println!("{lines} lines, {redelivered} came again");
        assert_eq!(counted, lines);
        assert!(redelivered > 0, "nothing came again: this run proves nothing");
    }
}

/// Kills it after it passed one of `moments`.
fn kill((process, trace): (Process, Trace), moments: &[(&str, u64)], random: &mut Random) {
    let (point, longest) = moments[random.below(moments.len() as u64) as usize];
    let passed = trace.wait_for(point, 1 + random.below(3) as usize, PATIENCE);
    std::thread::sleep(Duration::from_micros(random.below(longest))); // sleeps: a random moment
    process.signal(Signal::SIGKILL);
    let ended = process.ended();
    assert_eq!(ended.code, None, "killed, not ended: {:?}", ended.log);
    assert!(passed, "never passed {point}: {:?}", trace.passed());
}

/// Each case once by poll and once by push.
macro_rules! by_both_modes {
    ($($case:ident)*) => {
        mod poll {
            $(#[test]
            fn $case() {
                super::$case(super::Mode::Poll);
            })*
        }
        mod push {
            $(#[test]
            fn $case() {
                super::$case(super::Mode::Push);
            })*
        }
    };
}

by_both_modes!(
    a_job_that_starts_after_its_agent_counts_what_waits
    an_agent_that_starts_after_its_job_is_found
    an_agent_that_is_killed_again_and_again_while_its_job_runs_costs_no_count
    a_job_that_is_killed_again_and_again_while_its_agent_runs_costs_no_count
    an_agent_and_its_job_that_are_killed_together_cost_no_count
);

fn a_job_that_starts_after_its_agent_counts_what_waits(mode: Mode) {
    let pair = Pair::new(mode);
    pair.spool("early", "a b\na\n");
    let (agent, _) = pair.agent();
    agent.until_true("read before there is a job", || pair.path("spool/early.COMPLETED").exists());
    let (job, _) = pair.job();
    pair.spool("late", "a c\n");
    assert_eq!(pair.settled(agent, job), (3, 0));
}

fn an_agent_that_starts_after_its_job_is_found(mode: Mode) {
    let pair = Pair::new(mode);
    pair.spool("early", "a b\na\n");
    let (job, _) = pair.job();
    job.until_true("the job runs", || pair.path("job/counts.sqlite").exists());
    let (agent, _) = pair.agent();
    pair.spool("late", "a c\n");
    assert_eq!(pair.settled(agent, job), (3, 0));
}

fn an_agent_that_is_killed_again_and_again_while_its_job_runs_costs_no_count(mode: Mode) {
    let (pair, mut random) = (Arc::new(Pair::new(mode)), Random::new());
    let feed = pair.feed(Random(random.0));
    let (job, _) = pair.job();
    for _ in 0..KILLS {
        kill(pair.agent(), AGENT_MOMENTS, &mut random);
    }
    let (agent, _) = pair.agent();
    pair.assert_exact_and_redelivered(feed, agent, job);
}

fn a_job_that_is_killed_again_and_again_while_its_agent_runs_costs_no_count(mode: Mode) {
    let (pair, mut random) = (Arc::new(Pair::new(mode)), Random::new());
    let feed = pair.feed(Random(random.0));
    let (agent, _) = pair.agent();
    for _ in 0..KILLS {
        kill(pair.job(), JOB_MOMENTS, &mut random);
    }
    // One that certainly died between its commit and its acknowledgement.
    kill(pair.job(), &[("batch.committed", 1)], &mut random);
    let (job, _) = pair.job();
    pair.assert_exact_and_redelivered(feed, agent, job);
}

fn an_agent_and_its_job_that_are_killed_together_cost_no_count(mode: Mode) {
    let (pair, mut random) = (Arc::new(Pair::new(mode)), Random::new());
    let feed = pair.feed(Random(random.0));
    for round in 0..KILLS {
        let (agent, job) = match round % 2 {
            0 => (pair.agent(), pair.job()),
            _ => {
                let job = pair.job();
                (pair.agent(), job)
            }
        };
        // Whichever is chosen sets the moment; the other one dies right before it or right after.
        if random.below(2) == 0 {
            kill(job, JOB_MOMENTS, &mut random);
            agent.0.signal(Signal::SIGKILL);
        } else {
            kill(agent, AGENT_MOMENTS, &mut random);
            job.0.signal(Signal::SIGKILL);
        }
    }
    let (agent, _) = pair.agent();
    let (job, _) = pair.job();
    pair.assert_exact_and_redelivered(feed, agent, job);
}
