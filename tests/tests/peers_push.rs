//! Agents that push to a stream, the real ones to ours and ours to Spark's.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;

use millstream::receiver::PushReceiver;
use millstream_testkit::peer::{Flume, Mode, RpcLoad, SparkWordCount, Version, free_port};
use millstream_tests::config::{BATCH, Config, DEFLATE};
use millstream_tests::demo::{Counts, different, oracle, spool};
use millstream_tests::overheard::{Call, Overheard};
use millstream_tests::peers::{OurAgent, WordCount, assert_at_least_once, once_each};
use millstream_tests::until_true;

fn receiver(port: u16, decompress: bool) -> PushReceiver {
    PushReceiver { decompress, ..PushReceiver::new("127.0.0.1", port) }
}

/// An agent of Flume that pushes everything to both ports, compressed to the second.
fn flume_that_pushes(version: Version, plain: u16, small: u16) -> Flume {
    Flume::agent(version, |place| {
        let source = format!("type = avro\nbind = 127.0.0.1\nport = {}\nchannels = plain small", place.port("avro"));
        Config::default()
            .source("r1", &source)
            .file_channel("plain", place)
            .file_channel("small", place)
            .avro_sink("plain", "plain", plain, "")
            .avro_sink("small", "small", small, DEFLATE)
            .text()
    })
}

fn load(flume: &Flume, count: usize) -> RpcLoad {
    let properties = format!("hosts = h1\nhosts.h1 = 127.0.0.1:{}\n", flume.port("avro"));
    let step = format!("count={count},batch={BATCH}");
    RpcLoad::start(Version::V1_9.client(), flume.place().dir(), &properties, &[&step])
}

fn every_event_that_a_real_agent_pushes_is_counted_once(version: Version) {
    let (plain, small) = (free_port(), free_port());
    let mut jobs = [WordCount::start(receiver(plain, false)), WordCount::start(receiver(small, true))];
    let flume = flume_that_pushes(version, plain, small);
    let sent = once_each(load(&flume, 10_000).finish());
    assert_eq!(sent.len(), 10_000);
    for job in &mut jobs {
        job.until_totals("all are counted", |totals| totals.len() == sent.len());
        assert_eq!(different(&sent, &job.stop()), None);
    }
}

#[test]
fn every_event_that_an_agent_of_flume_1_11_pushes_is_counted_once() {
    every_event_that_a_real_agent_pushes_is_counted_once(Version::V1_11);
}

/// Peers: Flume 1.9.0
#[test]
fn every_event_that_an_agent_of_flume_1_9_pushes_is_counted_once() {
    every_event_that_a_real_agent_pushes_is_counted_once(Version::V1_9);
}

#[test]
fn a_real_agent_goes_on_where_it_was_when_a_job_is_started_again() {
    let (plain, small) = (free_port(), free_port());
    let mut jobs = [WordCount::start(receiver(plain, false)), WordCount::start(receiver(small, true))];
    let flume = flume_that_pushes(Version::V1_11, plain, small);
    let mut load = load(&flume, 50_000);
    load.until_acknowledged(10_000);
    for (job, (port, decompress)) in jobs.iter_mut().zip([(plain, false), (small, true)]) {
        job.until_totals("some are counted", |totals| totals.len() > 1_000);
        job.stop();
        job.start_again(receiver(port, decompress));
    }
    let sent = once_each(load.finish());
    for job in &mut jobs {
        job.until_totals("all are counted", |totals| totals.len() == sent.len());
        // The batch whose answer was under way.
        assert_at_least_once(&sent, &job.stop(), BATCH);
    }
}

/// Words that come in different numbers, in five files.
fn spool_words(dir: &Path, round: &str) {
    for file in 0..5 {
        let line = |line| format!("{round}{file} line{line} w{} w{}\n", line % 97, (line * 7 + file) % 1013);
        spool(dir, &format!("{round}{file}"), (0..2_000).map(line).collect::<String>());
    }
}

/// What was put into the spool, by `tr | sort | uniq -c`, once all of it is read.
fn spooled(agent: &OurAgent) -> Counts {
    let dir = agent.place().path("spool");
    let files = || std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let completed = |path: &Path| path.extension().is_some_and(|extension| extension == "COMPLETED");
    until_true("all files are read", || files().all(|path| completed(&path)));
    oracle(files())
}

fn events(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// Peers: Spark 2.4.8
#[test]
fn real_spark_counts_the_same_totals_of_what_our_agent_pushes_as_our_job() {
    let [ours, sparks, decompressing] = [(), (), ()].map(|()| free_port());
    let agent = OurAgent::start(|place| {
        Config::default()
            .spool(place, "c1 c2 c3")
            .file_channel("c1", place)
            .file_channel("c2", place)
            .file_channel("c3", place)
            .avro_sink("k1", "c1", ours, "")
            .avro_sink("k2", "c2", sparks, "")
            .avro_sink("k3", "c3", decompressing, DEFLATE)
            .text()
    });
    // The agent is there first, and has something for everybody.
    spool_words(&agent.place().path("spool"), "early");
    let mut job = WordCount::start(receiver(ours, false));
    let mut spark = SparkWordCount::start(Mode::Push, &[sparks]);
    let mut inflating = SparkWordCount::start(Mode::PushDeflate, &[decompressing]);
    spool_words(&agent.place().path("spool"), "late");
    let wanted = spooled(&agent);
    job.until_totals("we counted all", |totals| events(totals) >= events(&wanted));
    assert_eq!(different(&wanted, &job.stop()), None);
    for spark in [&mut spark, &mut inflating] {
        spark.until_totals("spark counted all", |totals| events(totals) >= events(&wanted));
        assert_eq!(different(&wanted, &spark.totals()), None);
    }
}

/// Peers: Spark 2.4.8
#[test]
fn our_agent_waits_for_real_spark_that_is_killed_and_pushes_on_when_it_is_back() {
    let port = free_port();
    let agent = OurAgent::start(|place| {
        Config::default().spool(place, "c1").file_channel("c1", place).avro_sink("k1", "c1", port, "").text()
    });
    let dir = agent.place().path("spool");
    let mut spark = SparkWordCount::start(Mode::Push, &[port]);
    spool_words(&dir, "before");
    let wanted = spooled(&agent);
    // Spark says OK to what it has in memory only, so nothing may be under way when it is killed.
    spark.until_totals("spark counted all", |totals| events(totals) >= events(&wanted));
    spark.kill();
    spool_words(&dir, "meanwhile");
    let wanted = spooled(&agent);
    spark.start_again();
    spark.until_totals("spark counted the rest", |totals| events(totals) >= events(&wanted));
    assert_eq!(different(&wanted, &spark.totals()), None);
}

/// Lines of one file of a flow.
const FILE_LINES: usize = 1_000;
/// Files of a flow.
const FILES: usize = 24;

/// Spark says OK once an event is in its memory; its receiver's log has it with the next block, up to 200 ms later. So a
/// kill costs what was said OK to in between, whoever sends. Everything else must come.
///
/// Peers: Spark 2.4.8
#[test]
fn real_spark_that_is_killed_in_a_flow_lacks_at_most_what_it_had_said_ok_to_and_not_in_its_log() {
    let port = free_port();
    let line = Overheard::before(port);
    let agent = OurAgent::start(|place| {
        Config::default().spool(place, "c1").file_channel("c1", place).avro_sink("k1", "c1", line.port, "").text()
    });
    let dir = agent.place().path("spool");
    let spool_file = |file: usize| {
        let lines = (file * FILE_LINES..(file + 1) * FILE_LINES).map(|number| line_of(number) + "\n");
        spool(&dir, &format!("{file:02}"), lines.collect::<String>());
    };
    let mut spark = SparkWordCount::start(Mode::Push, &[port]);
    (0..FILES / 2).for_each(spool_file);
    spark.until_totals("some are counted", |totals| totals.len() >= 3 * FILE_LINES);
    let (before, calls) = (spark.totals(), line.calls().len());
    (FILES / 2..3 * FILES / 4).for_each(spool_file);
    until_true("more is sent", || line.calls().len() > calls + 1);
    spark.kill();
    let said_ok: BTreeSet<String> =
        line.calls().iter().filter(|call| call.is_answered_ok()).flat_map(lines_in).collect();
    assert!(said_ok.iter().any(|line| !before.contains_key(line)), "in the middle of a flow");
    (3 * FILES / 4..FILES).for_each(spool_file);
    spark.start_again();
    let last = line_of(FILES * FILE_LINES - 1);
    spark.until_totals("the last one is counted", |totals| totals.contains_key(&last));

    let after = spark.totals();
    let sent: BTreeSet<String> = (0..FILES * FILE_LINES).map(line_of).collect();
    let missing: BTreeSet<&String> = sent.iter().filter(|line| !after.contains_key(*line)).collect();
    println!("{} of {} lines missing, {} said OK to before the kill", missing.len(), sent.len(), said_ok.len());
    assert!(missing.iter().all(|line| said_ok.contains(*line)), "what it had not said OK to comes again: {missing:?}");
    assert!(missing.iter().all(|line| !before.contains_key(*line)), "what was counted stays so: {missing:?}");
    assert!(after.keys().all(|line| sent.contains(line)), "nothing else is counted");
    let repeated: u64 = after.values().map(|count| count - 1).sum();
    assert!(repeated <= BATCH, "{repeated} counted again: more than the batch that had no answer");
}

fn line_of(number: usize) -> String {
    format!("e{number}")
}

/// The lines in a call of the agent: bodies stand as they are between lengths and other bytes that are no digits.
fn lines_in(call: &Call) -> Vec<String> {
    let (mut lines, mut rest) = (Vec::new(), &call.request[..]);
    while let Some(at) = rest.windows(2).position(|two| two[0] == b'e' && two[1].is_ascii_digit()) {
        // Its length, doubled, stands before it.
        let length = if at == 0 { 0 } else { usize::from(rest[at - 1] / 2) };
        let digits = rest[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length >= 2 && length <= digits + 1 {
            lines.push(String::from_utf8_lossy(&rest[at..at + length]).into_owned());
        }
        rest = &rest[at + 1..];
    }
    lines
}
