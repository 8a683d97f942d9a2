//! Sources that speak TLS beside Flume's own: http, syslogtcp and multiport_syslogtcp, with the keys that Java's keytool makes, and a client of
//! Java's.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;

use millstream_testkit::peer::{ClassPath, Keys, driver};
use millstream_tests::beside::{Both, exact_agent};

/// Says `bytes` over TLS to a port of each agent; gives what was answered.
fn say_by_tls(both: &Both, keys: &Keys, dir: &Path, said: &[(&str, &[u8])]) -> Vec<[String; 2]> {
    let mut arguments = vec![keys.truststore.display().to_string(), Keys::PASSWORD.to_owned()];
    let mut answers = Vec::new();
    for (index, (name, bytes)) in said.iter().enumerate() {
        let said = dir.join(format!("said-{index}"));
        fs::write(&said, bytes).unwrap();
        for (whose, port) in [("ours", both.ours.port(name)), ("theirs", both.theirs.port(name))] {
            let answer = dir.join(format!("answer-{index}-{whose}"));
            arguments.extend([port.to_string(), said.display().to_string(), answer.display().to_string()]);
            answers.push(answer);
        }
    }
    driver("TlsSay", ClassPath::Flume111, dir, &arguments).succeeds();
    let text = |answer| String::from_utf8_lossy(&fs::read(answer).unwrap()).into_owned();
    answers.chunks(2).map(|pair| [text(&pair[0]), text(&pair[1])]).collect()
}

#[test]
fn http_and_syslog_over_tls_bring_what_the_real_ones_bring_and_take_nothing_without() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::make(dir.path());
    let (keystore, password) = (keys.keystore.display(), Keys::PASSWORD);
    let both = Both::start(|place| {
        let tls = format!("ssl = true\nkeystore = {keystore}\nkeystore-password = {password}\n");
        let old = format!("enableSSL = true\nkeystore = {keystore}\nkeystorePassword = {password}\n");
        let http = |port: u16, tls: &str| format!("type = http\nbind = 127.0.0.1\nport = {port}\n{tls}");
        let syslog = |port: u16, tls: &str| format!("type = syslogtcp\nhost = 127.0.0.1\nport = {port}\n{tls}");
        let multi = |first: u16, second: u16, tls: &str| {
            // What the real one says of TLS 1.3 behind the handshake cannot be decrypted, now and then.
            let old = "exclude-protocols = SSLv3 TLSv1.3\n";
            format!("type = multiport_syslogtcp\nhost = 127.0.0.1\nports = {first} {second}\n{tls}{old}")
        };
        let sources = [
            ("http", http(place.port("http"), &tls)),
            ("old", http(place.port("old"), &old)),
            ("syslog", syslog(place.port("syslog"), &tls)),
            ("multi", multi(place.port("first"), place.port("second"), &tls)),
        ];
        exact_agent(place, &sources)
    });
    // Whoever does not know of it gets nothing in.
    let post = |body: &str| {
        let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let request = post(r#"[{"headers":{"h":"ü"},"body":"over TLS \u00fc"}]"#);
    let message = "<34>1 2020-05-04T10:11:12Z host over TLS ü\n";
    let long = format!("<34>1 2020-05-04T10:11:12Z host {}\n", "x".repeat(2400));
    for port in ["http", "old", "syslog", "first", "second"] {
        let [ours, theirs] = both.say(port, &[request.as_bytes(), message.as_bytes()]);
        assert!(ours.iter().chain(&theirs).all(|answer| !answer.contains(" 200 ")), "{port}: {ours:?} {theirs:?}");
    }
    let said = [
        ("http", request.as_bytes()),
        ("old", request.as_bytes()),
        ("syslog", message.as_bytes()),
        ("syslog", long.as_bytes()),
        ("first", message.as_bytes()),
        ("second", long.as_bytes()),
        ("http", b"GET / HTTP/1.0\r\n\r\n"),
    ];
    let answers = say_by_tls(&both, &keys, dir.path(), &said);
    let status = |answer: &String| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    for (answers, (port, _)) in answers.iter().zip(&said) {
        let [ours, theirs] = answers.each_ref().map(status);
        assert_eq!(ours, theirs, "{port}: {answers:?}");
    }
    assert_eq!(status(&answers[0][0]), "200");
    both.both_bring("http", &["h=ü | over TLS ü"]);
    both.both_bring("old", &["h=ü | over TLS ü"]);
    for (source, headers) in [
        ("syslog", "Facility=4 Severity=2 host=host priority=34 timestamp=1588587072000 version=1"),
        ("multi", "Facility=4 Priority=34 Severity=2 Version=1 host=host timestamp=1588587072000"),
    ] {
        let event = |text: &str| format!("{headers} | {text}");
        both.both_bring(source, &[&event("over TLS ü"), &event(&"x".repeat(2400))]);
    }
}
