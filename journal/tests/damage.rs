//! Damage of stored bytes, byte by byte and bit by bit.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{DATA_START, aside, bad_files, dir, file, open, open_in, read_all, store, texts, with};
use millstream_io::{SystemDisk, ViewDisk};
use millstream_journal::{DamageKind, Finding, Journal, Location, survey};
use millstream_testkit::{Call, FakeDisk};

const HEAD: u64 = 24;
/// The snapshot "first" with its head.
const FIRST_FRAME: u64 = 32;

/// One segment with three records, closed; and where they are.
fn three() -> (FakeDisk, Vec<u64>) {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    let offsets = ["first record", "second record", "third record"].map(|text| store(&journal, text).offset);
    journal.close().unwrap();
    (disk, offsets.to_vec())
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_of_the_last_record() {
    let (disk, offsets) = three();
    let whole = disk.content(&file(1)).unwrap().len() as u64;
    let payload_end = offsets[2] + HEAD + "third record".len() as u64;
    for length in offsets[2]..=whole {
        let torn = with(&disk, 1, |content| content.truncate(length as usize));
        let (journal, recovered) = open(&torn);
        // The padding says nothing: without it the record is whole.
        let wanted = if length >= payload_end { 3 } else { 2 };
        assert_eq!(recovered.records.len(), wanted, "cut at {length}");
        assert_eq!(recovered.torn_tail_bytes, if wanted == 3 { 0 } else { length - offsets[2] }, "cut at {length}");
        assert!(recovered.quarantined.is_empty(), "cut at {length}");
        let place = store(&journal, "next");
        assert_eq!(place.offset, if wanted == 3 { whole } else { offsets[2] });
        let (_journal, recovered) = open(&torn.power_cut(length));
        assert_eq!(recovered.records.len(), wanted + 1, "cut at {length}");
        assert_eq!(recovered.torn_tail_bytes, 0);
    }
}

#[test]
fn a_tail_of_zeros_or_of_garbage_is_cut() {
    let (disk, _) = three();
    for (length, byte) in [(1, 0), (7, 0), (4096, 0), (1 << 20, 0), (4099, 0xa5), (5, 0xff)] {
        let torn = with(&disk, 1, |content| content.resize(content.len() + length, byte));
        let (_journal, recovered) = open(&torn);
        assert_eq!(recovered.records.len(), 3, "{length} bytes of {byte}");
        assert_eq!(recovered.torn_tail_bytes, length as u64);
        assert!(recovered.quarantined.is_empty());
    }
}

#[test]
fn one_flipped_bit_costs_one_record_and_nothing_else() {
    let (disk, offsets) = three();
    let payload_bits = HEAD * 8 + "second record".len() as u64 * 8;
    for bit in 0..payload_bits {
        let at = (offsets[1] + bit / 8) as usize;
        let bad = with(&disk, 1, |content| content[at] ^= 1 << (bit % 8));
        let (journal, recovered) = open(&bad);
        assert_eq!(texts(&recovered), ["first record", "third record"], "bit {bit}");
        let place = &recovered.quarantined[0];
        assert_eq!((place.segment, place.offset, place.length), (1, offsets[1], offsets[2] - offsets[1]), "bit {bit}");
        assert!(!place.unconfirmed, "the third record knew that the second was on the disk");
        assert_eq!(bad.content(&place.file).unwrap().len() as u64, place.length);
        assert_eq!(recovered.torn_tail_bytes, 0);
        assert_eq!(journal.stats().damaged, 1);
        assert_eq!(read_all(&journal, Location { segment: 1, offset: 0 }).len(), 2);
        assert_eq!(journal.stats().set_aside, 1, "by the opening, not by the reader too");
        store(&journal, "fourth record");
        journal.close().unwrap();
        let (journal, recovered) = open(&bad);
        assert_eq!(texts(&recovered), ["first record", "third record", "fourth record"], "bit {bit}");
        assert_eq!(
            (bad_files(&bad), journal.stats().set_aside),
            (1, 0),
            "known damage is copied once, and counted once"
        );
    }
}

#[test]
fn one_flipped_bit_of_a_header_costs_no_record() {
    let (disk, _) = three();
    for bit in 0..DATA_START * 8 {
        let bad = with(&disk, 1, |content| content[bit as usize / 8] ^= 1 << (bit % 8));
        let (_journal, recovered) = open(&bad);
        assert_eq!((recovered.records.len(), recovered.snapshot.len()), (3, 5), "bit {bit}");
        assert_eq!(recovered.quarantined.len(), 1, "bit {bit}");
        assert_eq!(recovered.quarantined[0].offset, bit / 512 * 64, "bit {bit}");
    }
}

#[test]
fn a_damaged_snapshot_falls_back_to_the_one_before_with_all_records_since() {
    let (disk, _) = three();
    let (journal, _) = open(&disk);
    journal.roll(Bytes::from_static(b"knows three")).unwrap();
    store(&journal, "fourth record");
    journal.close().unwrap();
    for at in DATA_START..DATA_START + HEAD + 11 {
        let bad = with(&disk, 2, |content| content[at as usize] ^= 0x10);
        let (journal, recovered) = open(&bad);
        assert_eq!(recovered.snapshot, "first", "byte {at}");
        assert_eq!(texts(&recovered), ["first record", "second record", "third record", "fourth record"]);
        assert_eq!(recovered.quarantined.len(), 1);
        assert_eq!(journal.snapshot_of(2).unwrap(), None);
        assert_eq!(store(&journal, "fifth record").segment, 2);
    }
}

#[test]
fn a_lost_first_snapshot_is_replaced_by_the_one_given() {
    let (disk, _) = three();
    let bad = with(&disk, 1, |content| content[DATA_START as usize + 1] ^= 1);
    let (_journal, recovered) = open(&bad);
    assert_eq!((recovered.snapshot.as_ref(), recovered.records.len()), (&b"first"[..], 3));
    assert!(!recovered.fresh);
}

#[test]
fn an_unreadable_newest_segment_is_set_aside_and_the_one_before_takes_over() {
    let (disk, _) = three();
    let (journal, _) = open(&disk);
    journal.roll(Bytes::from_static(b"knows three")).unwrap();
    journal.close().unwrap();
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 5] = [
        ("empty", Vec::clear),
        ("zeros", |content| content.fill(0)),
        ("garbage", |content| content.fill(0xa5)),
        ("cut in the header", |content| content.truncate(30)),
        ("cut in the snapshot", |content| content.truncate(150)),
    ];
    for (what, change) in changes {
        let bad = with(&disk, 2, change);
        let (journal, recovered) = open(&bad);
        assert_eq!(recovered.snapshot, "first", "{what}");
        assert_eq!(texts(&recovered).len(), 3, "{what}");
        assert_eq!(recovered.quarantined.len(), 1, "{what}");
        assert_eq!(journal.segments(), [1], "{what}");
        store(&journal, "fourth record");
        journal.roll(Bytes::from_static(b"again")).unwrap();
        assert_eq!(store(&journal, "fifth record").segment, 3, "{what}: no number is used twice");
        let (_journal, recovered) = open(&bad.power_cut(1));
        assert_eq!((recovered.snapshot.as_ref(), recovered.records.len()), (&b"again"[..], 1), "{what}");
        assert!(recovered.quarantined.is_empty(), "{what}");
    }
}

#[test]
fn a_newest_segment_without_a_header_still_gives_its_records() {
    let (disk, _) = three();
    let (journal, _) = open(&disk);
    journal.roll(Bytes::from_static(b"knows three")).unwrap();
    store(&journal, "fourth record");
    journal.close().unwrap();
    let bad = with(&disk, 2, |content| content[..DATA_START as usize].fill(0));
    let (journal, recovered) = open(&bad);
    assert_eq!(
        (recovered.snapshot.as_ref(), texts(&recovered)),
        (&b"knows three"[..], vec!["fourth record".to_owned()])
    );
    assert_eq!(recovered.quarantined.len(), 2);
    assert_eq!(read_all(&journal, Location { segment: 1, offset: 0 }).len(), 4);
}

#[test]
fn a_log_in_which_nothing_is_readable_is_set_aside_and_begun_anew() {
    for length in [0, 10, 64, 4096] {
        let disk = FakeDisk::new();
        disk.put(&file(7), &vec![0x5a; length]);
        let (journal, recovered) = open(&disk);
        assert!(recovered.records.is_empty() && !recovered.fresh);
        assert_eq!(recovered.quarantined.len(), 1);
        assert_eq!(journal.segments(), [8]);
        store(&journal, "on");
        let (_journal, recovered) = open(&disk.power_cut(2));
        assert_eq!(texts(&recovered), ["on"]);
    }
}

#[test]
fn readers_pass_over_damage_in_older_segments_also_at_their_end() {
    let (disk, offsets) = three();
    let (journal, _) = open(&disk);
    journal.roll(Bytes::from_static(b"s")).unwrap();
    store(&journal, "fourth record");
    journal.close().unwrap();
    let middle = with(&disk, 1, |content| content[offsets[1] as usize + 30] ^= 1);
    let cut = with(&disk, 1, |content| content.truncate(offsets[2] as usize + 3));
    let start = Location { segment: 0, offset: 0 };
    for (bad, lost) in [(middle, "second record"), (cut, "third record")] {
        let (journal, recovered) = open(&bad);
        assert!(recovered.quarantined.is_empty(), "opening does not read older segments");
        let found: Vec<String> = read_all(&journal, start).into_iter().map(|(_, text)| text).collect();
        let all = ["first record", "second record", "third record", "fourth record"];
        assert_eq!(found, all.into_iter().filter(|text| *text != lost).collect::<Vec<_>>());
        assert_eq!((journal.stats().damaged, bad_files(&bad)), (1, 1), "{lost}");
        assert_eq!(read_all(&journal, start).len(), 3, "and again");
        assert_eq!((journal.stats().set_aside, bad_files(&bad)), (1, 1), "{lost}");
    }
}

#[test]
fn a_segment_that_was_cut_and_is_brought_back_damaged_is_set_aside_beside_what_is_known() {
    let (disk, offsets) = three();
    let (journal, _) = open(&disk);
    journal.roll(Bytes::from_static(b"s")).unwrap();
    journal.close().unwrap();
    let start = Location { segment: 0, offset: 0 };
    let cut = with(&disk, 1, |content| content.truncate(offsets[1] as usize + 3));
    let (journal, _) = open(&cut);
    assert_eq!((read_all(&journal, start).len(), journal.stats().set_aside), (1, 1));
    journal.close().unwrap();
    // The copy has the third record, and begins its damage at the same byte.
    let whole = disk.content(&file(1)).unwrap();
    let back = with(&cut, 1, |content| {
        *content = whole.clone();
        content[offsets[1] as usize + 30] ^= 1;
    });
    for (time, counted) in [(1, 1), (2, 0)] {
        let (journal, _) = open(&back);
        assert_eq!((read_all(&journal, start).len(), journal.stats().set_aside), (2, counted), "start {time}");
    }
    let lengths: Vec<usize> = aside(&back).iter().map(|(_, content)| content.len()).collect();
    assert_eq!(lengths, [(offsets[2] - offsets[1]) as usize, 3], "{:?}", aside(&back));
}

#[test]
fn a_segment_brought_back_and_unreadable_again_does_not_write_over_what_is_set_aside() {
    let disk = FakeDisk::new();
    for content in [&[1_u8; 300][..], &[2; 300]] {
        disk.put(&file(7), content);
        let (journal, _) = open(&disk);
        assert_eq!(journal.stats().set_aside, 1);
    }
    let kept: Vec<Vec<u8>> = aside(&disk).into_iter().map(|(_, content)| content).collect();
    assert_eq!(kept, [vec![2; 300], vec![1; 300]]);
}

#[test]
fn a_segment_that_comes_back_when_the_log_has_gone_on_without_it_is_set_aside_and_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let first = Bytes::from_static(b"first");
        Journal::open(Arc::new(SystemDisk), dir.path(), common::options(), first).unwrap()
    };
    let (journal, _) = open();
    store(&journal, "first record");
    journal.roll(Bytes::from_static(b"knows one")).unwrap();
    store(&journal, "second record");
    journal.close().unwrap();
    let second = dir.path().join("0000000002.log");
    let kept = std::fs::read(&second).unwrap();
    std::fs::write(&second, [0; 500]).unwrap();
    let (journal, _) = open();
    store(&journal, "instead of the second");
    journal.roll(Bytes::from_static(b"knows two")).unwrap();
    journal.close().unwrap();

    // What a copy had of it.
    std::fs::write(&second, &kept).unwrap();
    let mut found = Vec::new();
    let told = |finding| {
        if let Finding::Damage(damage) = finding {
            found.push((damage.segment, damage.length, damage.kind));
        }
        Ok(())
    };
    survey(&ViewDisk::default(), dir.path(), &mut { told }).unwrap();
    assert_eq!(found, [(2, kept.len() as u64, DamageKind::Stray)]);
    for (start, counted) in [(1, 1), (2, 0)] {
        let (journal, recovered) = open();
        assert_eq!(
            (recovered.snapshot.as_ref(), journal.stats().set_aside),
            (&b"knows two"[..], counted),
            "start {start}"
        );
        assert_eq!(journal.segments(), [1, 3]);
    }
    assert_eq!(std::fs::read(dir.path().join("0000000002.2.bad")).unwrap(), kept);
}

#[test]
fn a_frame_stored_as_a_payload_is_never_taken_for_a_record() {
    let (disk, offsets) = three();
    let content = disk.content(&file(1)).unwrap();
    let nested = content[offsets[0] as usize..].to_vec();
    let (journal, _) = open(&disk);
    let (resolver, done) = millstream_core::ticket();
    let outer = vec![Bytes::from(nested.clone()), Bytes::from(nested)];
    let told = Box::new(|outcome| resolver.resolve(outcome));
    let place = journal.append(1, outer, millstream_journal::Durability::Synced, told).unwrap().location;
    done.wait().unwrap();
    store(&journal, "behind");
    journal.close().unwrap();
    let bad = with(&disk, 1, |content| content[place.offset as usize] ^= 1);
    let (_journal, recovered) = open(&bad);
    assert_eq!(texts(&recovered), ["first record", "second record", "third record", "behind"]);
}

#[test]
fn a_frame_moved_within_its_segment_does_not_validate() {
    let (disk, offsets) = three();
    let (from, to) = (offsets[0] as usize..offsets[1] as usize, offsets[2] as usize);
    let bad = with(&disk, 1, |content| {
        content.truncate(to);
        content.extend_from_within(from);
    });
    let (_journal, recovered) = open(&bad);
    assert_eq!(texts(&recovered), ["first record", "second record"]);
}

#[test]
fn a_hole_that_was_never_synced_is_told_apart_from_damage() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    let known = store(&journal, "known");
    let hole = common::append(&journal, "hole", millstream_journal::Durability::Lazy).unwrap().0.location;
    store(&journal, "last");
    journal.close().unwrap();
    let bad = with(&disk, 1, |content| content[hole.offset as usize] ^= 1);
    let (journal, recovered) = open(&bad);
    assert_eq!(texts(&recovered), ["known", "last"]);
    assert!(recovered.quarantined[0].unconfirmed);
    store(&journal, "on");
    let (journal, recovered) = open(&bad.power_cut(0));
    assert_eq!(texts(&recovered), ["known", "last", "on"]);
    assert!(recovered.quarantined.is_empty(), "told once");
    assert_eq!((read_all(&journal, Location { segment: 1, offset: 0 }).len(), journal.stats().damaged), (3, 0));
    let bad = with(&disk, 1, |content| content[known.offset as usize] ^= 1);
    let (_journal, recovered) = open(&bad);
    assert!(!recovered.quarantined[0].unconfirmed);
}

#[test]
fn a_half_made_segment_is_removed_and_not_counted_as_damage() {
    let (disk, _) = three();
    disk.put(&dir().join("0000000002.tmp"), b"half");
    let (journal, recovered) = open(&disk);
    assert_eq!((recovered.records.len(), recovered.quarantined.len()), (3, 0));
    assert_eq!(disk.content(&dir().join("0000000002.tmp")), None);
    assert_eq!(journal.segments(), [1]);
}

#[test]
fn damage_that_cannot_be_copied_does_not_keep_the_rest_from_being_delivered() {
    let (disk, offsets) = three();
    let bad = with(&disk, 1, |content| content[offsets[1] as usize] ^= 1);
    bad.set_capacity(Some(bad.used()));
    let (journal, recovered) = open(&bad);
    assert_eq!((recovered.records.len(), recovered.quarantined.len(), bad_files(&bad)), (2, 1, 0));
    assert_eq!(journal.stats().set_aside, 0, "the next opening tries again");
}

#[test]
fn an_opening_that_fails_half_way_can_be_tried_again() {
    for call in [Call::Open, Call::Read, Call::Sync, Call::SyncDir, Call::SetLen] {
        for skip in 0..4 {
            let (disk, _) = three();
            let torn = with(&disk, 1, |content| content.resize(content.len() + 9, 1));
            torn.fail(call, skip, 1);
            let failed = open_in(&torn, &dir()).is_err();
            torn.heal();
            let (_journal, recovered) = open(&torn);
            assert_eq!(recovered.records.len(), 3, "{call:?} after {skip}, failed: {failed}");
        }
    }
}

#[test]
fn a_first_opening_that_is_interrupted_leaves_nothing_in_the_way() {
    for call in [Call::Create, Call::Write, Call::TornWrite, Call::Sync, Call::Rename, Call::SyncDir] {
        for skip in 0..3 {
            let disk = FakeDisk::new();
            disk.fail(call, skip, 9);
            let _ = open_in(&disk, &dir());
            let disk = disk.power_cut(u64::from(skip));
            let (journal, recovered) = open(&disk);
            assert!(recovered.quarantined.is_empty(), "{call:?} after {skip}");
            store(&journal, "on");
        }
    }
}

#[test]
fn the_smallest_log_has_the_size_that_the_format_says() {
    let disk = FakeDisk::new();
    let (journal, _) = open(&disk);
    assert_eq!(disk.content(&file(1)).unwrap().len() as u64, DATA_START + FIRST_FRAME);
    assert_eq!(store(&journal, "x"), Location { segment: 1, offset: DATA_START + FIRST_FRAME });
}
