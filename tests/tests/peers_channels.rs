//! The spillable memory channel beside Flume's own: the same properties and input, the outputs compared.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::time::{Duration, Instant};

use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::beside::{Both, said};
use millstream_tests::config::Config;
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;

const LINES: usize = 5000;

/// A spool through a channel with little memory into a file.
fn agent(place: &mut Place) -> String {
    fs::create_dir_all(place.path("spool")).unwrap();
    fs::create_dir_all(place.path("out")).unwrap();
    fs::write(place.path("spool/lines"), lines()).unwrap();
    let at = |name: &str| place.path(name).display().to_string();
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = spooldir\n\
         a1.sources.r1.spoolDir = {}\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = SPILLABLEMEMORY\na1.channels.c1.memoryCapacity = 150\n\
         a1.channels.c1.overflowCapacity = 100000\na1.channels.c1.overflowTimeout = 0\n\
         a1.channels.c1.overflowDeactivationThreshold = 40\na1.channels.c1.transactionCapacity = 100\n\
         a1.channels.c1.checkpointDir = {}\na1.channels.c1.dataDirs = {}\n\
         a1.sinks.k1.type = file_roll\na1.sinks.k1.channel = c1\na1.sinks.k1.sink.directory = {}\n\
         a1.sinks.k1.sink.rollInterval = 0\na1.sinks.k1.sink.batchSize = 7\n",
        at("spool"),
        at("checkpoint"),
        at("data"),
        at("out")
    )
}

fn lines() -> String {
    (0..LINES).map(|number| format!("line {number}\n")).collect()
}

fn written(place: &Place) -> String {
    let files = fs::read_dir(place.path("out")).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    files.collect()
}

#[test]
fn what_goes_through_memory_and_disk_comes_out_in_its_order_as_with_flume() {
    let mut ours = OurAgent::start(agent);
    let mut theirs = Flume::agent(Version::V1_11, agent);
    until_true("both have written", || {
        [ours.place(), theirs.place()].iter().all(|place| written(place).lines().count() >= LINES)
    });
    ours.stop();
    theirs.stop();
    assert_eq!(written(ours.place()), lines(), "ours");
    assert_eq!(written(theirs.place()), lines(), "Flume's");
    let put = ours.place().path("data/millstream/log/0000000001.log");
    assert!(fs::metadata(put).unwrap().len() > 10_000, "nothing went to the disk: this run proves nothing");
}

/// Gives the http source of this name, of both, these events in one batch: the statuses of their answers, ours first, and
/// how long each took.
fn post(both: &Both, name: &str, bodies: &[&str]) -> [(String, Duration); 2] {
    let events: Vec<String> = bodies.iter().map(|body| format!("{{\"body\":\"{body}\"}}")).collect();
    let json = format!("[{}]", events.join(","));
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", json.len());
    [both.ours.port(name), both.theirs.port(name)].map(|port| {
        let begun = Instant::now();
        let answer = said(port, format!("{head}{json}").as_bytes());
        (answer.split(' ').nth(1).unwrap_or_default().to_owned(), begun.elapsed())
    })
}

/// An http source of this name, and a channel with these keys.
fn filled(place: &mut Place, config: Config, name: &'static str, keys: &str) -> Config {
    let source = format!("type = http\nbind = 127.0.0.1\nport = {}\nchannels = c{name}", place.port(name));
    on_disk(place, config.source(&format!("r{name}"), &source), name, keys)
}

fn on_disk(place: &Place, config: Config, name: &str, keys: &str) -> Config {
    let at = |part: &str| place.path(&format!("{name}/{part}")).display().to_string();
    let dirs = format!("checkpointDir = {}\ndataDirs = {},{}", at("checkpoint"), at("data"), at("more"));
    config.channel(&format!("c{name}"), &format!("{keys}\n{dirs}"))
}

/// A sink of the channel of this name, which writes into a directory.
fn roll(place: &Place, name: &str) -> String {
    let out = place.path(&format!("{name}/out"));
    fs::create_dir_all(&out).unwrap();
    format!("type = file_roll\nsink.directory = {}\nsink.rollInterval = 0\nchannel = c{name}", out.display())
}

fn rolled(place: &Place, name: &str) -> String {
    let files = fs::read_dir(place.path(&format!("{name}/out"))).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn spillable_channels_that_are_full_or_stop_differ_only_where_it_is_listed() {
    let mut both = Both::start(|place| {
        let config = filled(
            place,
            Config::default(),
            "stops",
            "type = SPILLABLEMEMORY\nmemoryCapacity = 10\noverflowCapacity = 20000",
        );
        let full = "type = SPILLABLEMEMORY\nmemoryCapacity = 2\noverflowCapacity = 2\ntransactionCapacity = 2\noverflowTimeout = 5";
        let config = filled(place, config, "full", full);
        let config = filled(place, config, "disk", "type = file");
        let large = "type = SPILLABLEMEMORY\nmemoryCapacity = 1000\noverflowCapacity = 200\ntransactionCapacity = 500";
        let config = on_disk(place, config, "large", large);
        let sink = roll(place, "large");
        config.source("rseq", "type = seq\ntotalEvents = 1\nchannels = clarge").sink("klarge", &sink).text()
    });
    both.theirs.peer().until_log("Channel clarge has been removed due to an error during configuration");
    until_true("ours has written", || rolled(both.ours.place(), "large") == "0\n");
    let [ours, theirs] = [both.ours.place(), both.theirs.place()].map(|place| rolled(place, "large"));
    assert_eq!(theirs, "");
    differs("spillable-transaction-capacity", ours, theirs);

    // Two in memory, two on the disk, and two that neither has room for.
    let answers = [(); 3].map(|()| post(&both, "full", &["one", "two"]));
    let statuses = answers.each_ref().map(|answers| answers.each_ref().map(|(status, _)| status.as_str()));
    assert_eq!(statuses, [["200"; 2], ["200"; 2], ["503"; 2]]);
    let waited =
        |answers: &[(String, Duration); 2]| answers.each_ref().map(|(_, time)| *time >= Duration::from_secs(5));
    assert_eq!(answers.each_ref().map(waited), [[false; 2], [true; 2], [true, false]]);
    let [ours, theirs] = waited(&answers[2]);
    differs("spillable-overflow-waits", ours, theirs);

    assert_eq!(post(&both, "stops", &["one", "two"]).map(|(status, _)| status), ["200"; 2]);
    both.ours.stop();
    both.theirs.stop();
    for place in [both.ours.place(), both.theirs.place()] {
        let file = place.path("flume.properties");
        let text = fs::read_to_string(&file).unwrap().replace("a1.sinks = klarge", "a1.sinks = klarge kstops");
        let sink: String = roll(place, "stops").lines().map(|key| format!("a1.sinks.kstops.{key}\n")).collect();
        fs::write(&file, text + &sink).unwrap();
    }
    both.ours.start_again();
    both.theirs.start();
    both.ours.process().until("agent is ready");
    assert_eq!(post(&both, "stops", &["three"]).map(|(status, _)| status), ["200"; 2]);
    let rolled = || [both.ours.place(), both.theirs.place()].map(|place| rolled(place, "stops"));
    until_true("all is written", || rolled().iter().all(|text| text.ends_with("three\n")));
    let [ours, theirs] = rolled();
    assert_eq!([&*ours, &*theirs], ["one\ntwo\nthree\n", "three\n"]);
    differs("spillable-stop", ours, theirs);

    // The real one spreads transactions over its directories.
    let has = |place: &Place, dir: &str, name: &str| {
        let mut names = fs::read_dir(place.path("disk").join(dir)).unwrap().map(|entry| entry.unwrap().file_name());
        names.any(|found| found.to_string_lossy().starts_with(name))
    };
    until_true("Flume has a log in either", || {
        assert_eq!(post(&both, "disk", &["one"]).map(|(status, _)| status), ["200"; 2]);
        ["data", "more"].iter().all(|dir| has(both.theirs.place(), dir, "log-"))
    });
    let kept = [both.ours.place(), both.theirs.place()].map(|place| {
        ["data", "more"].map(|dir| ["in_use.lock", "millstream", "log-"].map(|name| has(place, dir, name)))
    });
    let ours = [[true, true, false], [true, false, false]];
    assert_eq!(kept, [ours, [[true, false, true]; 2]]);
    let [ours, theirs] = kept;
    differs("file-data-dirs", ours, theirs);
}
