//! Properties that only one of the two takes, beside Flume's own: what is refused here is told with its place, and works
//! there; what works here is refused there.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::net::TcpStream;

use millstream_testkit::peer::{Place, differs};
use millstream_tests::beside::{Both, choose_udp, exact_agent, said};

/// A source that spools one file, which has this content.
fn spool(place: &Place, name: &str, content: &[u8], more: &str) -> String {
    let dir = place.path(&format!("spool-{name}"));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("file"), content).unwrap();
    format!("type = spooldir\nspoolDir = {}\n{more}", dir.display())
}

/// A source of these lines, with an interceptor of these keys.
fn intercepted(lines: &str, keys: &str) -> String {
    let keys: String = keys.lines().map(|key| format!("interceptors.i.{}\n", key.trim())).collect();
    format!("type = exec\nshell = /bin/sh -c\ncommand = printf '{lines}'\ninterceptors = i\n{keys}")
}

const WEEKS: &str = "type = regex_extractor\nregex = (.*)\nserializers = s\nserializers.s.name = at\n\
                     serializers.s.type = org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer\n\
                     serializers.s.pattern = xxxx-'W'ww-e'T'HH:mmZ\n";

#[test]
fn what_only_one_of_the_two_takes_is_told_by_the_other() {
    let mut both = Both::start(|place| {
        let wide: Vec<u8> = "wide ü\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let replace = "type = search_replace\nsearchPattern = a\nreplaceString = A\ncharset = windows-1252\n";
        let spread = |by: &str| format!("type = exec\ncommand = echo spread\nselector.type = {by}\n");
        let sources = [
            ("wide", spool(place, "wide", &wide, "inputCharset = UTF-16BE\n")),
            ("latin", spool(place, "latin", "grün\n".as_bytes(), "deserializer.outputCharset = ISO-8859-1\n")),
            ("clusters", spool(place, "clusters", b"included\n", "includePattern = \\\\X{4}\n")),
            ("begins", intercepted("ab\\nba\\n", "type = regex_filter\nregex = \\\\Ga\n")),
            ("weeks", intercepted("2014-W09-6T10:11+0000\\n", WEEKS)),
            ("western", intercepted("cafe\\n", replace)),
            ("uuid", intercepted("named\\n", "type = uuid\nheaderName = id\n")),
            ("spread", spread("load_balancing")),
            ("spreadclass", spread("org.apache.flume.channel.LoadBalancingChannelSelector")),
            // Not a port on which Flume would be waited for.
            ("anywhere", format!("type = syslogtcp\nport = {}\n", choose_udp(place, "anywhere"))),
            ("plain", "type = exec\ncommand = echo plain\n".to_owned()),
        ];
        exact_agent(place, &sources)
    });
    both.both_bring("plain", &["| plain"]);

    let [ours, theirs] = both.brings("wide", &[], &["| wide ü"]);
    both.ours.process().until("a1.sources.rwide.inputCharset: expected UTF-8, US-ASCII, ISO-8859-1 or another charset");
    differs("spooldir-charsets", ours, theirs);
    let [ours, theirs] = both.brings("latin", &[], &[r"| gr\xFCn"]);
    both.ours.process().until("a1.sources.rlatin.deserializer.outputCharset: expected");
    differs("spooldir-output-charset", ours, theirs);
    let [ours, theirs] = both.brings("clusters", &[], &["| included"]);
    both.ours.process().until(r#"a1.sources.rclusters.includePattern: expected a regular expression as Java has them"#);
    differs("source-patterns", ours, theirs);
    let [ours, theirs] = both.brings("begins", &[], &["| ab"]);
    both.ours.process().until(r"a1.sources.rbegins.interceptors.i.regex: expected a regular expression");
    differs("interceptor-patterns", ours, theirs);
    let [ours, theirs] = both.brings("weeks", &[], &["at=1393668660000 | 2014-W09-6T10:11+0000"]);
    both.ours.process().until("a1.sources.rweeks.interceptors.i.serializers.s.pattern: expected a pattern of times");
    differs("regex-extractor-formats", ours, theirs);
    let [ours, theirs] = both.brings("western", &[], &["| cAfe"]);
    both.ours.process().until("a1.sources.rwestern.interceptors.i.charset: expected UTF-8, US-ASCII or ISO-8859-1");
    differs("search-replace-charset", ours, theirs);

    let [ours, theirs] = both.brought("uuid", 1, 0);
    assert!(ours[0].starts_with("id=") && ours[0].ends_with(" | named") && theirs.is_empty(), "{ours:?} {theirs:?}");
    both.theirs.peer().until_log("Source ruuid has been removed due to an error during configuration");
    differs("uuid-alias", ours, theirs);
    for name in ["spread", "spreadclass"] {
        let [ours, theirs] = both.brings(name, &["| spread"], &[]);
        both.theirs.peer().until_log(&format!("Could not configure source  r{name} due to: Failed to configure"));
        differs("load-balancing-selector", ours, theirs);
    }
    let port = |place: &Place| fs::read_to_string(place.path("anywhere.port")).unwrap().parse::<u16>().unwrap();
    said(port(both.ours.place()), b"<13>1 2020-05-04T10:11:12Z h anywhere\n");
    const ANYWHERE: &str = "Facility=1 Severity=5 host=h priority=13 timestamp=1588587072000 version=1 | anywhere";
    let [ours, theirs] = both.brings("anywhere", &[ANYWHERE], &[]);
    both.theirs.peer().until_log("Unable to start Syslog TCP Source");
    TcpStream::connect(("127.0.0.1", port(both.theirs.place()))).unwrap_err();
    differs("syslogtcp-host", ours, theirs);
}
