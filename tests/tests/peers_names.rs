//! What our ends add to the metadata of calls, the names of events, beside Flume's own: it takes no notice of them, and is sent
//! none.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use millstream_testkit::peer::{Flume, RpcLoad, Version};
use millstream_tests::config::Config;
use millstream_tests::overheard::Overheard;
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;
use millstream_tests::written::{Event, avro_events};

const EVENTS: usize = 300;

fn names_in_calls_are_ignored_by_a_real_source(version: Version) {
    let flume = Flume::agent(version, |place| {
        let (port, out) = (place.port("avro"), place.path("out"));
        fs::create_dir_all(&out).unwrap();
        let sink = format!(
            "type = file_roll\nchannel = c1\nsink.directory = {}\nsink.rollInterval = 0\nsink.serializer = avro_event",
            out.display()
        );
        Config::default().avro("r1", port, "").memory_channel("c1", "capacity = 1000").sink("k1", &sink).text()
    });
    let line = Overheard::before(flume.port("avro"));
    let _agent = OurAgent::start(|place| {
        let header =
            "interceptors = i\ninterceptors.i.type = static\ninterceptors.i.key = größe\ninterceptors.i.value = 5 µm";
        let source = format!("type = seq\nbatchSize = 100\ntotalEvents = {EVENTS}\nchannels = c1\n{header}");
        let config = Config::default().source("r1", &source).file_channel("c1", place);
        config.avro_sink("k1", "c1", line.port, "").text().replace("batch-size = 1000", "batch-size = 100")
    });
    let out = flume.place().path("out");
    until_true("everything is there", || avro_events(&out).len() >= EVENTS);
    let wanted =
        (0..EVENTS).map(|number| ([("größe".to_owned(), "5 µm".to_owned())].into(), number.to_string().into_bytes()));
    assert_eq!(avro_events(&out), wanted.collect::<Vec<Event>>());
    let ([names, none], [peer, nobody]) = (line.count("millstream.names"), line.count("millstream.peer"));
    assert!(names >= 3 && peer >= names, "each call has them: {names}, {peer}");
    assert_eq!([none, nobody], [0; 2], "nothing of it comes back");
}

/// Peers: Flume 1.11.0
#[test]
fn names_in_calls_are_ignored_by_a_source_of_flume_1_11() {
    names_in_calls_are_ignored_by_a_real_source(Version::V1_11);
}

/// Peers: Flume 1.9.0
#[test]
fn names_in_calls_are_ignored_by_a_source_of_flume_1_9() {
    names_in_calls_are_ignored_by_a_real_source(Version::V1_9);
}

/// Peers: Flume 1.11.0, Flume 1.9.0
#[test]
fn a_real_client_is_answered_without_a_word_of_ours() {
    let agent = OurAgent::start(|place| {
        let port = place.port("avro");
        let null = "type = null\nchannel = c1";
        Config::default().avro("r1", port, "").memory_channel("c1", "capacity = 10000").sink("k1", null).text()
    });
    for version in [Version::V1_9, Version::V1_11] {
        let line = Overheard::before(agent.port("avro"));
        let dir = agent.place().path(&format!("{version:?}"));
        fs::create_dir_all(&dir).unwrap();
        let properties = format!("hosts = h1\nhosts.h1 = 127.0.0.1:{}\n", line.port);
        let load = RpcLoad::start(version.client(), &dir, &properties, &["count=200,batch=100"]);
        assert_eq!(load.finish().len(), 200);
        assert_eq!(line.calls().iter().filter(|call| call.is_answered_ok()).count(), 2);
        assert_eq!(line.count("millstream"), [0; 2], "{version:?}");
    }
}
