//! Files of the sinks beside Flume's own where they differ: names that are taken, when a file is complete, what lies beside it,
//! the order of headers.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::beside::{Both, said};
use millstream_tests::config::Config;
use millstream_tests::monitoring::{MONITORED, Monitored};
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;

const HDFS: &str = "type = hdfs\nhdfs.rollInterval = 0\nhdfs.rollSize = 0\nhdfs.fileType = DataStream\nhdfs.batchSize = 1\n\
                    hdfs.path = file://OUT\n";
const RAW: &str = "hdfs.useRawLocalFileSystem = true\n";
const ROLL: &str = "type = file_roll\nsink.directory = OUT\nsink.rollInterval = 0\n";
/// The headers `b` and `a`, in this order.
const HEADERS: &str = "interceptors = one two\ninterceptors.one.type = static\ninterceptors.one.key = b\n\
                       interceptors.one.value = 1\ninterceptors.two.type = static\ninterceptors.two.key = a\n\
                       interceptors.two.value = 2";
/// For how many milliseconds from now on the names are taken that begin with the time of a start.
const TAKEN: u128 = 30_000;

fn agent(place: &mut Place, sinks: &[(&str, String)]) -> String {
    let channels: Vec<String> = sinks.iter().map(|(name, _)| format!("c{name}")).collect();
    let source =
        format!("type = http\nbind = 127.0.0.1\nport = {}\nchannels = {}", place.port("http"), channels.join(" "));
    let config = Config::default().source("r1", &format!("{source}\n{HEADERS}"));
    let config = channels.iter().fold(config, |config, channel| config.memory_channel(channel, "keep-alive = 0"));
    let all = sinks.iter().fold(config, |config, (name, keys)| {
        let out = place.path(name);
        fs::create_dir_all(&out).unwrap();
        let keys = keys.replace("OUT", &out.display().to_string());
        config.sink(&format!("k{name}"), &format!("{keys}\nchannel = c{name}"))
    });
    all.text()
}

/// Takes every name that a sink would give in the next time.
fn take_names(place: &Place, sink: &str, name: impl Fn(u128) -> String) {
    fs::create_dir_all(place.path(sink)).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    (now..now + TAKEN).for_each(|millis| fs::write(place.path(sink).join(name(millis)), "old\n").unwrap());
}

/// Names and contents of a sink's files, as far as they are there.
fn files(place: &Place, sink: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(place.path(sink)).unwrap().map(|entry| entry.unwrap());
    // One may get another name just now.
    let mut files: Vec<(String, String)> = entries
        .filter_map(|entry| Some((entry.file_name().into_string().unwrap(), fs::read(entry.path()).ok()?)))
        .map(|(name, content)| (name, String::from_utf8_lossy(&content).into_owned()))
        .collect();
    files.sort();
    files
}

/// Gives both an event, and waits until each of these sinks has delivered so many.
fn post(both: &Both, body: &str, sinks: &[(&str, String)], count: u64) {
    let json = format!("[{{\"body\":\"{body}\"}}]");
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", json.len());
    for port in [both.ours.port("http"), both.theirs.port("http")] {
        let answer = said(port, format!("{head}{json}").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    for (name, _) in sinks {
        let drained = |agent: &dyn Monitored| agent.counter(&format!("SINK.k{name}"), "EventDrainSuccessCount");
        until_true(&format!("{name} has delivered"), || [drained(&both.ours), drained(&both.theirs)] == [count; 2]);
    }
}

#[test]
fn names_ends_and_neighbours_of_files_are_those_of_the_real_one_but_for_what_is_listed() {
    let sinks = [
        ("order", format!("{ROLL}sink.serializer = header_and_text")),
        ("rolled", ROLL.to_owned()),
        ("taken", format!("{HDFS}{RAW}hdfs.rollCount = 1\nhdfs.filePrefix = p")),
        ("count", format!("{HDFS}{RAW}hdfs.rollCount = 2")),
        ("sums", format!("{HDFS}hdfs.rollCount = 2\nhdfs.filePrefix = p")),
    ];
    let properties = |place: &mut Place| {
        take_names(place, "rolled", |millis| format!("{millis}-1"));
        take_names(place, "taken", |millis| format!("p.{millis}"));
        agent(place, &sinks)
    };
    let both = Both {
        theirs: Flume::monitored_agent(Version::V1_11WithHdfsSink, properties),
        ours: OurAgent::start_with(&MONITORED, properties),
    };
    both.ours.process().until("agent is ready");
    let places = [both.ours.place(), both.theirs.place()];
    post(&both, "one", &sinks, 1);
    post(&both, "two", &sinks, 2);

    // Two events make a file whole; the real one sees that when the next one comes.
    let whole = |place: &&Place| files(place, "count").iter().filter(|(name, _)| !name.ends_with(".tmp")).count();
    let [ours, theirs] = places.each_ref().map(whole);
    assert_eq!([ours, theirs], [1, 0]);
    differs("hdfs-roll-at-last-event", ours, theirs);
    post(&both, "three", &sinks, 3);
    until_true("Flume's is complete, too", || places.iter().all(|place| whole(place) == 1));

    let texts = places.map(|place| files(place, "order").remove(0).1);
    let [ours, theirs] = texts;
    assert_eq!(ours, "{b=1, a=2} one\n{b=1, a=2} two\n{b=1, a=2} three\n");
    assert_eq!(theirs, "{a=2, b=1} one\n{a=2, b=1} two\n{a=2, b=1} three\n");
    differs("header-and-text-order", ours, theirs);

    let sums = |place: &Place| files(place, "sums").iter().filter(|(name, _)| name.ends_with(".crc")).count();
    until_true("Flume's is there", || sums(places[1]) > 0);
    let [ours, theirs] = places.map(|place| sums(place) > 0);
    assert!(!ours);
    differs("hdfs-checksum-files", ours, theirs);

    let old = |sink: &str| places.map(|place| files(place, sink).iter().filter(|(_, text)| text == "old\n").count());
    let all = TAKEN as usize;
    let [ours, theirs] = old("rolled");
    assert_eq!([ours, theirs], [all, all - 1]);
    differs("file-roll-overwrites", ours, theirs);
    let [ours, theirs] = old("taken");
    assert_eq!([ours, theirs], [all, all - 2]);
    differs("hdfs-overwrites", ours, theirs);
}
