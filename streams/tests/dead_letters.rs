//! Dead letters are kept until a person asks for them, whatever becomes of the commit log.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;

use common::{Table, context, named, totals};
use millstream_streams::offline::DeadLetters;
use millstream_streams::{InputQueue, Job};

fn start(dir: &Path) -> (InputQueue, Job) {
    let mut ssc = context(dir);
    ssc.commit_log_segment_bytes(4 << 10);
    let (queue, lines) = ssc.queue_stream("lines");
    let checked = lines.filter(|event| {
        assert!(!event.text().contains("poison"), "cannot read this");
        true
    });
    totals(&checked).save("table", Table::default());
    (queue, ssc.start().unwrap())
}

fn bodies(dir: &Path) -> Vec<String> {
    let letters = DeadLetters::read(dir).unwrap();
    letters.letters().iter().map(|letter| String::from_utf8(letter.body.clone()).unwrap()).collect()
}

#[test]
fn letters_outlive_the_segments_in_which_they_were_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, job) = start(dir.path());
    queue.push(named(&["poison 1", "poison 2"], 0)).unwrap().blocking_recv().unwrap();
    let first = dir.path().join("commit/0000000001.log");
    let mut sequence = 2;
    while first.exists() {
        let words: Vec<String> = (0..50).map(|word| format!("w{word}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        queue.push(named(&words, sequence)).unwrap().blocking_recv().unwrap();
        sequence += 50;
        assert!(sequence < 100_000, "the log is never shortened");
    }
    queue.push(named(&["poison 3"], sequence)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(bodies(dir.path()), ["poison 1", "poison 2", "poison 3"]);
    drop(job);
    let (queue, job) = start(dir.path());
    queue.push(named(&["poison 4"], sequence + 1)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(bodies(dir.path()), ["poison 1", "poison 2", "poison 3", "poison 4"], "over a restart, each once");
}

#[test]
fn a_letter_that_a_kill_left_in_the_log_alone_is_shown_and_copied_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, job) = start(dir.path());
    assert!(!dir.path().join("deadletters").exists(), "made without need");
    queue.push(named(&["poison", "a"], 0)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    drop(job);
    let copies = dir.path().join("deadletters");
    std::fs::remove_dir_all(&copies).unwrap();
    assert_eq!(bodies(dir.path()), ["poison"]);
    let (_queue, job) = start(dir.path());
    job.stop().unwrap();
    drop(job);
    assert!(copies.join("0000000001.log").exists());
    assert_eq!(bodies(dir.path()), ["poison"], "once, though it is in both");
}
