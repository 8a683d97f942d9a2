//! Batches and calls that come again: by Flume's clients, and by ours.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;

use millstream::client::Event;
use millstream::client::blocking::RpcClientFactory;
use millstream_testkit::AvroPeer;
use millstream_testkit::peer::{ClassPath, RpcLoad, differs};
use millstream_tests::config::Config;
use millstream_tests::monitoring::{MONITORED, Monitored, until_at_rest};
use millstream_tests::peers::OurAgent;

/// Events of a batch, and of a call.
const EVENTS: usize = 20;
const CALL: usize = 10;

/// Of a client.
type Properties = [(&'static str, String)];

/// Properties of a client that prefers the first of two hosts.
fn failover([first, second]: [u16; 2]) -> Vec<(&'static str, String)> {
    let address = |port: u16| format!("127.0.0.1:{port}");
    vec![
        ("client.type", "default_failover".to_owned()),
        ("hosts", "a b".to_owned()),
        ("hosts.a", address(first)),
        ("hosts.b", address(second)),
        ("batch-size", CALL.to_string()),
        ("request-timeout", "1000".to_owned()),
    ]
}

/// One batch by our client.
fn send(properties: &Properties) {
    let properties: Vec<(&str, &str)> = properties.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut client = RpcClientFactory::get_instance(properties).unwrap();
    client.append_batch((0..EVENTS).map(|number| Event::from(format!("e{number}"))).collect()).unwrap();
}

/// The same by Flume's.
fn send_by_flume(properties: &Properties, dir: &Path) {
    let properties: String = properties.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let step = format!("count={EVENTS},batch={EVENTS}");
    RpcLoad::start(ClassPath::Flume111, dir, &properties, &[&step]).finish();
}

#[test]
fn of_a_batch_of_which_a_call_failed_flume_sends_all_to_the_next_host_and_ours_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let second_gets = |send: &dyn Fn(&Properties)| {
        let (first, second) = (AvroPeer::foreign(), AvroPeer::foreign());
        first.refuse_after(1);
        send(&failover([first.port(), second.port()]));
        assert_eq!(first.bodies().len(), CALL, "it took the first call");
        second.bodies()
    };
    let ours = second_gets(&send);
    let theirs = second_gets(&|properties| send_by_flume(properties, dir.path()));
    let numbered = |from: usize| (from..EVENTS).map(|number| format!("e{number}")).collect::<Vec<_>>();
    assert_eq!((&ours, &theirs), (&numbered(CALL), &numbered(0)));
    differs("client-repeats-batch", ours, theirs);
}

/// A way to `port` on which no answer comes back: where one should, it ends.
fn without_answers(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let way = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut near in listener.incoming().map(Result::unwrap) {
            let mut far = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || {
                let mut answers = 0;
                let mut bytes = [0; 1 << 16];
                while let Ok(count @ 1..) = far.read(&mut bytes) {
                    answers += 1;
                    // The first one shakes hands; with what follows a batch is stored.
                    if answers > 1 || near.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                let _ = near.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
    way
}

#[test]
fn a_call_whose_answer_is_lost_is_stored_twice_from_flume_and_once_from_ours() {
    let dir = tempfile::tempdir().unwrap();
    let stored_by = |send: &dyn Fn(&Properties)| {
        let agent = OurAgent::start_with(&MONITORED, |place| {
            let port = place.port("avro");
            Config::default()
                .avro("r1", port, "")
                .memory_channel("c1", "capacity = 1000")
                .sink("k1", "type = null\nchannel = c1")
                .text()
        });
        send(&failover([without_answers(agent.port("avro")), agent.port("avro")]));
        until_at_rest(&[&agent]);
        agent.received() as usize
    };
    let ours = stored_by(&send);
    let theirs = stored_by(&|properties| send_by_flume(properties, dir.path()));
    assert_eq!(ours, EVENTS);
    assert!(theirs > EVENTS && theirs <= 2 * EVENTS, "{theirs}");
    differs("client-repeats-call", ours, theirs);
}

#[test]
fn a_host_may_be_an_ipv6_address_for_ours_alone() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens: that it is tried is enough.
    let hosts = [("hosts", "h1"), ("hosts.h1", "[::1]:9")];
    let ours = RpcClientFactory::get_instance(hosts).map(drop).unwrap_err().to_string();
    let text: String = hosts.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let theirs = RpcLoad::start(ClassPath::Flume111, dir.path(), &text, &["count=1,attempts=1"]).gives_up().concat();
    assert!(ours.contains("connect") && ours.contains("[::1]:9"), "{ours}");
    assert!(theirs.contains("Invalid"), "{theirs}");
    differs("client-ipv6", "tried", "refused");
}
