//! `avro-client` beside Flume's own program of that name: what it makes of lines and files, how it calls, how it ends.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use millstream_testkit::peer::{ClassPath, Place, differs, free_port, program};
use millstream_tests::Process;
use millstream_tests::beside::{exact_agent, told};
use millstream_tests::comes_true;
use millstream_tests::monitoring::{MONITORED, Monitored};
use millstream_tests::peers::OurAgent;
use millstream_tests::written::avro_events;

/// An agent with a source for each of both.
fn receiver() -> OurAgent {
    let agent = OurAgent::start_with(&MONITORED, |place| {
        let source = |name: &'static str, place: &mut Place| {
            (name, format!("type = avro\nbind = 127.0.0.1\nport = {}\n", place.port(name)))
        };
        let sources = [source("ours", place), source("theirs", place)];
        exact_agent(place, &sources)
    });
    agent.process().until("agent is ready");
    agent
}

/// Runs Flume's program; it ends by 0 whatever it says.
fn flume_sends(dir: &Path, arguments: &[&str]) {
    program("org.apache.flume.client.avro.AvroCLIClient", ClassPath::Flume111, dir, arguments).ends_with(0);
}

/// Lets both send `what` to the receiver, each what it finds in its directory.
fn both_send(receiver: &OurAgent, dirs: [&Path; 2], option: &str, what: &str) {
    let [ours, theirs] = ["ours", "theirs"].map(|name| receiver.port(name).to_string());
    let [our_file, their_file] = dirs.map(|dir| dir.join(what).display().to_string());
    let ended = Process::start(["avro-client", "-H", "127.0.0.1", "-p", &ours, option, &our_file]).ended();
    ended.expect_code(0);
    flume_sends(dirs[1], &["-H", "127.0.0.1", "-p", &theirs, option, &their_file]);
}

/// Waits until the receiver has these events, ours first; gives them.
#[track_caller]
fn brings(receiver: &OurAgent, ours: &[String], theirs: &[String]) -> [Vec<String>; 2] {
    let events = || {
        ["ours", "theirs"].map(|name| avro_events(&receiver.place().path(name)).iter().map(told).collect::<Vec<_>>())
    };
    comes_true(|| events() == [ours, theirs]);
    assert_eq!(events(), [ours, theirs], "left is brought, ours first; right is wanted");
    events()
}

#[test]
fn lines_of_a_file_arrive_as_from_the_real_one_but_for_bytes_that_are_no_text_and_in_fewer_calls() {
    let receiver = receiver();
    let place = Place::default();
    let lines =
        |odd: &[u8]| [b"one\r\n\n ", "größe \u{1f600}\n".as_bytes(), odd, b"\n4\n5\n6\n7\n8\n9\n10\nlast"].concat();
    fs::write(place.path("lines"), lines(b"b\xFFd")).unwrap();
    both_send(&receiver, [place.dir(); 2], "-F", "lines");
    let wanted = |odd: &str| {
        let first = ["one", "", " größe \u{1f600}", odd].map(str::to_owned);
        let rest = (4..=10).map(|number| number.to_string()).chain(["last".to_owned()]);
        first.into_iter().chain(rest).map(|line| format!("| {line}")).collect::<Vec<_>>()
    };
    let [ours, theirs] = brings(&receiver, &wanted("b\\xFFd"), &wanted("b\u{fffd}d"));
    differs("avro-client-bytes", ours, theirs);
    let [ours, theirs] =
        ["SOURCE.rours", "SOURCE.rtheirs"].map(|source| receiver.counter(source, "AppendBatchReceivedCount"));
    // Twelve lines, five to a call; the last one has no end.
    assert!(theirs == 3 && (1..3).contains(&ours), "{ours}, {theirs}");
    differs("avro-client-batch", ours, theirs);
}

/// Names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn files_of_a_directory_are_marked_and_long_lines_cut_as_is_listed() {
    let receiver = receiver();
    let places = [Place::default(), Place::default()];
    for place in &places {
        fs::create_dir(place.path("spool")).unwrap();
        fs::write(place.path("spool/lines"), format!("{}\nshort\n", "x".repeat(5000))).unwrap();
    }
    both_send(&receiver, places.each_ref().map(Place::dir), "--dirname", "spool");
    let long = |length: usize| format!("| {}", "x".repeat(length));
    let short = "| short".to_owned();
    let [ours, theirs] =
        brings(&receiver, &[long(5000), short.clone()], &[long(2048), long(2048), long(904), short.clone()]);
    differs("avro-client-lines", ours, theirs);
    let [ours, theirs] = places.each_ref().map(|place| names(&place.path("spool")));
    // What the real one remembers of files that it has not finished lies among them.
    assert_eq!(
        [&ours[..], &theirs[..]].map(|names| names.join(" ")),
        ["lines.COMPLETED", ".flumespool linesfileSuffix"]
    );
    differs("avro-client-suffix", ours, theirs);
}

#[test]
fn what_cannot_be_sent_ends_the_real_one_with_0_and_ours_with_74_or_64() {
    let place = Place::default();
    fs::write(place.path("lines"), "one\n").unwrap();
    let file = place.path("lines").display().to_string();
    let port = free_port().to_string();
    let nobody = ["-H", "127.0.0.1", "-p", &port, "-F", &file];
    let cases = [(&nobody[..], 74, "Connection refused"), (&["-F", &file], 64, "--host"), (&["-H", "x"], 64, "--port")];
    for (arguments, code, says) in cases {
        flume_sends(place.dir(), arguments);
        let ended = Process::start(["avro-client"].iter().chain(arguments)).ended();
        assert_eq!(ended.code, Some(code), "{:#?}", ended.log);
        assert!(ended.lines_with(says).count() > 0, "{arguments:?}: {:#?}", ended.log);
        differs("avro-client-exit-code", ended.code, Some(0));
    }
}
