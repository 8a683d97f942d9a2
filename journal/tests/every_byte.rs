//! A log of 64 KiB, damaged at each of its bytes: by a flipped bit, and by an end that is torn off.
//!
//! `make test` takes one of so many bytes, another one at each run, and those around every border between two records;
//! `make torture` takes all.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use common::{DATA_START, append, bad_files, dir, file, open, store};
use millstream_core::Result;
use millstream_journal::{Durability, Journal, Recovered};
use millstream_testkit::{Dice, FakeDisk};

/// Bytes of the log at least.
const LOG: u64 = 64 << 10;
/// Of which one byte is taken, unless all are.
const ONE_OF: u64 = 11;
/// Behind what the last segment's snapshot takes: "first" with its head.
const FIRST_RECORD: u64 = DATA_START + 32;
const HEAD: u64 = 24;

/// The log, and its records.
struct Whole {
    content: Vec<u8>,
    records: Vec<Stored>,
}

struct Stored {
    at: u64,
    text: String,
}

impl Stored {
    fn payload_end(&self) -> u64 {
        self.at + HEAD + self.text.len() as u64
    }

    fn end(&self) -> u64 {
        self.payload_end().next_multiple_of(8)
    }
}

impl Whole {
    fn new() -> Self {
        let disk = FakeDisk::new();
        let (journal, _) = open(&disk);
        let mut dice = Dice::new(1);
        let mut records: Vec<Stored> = Vec::new();
        while records.last().is_none_or(|last| last.end() < LOG) {
            let length = if dice.chance(10) { dice.below(4_000) } else { dice.below(300) };
            let text = format!("{} {}", records.len(), "x".repeat(length as usize));
            records.push(Stored { at: store(&journal, &text).offset, text });
        }
        journal.close().unwrap();
        Self { content: disk.content(&file(1)).unwrap(), records }
    }

    /// The bytes to try.
    fn bytes(&self) -> Vec<u64> {
        let end = self.content.len() as u64;
        let step = if std::env::var_os("TORTURE").is_some() { 1 } else { ONE_OF };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let borders = self.records.iter().flat_map(|record| [record.at, record.payload_end(), record.end() - 1]);
        let mut bytes: Vec<u64> = (0..end).skip((time % step) as usize).step_by(step as usize).collect();
        bytes.extend(borders.filter(|byte| *byte < end));
        bytes.sort_unstable();
        bytes.dedup();
        bytes
    }

    fn damaged(&self, change: impl FnOnce(&mut Vec<u8>)) -> FakeDisk {
        let mut content = self.content.clone();
        change(&mut content);
        let disk = FakeDisk::new();
        disk.put(&file(1), &content);
        disk
    }
}

/// What an opening found: the records, places that are damaged, bytes cut off, and how many places it set aside.
fn found(opened: Result<(Journal, Recovered)>) -> (Journal, Vec<String>, usize, u64, u64) {
    let (journal, recovered) = opened.unwrap();
    let texts = common::texts(&recovered);
    let set_aside = journal.stats().set_aside;
    (journal, texts, recovered.quarantined.len(), recovered.torn_tail_bytes, set_aside)
}

/// Opens a damaged log twice, with an append between. All but `missing` must come out; so many places are set aside and so
/// many bytes cut off, once.
#[track_caller]
fn check(disk: &FakeDisk, what: &str, wanted: &[&str], places: usize, torn: u64) {
    let (journal, texts, damaged, cut, set_aside) = found(common::open_in(disk, &dir()));
    assert_eq!(texts, wanted, "{what}");
    assert_eq!((damaged, set_aside as usize, bad_files(disk), cut), (places, places, places, torn), "{what}");
    append(&journal, "on", Durability::Synced).unwrap().1.wait().unwrap();
    journal.close().unwrap();
    let (_journal, texts, _, cut, set_aside) = found(common::open_in(disk, &dir()));
    assert_eq!(texts, [wanted, &["on"]].concat(), "{what}, again");
    assert_eq!((set_aside as usize, bad_files(disk), cut), (0, places, 0), "{what}, again");
}

#[test]
fn a_flipped_bit_at_any_byte_of_a_log_costs_the_record_there_and_is_counted_once() {
    let whole = Whole::new();
    for byte in whole.bytes() {
        let bit = (byte * 5 + 3) % 8;
        let disk = whole.damaged(|content| content[byte as usize] ^= 1 << bit);
        let hit = whole.records.iter().position(|record| (record.at..record.payload_end()).contains(&byte));
        let is_last = hit.is_some_and(|hit| hit + 1 == whole.records.len());
        let others = whole.records.iter().enumerate().filter(|(number, _)| Some(*number) != hit);
        let wanted: Vec<&str> = others.map(|(_, record)| record.text.as_str()).collect();
        // The snapshot ends before the padding behind it.
        let is_front = byte < DATA_START + HEAD + "first".len() as u64;
        // The end of the newest segment is a write that did not finish, as far as anybody can tell.
        let torn = if is_last { whole.content.len() as u64 - whole.records[wanted.len()].at } else { 0 };
        let places = usize::from(is_front || (hit.is_some() && !is_last));
        check(&disk, &format!("byte {byte}, bit {bit}"), &wanted, places, torn);
    }
}

#[test]
fn an_end_torn_off_at_any_byte_of_a_log_costs_what_was_behind_it_and_is_counted_once() {
    let whole = Whole::new();
    for length in whole.bytes() {
        let disk = whole.damaged(|content| content.truncate(length as usize));
        let kept = whole.records.iter().take_while(|record| record.payload_end() <= length);
        let wanted: Vec<&str> = kept.map(|record| record.text.as_str()).collect();
        let end = whole.records[..wanted.len()].last().map_or(FIRST_RECORD, Stored::end);
        // Cut within the snapshot, nothing is left of it.
        let is_readable = length >= DATA_START + HEAD + "first".len() as u64;
        let torn = if is_readable { length.saturating_sub(end) } else { 0 };
        check(&disk, &format!("{length} bytes are left"), &wanted, usize::from(!is_readable), torn);
    }
}
