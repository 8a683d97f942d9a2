//! Flume's JSON beside ours: the same properties, the same input, every attribute of every component compared.
//!
//! Where we differ on purpose, the test asserts just that.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};

use millstream_testkit::peer::{Flume, Place, RpcLoad, Version, differs};
use millstream_tests::beside::{choose_udp, said, send_udp};
use millstream_tests::comes_true;
use millstream_tests::config::Config;
use millstream_tests::monitoring::{MONITORED, address, get, metrics};
use millstream_tests::peers::OurAgent;
use serde_json::Value;

/// How often somebody looked, and what was there by then; when it was.
const OF_CHANCE: [&str; 5] =
    ["EventTakeAttemptCount", "BatchEmptyCount", "BatchUnderflowCount", "BatchCompleteCount", "StartTime"];
/// Component, attribute, ours, Flume's.
const DIFFERENT: [(&str, &str, &str, &str); 4] = [
    ("SOURCE.r-multi", "OpenConnectionCount", "1", "0"),
    ("SOURCE.r-seq", "AppendBatchReceivedCount", "2", "0"),
    ("SOURCE.r-seq", "EventReceivedCount", "3", "0"),
    ("SOURCE.r-tcp", "OpenConnectionCount", "1", "0"),
];
/// Of which Flume shows nothing.
const ONLY_OURS: [&str; 8] = [
    "SINK.k-exec",
    "SINK.k-multi",
    "SINK.k-netcat",
    "SINK.k-tail",
    "SINK.k-tcp",
    "SINK.k-udp",
    "SOURCE.r-netcat",
    "SOURCE.r-stress",
];
/// Channels that can be damaged.
const ON_DISK: [&str; 2] = ["CHANNEL.c-tail", "CHANNEL.c-thrift"];
/// Channels, and how many events are put into them and taken.
const COUNTS: [(&str, u32, u32); 13] = [
    ("avro", 43, 43),
    ("thrift", 43, 43),
    ("http", 3, 3),
    ("full", 2, 0),
    ("tcp", 5, 5),
    ("multi", 5, 5),
    ("udp", 2, 2),
    ("netcat", 2, 2),
    ("spool", 3, 3),
    ("tail", 4, 4),
    ("exec", 5, 5),
    ("seq", 3, 0),
    ("stress", 1, 0),
];
/// For the syslog sources.
const MESSAGES: &str = "<13>1 2020-05-04T10:11:12Z h one\n<14>1 2020-05-04T10:11:12Z h two\nno message\n<x>none either\n\
                        <13>1 2020-05-04T10:11:12Z h three\n";

/// An agent in which each source has a channel of its own, and most channels a sink. `next` listens for avro and thrift.
fn properties(place: &mut Place, next: [u16; 2]) -> String {
    for dir in ["spool", "logs", "rolled"] {
        fs::create_dir_all(place.path(dir)).unwrap();
    }
    fs::write(place.path("spool/lines"), "one\ntwo\nthree\n").unwrap();
    fs::write(place.path("logs/a.log"), "one\ntwo\nthree\nfour\n").unwrap();
    let udp = choose_udp(place, "udp");
    let [avro, thrift, http, full, tcp, multi, netcat] =
        ["avro", "thrift", "http", "full", "tcp", "multi", "netcat"].map(|name| place.port(name));
    let at = |name: &str| place.path(name).display().to_string();
    let listen = |kind: &str, port: u16| format!("type = {kind}\nbind = 127.0.0.1\nport = {port}");
    let syslog = |kind: &str, port: String| format!("type = {kind}\nhost = 127.0.0.1\n{port}");
    let send = |kind: &str, port: u16| format!("type = {kind}\nhostname = 127.0.0.1\nport = {port}\nbatch-size = 10");
    let spool = format!("type = spooldir\nspoolDir = {}", at("spool"));
    let tail = format!(
        "type = TAILDIR\nfilegroups = f\nfilegroups.f = {}\npositionFile = {}",
        at("logs/a.log"),
        at("positions.json")
    );
    let roll = format!("type = file_roll\nsink.directory = {}\nsink.rollInterval = 0", at("rolled"));
    let hdfs = format!(
        "type = hdfs\nhdfs.path = file://{}\nhdfs.useRawLocalFileSystem = true\nhdfs.rollCount = 2",
        at("hdfs")
    );
    let (null, logger) = ("type = null".to_owned(), "type = logger".to_owned());
    let stress = "type = org.apache.flume.source.StressSource\nmaxTotalEvents = 1";
    let ample = "capacity = 1000\ntransactionCapacity = 100";
    let memory = |config: Config, name: &str| config.memory_channel(name, ample);
    let file = |config: Config, name: &str| config.file_channel(name, place);
    let spillable = |config: Config, name: &str| {
        let keys = format!(
            "type = SPILLABLEMEMORY\nmemoryCapacity = 100\noverflowCapacity = 20000\ncheckpointDir = {}\ndataDirs = {}",
            at("spill/checkpoint"),
            at("spill/data")
        );
        config.channel(name, &keys)
    };
    let small = |config: Config, name: &str| {
        config.memory_channel(name, "capacity = 2\ntransactionCapacity = 2\nkeep-alive = 0")
    };
    let seven = |config: Config, name: &str| config.memory_channel(name, "capacity = 7\ntransactionCapacity = 7");
    type Channel<'a> = &'a dyn Fn(Config, &str) -> Config;
    let paths: [(&str, String, Channel<'_>, Option<String>); 13] = [
        ("avro", listen("avro", avro), &memory, Some(send("avro", next[0]))),
        ("thrift", listen("thrift", thrift), &file, Some(send("thrift", next[1]))),
        ("http", listen("http", http), &memory, Some(roll)),
        ("full", listen("http", full), &small, None),
        ("tcp", syslog("syslogtcp", format!("port = {tcp}")), &memory, Some(null.clone())),
        ("multi", syslog("multiport_syslogtcp", format!("ports = {multi}")), &memory, Some(null.clone())),
        ("udp", syslog("syslogudp", format!("port = {udp}")), &memory, Some(logger)),
        ("netcat", listen("netcat", netcat), &memory, Some(null.clone())),
        ("spool", spool, &memory, Some(hdfs)),
        ("tail", tail, &spillable, Some(null.clone())),
        ("exec", "type = exec\ncommand = seq 1 5\nbatchTimeout = 100".to_owned(), &memory, Some(null)),
        ("seq", "type = seq\ntotalEvents = 3\nbatchSize = 2".to_owned(), &seven, None),
        ("stress", stress.to_owned(), &memory, None),
    ];
    let all = paths.into_iter().fold(Config::default(), |config, (name, source, channel, sink)| {
        let (source_name, channel_name) = (format!("r-{name}"), format!("c-{name}"));
        let config = config.source(&source_name, &format!("{source}\nchannels = {channel_name}"));
        let config = channel(config, &channel_name);
        match sink {
            Some(sink) => config.sink(&format!("k-{name}"), &format!("{sink}\nchannel = {channel_name}")),
            None => config,
        }
    });
    all.text()
}

/// Where the avro and thrift sinks of both send to.
fn receiver() -> OurAgent {
    let receiver = OurAgent::start(|place| {
        let (avro, thrift) = (place.port("avro"), place.port("thrift"));
        Config::default()
            .avro("r1", avro, "")
            .source("r2", &format!("type = thrift\nbind = 127.0.0.1\nport = {thrift}\nchannels = c1"))
            .memory_channel("c1", "capacity = 1000\ntransactionCapacity = 100")
            .sink("k1", "type = null\nchannel = c1")
            .text()
    });
    receiver.process().until("agent is ready");
    receiver
}

/// Gives every source that listens what it is to count; connections that stay open.
fn feed(place: &Place) -> Vec<TcpStream> {
    for (kind, client) in [("avro", "default"), ("thrift", "thrift")] {
        let dir = place.path(&format!("client-{kind}"));
        fs::create_dir_all(&dir).unwrap();
        let port = place.chosen_port(kind);
        let client = format!("client.type = {client}\nhosts = h1\nhosts.h1 = 127.0.0.1:{port}\n");
        RpcLoad::start(Version::V1_11.client(), &dir, &client, &["count=3,single=true", "count=40,batch=20"]).finish();
    }
    let (one, two) = (r#"[{"body":"one"}]"#, r#"[{"body":"one"},{"body":"two"}]"#);
    for (port, body, status) in [
        ("http", two, 200),
        ("http", one, 200),
        ("http", "[]", 200),
        ("http", "[1", 400),
        ("full", two, 200),
        ("full", one, 503),
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = said(place.chosen_port(port), request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{port}, {body}: {answer}");
    }
    assert_eq!(said(place.chosen_port("netcat"), b"one\ntwo\n"), "OK\nOK\n");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    send_udp(&socket, place, "udp", &["<13>1 2020-05-04T10:11:12Z h one", "no message"]);
    let open = ["tcp", "multi"].map(|port| {
        let mut stream = TcpStream::connect(("127.0.0.1", place.chosen_port(port))).unwrap();
        stream.write_all(MESSAGES.as_bytes()).unwrap();
        stream
    });
    open.into()
}

fn flumes_metrics(flume: &Flume) -> Value {
    let (_, body) = get(&format!("127.0.0.1:{}", flume.port("monitoring")), "/metrics", "*/*");
    serde_json::from_str(&body).unwrap()
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Component, attribute, ours, Flume's: where Flume has it, and it is not of chance.
fn differences(ours: &Value, theirs: &Value) -> Vec<[String; 4]> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut differences = Vec::new();
    for component in names(theirs) {
        for attribute in names(&theirs[component]).into_iter().filter(|attribute| !OF_CHANCE.contains(attribute)) {
            let (our, their) = (&ours[component][attribute], &theirs[component][attribute]);
            if our != their {
                differences.push([component.to_owned(), attribute.to_owned(), text(our), text(their)]);
            }
        }
    }
    differences
}

fn has_everything(metrics: &Value) -> bool {
    COUNTS.iter().all(|(name, put, taken)| {
        let channel = &metrics[format!("CHANNEL.c-{name}")];
        let shows = |attribute: &str, count: &u32| channel[attribute].as_str() == Some(&*count.to_string());
        shows("EventPutSuccessCount", put) && shows("EventTakeSuccessCount", taken)
    })
}

#[test]
fn every_attribute_of_flume_is_there_with_its_value() {
    let next = receiver();
    let ports = [next.port("avro"), next.port("thrift")];
    let theirs = Flume::monitored_agent(Version::V1_11WithHdfsSink, |place| properties(place, ports));
    let mut ours = OurAgent::start_with(&MONITORED, |place| properties(place, ports));
    ours.process().until("agent is ready");
    let open = [ours.place(), theirs.place()].map(feed);

    let wanted =
        DIFFERENT.map(|(component, attribute, our, their)| [component, attribute, our, their].map(str::to_owned));
    let address = address(ours.process());
    let look = || [metrics(&address), flumes_metrics(&theirs)];
    let mut shown = look();
    let settled = comes_true(|| {
        shown = look();
        shown.iter().all(has_everything) && differences(&shown[0], &shown[1]) == wanted
    });
    let [shown_ours, shown_theirs] = &shown;
    assert_eq!(differences(shown_ours, shown_theirs), wanted);
    assert!(settled, "other counts than wanted: {shown_theirs:#}");
    let more: Vec<&str> = names(shown_ours).difference(&names(shown_theirs)).copied().collect();
    assert_eq!(more, ONLY_OURS);
    let attribute = |shown: &Value, component: &str, attribute: &str| shown[component][attribute].clone();
    differs("metrics-of-all", names(shown_ours), names(shown_theirs));
    let of_netcat = |shown| attribute(shown, "SOURCE.r-netcat", "EventReceivedCount");
    differs("netcat-metrics", of_netcat(shown_ours), of_netcat(shown_theirs));
    for component in ["SOURCE.r-tcp", "SOURCE.r-multi"] {
        let of = |shown| attribute(shown, component, "OpenConnectionCount");
        differs("open-connections", of(shown_ours), of(shown_theirs));
    }
    let of_seq = |shown| attribute(shown, "SOURCE.r-seq", "EventReceivedCount");
    differs("metrics-counts", of_seq(shown_ours), of_seq(shown_theirs));
    for component in names(shown_theirs) {
        let (our, their) = (&shown_ours[component], &shown_theirs[component]);
        let mut wanted = names(their);
        if ON_DISK.contains(&component) {
            differs("metrics-damage", names(our), wanted.clone());
            wanted.extend(["EventLostCount", "QuarantineCount", "EventDeadLetterCount"]);
        }
        assert_eq!(names(our), wanted, "{component}");
        for attribute in OF_CHANCE.iter().filter(|attribute| names(their).contains(*attribute)) {
            let number = |value: &Value| value[attribute].as_str().map(str::parse::<u64>);
            assert!(matches!(number(our), Some(Ok(_))), "{component}.{attribute}: {our:#}");
        }
        assert!(our["StartTime"].as_str() > Some("1500000000000"), "{component}: {our:#}");
    }
    drop(open);
    ours.stop();
}
