//! Properties that are odd or wrong, read beside Flume's own reading: keys that nobody knows, variables, characters that are
//! not ASCII, values that cannot be used, groups of sinks that are not whole.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use millstream_testkit::peer::{ClassPath, Place, differs, program};
use millstream_tests::Process;
use millstream_tests::beside::{Both, exact_agent};
use millstream_tests::config::Config;
use millstream_tests::written::avro_events;

/// One event, whose header `v` has this value.
fn header(name: &'static str, value: &str) -> (&'static str, String) {
    let keys = "type = seq\ntotalEvents = 1\ninterceptors = i\ninterceptors.i.type = static\ninterceptors.i.key = v";
    (name, format!("{keys}\ninterceptors.i.value = {value}\n"))
}

/// Of what our log says, and of what Flume's warns, the lines in which one of these stands.
fn tells(both: &mut Both, words: &[&str]) -> [Vec<String>; 2] {
    let has_word = |line: &&str| words.iter().any(|word| line.contains(word));
    let theirs = both.theirs.peer().log();
    let warned = theirs.lines().filter(|line| [" WARN ", " ERROR "].iter().any(|level| line.contains(level)));
    let ours = both.ours.process().lines_with(" WARN ");
    let ours = ours.iter().map(String::as_str).filter(has_word).map(|line| {
        // Behind the file and the line.
        line.splitn(2, "flume.properties:").nth(1).and_then(|line| line.split_once(": ")).unwrap().1.to_owned()
    });
    [ours.collect(), warned.filter(has_word).map(str::to_owned).collect()]
}

#[test]
fn odd_properties_are_read_as_by_the_real_one_but_for_what_is_listed() {
    let mut both = Both::start(|place| {
        let sources = [
            header("same", "${env:HOME} ${sys:no.such} ${date:yyyy} ${upper:x} $${v} é \\\\ a\\tb"),
            header("unknown", "${nope:x} ${env:NO_SUCH_THING}"),
            header("java", "${java:version}"),
            header("weeks", "${date:w}"),
            header("latin", "größe \u{1f600}"),
            header("early", "${a.one}"),
            header("late", "${h.one}"),
            header("bad", "x"),
            ("log", "type = exec\ncommand = echo abcdefghijklmnopqrs\n".to_owned()),
        ];
        exact_agent(place, &sources)
            + "a.one = 1\nh.one = 1\na1.sources.runknown.batchsise = 2\na1.sources.rghost.type = seq\n\
               a1.channels.cbad.capacity = lots\na1.sinks.klog.type = logger\na1.sinks.klog.maxBytesToLog = 18\n"
    });
    both.theirs.peer().until_log("Event: ");
    let [ours, theirs] = both.brings("latin", &["v=größe \u{1f600} | 0"], &["v=grÃ¶Ã\u{9f}e ð\u{9f}\u{98}\u{80} | 0"]);
    differs("charset-of-properties", ours, theirs);
}
