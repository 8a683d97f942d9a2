//! Properties that are odd or wrong, read beside Flume's own reading: keys that nobody knows, variables, characters that are
//! not ASCII, values that cannot be used.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;

use millstream_testkit::peer::{ClassPath, Flume, Place, Version, differs, program};
use millstream_tests::beside::{Both, exact_agent};
use millstream_tests::config::Config;
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;

/// One event, whose header `v` has this value.
fn header(name: &'static str, value: &str) -> (&'static str, String) {
    let keys = "type = seq\ntotalEvents = 1\ninterceptors = i\ninterceptors.i.type = static\ninterceptors.i.key = v";
    (name, format!("{keys}\ninterceptors.i.value = {value}\n"))
}

/// Whether Flume's log warns of something with one of these words.
fn warns(log: &str, words: &[&str]) -> bool {
    let warned = |line: &&str| [" WARN ", " ERROR "].iter().any(|level| line.contains(level));
    log.lines().filter(warned).any(|line| words.iter().any(|word| line.contains(word)))
}

/// Keys that are variables, too.
const VARIABLES: &str = "v.a = 1\nv.b = 2\nv.c = 3\nv.d = 4\nv.e = 5\nv.f = 6\nv.g = 7\nv.h = 8\n";

#[test]
fn odd_properties_are_read_as_by_the_real_one_but_for_what_is_listed() {
    let mut both = Both::start(|place| {
        let sources = [
            header("same", "${env:HOME} ${date:yyyy} $${v} \\\\ a\\tb"),
            header("unknown", "${nope:x} ${env:NO_SUCH_THING}"),
            header("java", "${java:version}"),
            header("weeks", "${date:w}"),
            header("latin", "größe \u{1f600}"),
            header("variables", "${v.a} ${v.b} ${v.c} ${v.d} ${v.e} ${v.f} ${v.g} ${v.h}"),
            header("bad", "x"),
            ("log", "type = exec\ncommand = echo abcdefghijklmnopqrs\n".to_owned()),
        ];
        exact_agent(place, &sources)
            + VARIABLES
            + "a1.sources.runknown.batchsise = 2\na1.sources.rghost.type = seq\na1.channels.cbad.capacity = lots\n\
               a1.channels.cbad.transactionCapacity = 100\n\
               a1.sinks.klog.type = logger\na1.sinks.klog.maxBytesToLog = 18\n"
    });
    let [ours, theirs] = both.brought("same", 1, 1);
    assert_eq!(ours, theirs, "ours is left, Flume's is right");
    assert!(ours[0].starts_with(&format!("v={} 2", std::env::var("HOME").unwrap())), "{ours:?}");

    both.both_bring("unknown", &["v=${nope:x} ${env:NO_SUCH_THING} | 0"]);
    let words = ["batchsise", "rghost", "cbad.capacity", "nope", "NO_SUCH_THING"];
    let told = [
        "a1.sources.runknown.batchsise: unknown key, ignored; did you mean batchSize?",
        "a1.sources.rghost.type: not used: rghost is not in a1.sources; add it there",
        "a1.channels.cbad.capacity: replaces the value given at ",
        "a1.sources.runknown.interceptors.i.value: nothing is known as ${nope:x}, it stays as it is",
        "a1.sources.runknown.interceptors.i.value: nothing is known as ${env:NO_SUCH_THING}, it stays as it is",
    ];
    let ours = told.map(|told| both.ours.process().until(told).contains(" WARN "));
    let log = both.theirs.peer().log();
    let theirs = words.map(|word| warns(&log, &[word]));
    assert_eq!((ours, theirs), ([true; 5], [false; 5]));
    differs("unknown-keys", ours, theirs);

    let [ours, theirs] = both.brought("java", 1, 1);
    assert_eq!(ours, ["v=${java:version} | 0"]);
    assert!(theirs[0].starts_with("v=Java version 17."), "{theirs:?}");
    differs("java-lookup", ours, theirs);

    // The interceptor has a value of its own for want of another.
    let [ours, theirs] = both.brought("weeks", 1, 1);
    assert_eq!(ours, ["v=value | 0"]);
    let week = theirs[0].strip_prefix("v=").and_then(|text| text.strip_suffix(" | 0")).unwrap();
    assert!((1..=53).contains(&week.parse::<u32>().unwrap()), "{theirs:?}");
    differs("date-weeks", ours, theirs);
    both.ours.process().until("in the date pattern \"w\", got 'w'");

    let [ours, theirs] = both.brings("latin", &["v=größe \u{1f600} | 0"], &["v=grÃ¶Ã\u{9f}e ð\u{9f}\u{98}\u{80} | 0"]);
    differs("charset-of-properties", ours, theirs);

    // What the real one has read before it comes to the source's key.
    let unknown = "v=1 ${v.b} 3 ${v.d} ${v.e} ${v.f} ${v.g} ${v.h} | 0";
    let [ours, theirs] = both.brings("variables", &["v=1 2 3 4 5 6 7 8 | 0"], &[unknown]);
    differs("keys-as-variables", ours, theirs);

    let [ours, theirs] = both.brings("bad", &[], &["v=x | 0"]);
    differs("memory-bad-value", ours, theirs);
    both.ours.process().until("a1.channels.cbad.capacity: expected a whole number of at least 1, got \"lots\"");
    both.theirs.peer().until_log("Invalid capacity specified, initializing channel to default capacity of 100");

    const FIRST: &str = "body: 61 62 63 64 65 66 67 68 69 6A 6B 6C 6D 6E 6F 70 abcdefghijklmnop";
    both.theirs.peer().until_log(FIRST);
    both.ours.process().until(FIRST);
    let second = both.ours.process().until("00000010 ");
    assert_eq!(second, "00000010 71 72                                           qr }");
    let log = both.theirs.peer().log();
    let theirs = log.lines().find(|line| line.contains(FIRST)).unwrap();
    assert!(theirs.ends_with("abcdefghijklmnop }"), "{theirs}");
    differs("logger-max-bytes", second, theirs);
}

/// A path whose sink has this for a key.
fn path(place: &Place, more: &str) -> String {
    fs::create_dir_all(place.path("out")).unwrap();
    let sink = format!(
        "type = file_roll\nsink.directory = {}\nsink.rollInterval = 0\nchannel = c1",
        place.path("out").display()
    );
    let config = Config::default().source("r1", "type = seq\ntotalEvents = 2\nchannels = c1");
    config.memory_channel("c1", "").sink("k1", &sink).text() + more
}

fn written(place: &Place) -> String {
    fs::read_dir(place.path("out")).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn a_variable_that_cannot_be_replaced_refuses_all_of_the_real_one_and_its_own_key_here() {
    // The real one knows a variable once it has read it: the other one of these goes round.
    let round = "v.a = ${v.a}${v.b}\nv.b = ${v.a}${v.b}\na1.sinks.k1.sink.batchSize = ${v.a}\n";
    let cases = [
        (round, "Infinite loop in property interpolation of", "its variables refer to themselves: v.a → v.a"),
        (
            "a1.sinks.k1.sink.batchSize = ${date:fffQQb}\n",
            "Invalid date format: [fffQQb]",
            "the date pattern \"fffQQb\"",
        ),
    ];
    for (more, refused, told) in cases {
        let place = Place::default();
        let file = place.path("flume.properties");
        fs::write(&file, path(&place, more)).unwrap();
        let arguments = ["--name", "a1", "--no-reload-conf", "--conf-file", file.to_str().unwrap()];
        let mut flume = program("org.apache.flume.node.Application", ClassPath::Flume111, place.dir(), &arguments);
        flume.until_log(refused);
        flume.succeeds();
        let theirs = written(&place);

        let agent = OurAgent::start(|place| path(place, more));
        agent.process().until(told);
        until_true("ours has written", || written(agent.place()) == "0\n1\n");
        assert_eq!(theirs, "");
        differs("lookup-goes-round", written(agent.place()), theirs);
    }
}

#[test]
fn a_reporter_that_there_is_not_is_told_and_the_agent_works_as_the_real_one() {
    const REPORTER: &str = "-Dflume.monitoring.type=no.such.Reporter";
    let mut theirs = Flume::agent_with_options(Version::V1_11, REPORTER, |place| path(place, ""));
    let ours = OurAgent::start_with(&[REPORTER], |place| path(place, ""));
    theirs.peer().until_log("Error starting monitoring");
    assert_eq!(ours.process().lines_with("no.such.Reporter").len(), 1);
    for place in [ours.place(), theirs.place()] {
        until_true("it has written", || written(place) == "0\n1\n");
    }
}
