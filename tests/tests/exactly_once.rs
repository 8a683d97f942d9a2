//! What is taken away, comes again, or is told twice is counted once.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use millstream::outputs::{ColumnKind, Sqlite};
use millstream::receiver::PollReceiver;
use millstream::{Agent, FlumeUtils, Job, RunningAgent, StreamingContext};
use millstream_tests::demo::{Counts, different, oracle, table};
use millstream_tests::{Demo, Process};
use nix::sys::signal::Signal;
use tempfile::TempDir;

#[test]
fn a_second_run_reads_no_completed_file_again_and_adds_to_the_totals() {
    let demo = Demo::default();
    demo.spool("one", "a b\na\n");
    demo.assert_exact(&demo.until_idle());
    demo.spool("two", "a c\n");
    let second = demo.until_idle();
    demo.assert_exact(&second);
    assert_eq!((second.ledger("in"), second.0["words"].as_u64()), (3, Some(2)), "{}", second.0);
}

#[test]
fn an_empty_file_and_a_file_without_a_last_newline_are_completed() {
    let demo = Demo::default();
    demo.spool("empty", "");
    demo.spool("cut", "a b\nlast");
    demo.assert_exact(&demo.until_idle());
    assert!(demo.path("spool/empty.COMPLETED").exists() && demo.path("spool/cut.COMPLETED").exists());
    assert_eq!(demo.table().get("last"), Some(&1));
}

#[test]
fn a_new_file_in_a_reused_inode_is_another_file() {
    let demo = Demo::default();
    let mut wanted = Counts::new();
    let (mut inodes, mut reused) = (Vec::new(), 0);
    let first = Process::spawn(demo.command(&[]));
    for round in 0..8 {
        let name = format!("file{round}");
        demo.spool(&name, "same words\n");
        let completed = demo.path("spool").join(format!("{name}.COMPLETED"));
        first.until_true("completed", || completed.exists());
        let inode = fs::metadata(&completed).unwrap().ino();
        reused += usize::from(inodes.contains(&inode));
        inodes.push(inode);
        fs::remove_file(completed).unwrap();
        *wanted.entry("same".into()).or_default() += 1;
        *wanted.entry("words".into()).or_default() += 1;
    }
    first.stop().expect_code(0);
    assert!(reused > 0, "this file system gives no inode twice, so this proves nothing: {inodes:?}");
    assert_eq!(different(&wanted, &demo.table()), None);
}

#[test]
fn a_deleted_channel_takes_only_what_waited_in_it_and_the_ledger_still_balances() {
    let demo = Demo::default();
    demo.spool("one", "a b\na\n");
    demo.until_idle();
    fs::remove_dir_all(demo.path("channel")).unwrap();
    demo.spool("two", "a c\n");
    let second = demo.until_idle();
    demo.assert_exact(&second);
    assert_eq!((second.ledger("in"), second.ledger("counted")), (3, 3), "{}", second.0);
}

#[test]
fn a_deleted_database_is_filled_again() {
    let demo = Demo::default();
    demo.spool("one", "a b\na\n");
    demo.until_idle();
    for file in ["counts.sqlite", "counts.sqlite-wal", "counts.sqlite-shm"] {
        // The last two are there only while somebody has it open.
        let _ = fs::remove_file(demo.path(file));
    }
    demo.spool("two", "c\n");
    demo.assert_exact(&demo.until_idle());
}

#[test]
fn a_deleted_commit_log_is_refused_while_the_database_stays() {
    let demo = Demo::default();
    demo.spool("one", "a b\na\n");
    demo.until_idle();
    fs::remove_dir_all(demo.path("job")).unwrap();
    demo.spool("two", "c\n");
    let before = demo.table();
    for _ in 0..2 {
        let output = demo.command(&["--until-idle", "--for", "30s"]).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{log}");
        for part in ["counts.sqlite", "holds results up to batch", "restore that directory"] {
            assert!(log.contains(part), "{log} lacks {part}");
        }
        assert_eq!(demo.table(), before);
        assert!(demo.path("spool/two").exists(), "nothing is read for a job that does not run");
    }
}

/// An agent that replicates a spool directory to two file channels, each with a Spark sink.
struct Replicating {
    dir: TempDir,
    ports: [u16; 2],
}

impl Replicating {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("spool")).unwrap();
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { dir, ports: [port(), port()] }
    }

    fn properties(&self) -> String {
        let dir = self.dir.path().display();
        let mut text = format!(
            "a1.sources = r1\na1.channels = c0 c1\na1.sinks = k0 k1
             a1.sources.r1.type = spooldir\na1.sources.r1.spoolDir = {dir}/spool\na1.sources.r1.channels = c0 c1
             a1.sources.r1.batchSize = 50\na1.sources.r1.pollDelay = 20\n"
        );
        for (index, port) in self.ports.iter().enumerate() {
            text.push_str(&format!(
                "a1.channels.c{index}.type = file\na1.channels.c{index}.dataDirs = {dir}/data{index}
                 a1.channels.c{index}.checkpointDir = {dir}/checkpoint{index}
                 a1.sinks.k{index}.type = org.apache.spark.streaming.flume.sink.SparkSink
                 a1.sinks.k{index}.hostname = 127.0.0.1\na1.sinks.k{index}.port = {port}
                 a1.sinks.k{index}.channel = c{index}\n"
            ));
        }
        text
    }

    fn agent(&self) -> Process {
        let file = self.dir.path().join("flume.conf");
        fs::write(&file, self.properties()).unwrap();
        Process::start(["agent", "-n", "a1", "-c", "conf", "-f", file.to_str().unwrap()])
    }

    async fn agent_in_this_process(&self) -> RunningAgent {
        Agent::builder().name("a1").config_text(self.properties()).start().await.unwrap()
    }

    fn job(&self, index: usize, max_batch_size: u32) -> Job {
        let dir = self.dir.path().join(format!("job{index}"));
        let mut ssc = StreamingContext::new("count", Duration::from_millis(20));
        ssc.checkpoint(&dir);
        let address = vec![("127.0.0.1".to_owned(), self.ports[index])];
        let receiver = PollReceiver { max_batch_size, ..PollReceiver::new(address) };
        let words = FlumeUtils::create_polling_stream_from(&ssc, receiver).flat_map(|event| event.words());
        let counts = words.map(|word| (word, 1_i64)).reduce_by_key(|a, b| a + b);
        let totals = counts.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
        let table = Sqlite::upsert(dir.join("counts.sqlite"), "word_counts");
        totals.save("sqlite", table.key("word", ColumnKind::Text).value("count", ColumnKind::I64));
        ssc.start().unwrap()
    }

    fn spool(&self, name: &str, text: &str) {
        let hidden = self.dir.path().join(format!(".{name}"));
        fs::write(&hidden, text).unwrap();
        fs::hard_link(&hidden, self.dir.path().join("spool").join(name)).unwrap();
    }

    fn is_read(&self) -> bool {
        self.spooled().all(|path| path.extension().is_some_and(|end| end == "COMPLETED"))
    }

    fn oracle(&self) -> Counts {
        oracle(self.spooled())
    }

    /// The files in the spool.
    fn spooled(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(self.dir.path().join("spool")).unwrap().map(|entry| entry.unwrap().path());
        // The tracker of what is half read lies there too.
        entries.filter(|path| path.is_file())
    }

    fn table(&self, index: usize) -> Counts {
        table(&self.dir.path().join(format!("job{index}/counts.sqlite")))
    }
}

#[test]
fn replicated_to_two_channels_each_has_every_event_once_whenever_the_agent_is_killed() {
    let replicating = Replicating::new();
    let jobs = [replicating.job(0, 1000), replicating.job(1, 70)];
    for round in 0..6 {
        let agent = replicating.agent();
        replicating.spool(&format!("file{round}"), &format!("all r{round} of\nthese\n").repeat(400));
        // Killed when the one or the other channel has brought something of this round, wherever the rest is.
        let before = jobs[round % 2].last_batch();
        agent.until_true("a batch of this round", || jobs[round % 2].last_batch() > before);
        agent.signal(Signal::SIGKILL);
        agent.ended();
    }
    let agent = replicating.agent();
    agent.until_true("all is read", || replicating.is_read());
    let wanted = 6 * 800;
    let counted = |job: &Job| job.committed(&[]).counted.values().sum::<u64>();
    agent.until_true("all is counted", || jobs.iter().all(|job| counted(job) >= wanted && job.is_idle()));
    for (index, job) in jobs.iter().enumerate() {
        job.stop().unwrap();
        assert_eq!(counted(job), wanted, "channel {index}");
        assert_eq!(different(&replicating.oracle(), &replicating.table(index)), None, "channel {index}");
    }
    agent.stop().expect_code(0);
}

#[test]
fn what_a_job_took_and_did_not_commit_is_regrouped_for_the_next_and_counted_once() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let replicating = Replicating::new();
    let mut agent = runtime.block_on(replicating.agent_in_this_process());
    replicating.spool("file", &"some words and more\n".repeat(5000));
    for max_batch_size in [1000, 37, 501, 64] {
        // Dropped in the middle: takes are open, some committed and not acknowledged.
        let job = replicating.job(0, max_batch_size);
        let before = job.last_batch();
        millstream_tests::until_true("a batch, or all", || {
            job.last_batch() > before || job.committed(&[]).counted.values().sum::<u64>() == 5000
        });
        drop(job);
    }
    let job = replicating.job(0, 90);
    millstream_tests::until_true("all is counted", || {
        let channel = agent.channel("c0").unwrap();
        replicating.is_read() && channel.totals().waiting_events() == 0 && job.is_idle()
    });
    job.stop().unwrap();
    assert_eq!(different(&replicating.oracle(), &replicating.table(0)), None);
    runtime.block_on(async {
        agent.stop_sources().await;
        agent.stop().await.unwrap();
    });
}
