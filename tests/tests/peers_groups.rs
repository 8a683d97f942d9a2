//! Groups of sinks beside Flume's own where they differ: groups that are not whole, who is tried first, who waits for whom.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::net::{TcpListener, TcpStream};

use millstream_testkit::peer::{Flume, Place, Version, differs, free_port};
use millstream_tests::beside::{Both, said};
use millstream_tests::config::Config;
use millstream_tests::monitoring::{MONITORED, Monitored};
use millstream_tests::peers::OurAgent;
use millstream_tests::{comes_true, until_true};

/// A sink that writes into a directory of its name.
fn roll(place: &Place, name: &str, channel: &str) -> String {
    let dir = place.path(name);
    fs::create_dir_all(&dir).unwrap();
    format!("type = file_roll\nsink.directory = {}\nsink.rollInterval = 0\nchannel = {channel}", dir.display())
}

/// What stands in the files of a sink.
fn written(place: &Place, name: &str) -> String {
    let mut files: Vec<_> = fs::read_dir(place.path(name)).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// Waits until the files of each sink hold these bytes, ours first; then gives them.
#[track_caller]
fn brings(both: &Both, name: &str, ours: &str, theirs: &str) -> [String; 2] {
    let now = || [both.ours.place(), both.theirs.place()].map(|place| written(place, name));
    comes_true(|| now() == [ours, theirs]);
    assert_eq!(now(), [ours, theirs], "{name}: left is brought, ours first; right is wanted");
    now()
}

#[test]
fn groups_without_a_type_or_of_several_channels_are_what_is_listed() {
    let mut both = Both::start(|place| {
        let channels = "c1 c2 c3 c4";
        let config = Config::default().source("r1", &format!("type = seq\ntotalEvents = 4\nchannels = {channels}"));
        let config = channels.split(' ').fold(config, |config, channel| config.memory_channel(channel, ""));
        let sinks = [("typeless", "c1"), ("alone", "c2"), ("one", "c3"), ("other", "c4")];
        let config =
            sinks.iter().fold(config, |config, (name, channel)| config.sink(name, &roll(place, name, channel)));
        config.text()
            + "a1.sinkgroups = g1 g2\na1.sinkgroups.g1.sinks = typeless\na1.sinkgroups.g2.sinks = one other\n\
               a1.sinkgroups.g2.processor.type = load_balance\n"
    });
    const ALL: &str = "0\n1\n2\n3\n";
    brings(&both, "alone", ALL, ALL);
    both.theirs.peer().until_log("SinkGroup g1 has been removed due to an error during configuration");
    let [ours, theirs] = brings(&both, "typeless", ALL, "");
    differs("group-without-type", ours, theirs);

    both.ours.process().until("expected c3, the channel of one, got c4: the sinks of group g2 share one channel");
    for sink in ["one", "other"] {
        let [ours, theirs] = brings(&both, sink, "", ALL);
        differs("group-of-several-channels", ours, theirs);
    }
}

#[test]
fn a_sink_that_cannot_be_made_takes_all_of_the_real_one_with_it_and_leaves_its_group_here() {
    let mut both = Both::start(|place| {
        let config =
            Config::default().source("r1", "type = seq\ntotalEvents = 4\nchannels = c1").memory_channel("c1", "");
        let config = ["one", "other"].iter().fold(config, |config, name| config.sink(name, &roll(place, name, "c1")));
        let broken = "type = file_roll\nchannel = c1";
        config
            .sink("broken", broken)
            .group("processor.type = failover\nprocessor.priority.broken = 9\nprocessor.priority.one = 5")
            .text()
    });
    both.theirs.peer().until_log("Sink broken of group g1 does not exist or is not properly configured");
    both.theirs.peer().until_log("Starting new configuration:{ sourceRunners:{} sinkRunners:{} channels:{} }");
    both.ours.process().until("a1.sinks.broken.sink.directory: missing");
    let [ours, theirs] = brings(&both, "one", "0\n1\n2\n3\n", "");
    differs("group-sink-fails", ours, theirs);
}

/// An agent that writes what its avro source on `port` gets.
fn receiver(port: u16) -> OurAgent {
    let agent = OurAgent::start_with(&MONITORED, |place| {
        let sink = roll(place, "out", "c1");
        Config::default().avro("r1", port, "").memory_channel("c1", "").sink("k1", &sink).text()
    });
    agent.process().until("agent is ready");
    agent
}

/// Gives the http source of an agent an event.
fn post(port: u16, body: &str) {
    let json = format!("[{{\"body\":\"{body}\"}}]");
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", json.len());
    let answer = said(port, format!("{head}{json}").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// An http source, and a group of avro sinks to these ports.
fn grouped(place: &mut Place, ports: &[u16], more: &str, group: &str) -> String {
    let http = place.port("http");
    let source = format!("type = http\nbind = 127.0.0.1\nport = {http}\nchannels = c1");
    let config = Config::default().source("r1", &source).memory_channel("c1", "keep-alive = 0");
    let sinks = ports.iter().enumerate();
    let config = sinks.fold(config, |config, (number, port)| {
        let sink = format!("type = avro\nhostname = 127.0.0.1\nport = {port}\nchannel = c1\nbatch-size = 1\n{more}");
        config.sink(&format!("k{number}"), &sink)
    });
    config.group(group).text()
}

#[test]
fn a_sink_that_was_down_is_tried_before_a_better_one_in_the_real_one_and_in_its_turn_here() {
    const FAILOVER: &str = "processor.type = failover\nprocessor.maxpenalty = 1\nprocessor.priority.k0 = 10\n\
                            processor.priority.k1 = 5";
    let ports = [[free_port(), free_port()], [free_port(), free_port()]];
    let ours = OurAgent::start(|place| grouped(place, &ports[0], "", FAILOVER));
    let theirs = Flume::agent(Version::V1_11, |place| grouped(place, &ports[1], "", FAILOVER));
    ours.process().until("agent is ready");
    let agents = [ours.port("http"), theirs.port("http")];
    // Nobody listens yet: both sinks fail.
    agents.iter().for_each(|port| post(*port, "one"));
    let best = ports.map(|ports| receiver(ports[0]));
    best.iter().for_each(|agent| until_true("the best has it", || written(agent.place(), "out") == "one\n"));
    let second = ports.map(|ports| receiver(ports[1]));
    until_true("Flume's sink is there again", || second[1].counter("SOURCE.r1", "OpenConnectionCount") == 1);
    agents.iter().for_each(|port| post(*port, "two"));
    let both = |agents: &[OurAgent; 2]| agents.each_ref().map(|agent| written(agent.place(), "out"));
    let wanted = (["one\ntwo\n", "one\n"], ["", "two\n"]);
    comes_true(|| both(&best) == wanted.0 && both(&second) == wanted.1);
    assert_eq!((both(&best), both(&second)), (wanted.0.map(String::from), wanted.1.map(String::from)));
    let [ours, theirs] = both(&second);
    differs("failover-penalty-over", ours, theirs);
}

#[test]
fn a_sink_of_a_group_that_hangs_holds_up_the_real_one_and_not_the_others_here() {
    const BALANCE: &str = "processor.type = load_balance";
    const PATIENT: &str = "request-timeout = 600000\nconnect-timeout = 600000";
    let hung = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let free = [free_port(), free_port()];
    let working = free.map(receiver);
    let ports = [0, 1].map(|index| [hung[index].local_addr().unwrap().port(), free[index]]);
    let ours = OurAgent::start(|place| grouped(place, &ports[0], PATIENT, BALANCE));
    let theirs = Flume::agent(Version::V1_11, |place| grouped(place, &ports[1], PATIENT, BALANCE));
    ours.process().until("agent is ready");
    let agents = [ours.port("http"), theirs.port("http")];
    let arrived = |index: usize| written(working[index].place(), "out").lines().count();
    // Events until it is the turn of the one that does not answer: so many are behind it, or on their way to it.
    let hang = |index: usize| {
        hung[index].set_nonblocking(true).unwrap();
        let (mut line, mut posted) = (None, 0);
        loop {
            post(agents[index], &posted.to_string());
            posted += 1;
            let mut hangs = false;
            until_true("it goes somewhere", || {
                line = line.take().or_else(|| hung[index].accept().ok().map(|(line, _): (TcpStream, _)| line));
                hangs = line.as_ref().is_some_and(|line| {
                    line.set_nonblocking(true).unwrap();
                    line.peek(&mut [0]).is_ok()
                });
                hangs || arrived(index) == posted
            });
            if hangs {
                return (line, posted);
            }
        }
    };
    let [(_ours, our_count), (line, their_count)] = [hang(0), hang(1)];
    agents.iter().for_each(|port| post(*port, "last"));
    until_true("ours has delivered the last one", || arrived(0) == our_count);
    let [ours, theirs] = [arrived(0) == our_count, arrived(1) == their_count];
    assert_eq!([ours, theirs], [true, false]);
    // What hung goes to the other one, too.
    drop(line);
    until_true("all has arrived", || arrived(1) == their_count + 1);
    differs("load-balance-at-once", ours, theirs);
}

#[test]
fn keys_of_the_client_lead_the_sink_of_the_real_one_elsewhere_and_are_unknown_here() {
    let elsewhere = [free_port(), free_port()];
    let receivers = elsewhere.map(receiver);
    let agent = |place: &mut Place, elsewhere: u16| {
        let nobody = free_port();
        let keys = format!("hosts = h9\nhosts.h9 = 127.0.0.1:{elsewhere}");
        grouped(place, &[nobody], &keys, "processor.type = failover")
    };
    let ours = OurAgent::start(|place| agent(place, elsewhere[0]));
    let theirs = Flume::agent(Version::V1_11, |place| agent(place, elsewhere[1]));
    ours.process().until("a1.sinks.k0.hosts: unknown key");
    [ours.port("http"), theirs.port("http")].iter().for_each(|port| post(*port, "one"));
    ours.process().until("Connection refused");
    let arrived = || receivers.each_ref().map(|agent| written(agent.place(), "out"));
    until_true("Flume's has arrived", || arrived()[1] == "one\n");
    let [ours, theirs] = arrived();
    assert_eq!(ours, "");
    differs("avro-sink-client-keys", ours, theirs);
}
