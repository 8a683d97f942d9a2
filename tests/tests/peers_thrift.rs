//! Thrift sinks and sources beside Flume's own: ours at the real sources, the real ones at ours.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use millstream_testkit::peer::{Flume, Keys, Place, Version};
use millstream_tests::config::{Config, tls};
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;
use millstream_tests::written::{Event, avro_events};

/// Connections, each with a source, a channel and a sink of its own.
const KINDS: [&str; 3] = ["compact", "binary", "secret"];

/// What is sent: texts of every kind, and more than one batch.
fn lines() -> Vec<String> {
    let odd = ["", "\r", "  blanks \t", "ünï € \u{1f600}", "nul \0 in it", "\u{feff}mark"].map(str::to_owned);
    let long = ["x".repeat(2000), "ü".repeat(2000)];
    odd.into_iter().chain(long).chain((0..300).map(|number| format!("line {number}"))).collect()
}

/// How the two ends of a connection are made: keys of the source, keys of the sink.
struct Ends {
    source: String,
    sink: String,
}

fn ends(kind: &str, keys: &Keys, version: Version) -> Ends {
    match kind {
        "binary" => Ends { source: "protocol = binary\n".into(), sink: "protocol = binary\n".into() },
        "secret" => {
            let (source, sink) = tls(keys, version.client());
            Ends { source, sink }
        }
        _ => Ends { source: String::new(), sink: String::new() },
    }
}

/// An agent that listens for each kind.
fn receiver(place: &mut Place, keys: &Keys, version: Version) -> String {
    let config = KINDS.iter().fold(Config::default(), |config, kind| {
        let out = place.path(kind);
        fs::create_dir_all(&out).unwrap();
        let source = ends(kind, keys, version).source;
        let port = place.port(kind);
        config
            .source(kind, &format!("type = thrift\nbind = 127.0.0.1\nport = {port}\nchannels = {kind}\n{source}"))
            .memory_channel(kind, "capacity = 10000\ntransactionCapacity = 1000")
            .sink(
                kind,
                &format!(
                    "type = file_roll\nchannel = {kind}\nsink.directory = {}\nsink.rollInterval = 0\n\
                     sink.serializer = avro_event",
                    out.display()
                ),
            )
    });
    config.text()
}

/// An agent that sends every line, with two headers, to each of these ports.
fn sender(place: &Place, keys: &Keys, version: Version, ports: [u16; 3]) -> String {
    let config = KINDS.iter().zip(ports).fold(Config::default(), |config, (kind, port)| {
        let sink = ends(kind, keys, version).sink;
        config.memory_channel(kind, "capacity = 10000\ntransactionCapacity = 1000").sink(
            kind,
            &format!("type = thrift\nhostname = 127.0.0.1\nport = {port}\nchannel = {kind}\nbatch-size = 70\n{sink}"),
        )
    });
    let text = config.spool(place, &KINDS.join(" ")).text();
    fs::write(place.path("spool/lines ü"), lines().join("\n")).unwrap();
    text + "a1.sources.r1.basenameHeader = true\na1.sources.r1.interceptors = i1\n\
            a1.sources.r1.interceptors.i1.type = static\na1.sources.r1.interceptors.i1.key = blank\n\
            a1.sources.r1.interceptors.i1.value = a b=c, {d}\n"
}

/// Waits until everything is in the directories of the receiver; it must be what was sent, in order.
#[track_caller]
fn assert_all_arrives(place: &Place) {
    let headers = [("basename", "lines ü"), ("blank", "a b=c, {d}")];
    let headers = headers.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let wanted: Vec<Event> = lines().into_iter().map(|line| (headers.clone().into(), line.into_bytes())).collect();
    for kind in KINDS {
        let arrived = || avro_events(&place.path(kind));
        until_true(&format!("all is there of {kind}"), || arrived().len() >= wanted.len());
        assert_eq!(arrived(), wanted, "{kind}");
    }
}

fn our_sinks_reach_the_sources_of(version: Version) {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::make(dir.path());
    let theirs = Flume::agent(version, |place| receiver(place, &keys, version));
    let mut ours = OurAgent::start(|place| sender(place, &keys, version, KINDS.map(|kind| theirs.port(kind))));
    assert_all_arrives(theirs.place());
    ours.stop();
}

fn our_sources_take_what_the_sinks_send_of(version: Version) {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::make(dir.path());
    let mut ours = OurAgent::start(|place| receiver(place, &keys, version));
    ours.process().until("agent is ready");
    let mut theirs = Flume::agent(version, |place| sender(place, &keys, version, KINDS.map(|kind| ours.port(kind))));
    assert_all_arrives(ours.place());
    theirs.stop();
    ours.stop();
}

#[test]
fn our_sinks_reach_the_sources_of_flume_1_11() {
    our_sinks_reach_the_sources_of(Version::V1_11);
}

/// Peers: Flume 1.9.0
#[test]
fn our_sinks_reach_the_sources_of_flume_1_9() {
    our_sinks_reach_the_sources_of(Version::V1_9);
}

#[test]
fn our_sources_take_what_the_sinks_of_flume_1_11_send() {
    our_sources_take_what_the_sinks_send_of(Version::V1_11);
}

/// Peers: Flume 1.9.0
#[test]
fn our_sources_take_what_the_sinks_of_flume_1_9_send() {
    our_sources_take_what_the_sinks_send_of(Version::V1_9);
}
