//! What users of the journal see while nothing, or one thing, fails.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use common::{append, append_when_told, bad_files, dir, file, open, open_in, options, read_all, store, text, texts};
use millstream_core::Error;
use millstream_io::{Disk, SystemDisk};
use millstream_journal::{Durability, Journal, Location};
use millstream_testkit::{Call, FakeDisk};

const START: Location = Location { segment: 0, offset: 0 };

#[test]
fn what_was_stored_is_recovered_at_the_place_that_was_told() {
    let disk = FakeDisk::new();
    let (journal, recovered) = open(&disk);
    assert!(recovered.fresh);
    assert_eq!(recovered.snapshot, "first");
    let places: Vec<Location> = ["a", "", "a longer one"].iter().map(|text| store(&journal, text)).collect();
    let log_id = recovered.log_id;
    journal.close().unwrap();
    let (journal, recovered) = open(&disk);
    assert!(!recovered.fresh);
    assert_eq!((recovered.log_id, journal.log_id()), (log_id, log_id));
    assert_eq!(texts(&recovered), ["a", "", "a longer one"]);
    assert_eq!(recovered.records.iter().map(|record| record.location).collect::<Vec<_>>(), places);
    assert!(recovered.records.iter().all(|record| record.kind == 7));
    assert_eq!(read_all(&journal, places[1]).len(), 2);
    let next = store(&journal, "after");
    assert!(next > places[2]);
}

#[test]
fn parts_are_one_record_and_reach_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let open = || Journal::open(Arc::new(SystemDisk), &path, options(), Bytes::new()).unwrap();
    let (journal, _) = open();
    let parts: Vec<Bytes> = (0..5000_u32).map(|i| Bytes::from(format!("{i},"))).collect();
    let whole = parts.concat();
    let (sender, receiver) = mpsc::channel();
    let done = move |outcome: millstream_core::Result<()>| sender.send(outcome).unwrap();
    journal.append(1, parts, Durability::Synced, Box::new(done)).unwrap();
    receiver.recv().unwrap().unwrap();
    journal.roll(Bytes::from_static(b"second")).unwrap();
    store(&journal, "x");
    journal.close().unwrap();
    let (journal, recovered) = open();
    assert_eq!(recovered.snapshot, "second");
    assert_eq!(texts(&recovered), ["x"]);
    let first = journal.reader(START).next().unwrap().unwrap();
    assert_eq!((first.1, &first.2[..]), (1, &whole[..]));
}

#[test]
fn done_is_called_in_append_order() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    let (sender, receiver) = mpsc::channel();
    for i in 0..500_u32 {
        let sender = sender.clone();
        let durability = if i % 3 == 0 { Durability::Synced } else { Durability::Lazy };
        let done = move |outcome: millstream_core::Result<()>| sender.send((i, outcome.is_ok())).unwrap();
        journal.append(0, vec![Bytes::from_static(b"x")], durability, Box::new(done)).unwrap();
        if i % 100 == 50 {
            journal.roll(Bytes::from_static(b"s")).unwrap();
        }
    }
    journal.close().unwrap();
    drop(sender);
    let told: Vec<(u32, bool)> = receiver.iter().collect();
    assert_eq!(told, (0..500).map(|i| (i, true)).collect::<Vec<_>>());
    assert_eq!(journal.stats().appends, 500);
}

#[test]
fn a_roll_starts_with_its_snapshot_and_opening_reads_only_behind_it() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    store(&journal, "old");
    journal.roll(Bytes::from_static(b"knows old")).unwrap();
    let new = store(&journal, "new");
    assert_eq!(journal.segments(), [1, 2]);
    assert_eq!(new.segment, 2);
    assert_eq!(journal.snapshot_of(1).unwrap().unwrap(), "first");
    assert_eq!(journal.snapshot_of(2).unwrap().unwrap(), "knows old");
    assert_eq!(journal.snapshot_of(3).unwrap(), None);
    journal.close().unwrap();
    let (journal, recovered) = open(&disk);
    assert_eq!(recovered.snapshot, "knows old");
    assert_eq!(texts(&recovered), ["new"]);
    let all: Vec<String> = read_all(&journal, START).into_iter().map(|(_, text)| text).collect();
    assert_eq!(all, ["old", "new"]);
}

#[test]
fn deletion_removes_old_segments_and_never_the_newest() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    for snapshot in ["s2", "s3"] {
        store(&journal, "x");
        journal.roll(Bytes::from_static(snapshot.as_bytes())).unwrap();
    }
    let mut behind = journal.reader(START);
    assert_eq!(behind.next().unwrap().unwrap().0.segment, 1);
    journal.delete_before(2).unwrap();
    journal.sync().wait().unwrap();
    assert_eq!(journal.segments(), [2, 3]);
    assert_eq!(behind.next().unwrap().unwrap().0.segment, 2, "a reader goes on behind what was deleted");
    journal.delete_before(100).unwrap();
    journal.sync().wait().unwrap();
    assert_eq!(journal.segments(), [3]);
    store(&journal, "y");
    let disk = disk.power_cut(1);
    let (journal, recovered) = open(&disk);
    assert_eq!((journal.segments(), texts(&recovered)), (vec![3], vec!["y".to_owned()]));
}

#[test]
fn a_full_segment_asks_for_a_roll() {
    let disk = FakeDisk::new();
    let small = millstream_journal::Options { segment_bytes: 400, ..options() };
    let (journal, _) = Journal::open(Arc::new(disk), &dir(), small, Bytes::new()).unwrap();
    let (first, _done) = append(&journal, &"x".repeat(100), Durability::Lazy).unwrap();
    let (second, _done) = append(&journal, &"x".repeat(100), Durability::Lazy).unwrap();
    assert!(!first.wants_roll);
    assert!(second.wants_roll);
    journal.roll(Bytes::new()).unwrap();
    let (third, _done) = append(&journal, "x", Durability::Lazy).unwrap();
    assert!(!third.wants_roll);
}

#[test]
fn too_long_a_record_is_rejected_and_nothing_else_is() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    let error = append(&journal, &"x".repeat((1 << 20) + 1), Durability::Synced).unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "{error}");
    store(&journal, &"x".repeat(1 << 20));
}

#[test]
fn a_lazy_record_survives_the_end_of_the_process_and_a_sync_makes_it_durable() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    append(&journal, "lazy", Durability::Lazy).unwrap().1.wait().unwrap();
    let syncs = disk.syncs();
    let disk = disk.kill();
    drop(journal);
    let (journal, recovered) = open(&disk);
    assert_eq!(texts(&recovered), ["lazy"]);
    assert!(disk.syncs() > syncs, "what is served is durable");
    append(&journal, "synced later", Durability::Lazy).unwrap().1.wait().unwrap();
    journal.sync().wait().unwrap();
    let (_journal, recovered) = open(&disk.power_cut(3));
    assert_eq!(texts(&recovered), ["lazy", "synced later"]);
}

#[test]
fn a_lazy_record_is_synced_within_its_second_without_further_calls() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    let begun = std::time::Instant::now();
    append(&journal, "lazy", Durability::Lazy).unwrap().1.wait().unwrap();
    while journal.stats().fsyncs == 0 {
        assert!(begun.elapsed().as_secs() < 20, "never synced");
        std::thread::yield_now();
    }
    assert!(begun.elapsed().as_millis() >= 900, "not with every lazy record");
}

#[test]
fn one_sync_serves_many_appends() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    // Holds the writing thread, so that the appends behind it gather.
    let (hold, held) = mpsc::channel::<()>();
    hold_writer(&journal, held);
    let waiting: Vec<_> = (0..100).map(|i| append(&journal, &i.to_string(), Durability::Synced).unwrap().1).collect();
    drop(hold);
    waiting.into_iter().for_each(|done| done.wait().unwrap());
    assert!(journal.stats().fsyncs <= 3, "{:?}", journal.stats());
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_a_roll() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    store(&journal, "kept");
    disk.fail(Call::Sync, 0, 1);
    assert!(append(&journal, "lost", Durability::Synced).unwrap().1.wait().is_err());
    roll_when_told(&journal);
    assert_eq!(store(&journal, "later").segment, 2);
    assert!(!journal.needs_roll());
    let all: Vec<String> = read_all(&journal, START).into_iter().map(|(_, text)| text).collect();
    assert_eq!(all, ["kept", "later"]);
    let (_journal, recovered) = open(&disk.power_cut(0));
    assert_eq!((recovered.snapshot, recovered.records.len()), (Bytes::from_static(b"kept"), 1));
}

/// Keeps the writing thread in a `done` until the other end of `held` is dropped: what is enqueued meanwhile gathers.
fn hold_writer(journal: &Journal, held: mpsc::Receiver<()>) {
    let (entered, inside) = mpsc::channel();
    let wait = move |_| {
        entered.send(()).unwrap();
        let _ = held.recv();
    };
    journal.append(0, vec![], Durability::Synced, Box::new(wait)).unwrap();
    inside.recv().unwrap();
}

/// Rolls once the appends that failed were told; before, the journal refuses.
fn roll_when_told(journal: &Journal) {
    while append(journal, "refused", Durability::Synced).is_ok() {
        std::thread::yield_now();
    }
    assert!(journal.needs_roll());
    while journal.roll(Bytes::from_static(b"kept")).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn a_segment_given_up_is_not_read_behind_its_end_even_when_it_could_not_be_cut() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    store(&journal, "kept");
    disk.fail(Call::Sync, 0, 1);
    disk.fail(Call::SetLen, 0, 1);
    assert!(append(&journal, "lost", Durability::Synced).unwrap().1.wait().is_err());
    roll_when_told(&journal);
    store(&journal, "later");
    let disk = disk.kill();
    drop(journal);
    assert!(disk.content(&file(1)).unwrap().windows(4).any(|bytes| bytes == b"lost"));
    let (journal, _) = open(&disk);
    let all: Vec<String> = read_all(&journal, START).into_iter().map(|(_, text)| text).collect();
    assert_eq!(all, ["kept", "later"]);
    assert_eq!(bad_files(&disk), 0);
}

#[test]
fn a_full_disk_refuses_appends_keeps_what_is_there_and_goes_on_by_itself() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    store(&journal, "kept");
    disk.set_capacity(Some(disk.used() + 40));
    // The free space was looked at a moment ago, so this one meets the full disk in the write.
    let error = append(&journal, &"x".repeat(100), Durability::Synced).unwrap().1.wait().unwrap_err();
    assert!(matches!(error, Error::DiskFull { wanted_bytes: 128, free_bytes: 40, .. }), "{error}");
    let error = append_when_told(&journal, &"x".repeat(100), Durability::Synced).1.wait().unwrap_err();
    assert!(matches!(error, Error::DiskFull { wanted_bytes: 128, free_bytes: 40, .. }), "{error}");
    assert_eq!(read_all(&journal, START).len(), 1);
    append_when_told(&journal, "small", Durability::Synced).1.wait().unwrap();
    disk.set_capacity(None);
    store(&journal, "again");
    let (_journal, recovered) = open(&disk.power_cut(0));
    assert_eq!(texts(&recovered), ["kept", "small", "again"]);
    assert_eq!(recovered.torn_tail_bytes, 0);
}

#[test]
fn the_reserve_is_kept_from_appends_but_not_from_rolls() {
    let disk = FakeDisk::new();
    disk.set_capacity(Some(10_000));
    let reserving = millstream_journal::Options { reserve_bytes: 9_000, ..options() };
    let (journal, _) = Journal::open(Arc::new(disk.clone()), &dir(), reserving, Bytes::new()).unwrap();
    let (_, done) = append(&journal, &"x".repeat(1_000), Durability::Synced).unwrap();
    let error = done.wait().unwrap_err();
    assert!(matches!(error, Error::DiskFull { wanted_bytes: 10_024, .. }), "{error}");
    // Refused as long as the writer is still telling others of the full disk.
    while journal.roll(Bytes::from(vec![0; 1_000])).is_err() {
        std::thread::yield_now();
    }
    journal.delete_before(2).unwrap();
    journal.sync().wait().unwrap();
    assert_eq!(journal.segments(), [2]);
}

#[test]
fn a_roll_that_fails_leaves_the_old_segment_usable_and_refuses_what_counted_on_it() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    store(&journal, "one");
    for call in [Call::Create, Call::Write, Call::TornWrite, Call::Sync, Call::Rename] {
        let (hold, held) = mpsc::channel::<()>();
        hold_writer(&journal, held);
        journal.roll(Bytes::from_static(b"s")).unwrap();
        let behind = append(&journal, "behind", Durability::Synced).unwrap().1;
        journal.delete_before(5).unwrap();
        disk.fail(call, 0, 1);
        drop(hold);
        assert!(behind.wait().is_err(), "{call:?}");
        disk.heal();
        assert!(journal.needs_roll(), "{call:?}");
        let (appended, done) = append_when_told(&journal, "on", Durability::Synced);
        done.wait().unwrap();
        assert!(appended.wants_roll, "{call:?}");
        assert_eq!(appended.location.segment, 1, "{call:?}");
        assert!(journal.delete_before(5).is_err(), "{call:?}: the caller may not know of the failed roll yet");
        journal.delete_before(1).unwrap();
    }
    journal.roll(Bytes::from_static(b"s")).unwrap();
    store(&journal, "new");
    assert!(!journal.needs_roll());
    journal.close().unwrap();
    let (journal, recovered) = open(&disk);
    assert_eq!(texts(&recovered), ["new"]);
    assert_eq!(journal.segments().len(), 2);
}

#[test]
fn a_segment_whose_name_may_not_last_is_never_built_upon() {
    for seed in 0..20 {
        let disk = FakeDisk::new();
        let (journal, _) = open(&disk);
        store(&journal, "one");
        disk.fail(Call::SyncDir, 0, 1);
        disk.fail(Call::Remove, 0, 1);
        journal.roll(Bytes::from_static(b"orphan")).unwrap();
        assert!(journal.sync().wait().is_err());
        roll_when_told(&journal);
        store(&journal, "two");
        let (journal, recovered) = open(&disk.power_cut(seed));
        assert_eq!(recovered.snapshot, "kept");
        assert_eq!(texts(&recovered), ["two"]);
        assert_eq!(journal.segments(), [1, 3]);
        let all: Vec<String> = read_all(&journal, START).into_iter().map(|(_, text)| text).collect();
        assert_eq!(all, ["one", "two"]);
    }
}

#[test]
fn a_roll_and_an_append_never_wait_for_done() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    let lock = Arc::new(parking_lot::Mutex::new(()));
    let held = lock.lock();
    let theirs = Arc::clone(&lock);
    journal.append(0, vec![], Durability::Synced, Box::new(move |_| drop(theirs.lock()))).unwrap();
    journal.roll(Bytes::new()).unwrap();
    journal.delete_before(1).unwrap();
    let (_, done) = append(&journal, "x", Durability::Synced).unwrap();
    drop(held);
    done.wait().unwrap();
}

#[test]
fn nothing_is_stored_behind_an_append_of_whose_failure_the_caller_was_not_told() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    store(&journal, "one");
    let journal = Arc::new(journal);
    let (told, outcome) = mpsc::channel();
    let inner = Arc::clone(&journal);
    let done = move |failed: millstream_core::Result<()>| {
        // Whether or not the disk has room again: the one behind may rely on the one that failed.
        told.send((failed.is_err(), append(&inner, "behind", Durability::Synced).is_err())).unwrap();
    };
    disk.set_capacity(Some(disk.used() + 40));
    journal.append(7, vec![Bytes::from(vec![0; 100])], Durability::Synced, Box::new(done)).unwrap();
    assert_eq!(outcome.recv().unwrap(), (true, true));
    disk.set_capacity(None);
    append_when_told(&journal, "two", Durability::Synced).1.wait().unwrap();
}

#[test]
fn a_done_that_panics_does_not_stop_the_log() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    journal.append(0, vec![], Durability::Synced, Box::new(|_| panic!("a user's bug"))).unwrap();
    store(&journal, "on");
}

#[test]
fn a_closed_journal_refuses_everything() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    journal.close().unwrap();
    journal.close().unwrap();
    assert!(matches!(append(&journal, "x", Durability::Lazy), Err(Error::Stopped { .. })));
    assert!(matches!(journal.roll(Bytes::new()), Err(Error::Stopped { .. })));
    assert!(matches!(journal.delete_before(1), Err(Error::Stopped { .. })));
    assert!(matches!(journal.sync().wait(), Err(Error::Stopped { .. })));
}

#[test]
fn close_says_when_lazy_records_could_not_be_synced() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    append(&journal, "lazy", Durability::Lazy).unwrap().1.wait().unwrap();
    disk.fail(Call::Sync, 0, 1);
    assert!(journal.close().is_err());
}

#[test]
fn a_reader_follows_the_writer() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    let mut reader = journal.reader(START);
    assert_eq!(reader.next().unwrap(), None);
    for i in 0..20 {
        let location = store(&journal, &i.to_string());
        let (found, kind, payload) = reader.next().unwrap().unwrap();
        assert_eq!((found, kind, text(&payload)), (location, 7, i.to_string()));
        assert_eq!(reader.next().unwrap(), None);
        if i % 5 == 0 {
            journal.roll(Bytes::from_static(b"s")).unwrap();
        }
    }
}

#[test]
fn logs_that_are_mixed_are_refused_by_name() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    store(&journal, "mine");
    drop(journal);
    let other = std::path::Path::new("/other/log");
    let (journal, _) = open_in(&disk, other).unwrap();
    store(&journal, "theirs");
    drop(journal);
    let theirs = disk.content(&other.join("0000000001.log")).unwrap();
    let mine = disk.content(&file(1)).unwrap();

    // Under its own number, which is taken here.
    disk.put(&file(2), &theirs);
    let error = open_in(&disk, &dir()).unwrap_err().to_string();
    assert!(error.contains("segment 1") && error.contains("0000000002.log"), "{error}");
    disk.remove(&file(2)).unwrap();

    // Its frames in our segment.
    let mut grafted = mine.clone();
    let frames = theirs[mine.len() - 32..].to_vec();
    grafted.extend_from_slice(&frames);
    disk.put(&file(1), &grafted);
    let (_journal, recovered) = open(&disk);
    assert_eq!(texts(&recovered), ["mine"]);
    assert_eq!(recovered.torn_tail_bytes, frames.len() as u64);
}

#[test]
fn two_logs_in_one_directory_are_refused() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    journal.roll(Bytes::from_static(b"s")).unwrap();
    store(&journal, "mine");
    drop(journal);
    let other = std::path::Path::new("/other/log");
    drop(open_in(&disk, other).unwrap());
    disk.put(&file(1), &disk.content(&other.join("0000000001.log")).unwrap());
    let error = open_in(&disk, &dir()).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
}

#[test]
fn a_segment_of_a_later_version_is_refused_by_name() {
    let disk = FakeDisk::new();
    drop(open(&disk));
    let mut content = disk.content(&file(1)).unwrap();
    for copy in [0, 64] {
        content[copy + 8] = 2;
        let crc = crc32c::crc32c(&content[copy..copy + 60]);
        content[copy + 60..copy + 64].copy_from_slice(&crc.to_le_bytes());
    }
    disk.put(&file(1), &content);
    let error = open_in(&disk, &dir()).unwrap_err().to_string();
    assert!(error.contains("version 2") && error.contains("0000000001.log"), "{error}");
}
