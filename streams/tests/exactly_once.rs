//! What a job counted is counted once, over restarts, repeats and cuts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{Table, context, counts, named, totals, until, word_count};
use millstream_core::Error;
use millstream_streams::StreamingContext;
use millstream_testkit::{Dice, FakeDisk};

#[test]
fn totals_go_on_after_a_restart_and_batch_numbers_never_begin_again() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::default();
    let (queue, job) = word_count(dir.path(), &table);
    queue.push(named(&["a b a", "b"], 0)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(table.rows(), counts(&[("a", 2), ("b", 2)]));
    let before = table.cursor();
    drop(job);

    let (queue, job) = word_count(dir.path(), &table);
    queue.push(named(&["a"], 2)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(table.rows(), counts(&[("a", 3), ("b", 2)]));
    assert!(table.cursor() > before);
    assert_eq!(job.committed(&[]).counted, BTreeMap::from([(7, 3)]));
}

#[test]
fn an_event_that_comes_again_is_trimmed_by_its_name_before_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::default();
    let (queue, job) = word_count(dir.path(), &table);
    let first = queue.push(named(&["a", "b"], 0)).unwrap();
    let again = queue.push(named(&["b", "c"], 1)).unwrap();
    first.blocking_recv().unwrap();
    again.blocking_recv().unwrap();
    job.stop().unwrap();
    drop(job);
    let (queue, job) = word_count(dir.path(), &table);
    queue.push(named(&["a", "b", "c", "d"], 0)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(table.rows(), counts(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]));
    assert_eq!(job.committed(&[]).redelivered, 4);
}

#[test]
fn an_event_that_comes_again_on_another_stream_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::default();
    let ssc = context(dir.path());
    let (left, left_lines) = ssc.queue_stream("left");
    let (right, right_lines) = ssc.queue_stream("right");
    totals(&left_lines).save("table", table.clone());
    right_lines.count().save("others", Table::default());
    // The second output gets one column, which the table refuses: so it must get nothing at all.
    drop(right_lines);
    let job = ssc.start().unwrap();
    left.push(named(&["a"], 0)).unwrap().blocking_recv().unwrap();
    right.push(named(&["a"], 0)).unwrap().blocking_recv().unwrap();
    assert_eq!(job.committed(&[]).redelivered, 1);
}

#[test]
fn a_deleted_output_is_filled_again_from_the_whole_state() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::default();
    for (line, first) in [("a b", 0), ("b", 1)] {
        let (queue, job) = word_count(dir.path(), &table);
        queue.push(named(&[line], first)).unwrap().blocking_recv().unwrap();
        job.stop().unwrap();
    }
    table.delete();
    let (queue, job) = word_count(dir.path(), &table);
    queue.push(named(&["c"], 2)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(table.rows(), counts(&[("a", 1), ("b", 2), ("c", 1)]));
}

#[test]
fn a_deleted_commit_log_is_refused_while_the_output_stays_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::default();
    let (queue, job) = word_count(dir.path(), &table);
    queue.push(named(&["a"], 0)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    drop(job);
    std::fs::remove_dir_all(dir.path().join("commit")).unwrap();
    for _ in 0..2 {
        let ssc = context(dir.path());
        let (_, lines) = ssc.queue_stream("lines");
        totals(&lines).save("table", table.clone());
        let error = ssc.start().unwrap_err().to_string();
        assert!(error.contains("restore that directory, or move the results away"), "{error}");
    }
    assert!(!dir.path().join("commit").exists());
}

#[test]
fn an_output_of_another_log_is_refused_with_the_remedy() {
    let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (table, others) = (Table::default(), Table::default());
    for (dir, table) in [(&ours, &table), (&other, &others)] {
        let (queue, job) = word_count(dir.path(), table);
        queue.push(named(&["a"], 0)).unwrap().blocking_recv().unwrap();
        job.stop().unwrap();
    }
    let ssc = context(ours.path());
    let (_, lines) = ssc.queue_stream("lines");
    totals(&lines).save("table", others);
    let error = ssc.start().unwrap_err();
    assert!(matches!(&error, Error::Mismatch { problem, .. } if problem.contains("another place")), "{error}");
}

#[test]
fn a_state_of_a_changed_type_is_refused_with_the_way_to_migrate() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::default();
    let (queue, job) = word_count(dir.path(), &table);
    queue.push(named(&["a"], 0)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    drop(job);
    let ssc = context(dir.path());
    let (_, lines) = ssc.queue_stream("lines");
    let ones = lines.flat_map(|event| event.words()).map(|word| (word, 1_i64));
    let totals = ones.update_state_by_key("totals", |new, _: Option<String>| Some(format!("{}", new.len())));
    totals.save("table", table);
    let error = ssc.start().unwrap_err().to_string();
    for part in ["totals", "i64", "String", "new uid"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
}

#[test]
fn two_jobs_on_one_directory_and_a_job_of_another_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_queue, job) = word_count(dir.path(), &Table::default());
    let start = |name: &str| {
        let mut ssc = StreamingContext::new(name, Duration::from_secs(1));
        ssc.checkpoint(dir.path());
        let (_, lines) = ssc.queue_stream("lines");
        totals(&lines).save("table", Table::default());
        ssc.start()
    };
    assert!(matches!(start("word-count"), Err(Error::InUse { .. })));
    job.stop().unwrap();
    drop(job);
    let error = start("other").unwrap_err().to_string();
    assert!(error.contains("belongs to job \"word-count\", this is job \"other\""), "{error}");
}

/// A life of a job on a disk that can be cut off.
fn live(
    dir: &std::path::Path,
    disk: &FakeDisk,
    tables: [&Table; 2],
) -> Option<(millstream_streams::InputQueue, millstream_streams::Job)> {
    let mut ssc = context(dir);
    ssc.disk(Arc::new(disk.clone())).commit_log_segment_bytes(4 << 10);
    let (queue, lines) = ssc.queue_stream("lines");
    let totals = totals(&lines);
    totals.save("one", tables[0].clone());
    totals.save("two", tables[1].clone());
    ssc.start().ok().map(|job| (queue, job))
}

#[test]
fn whatever_is_cut_off_every_event_is_counted_once_in_both_outputs() {
    for seed in 1..=40 {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = FakeDisk::new();
        let (one, two) = (Table::default(), Table::default());
        let mut dice = Dice::new(seed);
        let mut expected: BTreeMap<String, i64> = BTreeMap::new();
        // Every event until its batch was acknowledged, as a channel keeps it.
        let mut unacknowledged: BTreeMap<u64, String> = BTreeMap::new();
        let mut next = 0;
        for life in 0..6 {
            let Some((queue, job)) = live(dir.path(), &disk, [&one, &two]) else {
                panic!("seed {seed}: life {life} did not start")
            };
            let mut open = Vec::new();
            for (sequence, line) in &unacknowledged {
                open.push((*sequence, queue.push(named(&[line.as_str()], *sequence)).unwrap()));
            }
            for _ in 0..dice.below(20) {
                let line = format!("w{} w{} x", dice.below(30), dice.below(30));
                line.split(' ').for_each(|word| *expected.entry(word.to_owned()).or_default() += 1);
                open.push((next, queue.push(named(&[line.as_str()], next)).unwrap()));
                unacknowledged.insert(next, line);
                next += 1;
                if dice.chance(30) {
                    let (sequence, verdict) = open.swap_remove(0);
                    verdict.blocking_recv().unwrap();
                    unacknowledged.remove(&sequence);
                }
            }
            let cut = if dice.chance(50) { disk.kill() } else { disk.power_cut(seed * 100 + life) };
            // The old life can write nothing any more; what it acknowledged before may have been heard or not.
            drop(job);
            for (sequence, verdict) in open {
                if verdict.blocking_recv().is_ok() && dice.chance(80) {
                    unacknowledged.remove(&sequence);
                }
            }
            disk = cut;
        }
        let (queue, job) = live(dir.path(), &disk, [&one, &two]).expect("starts");
        for (sequence, line) in &unacknowledged {
            queue.push(named(&[line.as_str()], *sequence)).unwrap().blocking_recv().unwrap();
        }
        job.stop().unwrap();
        assert_eq!(one.rows(), expected, "seed {seed}");
        assert_eq!(two.rows(), expected, "seed {seed}");
        assert_eq!(job.committed(&[]).counted.values().sum::<u64>(), next, "seed {seed}");
    }
}

#[test]
fn a_long_life_keeps_a_short_log() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FakeDisk::new();
    let tables = [&Table::default(), &Table::default()];
    let (queue, job) = live(dir.path(), &disk, tables).unwrap();
    for batch in 0..500_u64 {
        let line = format!("w{} w{}", batch % 50, batch % 7);
        queue.push(named(&[line.as_str()], batch)).unwrap().blocking_recv().unwrap();
    }
    until("applied", || job.is_idle());
    let used = disk.used();
    assert!(used < 100 << 10, "the log is {used} bytes after 500 batches over 57 keys");
    job.stop().unwrap();
    drop(job);
    let (_queue, job) = live(dir.path(), &disk, tables).unwrap();
    job.stop().unwrap();
    assert_eq!(tables[0].rows().values().sum::<i64>(), 1000);
}
