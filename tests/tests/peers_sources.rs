//! Sources beside Flume's own: the same properties, the same bytes on their ports, answers and events compared.
//!
//! Odd input, and most of where we differ on purpose: `peers_odd_input.rs` and `peers_odd_files.rs`.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;

use millstream_testkit::peer::{Flume, Place, RpcLoad, Version, differs};
use millstream_tests::beside::{Both, agent, bodies, choose_udp, events, headers, send_udp};
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;

#[test]
fn netcat_over_udp_gives_the_events_of_the_real_one() {
    let both = Both::start(|place| {
        let (plain, named) = (choose_udp(place, "plain"), choose_udp(place, "named"));
        let sources = [
            ("plain", format!("type = netcatudp\nport = {plain}\n")),
            ("named", format!("type = netcatudp\nbind = 127.0.0.1\nport = {named}\nremoteAddress = from\n")),
        ];
        agent(place, &sources)
    });
    let long = ["x".repeat(3000), "ü".repeat(30_000)];
    let mut datagrams: Vec<Vec<u8>> = long.clone().map(String::into_bytes).into();
    let short: [&[u8]; 12] = [
        b"one line\n",
        b"no newline",
        b"cr and newline\r\n",
        b"cr\rinside",
        b"two\nlines\n",
        b"\n",
        b"\nsecond",
        b"",
        b"  blanks \t ",
        b"nul \0 in it",
        "ünï € \u{1f600}".as_bytes(),
        b"no text \xFF\xC3",
    ];
    datagrams.extend(short.map(<[u8]>::to_vec));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for place in [both.ours.place(), both.theirs.place()] {
        send_udp(&socket, place, "plain", &datagrams);
        send_udp(&socket, place, "named", &datagrams);
    }
    let brought =
        both.compare_differing(&[("plain", datagrams.len()), ("named", datagrams.len())], |(headers, body)| {
            // A header without a name.
            headers.remove("null");
            if let (2048, Some(whole)) = (body.len(), long.iter().find(|whole| whole.starts_with(&*body))) {
                body.clone_from(whole);
            }
        });
    let [ours, theirs] = &brought["plain"];
    differs("netcatudp-remote-address", headers(ours), headers(theirs));
    differs("udp-long", bodies(ours), bodies(theirs));
}

#[test]
fn what_is_made_is_what_the_real_ones_make() {
    const STRESS: &str = "type = org.apache.flume.source.StressSource\n";
    let both = Both::start(|place| {
        let stress = |keys: &str| format!("{STRESS}{keys}");
        let sources = [
            ("total", stress("size = 7\nmaxTotalEvents = 25\nbatchSize = 10\n")),
            ("one", stress("maxTotalEvents = 3\n")),
            ("empty", stress("size = 0\nmaxTotalEvents = 3\nbatchSize = 3\n")),
            ("success", stress("size = 4\nmaxSuccessfulEvents = 25\nbatchSize = 10\n")),
            ("either", stress("size = 4\nmaxSuccessfulEvents = 40\nmaxTotalEvents = 15\nbatchSize = 10\n")),
            ("numbers", "type = seq\ntotalEvents = 25\nbatchSize = 10\n".into()),
            ("single", "type = seq\ntotalEvents = 3\n".into()),
            ("none", "type = seq\ntotalEvents = 0\n".into()),
        ];
        agent(place, &sources)
    });
    let counts = [
        ("total", 25),
        ("one", 3),
        ("empty", 3),
        ("success", 30),
        ("either", 15),
        ("numbers", 25),
        ("single", 3),
        ("none", 0),
    ];
    both.compare(&counts);
}

#[test]
fn netcat_answers_and_stores_as_the_real_one() {
    let both = Both::start(|place| {
        let properties = |port: u16, more: &str| format!("type = netcat\nbind = 127.0.0.1\nport = {port}\n{more}");
        let sources = [
            ("acks", properties(place.port("acks"), "")),
            ("silent", properties(place.port("silent"), "ack-every-event = false\nmax-line-length = 10\n")),
            ("latin", properties(place.port("latin"), "encoding = ISO-8859-1\n")),
        ];
        agent(place, &sources)
    });
    let (just, more) = (format!("{}\n", "x".repeat(511)), format!("{}\nrest\n", "x".repeat(512)));
    let acks: [&[u8]; 5] =
        [b"one\r\ntwo\n\n", "grüße \u{1f600}\n".as_bytes(), b"kept\nleft out", just.as_bytes(), more.as_bytes()];
    let silent: [&[u8]; 3] = [b"one\ntwo\n", b"123456789\n1234567890\nno\n", "äöüäöüäöü\näöüäöüäöüä\n".as_bytes()];
    for (port, pieces) in [("acks", &acks[..]), ("silent", &silent), ("latin", &[b"gr\xFC\xDFe\n"])] {
        let [ours, theirs] = both.say(port, pieces);
        assert_eq!(ours, theirs, "{port}: ours is left, Flume's is right");
    }
    both.compare(&[("acks", 6), ("silent", 4), ("latin", 1)]);
}

/// Of answers in HTTP.
fn statuses(answers: &[String]) -> Vec<String> {
    answers.iter().map(|answer| answer.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
}

#[test]
fn http_answers_and_stores_as_the_real_one() {
    const BLOB: &str = "org.apache.flume.source.http.JSONHandler";
    let both = Both::start(|place| {
        let port = place.port("json");
        let sources = [("json", format!("type = http\nbind = 127.0.0.1\nport = {port}\nhandler = {BLOB}\n"))];
        agent(place, &sources)
    });
    let request = |method: &str, content_type: &str, body: &[u8]| {
        let head = format!(
            "{method} /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{content_type}Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let json = "Content-Type: application/json\r\n";
    let utf_16: Vec<u8> = r#"[{"body":"ü"}]"#.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let bodies: [&str; 14] = [
        r#"[{"headers":{"a":"b","n":1.50,"t":true},"body":"text ü"}]"#,
        r#"[{"body":"one"},{"body":"two","unknown":[{}]},{"headers":{"h":"v"}},{}]"#,
        r#"[{"headers":null,"body":null},{"body":12.50}]"#,
        "[]",
        "",
        "null",
        "[null]",
        r#"{"body":"lone"}"#,
        r#"[{"body":"x"}] more"#,
        r#"[{"body":{}}]"#,
        r#"[{"body":[]}]"#,
        r#"[{"headers":{"a":{}}}]"#,
        r#"[{"headers":{"a":"1","a":"2"}}]"#,
        "[1]",
    ];
    let mut requests: Vec<Vec<u8>> = bodies.iter().map(|body| request("POST", json, body.as_bytes())).collect();
    requests.push(request("GET", json, br#"[{"body":"by get"}]"#));
    requests.push(request("POST", "", "[{\"body\":\"no type ü\"}]".as_bytes()));
    requests.push(request("POST", "Content-Type: text/plain\r\n", "[{\"body\":\"plain ü\"}]".as_bytes()));
    requests.push(request(
        "POST",
        "Content-Type: application/json; charset=UTF-8\r\n",
        "[{\"body\":\"utf-8 ü\"}]".as_bytes(),
    ));
    requests.push(request("POST", "Content-Type: application/json; charset=utf-16\r\n", &utf_16));
    requests.push(request("POST", "Content-Type: application/json; charset=iso-8859-1\r\n", b"[]"));
    for method in ["PUT", "DELETE", "TRACE", "OPTIONS"] {
        requests.push(request(method, json, b""));
    }
    let requests: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
    let [ours, theirs] = both.say("json", &requests).map(|answers| statuses(&answers));
    for (index, request) in requests.iter().enumerate() {
        assert_eq!(ours[index], theirs[index], "ours is left, of {}", String::from_utf8_lossy(request));
    }
    both.compare(&[("json", 12)]);
}

#[test]
fn http_makes_a_blob_of_a_body_as_the_real_one() {
    const BLOB: &str = "org.apache.flume.sink.solr.morphline.BlobHandler";
    let both = Both::start(|place| {
        let (whole, cut) = (place.port("whole"), place.port("cut"));
        let properties =
            |port: u16, more: &str| format!("type = http\nbind = 127.0.0.1\nport = {port}\nhandler = {BLOB}\n{more}");
        agent(place, &[("whole", properties(whole, "")), ("cut", properties(cut, "handler.maxBlobLength = 5\n"))])
    });
    let request = |line: &str, headers: &str, body: &[u8]| {
        let length = body.len();
        let head =
            format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let requests = [
        request("POST /", "", b"plain"),
        request("POST /?a=b&c=d%20e+f&a=again&empty=&bare&%C3%BC=%E2%82%AC", "", b"with parameters"),
        request("POST /", "Content-Type: text/plain; charset=utf-8\r\n", "ünï \u{1f600} \0".as_bytes()),
        request("POST /?Content-Type=mine", "Content-Type: text/plain\r\n", b"named alike"),
        request("POST /?a=query", form, b"a=form&b=c%2Fd"),
        request("GET /?a=b", "", b""),
        request("GET /", "", b"by get"),
        request("PUT /", "", b"by put"),
    ];
    let requests: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
    for port in ["whole", "cut"] {
        let [ours, theirs] = both.say(port, &requests).map(|answers| statuses(&answers));
        assert_eq!(ours, theirs, "{port}: ours is left, Flume's is right");
    }
    let brought = both.compare_differing(&[("whole", 7), ("cut", 7)], |(headers, _)| {
        // Types that Jetty knows are written as it writes them.
        if let Some(value) = headers.get_mut("Content-Type").filter(|value| *value == "text/plain; charset=UTF-8") {
            "text/plain; charset=utf-8".clone_into(value);
        }
    });
    let [ours, theirs] = &brought["whole"];
    differs("http-blob-content-type", headers(ours), headers(theirs));
}

#[test]
fn exec_cuts_lines_as_the_real_one() {
    let both = Both::start(|place| {
        let text = r"printf 'a\\nb\\r\\nc\\rd\\n\\n\\r\\n  blanks  \\n\\303\\274\\nlast'";
        let sources = [
            ("shell", format!("type = exec\nshell = /bin/sh -c\ncommand = {text}\nbatchTimeout = 100\n")),
            ("bare", "type = exec\ncommand = echo 'one  two' $HOME\nbatchTimeout = 100\n".into()),
        ];
        agent(place, &sources)
    });
    both.compare(&[("shell", 9), ("bare", 1)]);
}

/// A taildir source that follows `*.log` in `logs`.
fn tail(logs: &Path, positions: &Path, idle_ms: u32) -> String {
    format!(
        "type = TAILDIR\nfilegroups = f\nfilegroups.f = {}/.*\\\\.log\npositionFile = {}\nwritePosInterval = 200\n\
         headers.f.kind = log\nbyteOffsetHeader = true\nidleTimeout = {idle_ms}\n",
        logs.display(),
        positions.display()
    )
}

fn append(path: &Path, text: &str) {
    let file = fs::OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn taildir_gives_the_events_of_the_real_one() {
    let both = Both::start(|place| {
        let logs = place.path("logs");
        fs::create_dir_all(&logs).unwrap();
        append(&logs.join("a.log"), "one\ntwo\r\n\n\r\nin\rside\n  blanks \nünï \u{1f600}\n");
        append(&logs.join("b.log"), "");
        append(&logs.join("c.log.1"), "no match\n");
        append(&logs.join("d.log"), "never finished");
        agent(place, &[("tail", tail(&logs, &place.path("positions.json"), 1000))])
    });
    until_true("what is there is read", || {
        [both.ours.place(), both.theirs.place()].iter().all(|place| events(place, "tail").len() >= 7)
    });
    for place in [both.ours.place(), both.theirs.place()] {
        append(&place.path("logs/a.log"), "unfin");
        append(&place.path("logs/a.log"), "ished\n");
        append(&place.path("logs/b.log"), "into the empty one\n");
        append(&place.path("logs/new.log"), "a new file\n");
    }
    let brought = both.compare(&[("tail", 11)]);
    assert!(brought["tail"].iter().any(|(_, body)| body == "never finished"), "when the file was idle");
}

#[test]
fn taildir_follows_rotation_and_truncation_as_the_real_one() {
    let both = Both::start(|place| {
        let logs = place.path("logs");
        fs::create_dir_all(&logs).unwrap();
        append(&logs.join("moved.log"), "one\ntwo\n");
        append(&logs.join("copied.log"), "a longer line\nand another\n");
        append(&logs.join("removed.log"), "gone\n");
        agent(place, &[("tail", tail(&logs, &place.path("positions.json"), 600_000))])
    });
    let have = |count: usize| {
        until_true(&format!("both have {count}"), || {
            [both.ours.place(), both.theirs.place()].iter().all(|place| events(place, "tail").len() >= count)
        });
    };
    let logs = [both.ours.place(), both.theirs.place()].map(|place| place.path("logs"));
    have(5);
    for logs in &logs {
        // To a name that no pattern matches.
        #[allow(clippy::disallowed_methods, reason = "as whoever rotates logs does it")]
        fs::rename(logs.join("moved.log"), logs.join("moved.log.1")).unwrap();
        append(&logs.join("moved.log"), "three\n");
        fs::copy(logs.join("copied.log"), logs.join("copied.log.1")).unwrap();
        fs::write(logs.join("copied.log"), "short\n").unwrap();
        fs::remove_file(logs.join("removed.log")).unwrap();
    }
    have(7);
    for logs in &logs {
        append(&logs.join("moved.log"), "four\n");
        append(&logs.join("copied.log"), "on\n");
        append(&logs.join("removed.log"), "back\n");
    }
    both.compare(&[("tail", 10)]);
}

#[test]
fn a_position_file_goes_from_the_real_one_to_us_and_back() {
    let mut theirs = Flume::agent(Version::V1_11, |place| {
        let logs = place.path("logs");
        fs::create_dir_all(&logs).unwrap();
        append(&logs.join("a.log"), "one\ntwo\nthr");
        agent(place, &[("tail", tail(&logs, &place.path("positions.json"), 600_000))])
    });
    let (logs, positions) = (theirs.place().path("logs"), theirs.place().path("positions.json"));
    let bodies = |place: &Place| {
        let mut bodies: Vec<String> = events(place, "tail").into_iter().map(|(_, body)| body).collect();
        bodies.sort();
        bodies
    };
    until_true("Flume has read", || bodies(theirs.place()).len() == 2);
    theirs.stop();
    append(&logs.join("a.log"), "ee\nfour\n");
    let mut ours = OurAgent::start(|place| agent(place, &[("tail", tail(&logs, &positions, 600_000))]));
    until_true("we have read", || bodies(ours.place()).len() >= 2);
    append(&logs.join("a.log"), "five\n");
    until_true("we have read more", || bodies(ours.place()).len() >= 3);
    ours.stop();
    assert_eq!(bodies(ours.place()), ["five", "four", "three"]);
    append(&logs.join("a.log"), "six\n");
    theirs.start();
    until_true("Flume has read again", || bodies(theirs.place()).len() >= 3);
    theirs.stop();
    assert_eq!(bodies(theirs.place()), ["one", "six", "two"]);
    append(&logs.join("a.log"), "seven\n");
    ours.start_again();
    until_true("we have read again", || bodies(ours.place()).len() >= 4);
    ours.stop();
    assert_eq!(
        bodies(ours.place()),
        ["five", "four", "seven", "three"],
        "what Flume read in between is not read again"
    );
}

#[test]
fn thrift_takes_what_flumes_own_client_sends_in_both_encodings() {
    let agent = OurAgent::start(|place| {
        let properties = |port: u16, protocol: &str| {
            format!("type = thrift\nbind = 127.0.0.1\nport = {port}\nprotocol = {protocol}\n")
        };
        let sources = [
            ("compact", properties(place.port("compact"), "compact")),
            ("binary", properties(place.port("binary"), "binary")),
        ];
        agent(place, &sources)
    });
    agent.process().until("agent is ready");
    for protocol in ["compact", "binary"] {
        let dir = agent.place().path(&format!("client-{protocol}"));
        fs::create_dir_all(&dir).unwrap();
        let properties = format!(
            "client.type = thrift\nprotocol = {protocol}\nhosts = h1\nhosts.h1 = 127.0.0.1:{}\n",
            agent.port(protocol)
        );
        let steps = ["count=2000,batch=100", "count=5,batch=1,headers=3"];
        let mut load = RpcLoad::start(Version::V1_11.client(), &dir, &properties, &steps);
        load.until_acknowledged(2005);
        let mut acknowledged = load.finish();
        acknowledged.sort();
        until_true("everything is written", || events(agent.place(), protocol).len() >= 2005);
        let brought = events(agent.place(), protocol);
        assert_eq!(brought.len(), 2005);
        let mut ids: Vec<String> = brought.iter().map(|(_, body)| id(body).to_owned()).collect();
        ids.sort();
        assert_eq!(ids, acknowledged, "{protocol}");
        assert_eq!(brought.iter().filter(|(headers, _)| headers.len() == 3).count(), 5);
    }
}

/// How a client calls the event with this body.
fn id(body: &str) -> &str {
    body.split(['.', ' ']).next().unwrap_or_default()
}
