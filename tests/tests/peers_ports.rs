//! Ports of sources beside Flume's own: encodings in capitals, bodies over our bound, addresses that cannot be had.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use millstream_testkit::peer::{Flume, Place, Version, differs, free_port};
use millstream_tests::beside::{Both, exact_agent};
use millstream_tests::monitoring::{MONITORED, Monitored};
use millstream_tests::peers::OurAgent;
use serde_json::Value;

/// An event with the body `compact`, as the method `append` is called in that encoding.
const COMPACT: &[u8] = b"\0\0\0\x18\x82\x21\x01\x06append\x1c\x1b\0\x18\x07compact\0\0";
/// The same of `binary` in that encoding.
const BINARY: &[u8] = b"\0\0\0\x2d\x80\x01\0\x01\0\0\0\x06append\0\0\0\x01\x0c\0\x01\x0d\0\x01\x0b\x0b\0\0\0\0\
                        \x0b\0\x02\0\0\0\x06binary\0\0";
/// Our bound.
const LARGEST: usize = 128 << 20;
/// An address for documentation: no machine has it.
const NOWHERE: &str = "192.0.2.1";

const EVENT: &[u8] = br#"[{"body":"large"}]"#;

/// Begins to post an event in a body of so many bytes.
fn begin(port: u16, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(EVENT).unwrap();
    stream
}

fn status(mut stream: TcpStream) -> String {
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Posts an event in a body of so many bytes, blanks behind it; the answer's status.
fn post(port: u16, length: usize) -> String {
    let mut stream = begin(port, length);
    let blanks = vec![b' '; 1 << 20];
    let mut left = length - EVENT.len();
    while left > 0 {
        left -= stream.write(&blanks[..left.min(blanks.len())]).unwrap();
    }
    status(stream)
}

/// What is answered to a call: whether anything is.
fn is_answered(port: u16, call: &[u8]) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(call).unwrap();
    // Closed by a reset where something is left unread.
    stream.read(&mut [0; 100]).unwrap_or_default() > 0
}

#[test]
fn odd_uses_of_ports_differ_from_the_real_one_only_where_compat_says_so() {
    let nowhere = free_port();
    let properties = |place: &mut Place| {
        let (capitals, large) = (place.port("capitals"), place.port("large"));
        let sources = [
            ("capitals", format!("type = thrift\nbind = 127.0.0.1\nport = {capitals}\nprotocol = BINARY\n")),
            ("large", format!("type = http\nbind = 127.0.0.1\nport = {large}\n")),
            ("nowhere", format!("type = multiport_syslogtcp\nhost = {NOWHERE}\nports = {nowhere}\n")),
        ];
        exact_agent(place, &sources)
    };
    let theirs = Flume::monitored_agent(Version::V1_11, properties);
    let mut both = Both { theirs, ours: OurAgent::start_with(&MONITORED, properties) };
    for name in ["capitals", "large"] {
        both.ours.process().until(&format!("address=127.0.0.1:{}", both.ours.port(name)));
    }
    let ports = |name: &str| [both.ours.port(name), both.theirs.port(name)];

    let answered = ports("capitals").map(|port| [BINARY, COMPACT].map(|call| is_answered(port, call)));
    assert_eq!(answered, [[true, false], [false, true]]);
    let [ours, theirs] = both.brings("capitals", &["| binary"], &["| compact"]);
    differs("thrift-binary-in-capitals", ours, theirs);

    let [ours, theirs] = ports("large");
    // Ours says so before the body has come.
    let answers =
        [[post(ours, LARGEST), status(begin(ours, LARGEST + 1))], [LARGEST, LARGEST + 1].map(|n| post(theirs, n))];
    assert_eq!(answers, [["HTTP/1.1 200", "HTTP/1.1 413"], ["HTTP/1.1 200", "HTTP/1.1 200"]]);
    let [ours, theirs] = both.brings("large", &["| large"], &["| large", "| large"]);
    differs("http-large-body", ours, theirs);

    both.ours.process().until("failed, starting again");
    both.theirs.peer().until_log("Could not bind to address: /192.0.2.1");
    both.theirs.peer().until_log("Multiport Syslog TCP source rnowhere started");
    let source = "SOURCE.rnowhere";
    let shown = |source: Value| (source["StartTime"] != "0", source["GenericProcessingFail"] != "0");
    let [ours, theirs] = [both.ours.component(source), both.theirs.component(source)].map(shown);
    assert_eq!([ours, theirs], [(false, true), (true, false)]);
    differs("multiport-syslog-ports", ours, theirs);
}
