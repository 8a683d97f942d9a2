//! The clients of our crate, and `millstream avro-client`, at avro and thrift sources of the real Flume.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use millstream::client::blocking::RpcClientFactory;
use millstream::client::{Event, FlumeLayer};
use millstream_testkit::peer::{Flume, Place, Version};
use millstream_tests::config::{Config, DEFLATE};
use millstream_tests::{millstream, until_true};

/// An agent whose events end in a file, headers and all.
fn into_a_file(place: &mut Place, source: &str) -> String {
    let port = place.port("avro");
    served(place, &format!("type = avro\nport = {port}\n{source}"))
}

/// As [`into_a_file`], from a source of these keys.
fn served(place: &mut Place, source: &str) -> String {
    fs::create_dir_all(place.path("out")).unwrap();
    let directory = place.path("out").display().to_string();
    let keys = format!(
        "type = file_roll\nsink.directory = {directory}\nsink.rollInterval = 0\nsink.serializer = HEADER_AND_TEXT\nchannel = c1"
    );
    let source = format!("{source}\nbind = 127.0.0.1\nchannels = c1");
    Config::default().source("r1", &source).file_channel("c1", place).sink("k1", &keys).text()
}

/// Lines of the file, and how often each is there.
fn arrived(flume: &Flume) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for file in fs::read_dir(flume.place().path("out")).unwrap() {
        let text = String::from_utf8_lossy(&fs::read(file.unwrap().path()).unwrap()).into_owned();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().for_each(|line| *lines.entry(line.to_owned()).or_default() += 1);
    }
    lines
}

fn our_clients_are_served(version: Version) {
    let flume = Flume::agent(version, |place| into_a_file(place, DEFLATE));
    let address = format!("127.0.0.1:{}", flume.port("avro"));
    let properties = [("hosts", "h1"), ("hosts.h1", &address), ("compression-type", "deflate"), ("batch-size", "7")];
    let mut client = RpcClientFactory::get_instance(properties).unwrap();
    client.append(Event::from("alone").with_header("größe", "5 µm")).unwrap();
    client.append_batch((0..100).map(|number| Event::from(number.to_string())).collect()).unwrap();

    let (layer, guard) = FlumeLayer::with_properties(properties).start().unwrap();
    let subscriber = tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), layer);
    tracing::subscriber::with_default(subscriber, || tracing::error!(target: "shop", order = 7, "late"));
    drop(guard);

    let file = flume.place().path("client.properties");
    let text: String = properties.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    fs::write(&file, text).unwrap();
    fs::write(flume.place().path("lines"), "one line\r\nanother").unwrap();
    let mut command = Command::new(millstream());
    command.arg("avro-client").arg("-P").arg(file).arg("-F").arg(flume.place().path("lines")).stdin(Stdio::null());
    assert!(command.status().unwrap().success());

    until_true("everything is there", || arrived(&flume).len() >= 104);
    let mut lines = arrived(&flume);
    assert_eq!(lines.remove("{größe=5 µm} alone"), Some(1));
    assert_eq!((lines.remove("{} one line"), lines.remove("{} another")), (Some(1), Some(1)));
    for number in 0..100 {
        assert_eq!(lines.remove(&format!("{{}} {number}")), Some(1), "{number}");
    }
    let (logged, times) = lines.pop_first().unwrap();
    assert!(lines.is_empty() && times == 1 && logged.ends_with("} late order=7"), "{logged}: {lines:?}");
    for header in ["logger.name=shop", "log.level=40000", "message.encoding=UTF8"] {
        assert!(logged.contains(&format!("flume.client.log4j.{header}")), "{logged}");
    }
}

#[test]
fn our_clients_are_served_by_flume_1_11() {
    our_clients_are_served(Version::V1_11);
}

/// Peers: Flume 1.9.0
#[test]
fn our_clients_are_served_by_flume_1_9() {
    our_clients_are_served(Version::V1_9);
}

fn our_thrift_client_is_served(version: Version) {
    for protocol in ["compact", "binary"] {
        let flume = Flume::agent(version, |place| {
            let port = place.port("thrift");
            served(place, &format!("type = thrift\nport = {port}\nprotocol = {protocol}"))
        });
        let address = format!("127.0.0.1:{}", flume.port("thrift"));
        let properties = [("client.type", "thrift"), ("protocol", protocol), ("hosts", "h1"), ("hosts.h1", &address)];
        let mut client = RpcClientFactory::get_instance(properties).unwrap();
        client.append(Event::from("alone").with_header("größe", "5 µm")).unwrap();
        client.append_batch((0..1000).map(|number| Event::from(number.to_string())).collect()).unwrap();
        until_true("everything is there", || arrived(&flume).len() >= 1001);
        let mut lines = arrived(&flume);
        assert_eq!(lines.remove("{größe=5 µm} alone"), Some(1), "{protocol}");
        assert!((0..1000).all(|number| lines.remove(&format!("{{}} {number}")) == Some(1)), "{protocol}: {lines:?}");
    }
}

#[test]
fn our_thrift_client_is_served_by_flume_1_11() {
    our_thrift_client_is_served(Version::V1_11);
}

/// Peers: Flume 1.9.0
#[test]
fn our_thrift_client_is_served_by_flume_1_9() {
    our_thrift_client_is_served(Version::V1_9);
}

#[test]
fn our_failover_client_loses_nothing_when_one_of_two_real_agents_is_killed() {
    const EVENTS: usize = 5_000;
    const CALL: usize = 50;
    let mut flumes = [(), ()].map(|()| Flume::agent(Version::V1_11, |place| into_a_file(place, "")));
    let hosts = flumes.each_ref().map(|flume| format!("127.0.0.1:{}", flume.port("avro")));
    let mut client = RpcClientFactory::get_instance([
        ("client.type", "default_failover"),
        ("hosts", "a b"),
        ("hosts.a", &hosts[0]),
        ("hosts.b", &hosts[1]),
        ("batch-size", &CALL.to_string()),
    ])
    .unwrap();
    let events =
        |range: std::ops::Range<usize>| range.map(|number| Event::from(number.to_string())).collect::<Vec<_>>();
    client.append_batch(events(0..EVENTS / 2)).unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| client.append_batch(events(EVENTS / 2..EVENTS)));
        flumes[0].kill();
        sending.join().unwrap().unwrap();
    });
    flumes[0].start();
    let all = || {
        let mut all = arrived(&flumes[0]);
        arrived(&flumes[1]).into_iter().for_each(|(line, times)| *all.entry(line).or_default() += times);
        all
    };
    until_true("everything is there", || all().len() >= EVENTS);
    let all = all();
    assert_eq!(all.len(), EVENTS);
    let sent_twice = all.values().filter(|times| **times > 1).count();
    assert!(sent_twice <= CALL, "the call that was not answered, at most: {sent_twice}");
}
