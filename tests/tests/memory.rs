//! What the released program needs of a machine: bounded under load, next to nothing when idle.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::TcpListener;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream_tests::memory::{cpu, status_bytes};
use millstream_tests::{Demo, Process, released_helper, released_millstream};
use tempfile::TempDir;

const MB: u64 = 1 << 20;
/// Held by the test that measures: the others would be measured too.
static ALONE: Mutex<()> = Mutex::new(());
/// `docs/memory.md`: puts under way and events kept in memory.
const FILE_CHANNEL_BYTES: u64 = 24 * MB;
/// What `slow_word_count` gives its job.
const STREAM_MEMORY_BYTES: u64 = 32 * MB;

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("spool")).unwrap();
    dir
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_producer_faster_than_the_job_for_two_minutes_stays_within_the_bounds() {
    let _alone = alone();
    let dir = place();
    let mut command = Command::new(released_helper("slow_word_count"));
    command.arg(dir.path()).arg(free_port().to_string());
    let process = Process::spawn(command);
    let began = Instant::now();
    let (mut file, mut most) = (0_u64, 0);
    while began.elapsed() < Duration::from_secs(120) {
        // Always more to read than is read: 20,000 distinct words at most.
        let spooled = std::fs::read_dir(dir.path().join("spool")).unwrap();
        if spooled.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_file()).count() < 3 {
            file += 1;
            let text: String = (0..50_000)
                .map(|line| format!("word{} line{} of a log\n", (line + file) % 10_000, line % 9_000))
                .collect();
            let hidden = dir.path().join(format!(".file{file}"));
            std::fs::write(&hidden, text).unwrap();
            std::fs::hard_link(&hidden, dir.path().join(format!("spool/file{file}"))).unwrap();
            std::fs::remove_file(hidden).unwrap();
        }
        most = most.max(status_bytes(process.id(), "VmRSS").unwrap());
        std::thread::sleep(Duration::from_millis(20)); // sleeps: samples for two minutes, by the clock
    }
    let peak = status_bytes(process.id(), "VmHWM").unwrap();
    let said = process.lines_with("waiting").pop().unwrap();
    let waiting: u64 = said.split(' ').nth(1).unwrap().parse().unwrap();
    println!("peak {} MB, sampled {} MB; {said}", peak / MB, most / MB);
    assert!(waiting > 100_000, "the job kept up, so this proves nothing: {said}");
    assert!(peak <= FILE_CHANNEL_BYTES + STREAM_MEMORY_BYTES + 30 * MB, "peak {} MB; {said}", peak / MB);
}

#[test]
fn five_million_distinct_words_are_counted() {
    let _alone = alone();
    let demo = Demo::default();
    for file in 0..5_u64 {
        let text: String = (0..100_000)
            .map(|line| {
                (0..10)
                    .map(|word| format!("{:x} ", ((file * 1_000_000 + line * 10 + word) << 20) + 0xfeed))
                    .collect::<String>()
                    + "\n"
            })
            .collect();
        demo.spool(&format!("file{file}"), text);
    }
    let mut command = Command::new(released_millstream());
    let arguments = demo.command(&["--until-idle", "--for", "300s"]);
    command.args(arguments.get_args());
    let process = Process::spawn(command);
    let mut peak = 0;
    while let Some(pid) = process.running() {
        peak = peak.max(status_bytes(pid, "VmHWM").unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20)); // sleeps: samples what the process itself does not tell
    }
    process.ended().expect_code(0);
    println!("5 million words: peak {} MB", peak / MB);
    let table = demo.table();
    assert_eq!(table.len(), 5_000_000);
    assert!(table.values().all(|count| *count == 1));
}

#[test]
fn an_idle_agent_is_ready_at_once_and_needs_next_to_nothing() {
    let _alone = alone();
    let dir = place();
    let at = dir.path().display();
    let config = dir.path().join("flume.conf");
    let text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1
         a1.sources.r1.type = spooldir\na1.sources.r1.spoolDir = {at}/spool\na1.sources.r1.channels = c1
         a1.channels.c1.type = file\na1.channels.c1.checkpointDir = {at}/checkpoint\na1.channels.c1.dataDirs = {at}/data
         a1.sinks.k1.type = org.apache.spark.streaming.flume.sink.SparkSink\na1.sinks.k1.channel = c1
         a1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {}\n",
        free_port()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(released_millstream());
    command.args(["agent", "-n", "a1", "-c", "conf", "-f"]).arg(&config);
    let began = Instant::now();
    let process = Process::spawn(command);
    process.until("agent is ready");
    let ready = began.elapsed();
    let before = cpu(process.id());
    std::thread::sleep(Duration::from_secs(20)); // sleeps: idling is measured over time
    let used = cpu(process.id()) - before;
    let resident = status_bytes(process.id(), "VmRSS").unwrap();
    println!("ready after {ready:?}; {} KB resident; {used:?} of CPU in 20 s", resident >> 10);
    assert!(resident <= 15 * MB, "{} KB resident", resident >> 10);
    assert!(used <= Duration::from_millis(40), "{used:?} of CPU in 20 s");
    assert!(ready <= Duration::from_millis(100), "ready after {ready:?}");
    process.stop().expect_code(0);
}
