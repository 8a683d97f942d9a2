//! Interceptors, selectors and serializers beside Flume's own: the same properties, the same input, the outputs compared.
//!
//! Odd bodies and headers, and where we differ on purpose: `peers_odd_stages.rs`.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;
use millstream_tests::written::avro_events;

/// Headers and body of an event.
type Event = (BTreeMap<String, String>, String);

/// An agent that reads a spool with `lines`, and writes what comes through c1 as text, through c2 with headers, through
/// c3 as a container.
fn agent(place: &mut Place, lines: &str, stages: &str) -> String {
    for dir in ["spool", "out1", "out2", "out3"] {
        fs::create_dir_all(place.path(dir)).unwrap();
    }
    fs::write(place.path("spool/lines"), lines).unwrap();
    let mut text = format!(
        "a1.sources = r1\na1.channels = c1 c2 c3\na1.sinks = k1 k2 k3\na1.sources.r1.type = spooldir\n\
         a1.sources.r1.spoolDir = {}\na1.sources.r1.channels = c1 c2 c3\n{stages}",
        place.path("spool").display()
    );
    let serializers = ["text", "header_and_text", "avro_event"];
    for (number, serializer) in (1..).zip(serializers) {
        let dir = place.path(&format!("out{number}"));
        text.push_str(&format!(
            "a1.channels.c{number}.type = memory\na1.channels.c{number}.capacity = 10000\n\
             a1.sinks.k{number}.type = file_roll\na1.sinks.k{number}.channel = c{number}\n\
             a1.sinks.k{number}.sink.directory = {}\na1.sinks.k{number}.sink.rollInterval = 0\n\
             a1.sinks.k{number}.sink.serializer = {serializer}\n",
            dir.display()
        ));
    }
    text.push_str("a1.sinks.k3.sink.serializer.compressionCodec = deflate\n");
    text
}

/// What stands in the files of a directory, in the order of their names.
fn content(dir: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).filter(|content| !content.is_empty()).collect()
}

/// What an agent has written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    texts: Vec<String>,
    with_headers: Vec<Event>,
    records: Vec<Event>,
}

// === impl Written ===

impl Written {
    fn of(place: &Place) -> Self {
        let lines = |dir| {
            let text = content(&place.path(dir)).concat();
            String::from_utf8(text).unwrap().split_terminator('\n').map(str::to_owned).collect::<Vec<_>>()
        };
        let text = |(headers, body)| (headers, String::from_utf8(body).unwrap());
        Self {
            texts: lines("out1"),
            with_headers: lines("out2").iter().map(|line| event(line)).collect(),
            records: avro_events(&place.path("out3")).into_iter().map(text).collect(),
        }
    }

    fn events(&self) -> usize {
        self.texts.len() + self.with_headers.len() + self.records.len()
    }
}

/// Reads `{k=v, k2=v2} body`; Flume has the headers in the order of a hash table.
fn event(line: &str) -> Event {
    let (headers, body) = line.strip_prefix('{').unwrap().split_once("} ").unwrap();
    let headers = headers.split(", ").filter_map(|header| header.split_once('='));
    (headers.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(), body.to_owned())
}

/// Runs both; gives what both have written, which must be equal, once each has `events` in all.
#[track_caller]
fn side_by_side(lines: &str, stages: &str, events: usize) -> Written {
    equal(both(lines, stages, events))
}

/// What both have written, which must be equal but for the order in which events with headers came.
#[track_caller]
fn equal([mut ours, mut theirs]: [Written; 2]) -> Written {
    ours.with_headers.sort();
    theirs.with_headers.sort();
    assert_eq!(ours, theirs, "ours is left, Flume's is right");
    ours
}

/// Runs both; gives what ours and Flume's have written once each has `events` in all.
#[track_caller]
fn both(lines: &str, stages: &str, events: usize) -> [Written; 2] {
    let mut ours = OurAgent::start(|place| agent(place, lines, stages));
    let mut theirs = Flume::agent(Version::V1_11, |place| agent(place, lines, stages));
    until_true("both have read", || {
        [ours.place(), theirs.place()].iter().all(|place| place.path("spool/lines.COMPLETED").exists())
    });
    until_true("both have written", || {
        [ours.place(), theirs.place()].iter().all(|place| Written::of(place).events() >= events)
    });
    ours.stop();
    theirs.stop();
    let (ours, theirs) = (Written::of(ours.place()), Written::of(theirs.place()));
    assert_eq!([ours.events(), theirs.events()], [events; 2], "{ours:?} {theirs:?}");
    [ours, theirs]
}

const LINES: &str = "\
2014-03-01 12:30:05,250 ERROR [web-1] disk /dev/sda1 failed\n\
2014-03-01 12:30:06,000 WARN [web-2] 20 % left\n\
no match here\n\
\n\
2014-03-30 02:30:00,000 INFO [web-3] user=joe password=secret42 tel=555-1234\n\
2014-03-01 12:30:07,999 ERROR [wéb-4] caf\u{e9} \u{1f600} $1 \\ end\n\
2014-03-01 12:30:08,000 DEBUG [web-5] dropped\n\
2014-03-01 12:30:09,000 warn [web-6] in small letters\n\
2014-03-01 12:30:10,001 WARN [] \"quoted\" <a> {b} k=v\n";

/// Every interceptor; then level ERROR to c1 and c3, WARN to c2, others to c3, and INFO to c2 too.
const STAGES: &str = "\
a1.sources.r1.interceptors = dc dc2 host drop fields mask strip clean stamp gone\n\
a1.sources.r1.interceptors.dc.type = static\n\
a1.sources.r1.interceptors.dc.key = dc\n\
a1.sources.r1.interceptors.dc.value = north 1\n\
a1.sources.r1.interceptors.dc2.type = static\n\
a1.sources.r1.interceptors.dc2.key = dc\n\
a1.sources.r1.interceptors.dc2.value = south\n\
a1.sources.r1.interceptors.host.type = host\n\
a1.sources.r1.interceptors.host.hostHeader = from\n\
a1.sources.r1.interceptors.drop.type = regex_filter\n\
a1.sources.r1.interceptors.drop.regex = \\\\bDEBUG\\\\b\n\
a1.sources.r1.interceptors.drop.excludeEvents = true\n\
a1.sources.r1.interceptors.fields.type = regex_extractor\n\
a1.sources.r1.interceptors.fields.regex = ^(\\\\S+ \\\\S+) (\\\\w+) \\\\[(.*?)\\\\]\n\
a1.sources.r1.interceptors.fields.serializers = at level host\n\
a1.sources.r1.interceptors.fields.serializers.at.type = org.apache.flume.interceptor.RegexExtractorInterceptorPassThroughSerializer\n\
a1.sources.r1.interceptors.fields.serializers.at.name = at\n\
a1.sources.r1.interceptors.fields.serializers.level.name = level\n\
a1.sources.r1.interceptors.fields.serializers.host.type = DEFAULT\n\
a1.sources.r1.interceptors.fields.serializers.host.name = host\n\
a1.sources.r1.interceptors.mask.type = search_replace\n\
a1.sources.r1.interceptors.mask.searchPattern = (password|tel)=(\\\\w)[^ ]*\n\
a1.sources.r1.interceptors.mask.replaceString = $1=$2\\\\$*\n\
a1.sources.r1.interceptors.strip.type = search_replace\n\
a1.sources.r1.interceptors.strip.searchPattern = ^\\\\S+ \\\\S+ |\\\\s*$\n\
a1.sources.r1.interceptors.clean.type = remove_header\n\
a1.sources.r1.interceptors.clean.fromList = nothing; at\n\
a1.sources.r1.interceptors.clean.fromListSeparator = ;\\\\s*\n\
a1.sources.r1.interceptors.stamp.type = timestamp\n\
a1.sources.r1.interceptors.gone.type = remove_header\n\
a1.sources.r1.interceptors.gone.matching = time.*\n\
a1.sources.r1.selector.type = multiplexing\n\
a1.sources.r1.selector.header = level\n\
a1.sources.r1.selector.mapping.ERROR = c1 c3\n\
a1.sources.r1.selector.mapping.WARN = c2\n\
a1.sources.r1.selector.default = c3\n\
a1.sources.r1.selector.optional.INFO = c2 c3\n\
a1.sources.r1.selector.optional.WARN = c2\n";

#[test]
fn every_interceptor_the_multiplexing_selector_and_every_serializer_do_what_flume_does() {
    // c1: 2 errors; c2: 2 warnings and 1 info; c3: 2 errors, 4 others.
    let both = both(LINES, STAGES, 11);
    let levels = |written: &Written| -> Vec<String> {
        written.with_headers.iter().map(|(headers, _)| headers["level"].clone()).collect()
    };
    // For c2, INFO is optional.
    let [ours, theirs] = both.each_ref().map(levels);
    assert_eq!([&ours[..], &theirs], [["WARN", "INFO", "WARN"], ["WARN", "WARN", "INFO"]]);
    differs("multiplexing-order", ours, theirs);
    let written = equal(both);
    assert_eq!(written.texts.len(), 2);
    assert_eq!(written.with_headers.len(), 3);
    assert_eq!(written.records.len(), 6);
    let masked = &written.with_headers.iter().find(|(headers, _)| headers["level"] == "INFO").unwrap().1;
    assert_eq!(masked, "INFO [web-3] user=joe password=s$* tel=5$*");
}

#[test]
fn what_is_replicated_is_the_same_in_every_channel() {
    let lines: String = (0..1000).map(|number| format!("line {number} \t with\u{b7}\u{4e16}\n")).collect();
    let written = side_by_side(&lines, "a1.sources.r1.selector.optional = c2\n", 3000);
    assert_eq!(written.texts.len(), 1000);
}

/// Headers that are there before, kept or not; what the stages of the first test leave at its default or the other way.
const OTHER_STAGES: &str = "\
a1.sources.r1.interceptors = had had2 had3 kept taken addr named there when when2 only parts swap\n\
a1.sources.r1.interceptors.had.type = static\n\
a1.sources.r1.interceptors.had.key = host\n\
a1.sources.r1.interceptors.had.value = elsewhere\n\
a1.sources.r1.interceptors.had2.type = static\n\
a1.sources.r1.interceptors.had2.key = timestamp\n\
a1.sources.r1.interceptors.had2.value = 17\n\
a1.sources.r1.interceptors.had3.type = static\n\
a1.sources.r1.interceptors.kept.type = static\n\
a1.sources.r1.interceptors.kept.value = not this\n\
a1.sources.r1.interceptors.taken.type = static\n\
a1.sources.r1.interceptors.taken.key = host\n\
a1.sources.r1.interceptors.taken.value = nearby\n\
a1.sources.r1.interceptors.taken.preserveExisting = false\n\
a1.sources.r1.interceptors.addr.type = host\n\
a1.sources.r1.interceptors.addr.preserveExisting = true\n\
a1.sources.r1.interceptors.named.type = host\n\
a1.sources.r1.interceptors.named.useIP = false\n\
a1.sources.r1.interceptors.named.hostHeader = name\n\
a1.sources.r1.interceptors.there.type = host\n\
a1.sources.r1.interceptors.there.hostHeader = address\n\
a1.sources.r1.interceptors.when.type = timestamp\n\
a1.sources.r1.interceptors.when.preserveExisting = true\n\
a1.sources.r1.interceptors.when2.type = timestamp\n\
a1.sources.r1.interceptors.when2.headerName = when\n\
a1.sources.r1.interceptors.only.type = regex_filter\n\
a1.sources.r1.interceptors.only.regex = ERROR|INFO|WARN\n\
a1.sources.r1.interceptors.parts.type = regex_extractor\n\
a1.sources.r1.interceptors.parts.regex = ^(\\\\S+ \\\\S+),\\\\d+ (\\\\w+)\n\
a1.sources.r1.interceptors.parts.serializers = at level\n\
a1.sources.r1.interceptors.parts.serializers.at.type = org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer\n\
a1.sources.r1.interceptors.parts.serializers.at.name = millis\n\
a1.sources.r1.interceptors.parts.serializers.at.pattern = yyyy-MM-dd HH:mm:ss\n\
a1.sources.r1.interceptors.parts.serializers.level.name = level\n\
a1.sources.r1.interceptors.swap.type = search_replace\n\
a1.sources.r1.interceptors.swap.searchPattern = \\\\u00e9\n\
a1.sources.r1.interceptors.swap.replaceString = E\n\
a1.sources.r1.interceptors.swap.charset = ISO-8859-1\n";

#[test]
fn the_interceptors_do_what_flume_does_with_headers_that_are_there() {
    // Five lines have a level in capitals.
    let [mut ours, mut theirs] = both(LINES, OTHER_STAGES, 15);
    for written in [&mut ours, &mut theirs] {
        written.texts.sort();
        written.with_headers.sort();
        for (headers, _) in written.with_headers.iter_mut().chain(&mut written.records) {
            let when = headers.insert("when".to_owned(), "now".to_owned());
            assert!(when.unwrap().parse::<u64>().unwrap() > 1_500_000_000_000);
        }
    }
    assert_eq!(ours, theirs, "ours is left, Flume's is right");
    let headers = &ours.records[0].0;
    assert_eq!((&*headers["host"], &*headers["timestamp"], &*headers["key"]), ("nearby", "17", "value"));
}

/// Of each header that may be there before, one that is and one that is not.
const UUIDS: &str = "\
a1.sources.r1.interceptors = had had2 u1 u2 u3 u4\n\
a1.sources.r1.interceptors.had.type = static\n\
a1.sources.r1.interceptors.had.key = kept\n\
a1.sources.r1.interceptors.had.value = as it was\n\
a1.sources.r1.interceptors.had2.type = static\n\
a1.sources.r1.interceptors.had2.key = replaced\n\
a1.sources.r1.interceptors.had2.value = no more\n\
a1.sources.r1.interceptors.u1.type = org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder\n\
a1.sources.r1.interceptors.u2.type = org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder\n\
a1.sources.r1.interceptors.u2.headerName = kept\n\
a1.sources.r1.interceptors.u2.prefix = unused\n\
a1.sources.r1.interceptors.u3.type = org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder\n\
a1.sources.r1.interceptors.u3.headerName = replaced\n\
a1.sources.r1.interceptors.u3.preserveExisting = false\n\
a1.sources.r1.interceptors.u4.type = org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder\n\
a1.sources.r1.interceptors.u4.headerName = with prefix\n\
a1.sources.r1.interceptors.u4.prefix = p-\\u00fc_\n";

#[test]
fn uuids_have_the_form_that_flume_gives_them() {
    let [mut ours, mut theirs] = both("one\ntwo\n\nfour\n", UUIDS, 12);
    for (whose, written) in [("ours", &mut ours), ("Flume's", &mut theirs)] {
        let mut seen = BTreeSet::new();
        // Every channel gets the same events.
        for value in written.records.iter_mut().flat_map(|(headers, _)| headers.values_mut()) {
            let at = value.len().saturating_sub(36);
            let Some(id) = value.get(at..).filter(|end| is_random_uuid(end)) else { continue };
            assert!(seen.insert(id.to_owned()), "{whose}: {id} twice");
            value.replace_range(at.., "UUID");
        }
        assert_eq!(seen.len(), 12, "{whose}: three for each event");
    }
    assert_eq!(ours.records, theirs.records, "ours is left, Flume's is right");
    let headers = [("id", "UUID"), ("kept", "as it was"), ("replaced", "UUID"), ("with prefix", "p-\u{fc}_UUID")];
    assert_eq!(ours.records[3].0, headers.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
}

/// Whether this is a UUID of version 4 in small letters.
fn is_random_uuid(text: &str) -> bool {
    let fits = |(at, letter): (usize, char)| match at {
        8 | 13 | 18 | 23 => letter == '-',
        14 => letter == '4',
        19 => "89ab".contains(letter),
        _ => "0123456789abcdef".contains(letter),
    };
    text.len() == 36 && text.chars().enumerate().all(fits)
}
