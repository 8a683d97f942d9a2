//! Sources that read files, beside Flume's own: what becomes of a file that grows while it is read, and of what was read when
//! the agent is killed and its positions are lost.
//!
//! Nobody takes from the agents before the test says so: what is read then stands in their channels.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use millstream_testkit::peer::{Place, differs};
use millstream_tests::held::{Held, held_agent};
use millstream_tests::until_true;

fn spool(place: &Place) -> PathBuf {
    place.path("spool-of-files")
}

fn logs(place: &Place) -> PathBuf {
    place.path("logs")
}

/// Lines with these numbers.
fn lines(numbers: std::ops::RangeInclusive<u32>) -> String {
    numbers.map(|number| format!("{number}\n")).collect()
}

/// The events of that.
fn events(numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    numbers.map(|number| format!("| {number}")).collect()
}

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// What is in a directory and not hidden, sorted.
fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

fn texts(events: &[String]) -> Vec<&str> {
    events.iter().map(String::as_str).collect()
}

fn spooldir(place: &Place) -> String {
    fs::create_dir_all(spool(place)).unwrap();
    format!("type = spooldir\nspoolDir = {}\nbatchSize = 2\npollDelay = 50\nmaxBackoff = 300\n", spool(place).display())
}

#[test]
fn a_file_that_grows_while_it_is_read_is_read_on_and_stops_the_real_one() {
    const CHANNEL: &str = "type = memory\ncapacity = 3\ntransactionCapacity = 3\nkeep-alive = 0";
    let mut held = Held::start(|place| {
        let sources = [("spool", spooldir(place))];
        fs::write(spool(place).join("a"), lines(1..=6)).unwrap();
        held_agent(place, CHANNEL, &sources)
    });
    // It has stored two of them, has no room for the next two, and looks no further.
    held.until_offered("spool", 4);
    let spools = [held.both.ours.place(), held.both.theirs.place()].map(spool);
    spools.iter().for_each(|dir| append(&dir.join("a"), &lines(7..=7)));
    held.release(&["spool"]);
    held.both.theirs.peer().until_log("File has been modified since being read");
    spools.iter().for_each(|dir| append(&dir.join("b"), "next\n"));
    let wanted = ["a.COMPLETED", "b.COMPLETED"];
    until_true("ours has read both", || names(&spools[0]) == wanted);
    let all = events(1..=7);
    held.brings("spool", &[&texts(&all)[..], &["| next"]].concat(), &texts(&all));
    assert_eq!(names(&spools[1]), ["a", "b"]);
    differs("spooldir-grows", names(&spools[0]), names(&spools[1]));
}

#[test]
fn what_stands_in_a_channel_is_not_read_again_where_the_real_one_lost_its_positions() {
    const CHANNEL: &str = "type = file\ncapacity = 10\ntransactionCapacity = 10\nkeep-alive = 0\n\
                           checkpointDir = NAME-checkpoint\ndataDirs = NAME-data";
    let position_file = |place: &Place| place.path("positions.json");
    let mut held = Held::start(|place| {
        let (logs, positions) = (logs(place), position_file(place));
        fs::create_dir_all(&logs).unwrap();
        let (logs, positions) = (logs.display(), positions.display());
        let tail = format!(
            "type = TAILDIR\nfilegroups = f\nfilegroups.f = {logs}/.*\npositionFile = {positions}\nbatchSize = 10\n"
        );
        let sources = [("spool", spooldir(place)), ("tail", tail)];
        fs::write(spool(place).join("a"), lines(1..=20)).unwrap();
        fs::write(place.path("logs/a"), lines(1..=4)).unwrap();
        held_agent(place, CHANNEL, &sources)
    });
    // The channel is full in the middle of the file.
    held.until_held("spool", 10);
    held.until_held("tail", 4);
    held.kill();
    for place in [held.both.ours.place(), held.both.theirs.place()] {
        fs::remove_dir_all(spool(place).join(".flumespool")).unwrap();
        // Flume may not have written it yet.
        let _ = fs::remove_file(position_file(place));
    }
    held.start_again();
    held.release(&["spool", "tail"]);
    let places = [held.both.ours.place(), held.both.theirs.place()];
    until_true("both have read the file", || places.iter().all(|place| names(&spool(place)) == ["a.COMPLETED"]));
    for place in places {
        append(&spool(place).join("b"), "next\n");
        append(&logs(place).join("a"), "5\n");
    }
    let (once, before, next) = (events(1..=20), events(1..=10), ["| next".to_owned()]);
    let (ours, theirs) = ([&once[..], &next].concat(), [&before[..], &once, &next].concat());
    let [ours, theirs] = held.brings("spool", &texts(&ours), &texts(&theirs));
    differs("spooldir-positions", ours, theirs);
    let (ours, theirs) = (events(1..=5), [events(1..=4), events(1..=5)].concat());
    let [ours, theirs] = held.brings("tail", &texts(&ours), &texts(&theirs));
    differs("taildir-positions", &ours, &theirs);
    differs("taildir-position-file-removed", ours, theirs);
}
