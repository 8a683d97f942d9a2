//! Sources beside Flume's own where the input is odd: bytes that are no text, ends of lines and of connections, wide
//! characters on edges, long lines, times that cannot be.
//!
//! Each test says what ours brings and what Flume's; where they differ on purpose it names the difference.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::UdpSocket;
use std::process::Command;

use millstream_testkit::peer::differs;
use millstream_tests::beside::{Both, choose_udp, exact_agent, send_udp};

/// Bytes that are no UTF-8, between two lines that are.
const INVALID: &[u8] = b"one\nb\xFFd \xC3\nnext\n";

#[test]
fn odd_lines_to_netcat_are_the_events_of_the_real_one_but_for_bytes_that_are_no_text() {
    let both = Both::start(|place| {
        let properties = |port: u16, more: &str| format!("type = netcat\nbind = 127.0.0.1\nport = {port}\n{more}");
        let sources = [
            ("odd", properties(place.port("odd"), "")),
            ("edge", properties(place.port("edge"), "max-line-length = 8\n")),
            ("invalid", properties(place.port("invalid"), "")),
            ("ascii", properties(place.port("ascii"), "encoding = US-ASCII\n")),
        ];
        exact_agent(place, &sources)
    });
    let odd = [b"crlf\r\n\r\n\n", &b""[..], b"\n", "ünï \u{1f600} nul \0 x\n".as_bytes(), b"in\rside\n"];
    let [ours, theirs] = both.say("odd", &odd);
    assert_eq!(ours, theirs);
    // The last character that fits, and one that does not, of one, two, three and four bytes.
    let edges = ["1234567\n", "123456ü\n", "12345678\n", "1234567ü\n", "12345😀\n", "123456😀\n", "€€€€€€€€€\n"];
    let [ours, theirs] = both.say("edge", &edges.map(str::as_bytes));
    assert_eq!(ours, theirs);

    // What comes behind it is read by both, so nothing of what came before is under way still.
    let answers = both.say("invalid", &[INVALID, b"last\n"]);
    assert_eq!(answers, [["OK\nOK\nOK\n", "OK\n"], ["", "OK\n"]]);
    let answers = both.say("ascii", &[b"plain\ngr\xFCn\n", b"last\n"]);
    assert_eq!(answers, [["OK\nOK\n", "OK\n"], ["", "OK\n"]]);
    both.both_bring("odd", &["| crlf\\r", "| \\r", "| ", "| ", "| ünï \u{1f600} nul \0 x", "| in\\rside"]);
    both.both_bring("edge", &["| 1234567", "| 123456ü", "| 12345😀"]);
    let [ours, theirs] = both.brings("invalid", &["| one", "| b\\xFFd \\xC3", "| next", "| last"], &["| last"]);
    differs("netcat-encoding", ours, theirs);
    let [ours, theirs] = both.brings("ascii", &["| plain", "| gr\u{fffd}n", "| last"], &["| last"]);
    differs("netcat-encoding", ours, theirs);
}

#[test]
fn odd_datagrams_are_the_events_of_the_real_one_but_for_what_is_listed() {
    let both = Both::start(|place| {
        let (netcat, syslog) = (choose_udp(place, "netcat"), choose_udp(place, "syslog"));
        let sources = [
            ("netcat", format!("type = netcatudp\nbind = 127.0.0.1\nport = {netcat}\nremoteAddress = from\n")),
            ("syslog", format!("type = syslogudp\nhost = 127.0.0.1\nport = {syslog}\n")),
        ];
        exact_agent(place, &sources)
    });
    let long = format!("{}\n", "x".repeat(3000));
    let netcat: [&[u8]; 7] =
        [b"crlf\r\n", b"no end", b"two\nlines\n", b"\n", b"b\xFFd \xC3\n", "€\u{1f600}\n".as_bytes(), long.as_bytes()];
    let long = format!("<13>1 2020-05-04T10:11:12Z h {}\n", "y".repeat(3000));
    let syslog: [&[u8]; 7] = [
        b"<34>1 2020-05-04T10:11:12Z h first\n",
        b"nothing matches\n",
        b"<13>1 2020-05-04T10:11:12Z h crlf\r\n",
        b"<13>1 2020-05-04T10:11:12.5+02:00 h fraction\n",
        b"<13>1 2020-05-04T10:11:12Z h no end",
        b"<13>1 2020-05-04T10:11:12Z h b\xFFd \xC3\n",
        long.as_bytes(),
    ];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for place in [both.ours.place(), both.theirs.place()] {
        send_udp(&socket, place, "netcat", &netcat);
        send_udp(&socket, place, "syslog", &syslog);
    }
    let from = format!("from=/{} |", socket.local_addr().unwrap());
    let same = ["crlf\\r", "no end", "two", "", "b\\xFFd \\xC3", "€\u{1f600}"].map(|body| format!("{from} {body}"));
    let long = |bytes: usize| [&same[..], &[format!("{from} {}", "x".repeat(bytes))]].concat();
    let [ours, theirs] = both.brings("netcat", &texts(&long(3000)), &texts(&long(2048)));
    differs("udp-long", ours, theirs);

    const FIRST: &str = "Facility=4 Severity=2 host=h priority=34 timestamp=1588587072000 version=1 | first";
    let head = "Facility=1 Severity=5 host=h priority=13 timestamp=15885";
    let bytes = |bad: &str| ["no end", bad].map(|body| format!("{head}87072000 version=1 | {body}"));
    // The head of the long one has 29 bytes.
    let long = |bytes: usize| format!("{head}87072000 version=1 | {}", "y".repeat(bytes));
    let of_earlier = |earlier: &str| {
        [
            FIRST.to_owned(),
            format!("Facility=0 Severity=0 flume.syslog.status=Invalid {earlier}| nothing matches"),
            format!("Facility=1 Severity=5 {earlier}| <13>1 2020-05-04T10:11:12Z h crlf\\r"),
        ]
    };
    let fraction = |millis: &str| format!("{head}{millis} version=1 | fraction");
    let ours = [&of_earlier("")[..], &[fraction("79872500")], &bytes("b\\xFFd \\xC3"), &[long(3000)]].concat();
    let theirs = of_earlier("priority=34 version=1 ");
    let theirs = [&theirs[..], &[fraction("87072005")], &bytes("b\u{fffd}d \u{fffd}"), &[long(2048 - 29)]].concat();
    let [ours, theirs] = both.brings("syslog", &texts(&ours), &texts(&theirs));
    differs("syslog-priority-stays", &ours[1..3], &theirs[1..3]);
    differs("syslog-zone", &ours[3], &theirs[3]);
    differs("syslog-no-text", &ours[5], &theirs[5]);
    differs("udp-long", &ours[6], &theirs[6]);
}

fn texts(events: &[String]) -> Vec<&str> {
    events.iter().map(String::as_str).collect()
}

/// A day a quarter of a year ago as RFC 3164 has it, and in milliseconds since 1970; both in the time of this machine.
fn a_quarter_ago() -> (String, String) {
    let date = |arguments: &[&str]| {
        let output = Command::new("date").args(arguments).env("LC_ALL", "C").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    let day = date(&["-d", "100 days ago", "+%F"]);
    let moment = format!("{day} 10:11:12");
    (date(&["-d", &moment, "+%b %e %H:%M:%S"]), date(&["-d", &moment, "+%s000"]))
}

#[test]
fn odd_syslog_messages_are_the_events_of_the_real_one_but_for_what_is_listed() {
    const FORMAT: &str = "format.regex = <(\\\\d+)>(\\\\d)\\\\|([^|]*)\\\\|([^|]*)\\\\|(.*)\n";
    const DATES: &str = "format.dateFormat = yyyy-MM-dd'T'HH:mm:ss.SZ\n";
    let both = Both::start(|place| {
        let tcp = |port: u16, more: &str| format!("type = syslogtcp\nhost = 127.0.0.1\nport = {port}\n{more}");
        let sources = [
            ("bytes", tcp(place.port("bytes"), "")),
            ("cut", tcp(place.port("cut"), "")),
            ("fraction", tcp(place.port("fraction"), "")),
            ("earlier", tcp(place.port("earlier"), "")),
            ("nil", tcp(place.port("nil"), "keepFields = priority version timestamp hostname\n")),
            ("pattern", tcp(place.port("pattern"), FORMAT)),
            ("search", tcp(place.port("search"), &format!("{FORMAT}format.search = x\n"))),
            ("dates", tcp(place.port("dates"), &format!("{FORMAT}{DATES}"))),
        ];
        exact_agent(place, &sources)
    });
    both.say("bytes", &[b"<13>1 2020-05-04T10:11:12Z h b\xFFd \xC3\r\n<13>1 2020-05-04T10:11:12Z \xE4 host\n"]);
    both.say("cut", &[b"<13>1 2020-05-04T10:11:12Z h whole\n<13>1 2020-05-04T10:11:12Z h cut off"]);
    both.say("cut", &[b"<13>1 2020-05-04T10:11:12Z h whole\n"]);
    both.say("fraction", &[b"<13>1 2020-05-04T10:11:12.5+02:00 h zone\n<13>1 2020-05-04T10:11:12.5Z h half\n"]);
    both.say("earlier", &[b"<34>1 2020-05-04T10:11:12Z h first\nnothing matches\n"]);
    both.say("nil", &[b"<13>- - nobody\n"]);
    both.say("pattern", &[b"<13>1|2020-05-04T10:11:12Z|h|b\xFFd\n"]);
    both.say("search", &[b"<13>1|2020-05-04T10:11:12Z|h|b\n<13>1|2020-05-04T10:11:12xZ|h|x\n"]);
    both.say("dates", &[b"<13>1|2020-05-04T10:11:12.5+0000|h|half\n"]);
    // No pattern matches these: the whole line is the body.
    let head = "Facility=1 Severity=5 |";
    both.both_bring(
        "bytes",
        &[
            &format!("{head} <13>1 2020-05-04T10:11:12Z h b\\xFFd \\xC3\\r"),
            &format!("{head} <13>1 2020-05-04T10:11:12Z \\xE4 host"),
        ],
    );

    const WHOLE: &str = "Facility=1 Severity=5 host=h priority=13 timestamp=1588587072000 version=1 | whole";
    const CUT: &str = "Facility=1 Severity=5 flume.syslog.status=Incomplete host=h priority=13 timestamp=1588587072000 \
                       version=1 | cut off";
    let [ours, theirs] = both.brings("cut", &[WHOLE, CUT, WHOLE], &[WHOLE, WHOLE]);
    differs("syslog-cut-off", ours, theirs);

    let head = "Facility=1 Severity=5 host=h priority=13 timestamp=15885";
    let [ours, theirs] = both.brings(
        "fraction",
        &[&format!("{head}79872500 version=1 | zone"), &format!("{head}87072500 version=1 | half")],
        &[&format!("{head}87072005 version=1 | zone"), &format!("{head}87072005 version=1 | half")],
    );
    differs("syslog-zone", ours, theirs);

    const FIRST: &str = "Facility=4 Severity=2 host=h priority=34 timestamp=1588587072000 version=1 | first";
    let [ours, theirs] = both.brings(
        "earlier",
        &[FIRST, "Facility=0 Severity=0 flume.syslog.status=Invalid | nothing matches"],
        &[FIRST, "Facility=0 Severity=0 flume.syslog.status=Invalid priority=34 version=1 | nothing matches"],
    );
    differs("syslog-priority-stays", ours, theirs);

    let head = "Facility=1 Severity=5 priority=13 |";
    let [ours, theirs] =
        both.brings("nil", &[&format!("{head} <13>- - nobody")], &[&format!("{head} <13>null null nobody")]);
    differs("syslog-keep-nil", ours, theirs);

    let head = "Facility=1 Severity=5 host=h priority=13 version=1 |";
    let [ours, theirs] = both.brings("pattern", &[&format!("{head} b\\xFFd")], &[&format!("{head} b\u{fffd}d")]);
    differs("syslog-no-text", ours, theirs);

    let [ours, theirs] = both.brings("search", &[&format!("{head} b"), &format!("{head} x")], &[]);
    differs("syslog-search-alone", ours, theirs);

    let dated = |millis: &str| {
        format!("Facility=1 Severity=5 host=h priority=13 timestamp=1588587072{millis} version=1 | half")
    };
    let [ours, theirs] = both.brings("dates", &[&dated("500")], &[&dated("005")]);
    differs("syslog-date-format", ours, theirs);
}

#[test]
fn odd_messages_to_many_ports_are_the_events_of_the_real_one_but_for_what_is_listed() {
    const BAD: [(&str, &[u8], &str); 3] = [
        ("empty", b"", ""),
        ("nul", b"\0\0", "flume.syslog.status=Invalid | \0\0"),
        (
            "time",
            b"<13>1 2020-13-45T10:11:12Z h never",
            "flume.syslog.status=Invalid | <13>1 2020-13-45T10:11:12Z h never",
        ),
    ];
    let both = Both::start(|place| {
        let names = ["fine", "bytes", "cut", "old", "empty", "nul", "time"];
        let multi = |port: u16| format!("type = multiport_syslogtcp\nhost = 127.0.0.1\nports = {port}\n");
        let sources = names.map(|name| (name, multi(place.port(name))));
        exact_agent(place, &sources)
    });
    let message = |text: &str| format!("<13>1 2020-05-04T10:11:12Z h {text}\n");
    let event =
        |text: &str| format!("Facility=1 Priority=13 Severity=5 Version=1 host=h timestamp=1588587072000 | {text}");

    let (date, millis) = a_quarter_ago();
    both.say("fine", &[message("ünï \u{1f600}\r").as_bytes(), b"<13>1 2020-05-04T10:11:12.5+02:00 h zone\n"]);
    both.say("bytes", &[b"<13>1 2020-05-04T10:11:12Z h b\xFFd \xC3\n"]);
    both.say("cut", &[format!("{}<13>1 2020-05-04T10:11:12Z h cut off", message("whole")).as_bytes()]);
    both.say("cut", &[message("next").as_bytes()]);
    both.say("old", &[format!("<13>{date} h old\n").as_bytes()]);
    for (name, bad, _) in BAD {
        both.say(name, &[&[message("before").as_bytes(), bad, b"\n", message("after").as_bytes()].concat()]);
        both.say(name, &[message("next").as_bytes()]);
    }
    both.both_bring(
        "fine",
        &[
            &event("ünï \u{1f600}\\r"),
            "Facility=1 Priority=13 Severity=5 Version=1 host=h timestamp=1588579872500 | zone",
        ],
    );

    let whole = "flume.syslog.status=Invalid | <13>1 2020-05-04T10:11:12Z h b\\xFFd \\xC3";
    let [ours, theirs] = both.brings("bytes", &[&event("b\\xFFd \\xC3")], &[whole]);
    differs("multiport-syslog-no-text", ours, theirs);

    let incomplete = event("cut off").replace("Version=1", "Version=1 flume.syslog.status=Incomplete");
    let [ours, theirs] =
        both.brings("cut", &[&event("whole"), &incomplete, &event("next")], &[&event("whole"), &event("next")]);
    differs("syslog-cut-off", ours, theirs);

    let [ours, theirs] = both.brought("old", 1, 1);
    assert_eq!(ours, [format!("Facility=1 Priority=13 Severity=5 host=h timestamp={millis} | old")]);
    let theirs_millis: i64 = theirs[0].split_once("timestamp=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(theirs_millis < 1_009_929_600_000, "before 2002: {theirs:?}");
    differs("multiport-syslog-years", ours, theirs);

    for (name, _, invalid) in BAD {
        let (before, after, next) = (event("before"), event("after"), event("next"));
        let mut all = vec![before.as_str(), invalid, &after, &next];
        all.retain(|event| !event.is_empty());
        let [ours, theirs] = both.brings(name, &all, &[&next]);
        differs("multiport-syslog-bad-lines", ours, theirs);
    }
}

fn request(content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Of answers in HTTP.
fn statuses(answers: [Vec<String>; 2]) -> [Vec<u16>; 2] {
    let status = |answer: &String| answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    answers.map(|answers| answers.iter().map(status).collect())
}

#[test]
fn odd_requests_to_http_are_answered_as_by_the_real_one_but_for_what_is_listed() {
    const BLOB: &str = "handler = org.apache.flume.sink.solr.morphline.BlobHandler\n";
    let mut both = Both::start(|place| {
        let http = |port: u16, more: &str| format!("type = http\nbind = 127.0.0.1\nport = {port}\n{more}");
        let sources = [
            ("json", http(place.port("json"), "")),
            ("lenient", http(place.port("lenient"), "")),
            ("half", http(place.port("half"), "")),
            ("null", http(place.port("null"), "")),
            ("blob", http(place.port("blob"), BLOB)),
        ];
        exact_agent(place, &sources)
    });
    let say = |port: &str, bodies: &[&[u8]]| {
        let requests: Vec<Vec<u8>> = bodies.iter().map(|body| request("application/json", body)).collect();
        statuses(both.say(port, &requests.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    };
    let bodies: [&[u8]; 3] = [
        b"[{\"body\":\"b\xFFd \xC3\"}]",
        "\u{feff}[{\"body\":\"marked\"}]".as_bytes(),
        b"\r\n[{\"body\":\"\\ud83d\\ude00 \\u0000 \\r\\n\"}]\r\n",
    ];
    assert_eq!(say("json", &bodies), [[200; 3]; 2]);

    let bodies: [&[u8]; 6] = [
        br#"[/* comment */{"body":"commented"}]"#,
        br#"[{body:"unquoted"}]"#,
        br#"[{'body':'single'}]"#,
        br#"[{"body":"semicolon";"headers":{}}]"#,
        br#"[{"body":"comma"},]"#,
        br#"[{"body":"plain"}]"#,
    ];
    assert_eq!(say("lenient", &bodies), [[400, 400, 400, 400, 400, 200], [200, 200, 200, 200, 500, 200]]);

    let bodies: [&[u8]; 2] = [b"[{\"body\":\"\\ud83d lone\"}]", br#"[{"body":"plain"}]"#];
    assert_eq!(say("half", &bodies), [[400, 200], [200, 200]]);

    let bodies: [&[u8]; 2] = [br#"[{"headers":{"a":null},"body":"x"}]"#, br#"[{"body":"plain"}]"#];
    assert_eq!(say("null", &bodies), [[400, 200], [200, 200]]);

    let (utf8, capitals) = ("text/plain; charset=utf-8", "text/plain; charset=UTF-8");
    let answers = both.say("blob", &[&request(utf8, b"b\xFFd \xC3\r\n"), &request(capitals, b"")]);
    assert_eq!(statuses(answers), [[200; 2]; 2]);

    both.both_bring("json", &["| b\u{fffd}d \u{fffd}", "| marked", "| \u{1f600} \0 \\r\\n"]);
    let lenient = ["| commented", "| unquoted", "| single", "| semicolon", "| plain"];
    let [ours, theirs] = both.brings("lenient", &["| plain"], &lenient);
    differs("http-lenient-json", ours, theirs);
    let [ours, theirs] = both.brings("half", &["| plain"], &["| ? lone", "| plain"]);
    differs("http-half-characters", ours, theirs);
    both.theirs.peer().until_log("of map in map in field headers of Event");
    let [ours, theirs] = both.brings("null", &["| plain"], &[]);
    differs("http-null-header", ours, theirs);
    let [body, empty] = ["b\\xFFd \\xC3\\r\\n", ""];
    let event = |content_type: &str, body: &str| format!("Content-Type={content_type} | {body}");
    let [ours, theirs] = both.brings(
        "blob",
        &[&event(utf8, body), &event(capitals, empty)],
        &[&event(capitals, body), &event(capitals, empty)],
    );
    differs("http-blob-content-type", ours, theirs);
}

#[test]
fn odd_output_of_a_command_is_the_events_of_the_real_one_but_for_what_is_listed() {
    /// More than the 16 MiB at which a line is cut.
    const LONG: usize = 17_000_000;
    let both = Both::start(|place| {
        let exec = |command: &str, more: &str| {
            format!("type = exec\nshell = /bin/sh -c\ncommand = {command}\nbatchTimeout = 100\n{more}")
        };
        let sources = [
            ("odd", exec(r"printf 'a\\r\\nb\\rc\\n\\n\\357\\273\\277mark\\nnul \\000 x\\nlast'", "")),
            ("latin", exec(r"printf 'gr\\374\\337e \\200\\n'", "charset = ISO-8859-1\n")),
            ("western", exec(r"printf '\\200 \\223quoted\\224\\n'", "charset = windows-1252\n")),
            ("japanese", exec(r"printf '\\223\\372\\226{\\n\\203\\134\\n'", "charset = Shift_JIS\n")),
            ("utf8", exec(r"printf 'b\\377d \\303\\nnext\\n'", "")),
            ("ascii", exec(r"printf 'gr\\374n\\nnext\\n'", "charset = US-ASCII\n")),
            ("errors", exec("echo told-aloud >&2; sleep 1; echo out", "logStdErr = true\n")),
            ("silent", exec("echo told-softly >&2; sleep 1; echo out", "")),
            ("long", exec(&format!("head -c {LONG} /dev/zero | tr '\\\\\\\\0' x; echo; echo next"), "")),
        ];
        exact_agent(place, &sources)
    });
    both.both_bring("odd", &["| a", "| b", "| c", "| ", "| \u{feff}mark", "| nul \0 x", "| last"]);
    both.both_bring("latin", &["| gr\\xFC\\xDFe \\x80"]);
    both.both_bring("western", &["| \\x80 \\x93quoted\\x94"]);
    both.both_bring("japanese", &["| \\x93\\xFA\\x96{", "| \\x83\\"]);
    let [ours, theirs] = both.brings("utf8", &["| b\\xFFd \\xC3", "| next"], &["| b\u{fffd}d \u{fffd}", "| next"]);
    differs("exec-no-text", ours, theirs);
    let [ours, theirs] = both.brings("ascii", &["| gr\\xFCn", "| next"], &["| gr?n", "| next"]);
    differs("exec-no-text", ours, theirs);

    for name in ["errors", "silent"] {
        both.both_bring(name, &["| out"]);
    }
    assert_eq!(both.ours.process().until("told-aloud").matches("printed an error").count(), 1);
    let mut both = both;
    both.theirs.peer().until_log("StderrLogger[1] = 'told-aloud'");
    // Flume names a command when it starts it.
    let told = |log: String| log.lines().filter(|line| line.contains("told-softly") && !line.contains("echo")).count();
    assert_eq!([told(both.ours.process().lines_with("").join("\n")), told(both.theirs.peer().log())], [0, 0]);

    let lengths = both.brought("long", 3, 2).map(|events| events.iter().map(|event| event.len() - 2).collect());
    let [ours, theirs]: [Vec<usize>; 2] = lengths;
    assert_eq!([&ours[..], &theirs], [&[16 << 20, LONG - (16 << 20), 4][..], &[LONG, 4]]);
    differs("exec-long-line", ours, theirs);
}
