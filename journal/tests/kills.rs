//! The end of a process, or of power, at every call that an opening makes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use bytes::Bytes;
use common::{append, aside, dir, file, logged, open, open_in, store, texts, with};
use millstream_journal::{Durability, Journal, Recovered};
use millstream_testkit::{Dice, FakeDisk};

/// What the log says once of each place.
const TOLD: &str = "set aside";

/// A log that is damaged, and what an opening makes of it.
struct Damaged {
    disk: FakeDisk,
    records: &'static [&'static str],
    /// Bytes that are set aside, place by place.
    places: Vec<Vec<u8>>,
}

/// In the newest segment: a header, a record that was stored, one that was never synced, and the end of a write.
fn at_several_places() -> Damaged {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    store(&journal, "old");
    journal.roll(Bytes::from_static(b"knows old")).unwrap();
    let places = ["one", "stored", "three"].map(|text| store(&journal, text).offset as usize);
    let lazy = append(&journal, "never synced", Durability::Lazy).unwrap().0.location.offset as usize;
    let behind = store(&journal, "behind").offset as usize;
    journal.close().unwrap();
    let disk = with(&disk, 2, |content| {
        content[70] ^= 1;
        content[places[1] + 26] ^= 1;
        content[lazy + 3] ^= 1;
        content.extend_from_slice(b"the beginning of a record");
    });
    disk.put(&dir().join("0000000003.tmp"), b"half a segment");
    let content = disk.content(&file(2)).unwrap();
    let places =
        [64..128, places[1]..places[2], lazy..behind].into_iter().map(|place| content[place].to_vec()).collect();
    Damaged { disk, records: &["one", "three", "behind"], places }
}

/// The newest segment as a whole, and the end of the one before it.
fn at_the_end() -> Damaged {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    store(&journal, "one");
    let last = store(&journal, "last of the first").offset as usize;
    journal.roll(Bytes::from_static(b"knows two")).unwrap();
    journal.close().unwrap();
    let disk = with(&disk, 1, |content| content[last + 30] ^= 1);
    let disk = with(&disk, 2, |content| content.fill(0xa5));
    let (first, second) = (disk.content(&file(1)).unwrap(), disk.content(&file(2)).unwrap());
    Damaged { disk, records: &["one"], places: vec![first[last..].to_vec(), second] }
}

/// Lives that end after so many calls each, by `end`; then one that does not. How often places were told of, and whether
/// the first life ended before it was through.
#[track_caller]
fn live(damaged: &Damaged, calls: [u64; 3], end: impl Fn(&FakeDisk) -> FakeDisk) -> (usize, bool) {
    let mut disk = with(&damaged.disk, 1, |_| {});
    let (mut told, mut counted, mut ended) = (0, 0, false);
    for (life, calls) in calls.into_iter().enumerate() {
        disk.end_after(calls);
        let (opened, lines) = logged(TOLD, || open_in(&disk, &dir()));
        assert_eq!(opened.is_err(), disk.has_ended(), "{calls} calls");
        ended |= life == 0 && disk.has_ended();
        told += lines.len();
        counted += opened.map_or(0, |(journal, _)| journal.stats().set_aside);
        disk = end(&disk);
    }
    let ((journal, recovered), lines) = logged(TOLD, || open(&disk));
    assert_eq!(texts(&recovered), damaged.records, "{calls:?}");
    told += lines.len();
    counted += journal.stats().set_aside;
    assert!(counted <= damaged.places.len() as u64, "{counted} counted, {calls:?}");
    let mut kept: Vec<Vec<u8>> = aside(&disk).into_iter().map(|(_, content)| content).collect();
    let mut places = damaged.places.clone();
    kept.sort();
    // Power that goes within a rename can leave both names, and a file that is set aside under two.
    kept.dedup();
    places.sort();
    assert_eq!(kept, places, "what is set aside, {calls:?}");
    store(&journal, "on");
    journal.close().unwrap();
    let ((journal, recovered), lines) = logged(TOLD, || open(&disk));
    assert_eq!((lines.len(), journal.stats().set_aside), (0, 0), "told again by a later start, {calls:?}");
    assert_eq!(texts(&recovered), [damaged.records, &["on"]].concat(), "{calls:?}");
    (told, ended)
}

#[test]
fn damage_is_kept_and_told_once_when_the_start_that_finds_it_is_killed_thrice_at_any_call() {
    for damaged in [at_several_places(), at_the_end()] {
        let mut calls = 0;
        loop {
            let (told, ended) = live(&damaged, [calls; 3], FakeDisk::kill);
            assert_eq!(told, damaged.places.len(), "killed after {calls} calls");
            if !ended {
                break;
            }
            calls += 1;
        }
        assert!(calls > 20, "only {calls} calls");
        for seed in 0..200 {
            let mut dice = Dice::new(seed);
            let each = [0; 3].map(|_| dice.below(calls));
            let (told, _) = live(&damaged, each, FakeDisk::kill);
            assert_eq!(told, damaged.places.len(), "killed after {each:?} calls");
        }
    }
}

#[test]
fn damage_is_kept_and_told_when_power_goes_thrice_at_any_call_of_a_start() {
    for damaged in [at_several_places(), at_the_end()] {
        for seed in 0..600 {
            let mut dice = Dice::new(seed);
            let each = [0; 3].map(|_| dice.below(60));
            let (told, _) = live(&damaged, each, |disk| disk.power_cut(seed));
            // The name of a copy may be gone with the power; then the next start tells of it again.
            let places = damaged.places.len();
            assert!((places..=places * 4).contains(&told), "told {told} times, power gone after {each:?} calls");
        }
    }
}

#[test]
fn what_the_first_start_stores_survives_a_power_cut_with_all_directories_above_it() {
    for (calls, seed) in (0..40).flat_map(|calls| (0..12).map(move |seed| (calls, seed))) {
        let disk = FakeDisk::new();
        // A first life that ends half way, and leaves some of the directories.
        disk.end_after(calls);
        let _ = open_in(&disk, &dir());
        let disk = disk.kill();
        let (journal, _) = open(&disk);
        store(&journal, "stored");
        let (_journal, recovered) = open(&disk.power_cut(seed));
        assert_eq!(texts(&recovered), ["stored"], "killed after {calls} calls, seed {seed}");
    }
}

/// Stores, rolls and deletes until something fails: what was told to be stored, and what was not told.
fn work(journal: &Journal, from: usize) -> (Vec<String>, Option<String>) {
    let mut stored: Vec<String> = Vec::new();
    for number in from..from + 9 {
        let text = format!("record {number}");
        let told = append(journal, &text, Durability::Synced).and_then(|(_, told)| told.wait());
        if told.is_err() {
            return (stored, Some(text));
        }
        stored.push(text);
        if number % 3 == 2 {
            // Of the whole life: older segments go.
            let rolled = journal.roll(stored.join(",").into()).and_then(|()| journal.sync().wait());
            let deleted = rolled.and_then(|()| journal.delete_before(u64::MAX)).and_then(|()| journal.sync().wait());
            if deleted.is_err() {
                return (stored, None);
            }
        }
    }
    (stored, None)
}

/// What the snapshot stands for, and the records since.
fn known(recovered: &Recovered) -> Vec<String> {
    let snapshot = common::text(&recovered.snapshot);
    let before = snapshot.split(',').filter(|text| text.starts_with("record")).map(str::to_owned);
    before.chain(texts(recovered)).collect()
}

#[test]
fn what_was_told_to_be_stored_is_there_when_power_goes_at_any_call_of_storing_rolling_and_deleting() {
    for (cut, seeds) in [(true, 24), (false, 12)] {
        for seed in 0..seeds {
            let mut calls = 0;
            loop {
                let disk = FakeDisk::new();
                let (journal, _) = open(&disk);
                disk.end_after(calls);
                let (mut stored, untold) = work(&journal, 0);
                let ended = disk.has_ended();
                let disk = if cut { disk.power_cut(seed) } else { disk.kill() };
                drop(journal);
                let (journal, recovered) = open(&disk);
                let found = known(&recovered);
                let what = format!("ended after {calls} calls, seed {seed}, power cut {cut}");
                if found.len() > stored.len() {
                    stored.extend(untold);
                }
                assert_eq!(found, stored, "{what}");
                assert!(recovered.quarantined.iter().all(|place| place.unconfirmed), "{what}");
                // What was served once is there from now on, and the log goes on behind it.
                drop(journal);
                let (journal, recovered) = open(&disk.power_cut(seed));
                assert_eq!(known(&recovered), stored, "{what}, and power gone after the start");
                let (more, untold) = work(&journal, 100);
                assert_eq!((more.len(), untold), (9, None), "{what}");
                if !ended {
                    break;
                }
                calls += 1;
            }
            assert!(calls > 40, "only {calls} calls");
        }
    }
}
