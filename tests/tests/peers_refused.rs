//! Sources beside Flume's own while their channels refuse: nobody takes from them until more was sent than they hold.
//!
//! Flume's is offered everything before that: what its channel has no room for is lost there.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::Write;
use std::net::{TcpStream, UdpSocket};

use millstream_testkit::peer::{Place, differs};
use millstream_tests::beside::{choose_udp, send_udp};
use millstream_tests::held::{Held, held_agent};

/// Room for three events.
const CHANNEL: &str = "type = memory\ncapacity = 3\ntransactionCapacity = 3\nkeep-alive = 0";
/// How many are sent.
const SENT: u64 = 10;
const NAMES: [&str; 6] = ["netcatudp", "syslogudp", "syslogtcp", "multiport", "exec", "stress"];

fn agent(place: &mut Place) -> String {
    let (netcat, syslog) = (choose_udp(place, "netcatudp"), choose_udp(place, "syslogudp"));
    let (tcp, multiport) = (place.port("syslogtcp"), place.port("multiport"));
    let sources = [
        format!("type = netcatudp\nbind = 127.0.0.1\nport = {netcat}\nremoteAddress = from\n"),
        format!("type = syslogudp\nhost = 127.0.0.1\nport = {syslog}\n"),
        format!("type = syslogtcp\nhost = 127.0.0.1\nport = {tcp}\n"),
        format!("type = multiport_syslogtcp\nhost = 127.0.0.1\nports = {multiport}\nbatchSize = 2\n"),
        format!("type = exec\nshell = /bin/sh -c\ncommand = seq {SENT}; exec sleep 1000\nbatchSize = 2\n"),
        "type = org.apache.flume.source.StressSource\nsize = 1\nmaxTotalEvents = 20\nmaxSuccessfulEvents = 20\n\
         batchSize = 2\nbackoffSleepIncrement = 10\nmaxBackoffSleep = 10\n"
            .to_owned(),
    ];
    held_agent(place, CHANNEL, &NAMES.into_iter().zip(sources).collect::<Vec<_>>())
}

#[test]
fn what_channels_refuse_comes_later_where_the_real_one_loses_it() {
    let mut held = Held::start(agent);
    let messages: Vec<String> = (1..=SENT).map(|n| format!("<13>1 2020-05-04T10:11:12Z h {n}\n")).collect();
    let datagrams: Vec<String> = (1..=SENT).map(|n| format!("{n}\n")).collect();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for place in [held.both.ours.place(), held.both.theirs.place()] {
        send_udp(&socket, place, "netcatudp", &datagrams);
        send_udp(&socket, place, "syslogudp", &messages);
        // Flume takes what it reads at once in twos.
        for name in ["syslogtcp", "multiport"] {
            let mut stream = TcpStream::connect(("127.0.0.1", place.chosen_port(name))).unwrap();
            stream.write_all(messages.concat().as_bytes()).unwrap();
        }
    }
    for (name, count) in [("netcatudp", SENT), ("syslogudp", SENT), ("syslogtcp", SENT), ("multiport", SENT)] {
        held.until_offered(name, count);
    }
    held.until_offered("stress", 20);
    // By the signal that ends it.
    held.both.theirs.peer().until_log("exited with 143");

    held.release(&NAMES);
    let numbered = |head: &str| (1..=SENT).map(|n| format!("{head}| {n}")).collect::<Vec<_>>();
    let brings = |name: &str, head: &str, kept: usize| {
        let all = numbered(head);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        held.brings(name, &all, &all[..kept])
    };
    let [ours, theirs] = brings("netcatudp", &format!("from=/{} ", socket.local_addr().unwrap()), 3);
    differs("udp-refused", ours, theirs);
    let head = "Facility=1 Severity=5 host=h priority=13 timestamp=1588587072000 version=1 ";
    let [ours, theirs] = brings("syslogudp", head, 3);
    differs("udp-refused", ours, theirs);
    let [ours, theirs] = brings("syslogtcp", head, 3);
    differs("syslog-refused", ours, theirs);
    // Twos.
    let head = "Facility=1 Priority=13 Severity=5 Version=1 host=h timestamp=1588587072000 ";
    let [ours, theirs] = brings("multiport", head, 2);
    differs("syslog-refused", ours, theirs);
    let [ours, theirs] = brings("exec", "", 2);
    differs("exec-refused", ours, theirs);
    let [ours, theirs] = held.brings("stress", &["| \x7f"; 20], &["| \x7f"; 2]);
    differs("stress-refused", ours, theirs);
}
