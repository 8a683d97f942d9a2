//! Interceptors and selectors beside Flume's own where bodies and headers are odd: bytes that are no text, ends of lines, what
//! no pattern finds, times that cannot be read, events for no channel.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use millstream_testkit::peer::{Place, differs};
use millstream_tests::beside::{Both, exact_agent};

/// A source, the bodies that it gets, and the events that both bring.
type Same<'a> = (&'a str, &'a [&'a [u8]], &'a [&'a str]);

/// Bodies as they are, each a request.
const BLOB: &str = "type = http\nbind = 127.0.0.1\nhandler = org.apache.flume.sink.solr.morphline.BlobHandler\n";

fn source(place: &mut Place, name: &'static str, stages: &str) -> (&'static str, String) {
    (name, format!("{BLOB}port = {}\n{stages}", place.port(name)))
}

fn say(both: &Both, port: &str, bodies: &[&[u8]]) -> [Vec<String>; 2] {
    let request = |body: &&[u8]| {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let requests: Vec<Vec<u8>> = bodies.iter().map(request).collect();
    let answers = both.say(port, &requests.iter().map(Vec::as_slice).collect::<Vec<_>>());
    answers
        .map(|answers| answers.iter().map(|answer| answer.split(' ').nth(1).unwrap_or_default().to_owned()).collect())
}

/// An interceptor with these keys, and more of the source.
fn interceptor(keys: &str, more: &str) -> String {
    let keys: String = keys.lines().map(|key| format!("interceptors.i.{}\n", key.trim())).collect();
    format!("interceptors = i\n{keys}{more}")
}

const REPLACE: &str = "type = search_replace\nsearchPattern = a$|^x\nreplaceString = A\n";
const LATIN: &str = "type = search_replace\nsearchPattern = \\u00e9\nreplaceString = E\ncharset = ISO-8859-1\n";
const FILTER: &str = "type = regex_filter\nregex = ^.b$\n";
/// On long bodies, more steps than may be taken here, and deeper than Java's stack.
const DEEP: &str = "type = regex_filter\nregex = ^(a|b)*\\\\1c$\n";
const EXTRACT: &str = "type = regex_extractor\nregex = ^(.*)=(.*)$\nserializers = s t\nserializers.s.name = key\n\
                       serializers.t.name = value\n";
const GROUPS: &str = "type = regex_extractor\nregex = (a)|(b)\nserializers = s t\nserializers.s.name = a\n\
                      serializers.t.name = b\n";
const MILLIS: &str = "type = regex_extractor\nregex = (.*)\nserializers = s\nserializers.s.name = at\n\
                      serializers.s.type = org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer\n\
                      serializers.s.pattern = yyyy-MM-dd\n";
const TO: &str = "type = regex_extractor\nregex = (.*)\nserializers = s\nserializers.s.name = to\n";
const SELECTOR: &str = "selector.type = multiplexing\nselector.header = to\nselector.mapping.here = cnowhere\n";

#[test]
fn odd_bodies_and_headers_are_changed_as_by_the_real_one_but_for_what_is_listed() {
    let mut both = Both::start(|place| {
        let sources = [
            source(place, "replace", &interceptor(REPLACE, "")),
            source(place, "latin", &interceptor(LATIN, "")),
            source(place, "filter", &interceptor(FILTER, "")),
            source(place, "deep", &interceptor(DEEP, "")),
            source(place, "extract", &interceptor(EXTRACT, "")),
            source(place, "groups", &interceptor(GROUPS, "")),
            source(place, "millis", &interceptor(MILLIS, "")),
            source(place, "nowhere", &interceptor(TO, SELECTOR)),
        ];
        exact_agent(place, &sources)
    });
    // Flume's sinks look for events every few seconds: all is said first.
    let answers = say(&both, "millis", &[b"2014-03-01", b"soon", b"2014-13-45", b""]);
    assert_eq!(answers, [["200"; 4], ["200", "500", "500", "500"]]);
    assert_eq!(say(&both, "groups", &[b"a", b"b"]), [["200"; 2]; 2]);
    let long = "a".repeat(1_000_000);
    let answers = say(&both, "deep", &[b"aac", long.as_bytes(), b"bbc"]);
    differs("interceptor-search-steps", &answers[0], &answers[1]);
    assert_eq!(answers, [["200"; 3], ["200", "500", "200"]]);
    say(&both, "replace", &[b"a", b"a\r\n", b"x\xFF", b"b\xFFd", b"", b"x a", b"\xC3a"]);
    let same: [Same<'_>; 4] = [
        ("latin", &[b"caf\xE9 \x80", "café".as_bytes(), b"\x80\xFF"], &["| cafE \\x80", "| café", "| \\x80\\xFF"]),
        (
            "filter",
            &[b"ab", b"ab\r\n", b"ab\n", b"\xFFb", "\u{1f600}b".as_bytes(), b"\rb", b"c\nab\nd"],
            &["| ab", "| ab\\r\\n", "| ab\\n", "| \\xFFb", "| \u{1f600}b"],
        ),
        (
            "extract",
            &[b"k=v", b"k=v\r\n", b"k\xFF=\xC3v", b"a\nk=v\n", "ü=\u{1f600}".as_bytes(), b"="],
            &[
                "key=k value=v | k=v",
                "key=k value=v | k=v\\r\\n",
                "key=k\u{fffd} value=\u{fffd}v | k\\xFF=\\xC3v",
                "| a\\nk=v\\n",
                "key=ü value=\u{1f600} | ü=\u{1f600}",
                "key= value= | =",
            ],
        ),
        ("nowhere", &[b"there", b"here", b"\xFF"], &["to=here | here"]),
    ];
    for (name, bodies, _) in same {
        let answers = say(&both, name, bodies);
        assert!(answers.iter().flatten().all(|status| status == "200"), "{name}: {answers:?}");
    }
    for (name, _, wanted) in same {
        both.both_bring(name, wanted);
    }
    const DROPPED: &str = "events dropped, their value has no channel";
    both.ours.process().until(DROPPED);
    let tells = |log: &str| ["drop", "no channel"].iter().any(|word| log.contains(word));
    differs("multiplexing-no-channel", tells(DROPPED), tells(&both.theirs.peer().log()));

    both.ours.process().until("search given up");
    both.theirs.peer().until_log("StackOverflowError");
    both.both_bring("deep", &["| aac", "| bbc"]);

    let replaced = |unmatched| ["| A", "| A\\r\\n", "| A\u{fffd}", unmatched, "| ", "| A A", "| \u{fffd}A"];
    let [ours, theirs] = both.brings("replace", &replaced("| b\\xFFd"), &replaced("| b\u{fffd}d"));
    differs("search-replace-no-match", ours, theirs);

    let read = both.brought("millis", 4, 1);
    // In the zone of this machine.
    assert!(read[0][0] == read[1][0] && read[0][0].starts_with("at=13"), "{read:?}");
    let [ours, theirs] = both.brings("millis", &[&read[0][0], "| soon", "| 2014-13-45", "| "], &[&read[0][0]]);
    differs("regex-extractor-null", ours, theirs);

    both.theirs.peer().until_log("of map in map in field headers of Event");
    let [ours, theirs] = both.brings("groups", &["a=a | a", "b=b | b"], &[]);
    differs("regex-extractor-null", ours, theirs);
}
