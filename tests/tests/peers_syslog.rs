//! The syslog sources beside Flume's own: the same properties, the same bytes on their ports, the events compared.
//!
//! Odd input: `peers_odd_input.rs`.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::UdpSocket;
use std::process::Command;
use std::sync::OnceLock;

use millstream_testkit::peer::differs;
use millstream_tests::beside::{Both, Event, agent, bodies, choose_udp, headers, send_udp};

/// Makes of an event of Flume's syslog sources what it is here: syslog-keep-nil and syslog-priority-stays.
fn reconcile_syslog((headers, body): &mut Event) {
    // What it writes for a dash in a message.
    *body = body.replace("null ", "- ");
    if headers.get("flume.syslog.status").is_some_and(|status| status == "Invalid") {
        // Of an earlier message of the connection.
        headers.remove("priority");
    }
}

/// A day of this month or the last, as RFC 3164 has it.
fn some_days_ago() -> &'static str {
    static DATE: OnceLock<String> = OnceLock::new();
    DATE.get_or_init(|| {
        let date = Command::new("date").args(["-u", "-d", "3 days ago", "+%b %e 10:11:12"]).env("LC_ALL", "C").output();
        String::from_utf8(date.unwrap().stdout).unwrap().trim_end().to_owned()
    })
}

fn messages() -> Vec<String> {
    let date = some_days_ago();
    let long = format!("<13>- h {}", "y".repeat(3000));
    let mut messages: Vec<String> = [
        "<34>1 2020-05-04T10:11:12Z host.example app - ID47 - text here",
        "<34>1 2020-05-04T10:11:12+02:00 host.example offset",
        "<34>2020-05-04T10:11:12Z h no version",
        "<13>nothing matches",
        "<13>- - body of nobody",
        "<13>1 - host body",
        "\n\n<14>- h after empty lines",
        "<13>- h crlf\r",
        "<999>- h x",
        "<1234>- h x",
        "<>x",
        "no message at all",
        "<13>- h ünï \u{1f600}",
        "<13>- a@b.c-d body  with   blanks ",
        "<13>- -x body",
        "<13>- h ",
    ]
    .map(|message| format!("{message}\n"))
    .into();
    messages.push(format!("<13>{date} box su: 'su root'\n"));
    messages.push(format!("<13>1 {date} box with version\n"));
    messages.push(format!("{long}\n"));
    messages
}

fn bytes(messages: &[String]) -> Vec<&[u8]> {
    messages.iter().map(String::as_bytes).collect()
}

#[test]
fn syslog_over_tcp_and_udp_gives_the_events_of_the_real_one() {
    const KEPT: [(&str, &str); 4] = [
        ("none", "none"),
        ("all", "all"),
        ("each", "priority version timestamp hostname"),
        ("some", "hostname timestamp"),
    ];
    let both = Both::start(|place| {
        let udp = choose_udp(place, "udp");
        let mut sources: Vec<(&str, String)> = Vec::new();
        for (name, keep) in KEPT {
            let port = place.port(name);
            let properties = format!("type = syslogtcp\nhost = 127.0.0.1\nport = {port}\nkeepFields = {keep}\n");
            sources.push((name, properties + "clientIPHeader = ip\n"));
        }
        let properties = format!("type = syslogudp\nhost = 127.0.0.1\nport = {udp}\nclientIPHeader = ip\n");
        sources.push(("udp", properties));
        agent(place, &sources)
    });
    let messages = messages();
    for (name, _) in KEPT {
        both.say(name, &bytes(&messages));
    }
    // Over UDP all messages have one parser, which gives those without headers the ones of an earlier message.
    let has_headers =
        |message: &String| !["nothing matches", "crlf", "-x body"].iter().any(|part| message.contains(part));
    let short: Vec<&String> = messages.iter().filter(|message| message.len() < 2000 && has_headers(message)).collect();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for place in [both.ours.place(), both.theirs.place()] {
        send_udp(&socket, place, "udp", &short);
    }
    // The long one is two.
    let events = messages.len() + 1;
    let brought = both.compare_differing(
        &[("none", events), ("all", events), ("each", events), ("some", events), ("udp", short.len())],
        reconcile_syslog,
    );
    let [ours, theirs] = &brought["each"];
    differs("syslog-keep-nil", bodies(ours), bodies(theirs));
    differs("syslog-priority-stays", headers(ours), headers(theirs));
}

#[test]
fn syslog_by_a_pattern_of_ones_own_gives_the_events_of_the_real_one() {
    // Each with what its messages look like.
    const FORMATS: [(&str, &str, &[&str]); 4] = [
        (
            "slashes",
            "format.regex = <(\\\\d{1,3})>()(\\\\d+/\\\\w+/\\\\d+:[\\\\d:]+ [-+]\\\\d+) \\\\[(\\\\w+)\\\\] (.*)\n\
             format.dateFormat = dd/MMM/yyyy:HH:mm:ss Z\nkeepFields = priority timestamp hostname\n",
            &[
                "<13>04/May/2020:10:11:12 -0330 [box] text",
                "<13>4/may/2020:1:2:3 +0000 [box] zeroes left out",
                "<13>04/Mai/2020:10:11:12 +0000 [box] no such month",
                "<34>1 2020-05-04T10:11:12Z h one of the RFCs",
                "<13>nothing matches",
                "no message",
            ],
        ),
        (
            "replaced",
            "format.regex = <(\\\\d+)>(\\\\d)\\\\|([^|]*)\\\\|([^|]*)\\\\|(.*)\nformat.search = (\\\\d+)h(\\\\d+)m\n\
             format.replace = $1:$2:00\nformat.dateFormat = yyyy-MM-dd HH:mm:ss\n",
            &[
                "<13>1|2020-05-04 10h11m|h|body|with bars",
                "<13>2|2020-02-30 25h61m|-|beyond the range",
                "<13>3|||neither time nor host",
                "<13>4|today|h|",
            ],
        ),
        (
            "few",
            "format.regex = <(\\\\d+)>(?:key=(\\\\w+) )?.*\nkeepFields = hostname\n",
            &["<13>key=v text", "<13>text", "<34>1 2020-05-04T10:11:12Z h one of the RFCs"],
        ),
        (
            "alone",
            "format.search = [0-9]\nformat.dateFormat = yyyy\n",
            &["<34>1 2020-05-04T10:11:12Z h no pattern, no effect"],
        ),
    ];
    let both = Both::start(|place| {
        let source = |(name, format, _): &(&'static str, &str, &[&str])| {
            let port = place.port(name);
            (*name, format!("type = syslogtcp\nhost = 127.0.0.1\nport = {port}\n{format}"))
        };
        let sources: Vec<_> = FORMATS.iter().map(source).collect();
        agent(place, &sources)
    });
    for (name, _, messages) in FORMATS {
        let messages: Vec<String> = messages.iter().map(|message| format!("{message}\n")).collect();
        both.say(name, &bytes(&messages));
    }
    let brought = both.compare(&FORMATS.map(|(name, _, messages)| (name, messages.len())));
    let slashes = &brought["slashes"];
    assert_eq!(slashes.iter().filter(|(headers, _)| headers.contains_key("timestamp")).count(), 3);
}

#[test]
fn multiport_syslog_gives_the_events_of_the_real_one() {
    let both = Both::start(|place| {
        let (first, second) = (place.port("first"), place.port("second"));
        let properties = |ports: String, more: &str| {
            format!("type = multiport_syslogtcp\nhost = 127.0.0.1\nports = {ports}\n{more}\n")
        };
        let third = place.port("third");
        let sources = [
            ("multi", properties(format!("{first} {second}"), "clientIPHeader = ip")),
            ("kept", properties(third.to_string(), "keepFields = priority version timestamp hostname")),
        ];
        agent(place, &sources)
    });
    // Those without a time get that of their arrival.
    let mut messages = messages();
    messages.retain(|message| !message.contains(">- ") && !message.contains(">1 - ") && !message.starts_with('\n'));
    let date = some_days_ago();
    for more in [
        "<34>1 2020-05-04T10:11:12.5Z h fraction",
        "<34>1 2020-05-04T10:11:12.123456-03:30 h fraction and offset",
        "<34>2 2020-05-04T10:11:12Z h another version",
        "<99999>1 2020-05-04T10:11:12Z h five digits",
        "<-5>1 2020-05-04T10:11:12Z h a sign",
        "<123456>1 2020-05-04T10:11:12Z h six digits",
        "<34>1 2020-05-04T10:11:12Z h ",
        "<34>1 2020-05-04T10:11:12Z h",
        "<34>1 2020-05-04T10:11:12 h no zone",
        "<34>1 2020-05-04T10:11:12Z h cr\r",
        "<34>",
    ] {
        messages.push(format!("{more}\n"));
    }
    messages.push(format!("<13>{date} h {}\n", "z".repeat(3000)));
    for port in ["first", "second", "third"] {
        both.say(port, &bytes(&messages));
    }
    let events = messages.len() + 1;
    both.compare(&[("multi", 2 * events), ("kept", events)]);
}
