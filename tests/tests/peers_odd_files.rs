//! taildir beside Flume's own where files are odd: bytes that are no text, long and empty lines, wide characters on the edges
//! of buffers, files that get other names or other content while nobody looks.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::beside::{Both, exact_agent};
use millstream_tests::monitoring::{MONITORED, Monitored};
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;
use nix::sys::signal::Signal;

/// What a line may have here.
const LONGEST: usize = 200_000;

/// An agent with a taildir source for each name, over the files `*.log` in `logs-<name>`.
fn agent(place: &Place, names: &[&'static str]) -> String {
    let source = |name: &&'static str| {
        let (logs, positions) = (logs(place, name), place.path(&format!("{name}.json")));
        fs::create_dir_all(&logs).unwrap();
        let properties = format!(
            "type = TAILDIR\nfilegroups = f\nfilegroups.f = {}/.*\\\\.log\npositionFile = {}\nwritePosInterval = 100\n\
             maxLineLength = {LONGEST}\n",
            logs.display(),
            positions.display()
        );
        (*name, properties)
    };
    exact_agent(place, &names.iter().map(source).collect::<Vec<_>>())
}

fn logs(place: &Place, name: &str) -> PathBuf {
    place.path(&format!("logs-{name}"))
}

fn append(path: &Path, bytes: impl AsRef<[u8]>) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(bytes.as_ref()).unwrap();
}

/// Does the same to the files of both.
fn to_both(both: &Both, name: &str, what: impl Fn(&Path)) {
    [both.ours.place(), both.theirs.place()].iter().for_each(|place| what(&logs(place, name)));
}

#[test]
fn odd_lines_of_files_are_the_events_of_the_real_one_but_for_those_over_the_limit() {
    let both = Both::start(|place| {
        let text = agent(place, &["odd", "wide", "long", "longer"]);
        let put = |name: &str, file: &str, bytes: &[u8]| append(&logs(place, name).join(file), bytes);
        put("odd", "a.log", b"crlf\r\n\r\n\nb\xFFd \xC3\nin\rside\nnul \0 x\n\xEF\xBB\xBFmark\n");
        put("odd", "empty.log", b"");
        // Around the buffers of 8 kB in which Flume reads.
        let wide: String = (0..2000).map(|line| format!("{}ä€\u{1f600}{line}\n", "x".repeat(line % 7))).collect();
        put("wide", "a.log", wide.as_bytes());
        put("long", "a.log", format!("{}\n{}\nshort\n", "a".repeat(100_000), "ü".repeat(8191)).as_bytes());
        put("longer", "a.log", format!("{}\nnext\n", "x".repeat(LONGEST + 50_000)).as_bytes());
        text
    });
    let odd = ["| crlf", "| ", "| ", "| b\\xFFd \\xC3", "| in\\rside", "| nul \0 x", "| \u{feff}mark"];
    both.both_bring("odd", &odd);
    let [ours, theirs] = both.brought("wide", 2000, 2000);
    assert_eq!(ours, theirs);
    assert_eq!(ours[1999], format!("| {}ä€\u{1f600}1999", "x".repeat(1999 % 7)));
    let long = [format!("| {}", "a".repeat(100_000)), format!("| {}", "ü".repeat(8191)), "| short".to_owned()];
    both.both_bring("long", &long.each_ref().map(String::as_str));
    let [ours, theirs] =
        both.brought("longer", 3, 2).map(|events| events.iter().map(|event| event.len() - 2).collect());
    let (ours, theirs): (Vec<usize>, Vec<usize>) = (ours, theirs);
    assert_eq!([&ours[..], &theirs], [&[LONGEST, 50_000, 4][..], &[LONGEST + 50_000, 4]]);
    differs("taildir-long-line", ours, theirs);
}

/// What becomes of the file of each source while nobody looks.
const CHANGED: [&str; 5] = ["renamed", "left", "over", "cut", "zeros"];
const ONE: &str = "| one of them";
const LAST: &str = "| last";

#[test]
fn files_that_change_while_nobody_looks_differ_only_where_it_is_listed() {
    let mut both = Both::start(|place| {
        let text = agent(place, &CHANGED);
        for name in CHANGED {
            append(&logs(place, name).join("a.log"), "one of them\n");
        }
        text
    });
    for name in CHANGED {
        both.both_bring(name, &[ONE]);
    }
    // A reader that noticed the truncation is at the start.
    to_both(&both, "zeros", |logs| File::options().write(true).open(logs.join("a.log")).unwrap().set_len(0).unwrap());
    until_true("both have noticed", || {
        let at_start = |place: &Place| {
            fs::read_to_string(place.path("zeros.json")).is_ok_and(|text| text.replace(' ', "").contains("\"pos\":0"))
        };
        at_start(both.ours.place()) && at_start(both.theirs.place())
    });

    // Nobody looks.
    both.ours.process().signal(Signal::SIGSTOP);
    both.theirs.peer().freeze();
    #[allow(clippy::disallowed_methods, reason = "as whoever rotates logs does it")]
    to_both(&both, "renamed", |logs| fs::rename(logs.join("a.log"), logs.join("b.log")).unwrap());
    #[allow(clippy::disallowed_methods, reason = "as whoever rotates logs does it")]
    to_both(&both, "left", |logs| {
        append(&logs.join("a.log"), "unread\n");
        fs::rename(logs.join("a.log"), logs.join("a.log.1")).unwrap();
        append(&logs.join("a.log"), "of the next file\n");
    });
    to_both(&both, "over", |logs| fs::write(logs.join("a.log"), "another text\nof two lines\n").unwrap());
    to_both(&both, "cut", |logs| {
        append(&logs.join("a.log"), "never read\n");
        fs::write(logs.join("a.log"), "short\n").unwrap();
    });
    to_both(&both, "zeros", |logs| {
        let mut file = File::options().write(true).open(logs.join("a.log")).unwrap();
        file.seek(SeekFrom::Start(12)).unwrap();
        file.write_all(b"behind it\n").unwrap();
    });
    both.ours.process().signal(Signal::SIGCONT);
    both.theirs.peer().thaw();

    for name in CHANGED {
        to_both(&both, name, |logs| append(&logs.join("last.log"), "last\n"));
    }

    // Files are read in no order that would matter.
    let brings = |name: &str, ours: &[&str], theirs: &[&str]| {
        let mut brought = both.brought(name, ours.len(), theirs.len());
        brought.iter_mut().for_each(|events| events.sort());
        assert_eq!(brought, [ours, theirs], "{name}: left is brought, ours first; right is wanted");
        brought
    };
    let [ours, theirs] = brings("renamed", &[LAST, ONE], &[LAST, ONE, ONE]);
    differs("taildir-identity", ours, theirs);
    const NEXT: &str = "| of the next file";
    let [ours, theirs] = brings("left", &[LAST, NEXT, ONE, "| unread"], &[LAST, NEXT, ONE]);
    differs("taildir-identity", ours, theirs);
    const OVER: &str = "| of two lines";
    let [ours, theirs] = brings("over", &["| another text", LAST, OVER, ONE], &["| ", LAST, OVER, ONE]);
    differs("taildir-written-over", ours, theirs);
    brings("cut", &[LAST, ONE, "| short"], &[LAST, ONE, "| short"]);
    let zeros = format!("| {}behind it", "\0".repeat(ONE.len() - 1));
    let [ours, theirs] = brings("zeros", &["| behind it", LAST, ONE], &[&zeros, LAST, ONE]);
    differs("taildir-zeros", ours, theirs);
}

#[test]
fn what_a_truncation_took_away_is_counted_where_the_real_one_does_not_tell() {
    let properties = |place: &mut Place| {
        let text = agent(place, &["cut"]);
        append(&logs(place, "cut").join("a.log"), "one of them\nunfinished");
        text
    };
    let theirs = Flume::monitored_agent(Version::V1_11, properties);
    let both = Both { theirs, ours: OurAgent::start_with(&MONITORED, properties) };
    both.both_bring("cut", &[ONE]);
    to_both(&both, "cut", |logs| fs::write(logs.join("a.log"), "short\n").unwrap());
    both.both_bring("cut", &[ONE, "| short"]);
    both.ours.process().until("10 bytes are lost");
    let failures =
        [&both.ours as &dyn Monitored, &both.theirs].map(|agent| agent.counter("SOURCE.rcut", "EventReadFail"));
    assert_eq!(failures, [1, 0]);
    differs("taildir-truncation", failures[0], failures[1]);
}
