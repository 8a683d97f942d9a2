//! What a file may hold.

use std::fs;
use std::io::Write;

use millstream_tests::demo::{Counts, different};
use millstream_tests::{Demo, Process};

use crate::place::{Place, assert_counted, assert_says, bodies, words_of};

#[test]
fn invalid_utf_8_is_replaced_by_the_demo_and_the_rest_is_counted() {
    let demo = Demo::default();
    demo.spool("mixed", b"good \xFFbad\xE2\x82 good\nlast\n");
    demo.spool("good", "good words\n");
    let mut wanted = words_of(&demo, &["good"]);
    for (word, count) in [("good", 2), ("\u{FFFD}bad\u{FFFD}", 1), ("last", 1)] {
        *wanted.entry(word.to_owned()).or_default() += count;
    }
    assert_counted(&demo, &wanted);
    assert!(demo.path("spool/mixed.COMPLETED").exists());
}

#[test]
fn invalid_utf_8_sets_a_file_aside_where_the_policy_is_to_fail() {
    let place = Place::new();
    place.spool("bad", b"fine\nb\xFFd\nnever\n");
    let agent = place.agent(&["sources.r1.decodeErrorPolicy=FAIL"]);
    let told = agent.until("file set aside");
    assert_says(&told, &["/spool/bad: byte 0xff at offset 6 is not valid in inputCharset"]);
    assert_says(
        &told,
        &["its first 5 bytes were delivered", "/spool/bad.REJECTED", "put what is missing, and only that"],
    );
    place.spool("good", "good\n");
    agent.until(" good }");
    let ended = agent.stop();
    ended.expect_code(0);
    assert_eq!(bodies(&ended), ["fine", "good"]);
    assert_eq!(fs::read(place.path("spool/bad.REJECTED")).unwrap(), b"fine\nb\xFFd\nnever\n");
}

#[test]
fn a_line_over_the_limit_is_cut_into_events_as_in_flume() {
    let place = Place::new();
    place.spool("long", "abcdefghijKLM\nabcde\nx\n");
    let agent = place.agent(&["sources.r1.deserializer.maxLineLength=5"]);
    agent.until(" x }");
    let ended = agent.stop();
    ended.expect_code(0);
    // A piece that reaches the limit is followed by what is left of the line, be it nothing.
    assert_eq!(bodies(&ended), ["abcde", "fghij", "KLM", "abcde", "body:", "x"]);
}

#[test]
fn a_line_over_the_limit_of_the_demo_is_cut_and_all_of_it_is_counted() {
    const LIMIT: usize = 1 << 20;
    let demo = Demo::default();
    demo.spool("long", format!("{}{}\nshort\n", "a".repeat(LIMIT), "b".repeat(10)));
    let wanted: Counts = [("a".repeat(LIMIT), 1), ("b".repeat(10), 1), ("short".to_owned(), 1)].into();
    assert_counted(&demo, &wanted);
    assert_eq!(demo.until_idle().ledger("in"), 3);
}

/// Most memory that the process ever had, in bytes.
fn most_memory(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_hundred_megabytes_without_a_newline_are_counted_in_bounded_memory() {
    const BYTES: usize = 100 << 20;
    let demo = Demo::default();
    // Words of 64 bytes: the limit of a line never falls into one.
    let chunk: String = (0..1 << 14).map(|number| format!("{:0>63} ", number % 100)).collect();
    assert_eq!((chunk.len(), chunk.contains('\n')), (1 << 20, false));
    let mut file = fs::File::create(demo.path("spool/.huge")).unwrap();
    (0..BYTES >> 20).for_each(|_| file.write_all(chunk.as_bytes()).unwrap());
    drop(file);
    fs::hard_link(demo.path("spool/.huge"), demo.path("spool/huge")).unwrap();
    let process = Process::spawn(demo.command(&[]));
    process.until_true("completed", || demo.path("spool/huge.COMPLETED").exists());
    let wanted = demo.oracle();
    process.until_true("counted", || different(&wanted, &demo.table()).is_none());
    let most = most_memory(&process);
    process.stop().expect_code(0);
    println!("most memory: {} MB", most >> 20);
    // What a job holds at once, and the channel until it is acknowledged; if the line were held too, it would be more.
    assert!(most < 300 << 20, "{most} bytes");
    assert_counted(&demo, &wanted);
}
