//! Flume's own clients and agents at our avro and thrift sources, and ours at theirs.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use millstream::Event;
use millstream::receiver::PollReceiver;
use millstream_testkit::peer::{AvroReceiver, ClassPath, Flume, Keys, Place, RpcLoad, Version, driver, free_port};
use millstream_tests::config::{Config, DEFLATE, last_hop, tls};
use millstream_tests::demo::{Counts, different};
use millstream_tests::monitoring::{MONITORED, until_at_rest};
use millstream_tests::peers::{OurAgent, WordCount, assert_at_least_once, described, once_each};

/// Bytes of the greatest body.
const GREAT_BODY: usize = 10 << 20;

fn poll(ports: &[u16]) -> PollReceiver {
    PollReceiver::new(ports.iter().map(|&port| ("127.0.0.1".to_owned(), port)).collect())
}

/// A client with these properties, in a directory of its own below that of `place`.
fn client(class_path: ClassPath, place: &Place, name: &str, properties: &str, steps: &[&str]) -> RpcLoad {
    let dir = place.path(name);
    std::fs::create_dir(&dir).unwrap();
    RpcLoad::start(class_path, &dir, properties, steps)
}

fn one_host(port: u16) -> String {
    format!("hosts = h1\nhosts.h1 = 127.0.0.1:{port}\n")
}

/// A source of ours, and a client of Flume's that sends to it.
struct Pair {
    name: &'static str,
    source: String,
    client: String,
}

/// Every kind of call and event, by clients of this version.
fn everything_that_a_client_sends_arrives(class_path: ClassPath, pairs: &[Pair]) {
    let agent = OurAgent::start(|place| {
        let config = pairs.iter().fold(Config::default(), |config, Pair { name, source, .. }| {
            let keys = format!("bind = 127.0.0.1\nport = {}\nchannels = c1\n{source}", place.port(name));
            config.source(name, &keys)
        });
        let channel = "capacity = 100000\ntransactionCapacity = 10000";
        config.memory_channel("c1", channel).spark_sink("k1", "c1", place.port("spark")).text()
    });
    let mut job = WordCount::start_describing(poll(&[agent.port("spark")]));
    let mut wanted = Counts::new();
    let clients = pairs.iter().map(|Pair { name, client: properties, .. }| {
        let steps = [
            format!("prefix={name}-one-,count=50,single=true"),
            format!("prefix={name}-batch-,count=10000,batch=10000"),
            format!("prefix={name}-great-,body={GREAT_BODY}"),
            format!("prefix={name}-none-,empty=true"),
            format!("prefix={name}-headers-,headers=1000"),
        ];
        let names = |step: &str, count: usize| (0..count).map(|n| format!("{name}-{step}-{n}")).collect::<Vec<_>>();
        for name in [names("one", 50), names("batch", 10_000)].concat() {
            wanted.insert(described(&name, name.len(), 0), 1);
        }
        wanted.insert(described(&format!("{name}-great-0"), GREAT_BODY, 0), 1);
        *wanted.entry(described("", 0, 0)).or_default() += 1;
        wanted.insert(described(&format!("{name}-headers-0"), format!("{name}-headers-0").len(), 1000), 1);
        let properties = format!("{}{properties}", one_host(agent.port(name)));
        client(class_path, agent.place(), name, &properties, &steps.each_ref().map(String::as_str))
    });
    // All at the same time.
    for client in clients.collect::<Vec<_>>() {
        client.finish();
    }
    job.until_totals("all are counted", |totals| totals.values().sum::<u64>() >= wanted.values().sum());
    assert_eq!(different(&wanted, &job.stop()), None);
}

/// Over every kind of connection.
fn everything_that_an_avro_client_sends_arrives(class_path: ClassPath) {
    let keys_dir = tempfile::tempdir().unwrap();
    let (server_tls, client_tls) = tls(&Keys::make(keys_dir.path()), class_path);
    let pair = |name, server: &str, client: &str| Pair {
        name,
        source: format!("type = avro\n{server}"),
        client: client.to_owned(),
    };
    let pairs = [
        pair("plain", "", ""),
        pair("small", DEFLATE, DEFLATE),
        pair("secret", &server_tls, &client_tls),
        pair("both", &format!("{DEFLATE}{server_tls}"), &format!("{DEFLATE}{client_tls}")),
    ];
    everything_that_a_client_sends_arrives(class_path, &pairs);
}

#[test]
fn everything_that_the_avro_client_of_flume_1_11_sends_arrives() {
    everything_that_an_avro_client_sends_arrives(ClassPath::Flume111);
}

/// Peers: Flume 1.9.0
#[test]
fn everything_that_the_avro_client_of_flume_1_9_sends_arrives() {
    everything_that_an_avro_client_sends_arrives(ClassPath::Flume19);
}

/// In both encodings, and over TLS.
fn everything_that_a_thrift_client_sends_arrives(class_path: ClassPath) {
    let keys_dir = tempfile::tempdir().unwrap();
    let (server_tls, client_tls) = tls(&Keys::make(keys_dir.path()), class_path);
    let pair = |name, both: &str, server: &str, client: &str| Pair {
        name,
        source: format!("type = thrift\n{both}{server}"),
        client: format!("client.type = thrift\n{both}{client}"),
    };
    let pairs = [
        pair("compact", "", "", ""),
        pair("binary", "protocol = binary\n", "", ""),
        pair("secret", "", &server_tls, &client_tls),
    ];
    everything_that_a_client_sends_arrives(class_path, &pairs);
}

#[test]
fn everything_that_the_thrift_client_of_flume_1_11_sends_arrives() {
    everything_that_a_thrift_client_sends_arrives(ClassPath::Flume111);
}

/// Peers: Flume 1.9.0
#[test]
fn everything_that_the_thrift_client_of_flume_1_9_sends_arrives() {
    everything_that_a_thrift_client_sends_arrives(ClassPath::Flume19);
}

/// Peers: Flume 1.11.0, Flume 1.9.0
#[test]
fn a_client_is_told_that_the_channel_is_full() {
    let agent = OurAgent::start(|place| {
        let avro = place.port("avro");
        Config::default()
            .avro("r1", avro, "")
            .memory_channel("c1", "capacity = 100\ntransactionCapacity = 100\nkeep-alive = 0")
            .spark_sink("k1", "c1", place.port("spark"))
            .text()
    });
    for class_path in [ClassPath::Flume111, ClassPath::Flume19] {
        let name = format!("{class_path:?}");
        let steps = [format!("prefix={name}-a,count=100"), format!("prefix={name}-b,count=100,attempts=1")];
        let host = one_host(agent.port("avro"));
        let refused = client(class_path, agent.place(), &name, &host, &steps.each_ref().map(String::as_str)).gives_up();
        assert!(refused.len() == 1 && refused[0].contains("Status: FAILED"), "{refused:?}");
        // Nobody took anything until now; of what was refused nothing is there.
        let mut job = WordCount::start(poll(&[agent.port("spark")]));
        job.until_totals("all are counted", |totals| totals.len() >= 100);
        let wanted = once_each((0..100).map(|number| format!("{name}-a{number}")));
        assert_eq!(different(&wanted, &job.stop()), None);
    }
}

/// Two agents of ours that store what they get, one of which is killed while a client of this kind sends to both.
fn a_client_loses_nothing_when_one_of_two_agents_is_killed(class_path: ClassPath, kind: &str) {
    let mut agents = [(), ()].map(|()| OurAgent::start_with(&MONITORED, last_hop));
    let mut job = WordCount::start(poll(&agents.each_ref().map(|agent| agent.port("spark"))));
    let [first, second] = agents.each_ref().map(|agent| agent.port("avro"));
    let properties = format!("hosts = h1 h2\nhosts.h1 = 127.0.0.1:{first}\nhosts.h2 = 127.0.0.1:{second}\n{kind}");
    let mut load = client(class_path, agents[1].place(), "load", &properties, &["count=20000,batch=100"]);
    load.until_acknowledged(3_000);
    agents[0].kill();
    load.until_acknowledged(12_000);
    agents[0].start_again();
    let sent = once_each(load.finish());
    assert_eq!(sent.len(), 20_000);
    job.until_totals("all are counted", |totals| totals.len() == sent.len());
    until_at_rest(&[&agents[0], &agents[1]]);
    // The batch that had no answer.
    assert_at_least_once(&sent, &job.stop(), 100);
}

const FAILOVER_CLIENT: &str = "client.type = default_failover\n";
const BALANCING_CLIENT: &str = "client.type = default_loadbalance\nhost-selector = round_robin\nbackoff = true\n";

/// Peers: Flume 1.11.0
#[test]
fn a_failover_client_of_flume_1_11_loses_nothing_when_one_of_two_agents_is_killed() {
    a_client_loses_nothing_when_one_of_two_agents_is_killed(ClassPath::Flume111, FAILOVER_CLIENT);
}

/// Peers: Flume 1.9.0
#[test]
fn a_failover_client_of_flume_1_9_loses_nothing_when_one_of_two_agents_is_killed() {
    a_client_loses_nothing_when_one_of_two_agents_is_killed(ClassPath::Flume19, FAILOVER_CLIENT);
}

/// Peers: Flume 1.11.0
#[test]
fn a_load_balancing_client_of_flume_1_11_loses_nothing_when_one_of_two_agents_is_killed() {
    a_client_loses_nothing_when_one_of_two_agents_is_killed(ClassPath::Flume111, BALANCING_CLIENT);
}

/// Peers: Flume 1.9.0
#[test]
fn a_load_balancing_client_of_flume_1_9_loses_nothing_when_one_of_two_agents_is_killed() {
    a_client_loses_nothing_when_one_of_two_agents_is_killed(ClassPath::Flume19, BALANCING_CLIENT);
}

/// Our sink at a server made of Flume's own classes of this version, which refuses twice and takes its time.
fn our_sink_repeats_what_was_refused_and_nothing_else(class_path: ClassPath) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut server = AvroReceiver::start(class_path, dir.path(), port, 20, 2);
    let _agent = OurAgent::start(|_| {
        Config::default()
            .source("r1", "type = seq\nbatchSize = 100\ntotalEvents = 2000\nchannels = c1")
            .memory_channel("c1", "capacity = 10000\ntransactionCapacity = 1000")
            .avro_sink("k1", "c1", port, "")
            .text()
    });
    server.until_received(2_000);
    let wanted = (0..2_000).map(|number| format!("batch 0 {number}")).collect::<Vec<_>>();
    assert_eq!(server.received(), wanted, "in order, each once");
}

#[test]
fn our_sink_repeats_what_a_server_of_flume_1_11_refused_and_nothing_else() {
    our_sink_repeats_what_was_refused_and_nothing_else(ClassPath::Flume111);
}

/// Peers: Flume 1.9.0
#[test]
fn our_sink_repeats_what_a_server_of_flume_1_9_refused_and_nothing_else() {
    our_sink_repeats_what_was_refused_and_nothing_else(ClassPath::Flume19);
}

/// Our sinks at real avro sources of every kind. With TLS and compression together only 1.9 has the order that ours has.
fn our_sinks_reach_real_sources(version: Version, kinds: &[&'static str]) {
    let keys_dir = tempfile::tempdir().unwrap();
    let (server_tls, client_tls) = tls(&Keys::make(keys_dir.path()), version.client());
    let of_server = |kind: &str| match kind {
        "plain" => String::new(),
        "small" => DEFLATE.to_owned(),
        "secret" => server_tls.clone(),
        _ => format!("{DEFLATE}{server_tls}"),
    };
    let of_client = |kind: &str| of_server(kind).replace(&server_tls, &client_tls);
    let flume = Flume::agent(version, |place| {
        let config =
            kinds.iter().fold(Config::default(), |config, &kind| config.avro(kind, place.port(kind), &of_server(kind)));
        let channel = "capacity = 100000\ntransactionCapacity = 1000\nkeep-alive = 1";
        config.memory_channel("c1", channel).spark_sink("k1", "c1", place.port("spark")).text()
    });
    let mut job = WordCount::start(poll(&[flume.port("spark")]));
    let _agent = OurAgent::start(|_| {
        let source = format!("type = seq\nbatchSize = 100\ntotalEvents = 3000\nchannels = {}", kinds.join(" "));
        kinds
            .iter()
            .fold(Config::default().source("r1", &source), |config, kind| {
                let channel = config.memory_channel(kind, "capacity = 10000\ntransactionCapacity = 1000");
                channel.avro_sink(kind, kind, flume.port(kind), &of_client(kind))
            })
            .text()
    });
    let wanted: Counts = (0..3_000).map(|number| (number.to_string(), kinds.len() as u64)).collect();
    job.until_totals("all are counted", |totals| totals.values().sum::<u64>() >= wanted.values().sum());
    assert_eq!(different(&wanted, &job.stop()), None);
}

/// Peers: Flume 1.9.0
#[test]
fn our_sinks_reach_every_kind_of_source_of_flume_1_9() {
    our_sinks_reach_real_sources(Version::V1_9, &["plain", "small", "secret", "both"]);
}

#[test]
fn our_sinks_reach_the_sources_of_flume_1_11() {
    our_sinks_reach_real_sources(Version::V1_11, &["plain", "small", "secret"]);
}

/// Headers and body of an event of a log, without its time.
fn logged(event: Event) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let header = |(key, value): (&[u8], &[u8])| match text(key) {
        key if key.ends_with(".timestamp") => format!("{key}=({} digits)", value.len()),
        key => format!("{key}={}", text(value)),
    };
    let mut headers: Vec<String> = event.as_ref().headers().map(header).collect();
    headers.sort();
    vec![format!("{} {:?}", headers.join(" "), event.text())]
}

/// The log of a program with the appender of this Flume, as it comes out of the agents at these two ports.
fn log_of_an_appender(class_path: ClassPath, avro: u16, spark: u16) -> Counts {
    let (dir, mut job) = (tempfile::tempdir().unwrap(), WordCount::start_over(logged, poll(&[spark])));
    let appender = "log4j.appender.flume";
    let properties = format!(
        "log4j.logger.shop = ALL, flume\n{appender} = org.apache.flume.clients.log4jappender.Log4jAppender\n\
         {appender}.Hostname = 127.0.0.1\n{appender}.Port = {avro}\n\
         {appender}.layout = org.apache.log4j.PatternLayout\n{appender}.layout.ConversionPattern = %p %c %m%n\n"
    );
    let file = dir.path().join("log4j.properties");
    std::fs::write(&file, properties).unwrap();
    driver("Log4jLoad", class_path, dir.path(), &[file.display().to_string()]).succeeds();
    job.until_totals("all are counted", |totals| totals.values().sum::<u64>() >= 110);
    job.stop()
}

/// Peers: Flume 1.11.0, Flume 1.9.0
#[test]
fn a_log_of_flumes_appender_arrives_as_in_flume() {
    let ours = OurAgent::start(last_hop);
    let real = Flume::agent(Version::V1_11, last_hop);
    for class_path in [ClassPath::Flume111, ClassPath::Flume19] {
        let [ours, real] = [
            log_of_an_appender(class_path, ours.port("avro"), ours.port("spark")),
            log_of_an_appender(class_path, real.port("avro"), real.port("spark")),
        ];
        assert_eq!(ours.values().sum::<u64>(), 110, "{ours:?}");
        assert_eq!(different(&real, &ours), None);
        let odd = r#"flume.client.log4j.logger.name=shop.Größe"#;
        assert!(ours.keys().any(|line| line.contains(odd) && line.contains("grün, 水, 🚰")), "{ours:?}");
    }
}
