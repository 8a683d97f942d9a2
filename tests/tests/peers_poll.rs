//! Spark sinks and who polls them: ours beside the real ones, on both sides.
//!
//! Peers: Flume 1.11.0, SparkSink 2.4.7
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use millstream::receiver::PollReceiver;
use millstream_testkit::peer::{Flume, Mode, RpcLoad, SparkSinkClient, SparkWordCount, Version};
use millstream_tests::config::Config;
use millstream_tests::demo::{Counts, different, oracle, spool};
use millstream_tests::peers::{Commits, OurAgent, WordCount, assert_at_least_once, once_each};

/// Events that a [`RpcLoad`] sends at once.
const LOAD_BATCH: u64 = 100;
/// Most events that a poll brings.
const POLL_BATCH: u32 = 1000;

/// An agent of Flume with an avro source, a file channel and the real Spark sink.
fn flume_with_spark_sink(version: Version) -> Flume {
    flume_that_waits(version, 2)
}

/// The same, with a sink that gives a batch back to the channel after so many seconds without an answer.
fn flume_that_waits(version: Version, timeout_s: u32) -> Flume {
    Flume::agent(version, |place| {
        let (avro, spark) = (place.port("avro"), place.port("spark"));
        let config = Config::default().avro("r1", avro, "").file_channel("c1", place);
        config.spark_sink_with("k1", "c1", spark, timeout_s).text()
    })
}

/// An agent of ours that spools into one file channel and Spark sink for each of `sinks`.
fn our_agent_with_spark_sinks(sinks: &[&'static str]) -> OurAgent {
    OurAgent::start(|place| {
        let config = Config::default().spool(place, &sinks.join(" "));
        let with_sink = |config: Config, &sink: &&'static str| {
            config.file_channel(sink, place).spark_sink(sink, sink, place.port(sink))
        };
        sinks.iter().fold(config, with_sink).text()
    })
}

fn load(flume: &Flume, prefix: &str, count: usize) -> RpcLoad {
    let dir = flume.place().path(prefix);
    std::fs::create_dir(&dir).unwrap();
    let properties = format!("hosts = h1\nhosts.h1 = 127.0.0.1:{}\n", flume.port("avro"));
    let step = format!("prefix={prefix},count={count},batch={LOAD_BATCH}");
    RpcLoad::start(Version::V1_11.client(), &dir, &properties, &[&step])
}

fn receiver(addresses: &[u16], parallelism: usize) -> PollReceiver {
    let addresses = addresses.iter().map(|&port| ("127.0.0.1".to_owned(), port)).collect();
    PollReceiver { addresses, parallelism, max_batch_size: POLL_BATCH }
}

fn every_event_of_a_real_spark_sink_is_counted_once(version: Version) {
    let flume = flume_with_spark_sink(version);
    let mut job = WordCount::start(receiver(&[flume.port("spark")], 5));
    let sent = once_each(load(&flume, "e", 5_000).finish());
    assert_eq!(sent.len(), 5_000);
    job.until_totals("all are counted", |totals| totals.len() == sent.len());
    assert_eq!(different(&sent, &job.stop()), None);
}

#[test]
fn every_event_of_the_real_spark_sink_in_flume_1_11_is_counted_once() {
    every_event_of_a_real_spark_sink_is_counted_once(Version::V1_11);
}

/// Peers: Flume 1.9.0, SparkSink 2.4.7
#[test]
fn every_event_of_the_real_spark_sink_in_flume_1_9_is_counted_once() {
    every_event_of_a_real_spark_sink_is_counted_once(Version::V1_9);
}

/// Peers: Flume 1.9.0, SparkSink 1.6.1
#[test]
fn every_event_of_the_spark_sink_of_the_tutorial_is_counted_once() {
    every_event_of_a_real_spark_sink_is_counted_once(Version::V1_9WithOldSparkSink);
}

/// Peers: Flume 1.9.0, Flume 1.11.0, SparkSink 2.4.7
#[test]
fn two_real_spark_sinks_are_polled_together() {
    let agents = [flume_with_spark_sink(Version::V1_9), flume_with_spark_sink(Version::V1_11)];
    let mut job = WordCount::start(receiver(&agents.each_ref().map(|agent| agent.port("spark")), 4));
    let loads = [load(&agents[0], "a", 3_000), load(&agents[1], "b", 3_000)];
    let sent = once_each(loads.into_iter().flat_map(RpcLoad::finish));
    job.until_totals("all are counted", |totals| totals.len() == sent.len());
    assert_eq!(different(&sent, &job.stop()), None);
}

#[test]
fn a_real_agent_that_is_killed_in_the_middle_costs_no_event_of_its_file_channel() {
    let mut flume = flume_with_spark_sink(Version::V1_11);
    let mut job = WordCount::start(receiver(&[flume.port("spark")], 2));
    let mut load = load(&flume, "e", 10_000);
    load.until_acknowledged(2_000);
    job.until_totals("some are counted", |totals| totals.len() > 500);
    flume.kill();
    load.until_refused(1);
    flume.start();
    let sent = once_each(load.finish());
    assert_eq!(sent.len(), 10_000);
    job.until_totals("all are counted", |totals| totals.len() == sent.len());
    // The load repeats the batch that it had no answer for; the sink the one that was not acknowledged.
    assert_at_least_once(&sent, &job.stop(), LOAD_BATCH + u64::from(POLL_BATCH));
}

/// Peers: Flume 1.9.0, SparkSink 2.4.7
#[test]
fn a_job_that_stops_and_starts_again_leaves_a_real_sink_nothing_to_repeat() {
    let flume = flume_with_spark_sink(Version::V1_9);
    let mut job = WordCount::start(receiver(&[flume.port("spark")], 1));
    let mut load = load(&flume, "e", 10_000);
    load.until_acknowledged(3_000);
    job.until_totals("some are counted", |totals| totals.len() > 500);
    job.stop();
    job.start_again(receiver(&[flume.port("spark")], 1));
    let sent = once_each(load.finish());
    job.until_totals("all are counted", |totals| totals.len() == sent.len());
    assert_eq!(different(&sent, &job.stop()), None);
}

/// What the real sink logs when a batch was refused, or not answered for in time.
const ROLLED_BACK: &str = "Spark was unable to successfully process the events";
/// Events of which the first poll brings a part.
const TWO_POLLS: usize = 1_500;

fn what_a_job_refuses_comes_again_out_of_a_real_sink(version: Version) {
    // Within the time of this test, only a refusal makes the sink give a batch back.
    let mut flume = flume_that_waits(version, 600);
    let sent = once_each(load(&flume, "e", TWO_POLLS).finish());
    let mut job = WordCount::start_gated(Commits::Refused, receiver(&[flume.port("spark")], 1));
    flume.peer().until_log(ROLLED_BACK);
    assert!(job.ended().to_string().contains("the gate"));
    assert_eq!(job.totals().len(), 0);
    job.gate().set(Commits::Allowed);
    job.start_again(receiver(&[flume.port("spark")], 1));
    job.until_totals("all are counted", |totals| totals.len() == sent.len());
    assert_eq!(different(&sent, &job.stop()), None);
}

#[test]
fn what_a_job_refuses_comes_again_out_of_the_real_spark_sink_2_4_7() {
    what_a_job_refuses_comes_again_out_of_a_real_sink(Version::V1_11);
}

/// Peers: Flume 1.9.0, SparkSink 1.6.1
#[test]
fn what_a_job_refuses_comes_again_out_of_the_spark_sink_of_the_tutorial() {
    what_a_job_refuses_comes_again_out_of_a_real_sink(Version::V1_9WithOldSparkSink);
}

/// The sink takes its first batch back while the job holds it.
fn a_real_sink_that_lost_its_patience(version: Version) -> (Flume, Counts, WordCount) {
    // Long enough for what comes again.
    let mut flume = flume_that_waits(version, 4);
    let sent = once_each(load(&flume, "e", TWO_POLLS).finish());
    let job = WordCount::start_gated(Commits::Held, receiver(&[flume.port("spark")], 1));
    flume.peer().until_log(ROLLED_BACK);
    (flume, sent, job)
}

fn what_a_job_answers_for_too_late_comes_twice_and_nothing_else(version: Version) {
    let (_flume, sent, mut job) = a_real_sink_that_lost_its_patience(version);
    job.gate().set(Commits::Allowed);
    // What the job had is counted, late as it is, and the sink cannot know: it gives it once more.
    let twice = |word: &str| word[1..].parse::<u32>().unwrap() < POLL_BATCH;
    let wanted: Counts = sent.keys().map(|word| (word.clone(), if twice(word) { 2 } else { 1 })).collect();
    job.until_totals("all are counted", |totals| totals.values().sum::<u64>() >= wanted.values().sum());
    assert_eq!(different(&wanted, &job.stop()), None);
}

#[test]
fn what_a_job_answers_for_too_late_comes_twice_out_of_the_real_spark_sink_2_4_7_and_nothing_else() {
    what_a_job_answers_for_too_late_comes_twice_and_nothing_else(Version::V1_11);
}

/// Peers: Flume 1.9.0, SparkSink 1.6.1
#[test]
fn what_a_job_answers_for_too_late_comes_twice_out_of_the_spark_sink_of_the_tutorial_and_nothing_else() {
    what_a_job_answers_for_too_late_comes_twice_and_nothing_else(Version::V1_9WithOldSparkSink);
}

/// Peers: Flume 1.9.0, SparkSink 2.4.7
#[test]
fn what_a_job_never_answers_for_is_counted_once_by_the_next() {
    let (flume, sent, mut job) = a_real_sink_that_lost_its_patience(Version::V1_9);
    job.gate().set(Commits::Refused);
    job.ended();
    job.gate().set(Commits::Allowed);
    job.start_again(receiver(&[flume.port("spark")], 1));
    job.until_totals("all are counted", |totals| totals.len() == sent.len());
    assert_eq!(different(&sent, &job.stop()), None);
}

/// Peers: SparkSink 2.4.7
#[test]
fn sparks_own_client_is_given_again_what_it_refuses_or_does_not_answer_for() {
    let agent = our_agent_with_spark_sinks(&["k1"]);
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..100).map(|number| format!("e{number}\n")).collect();
    spool(&agent.place().path("spool"), "file", text);
    let bodies = |numbers: std::ops::Range<usize>| numbers.map(|number| format!("e{number}")).collect::<Vec<_>>();

    let got = SparkSinkClient::start(dir.path(), agent.port("k1"), 20, "ack,nack,ack,silence,3*ack").finish();
    let of = |batch: usize| got[20 * batch..20 * batch + 20].iter().map(|got| got.body.clone()).collect::<Vec<_>>();
    assert_eq!(got.len(), 7 * 20);
    assert_eq!(of(0), bodies(0..20));
    assert_eq!(of(1), bodies(20..40));
    assert_eq!(of(2), bodies(20..40), "refused, so given again at once");
    assert_eq!(of(3), bodies(40..60));
    // The client went on without an answer for those: the next ones come first, those when their time is over.
    let rest: BTreeSet<String> = (4..7).flat_map(of).collect();
    assert_eq!(rest, bodies(40..100).into_iter().collect());
    assert!(of(4) == bodies(60..80) && of(6) == bodies(40..60), "{got:?}");
    let sequence_numbers: BTreeSet<&String> = got.iter().map(|got| &got.sequence_number).collect();
    assert_eq!(sequence_numbers.len(), 7, "each batch has a number of its own");
}

/// Peers: SparkSink 2.4.7
#[test]
fn what_sparks_own_client_holds_when_it_is_killed_goes_to_the_next_at_once() {
    let agent = our_agent_with_spark_sinks(&["k1"]);
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    spool(&agent.place().path("spool"), "file", "a\nb\n");
    let mut client = SparkSinkClient::start(first.path(), agent.port("k1"), 10, "hang");
    client.until_received(2);
    client.peer.kill();
    let got = SparkSinkClient::start(second.path(), agent.port("k1"), 10, "ack").finish();
    assert_eq!(got.iter().map(|got| got.body.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

/// Peers: Spark 2.4.8
#[test]
fn real_spark_polls_the_same_totals_out_of_our_agent_as_our_job() {
    let agent = our_agent_with_spark_sinks(&["ours", "sparks"]);
    let mut job = WordCount::start(receiver(&[agent.port("ours")], 5));
    let mut spark = SparkWordCount::start(Mode::Poll, &[agent.port("sparks")]);
    let dir = agent.place().path("spool");
    for file in 0..5 {
        let line = |line| format!("file{file} line{line} w{} w{}\n", line % 97, (line * 7 + file) % 1013);
        spool(&dir, &format!("file{file}"), (0..2_000).map(line).collect::<String>());
    }
    agent.process().until_true("all files are read", || !dir.join("file4").exists());
    let files = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let wanted = oracle(files.filter(|file| file.is_file()));
    spark.until_totals("spark counted all", |totals| totals.values().sum::<u64>() >= wanted.values().sum());
    job.until_totals("we counted all", |totals| totals.values().sum::<u64>() >= wanted.values().sum());
    assert_eq!(different(&wanted, &spark.totals()), None);
    assert_eq!(different(&wanted, &job.stop()), None);
}

/// Peers: Spark 2.4.8
#[test]
fn real_spark_that_is_killed_and_started_again_polls_every_event_of_our_agent() {
    let agent = our_agent_with_spark_sinks(&["k1"]);
    let dir = agent.place().path("spool");
    let mut spark = SparkWordCount::start(Mode::Poll, &[agent.port("k1")]);
    let file = |number: u32| (0..1_000).map(|line| format!("f{number}-{line}\n")).collect::<String>();
    for number in 0..10 {
        spool(&dir, &format!("file{number}"), file(number));
    }
    spark.until_totals("some are counted", |totals| totals.len() > 1_000);
    spark.kill();
    for number in 10..20 {
        spool(&dir, &format!("file{number}"), file(number));
    }
    spark.start_again();
    let sent = once_each((0..20).flat_map(|number| (0..1_000).map(move |line| format!("f{number}-{line}"))));
    spark.until_totals("all are counted", |totals| totals.len() == sent.len());
    assert_at_least_once(&sent, &spark.totals(), u64::from(POLL_BATCH));
}
