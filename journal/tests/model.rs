//! Random lives of a journal against a model: what was acknowledged is delivered, in order, once; nothing is invented.
//!
//! A failing seed is printed; `JOURNAL_SEED=n` runs it alone, `JOURNAL_SEEDS=n` runs that many.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::dir;
use millstream_core::Result;
use millstream_journal::{Durability, Journal, Location, Options, Recovered};
use millstream_testkit::{Call, Dice, FakeDisk, Schedules};
use parking_lot::Mutex;

const SCHEDULES: Schedules = Schedules { name: "JOURNAL", count: 6_000, regressions: REGRESSIONS };
/// Seeds that failed once, each with what was found: they run before all others.
const REGRESSIONS: &[u64] = &[];
const ACTIONS: u64 = 60;

/// Prints what happens when a seed runs alone.
fn log(line: impl FnOnce() -> String) {
    if std::env::var_os("JOURNAL_SEED").is_some() {
        println!("{}", line());
    }
}

/// What the model knows of one append.
#[derive(Debug, Clone)]
struct Entry {
    location: Location,
    payload: Bytes,
    durability: Durability,
    /// What `done` said; `None` while it has not.
    told: Option<bool>,
    /// A later sync was reported well.
    durable: bool,
    /// Found gone at an opening: must never come back.
    gone: bool,
    /// Known to be on the disk from an earlier opening, or below what was deleted.
    must: bool,
    /// Lazy, and a sync failed or the power went before it was synced: it may be lost, or live on in snapshots alone.
    weak: bool,
}

struct Life {
    dice: Dice,
    disk: FakeDisk,
    journal: Option<Journal>,
    /// Every append ever made that was enqueued, by number.
    entries: Arc<Mutex<Vec<Entry>>>,
    /// Numbers in the order in which `done` was called.
    told: Arc<Mutex<Vec<usize>>>,
    /// Segments below are perhaps gone.
    deleted_below: u64,
    /// Calls that had failed when this life began.
    strikes: u64,
    seed: u64,
}

fn options() -> Options {
    Options { name: "model".into(), segment_bytes: 2_000, reserve_bytes: 100, max_record_bytes: 10_000 }
}

/// A snapshot: the numbers that it stands for.
fn encode(numbers: &[usize]) -> Bytes {
    numbers.iter().flat_map(|number| (*number as u32).to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Vec<usize> {
    bytes.chunks(4).map(|four| u32::from_le_bytes(four.try_into().unwrap()) as usize).collect()
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut life = Self {
            dice: Dice::new(seed),
            disk: FakeDisk::new(),
            journal: None,
            entries: Arc::default(),
            told: Arc::default(),
            deleted_below: 0,
            strikes: 0,
            seed,
        };
        life.open();
        life
    }

    fn run(&mut self) {
        for _ in 0..ACTIONS {
            match self.dice.below(100) {
                0..=54 => self.append(),
                55..=64 => self.roll(),
                65..=69 => self.wait(),
                70..=73 => self.delete(),
                74..=80 => self.inject(),
                81..=84 => self.read(),
                85..=88 => self.fill_or_free(),
                89..=91 => self.reopen(),
                92..=95 => self.kill(),
                _ => self.power_cut(),
            }
        }
        self.disk.set_capacity(None);
        self.disk.heal();
        self.power_cut();
        self.append();
        self.reopen();
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    fn append(&mut self) {
        let length = if self.dice.chance(10) { self.dice.below(3_000) } else { self.dice.below(120) } as usize;
        let durability = if self.dice.chance(60) { Durability::Synced } else { Durability::Lazy };
        // The lock is held over the append so that the entry is there before its `done` looks for it.
        let mut entries = self.entries.lock();
        let number = entries.len();
        let mut payload = (number as u32).to_le_bytes().to_vec();
        payload.extend((0..length).map(|at| (number * 31 + at) as u8));
        let payload = Bytes::from(payload);
        let cut = self.dice.below(payload.len() as u64 + 1) as usize;
        let parts = vec![payload.slice(..cut), payload.slice(cut..)];
        let (theirs, told) = (Arc::clone(&self.entries), Arc::clone(&self.told));
        let done = move |outcome: Result<()>| {
            log(|| format!("  told {number} {outcome:?}"));
            theirs.lock()[number].told = Some(outcome.is_ok());
            told.lock().push(number);
        };
        match self.journal().append(1, parts, durability, Box::new(done)) {
            Ok(appended) => {
                log(|| format!("append {number} {durability:?} {} bytes {appended:?}", payload.len()));
                let location = appended.location;
                entries.push(Entry {
                    location,
                    payload,
                    durability,
                    told: None,
                    durable: false,
                    gone: false,
                    must: false,
                    weak: false,
                });
                drop(entries);
                if appended.wants_roll && self.dice.chance(70) {
                    self.roll();
                }
            }
            Err(_) => {
                drop(entries);
                self.roll();
            }
        }
        if self.dice.chance(30) {
            self.wait();
        }
    }

    /// The snapshot stands for all that was not reported as failed.
    fn roll(&mut self) {
        let entries = self.entries.lock();
        let known: Vec<usize> = (0..entries.len())
            .filter(|number| entries[*number].told != Some(false) && !entries[*number].gone)
            .collect();
        // Refused while failures are being told, which this lock holds up.
        let rolled = self.journal().roll(encode(&known));
        log(|| format!("roll {known:?} {rolled:?}"));
    }

    /// Waits for a sync; a good one makes everything told well durable.
    fn wait(&mut self) {
        let synced = self.journal().sync().wait();
        if self.disk.strikes() > self.strikes {
            // A sync failed, perhaps, and this one came after a roll: what was lazy lives on in the snapshot alone.
            self.weaken();
        }
        if synced.is_ok() {
            let mut entries = self.entries.lock();
            entries
                .iter_mut()
                .filter(|entry| entry.told == Some(true) && !entry.weak)
                .for_each(|entry| entry.durable = true);
        }
    }

    /// Deletes below a segment that exists.
    fn delete(&mut self) {
        let segments = self.journal().segments();
        let below = segments[self.dice.below(segments.len() as u64) as usize];
        let deleted = self.journal().delete_before(below);
        log(|| format!("delete before {below} {deleted:?}"));
        if deleted.is_ok() {
            self.deleted_below = self.deleted_below.max(below);
        }
    }

    fn inject(&mut self) {
        let calls = [
            Call::Create,
            Call::Open,
            Call::Write,
            Call::TornWrite,
            Call::Sync,
            Call::SyncDir,
            Call::Rename,
            Call::Remove,
            Call::SetLen,
        ];
        let call = calls[self.dice.below(calls.len() as u64) as usize];
        let (skip, times) = (self.dice.below(3) as u32, 1 + self.dice.below(3) as u32);
        self.disk.fail(call, skip, times);
        log(|| format!("let {call:?} fail after {skip} {times} times"));
    }

    fn fill_or_free(&mut self) {
        let full = self.dice.chance(50);
        let room = self.dice.below(600);
        self.disk.set_capacity(full.then(|| self.disk.used() + room));
    }

    /// What readers give is a part of what was appended, in order, and holds all that must be there.
    fn read(&mut self) {
        self.disk.heal();
        let _ = self.journal().sync().wait();
        let read = common_read(self.journal());
        let entries = self.entries.lock();
        for pair in read.windows(2) {
            assert!(pair[0].1 < pair[1].1, "seed {}: read {} and then {}", self.seed, pair[0].1, pair[1].1);
        }
        for (location, number) in &read {
            assert_eq!(entries[*number].location, *location, "seed {}: record {number}", self.seed);
            assert_ne!(entries[*number].told, Some(false), "seed {}: read {number}, which failed", self.seed);
        }
    }

    fn reopen(&mut self) {
        self.disk.heal();
        self.end_life();
        let all_told = self.entries.lock().iter().all(|entry| entry.told.is_some());
        assert!(all_told, "seed {}", self.seed);
        self.open();
    }

    /// The process ends while its threads are at work.
    fn kill(&mut self) {
        self.disk = self.disk.kill();
        // The old threads find their files dead.
        self.end_life();
        self.open();
    }

    fn power_cut(&mut self) {
        let seed = self.dice.below(u64::MAX);
        // What was told before the cut counts, what is told later happened on dead files.
        let disk = self.disk.clone();
        self.disk = disk.power_cut(seed);
        log(|| "power cut".to_owned());
        self.end_life();
        // Lazy records that no sync followed may be gone.
        self.weaken();
        self.open();
    }

    /// Lazy records that were not synced yet need not be there any more.
    fn weaken(&self) {
        let mut entries = self.entries.lock();
        let lazy = |entry: &&mut Entry| entry.durability == Durability::Lazy && !entry.durable;
        entries.iter_mut().filter(lazy).for_each(|entry| entry.weak = true);
    }

    fn end_life(&mut self) {
        let Some(journal) = self.journal.take() else { return };
        let closed = journal.close();
        log(|| format!("end of a life, closed {closed:?}"));
        if self.disk.strikes() > self.strikes {
            self.weaken();
        } else if closed.is_ok() {
            let mut entries = self.entries.lock();
            entries
                .iter_mut()
                .filter(|entry| entry.told == Some(true) && !entry.weak)
                .for_each(|entry| entry.durable = true);
        }
    }

    fn open(&mut self) {
        let opened = Journal::open(Arc::new(self.disk.clone()), &dir(), options(), Bytes::new());
        let (journal, recovered) = match opened {
            Ok(opened) => opened,
            Err(_) => {
                // Full, so that not even a first segment could be made.
                self.disk.set_capacity(None);
                Journal::open(Arc::new(self.disk.clone()), &dir(), options(), Bytes::new()).unwrap()
            }
        };
        log(|| {
            let (known, new) = (decode(&recovered.snapshot), recovered.records.len());
            format!("opened {:?} snapshot {known:?} and {new} records", journal.segments())
        });
        self.check(&recovered, &journal);
        self.strikes = self.disk.strikes();
        self.journal = Some(journal);
    }

    fn check(&mut self, recovered: &Recovered, journal: &Journal) {
        let seed = self.seed;
        let mut entries = self.entries.lock();
        let mut delivered = decode(&recovered.snapshot);
        let mut last = None;
        for record in &recovered.records {
            let number = decode(&record.payload[..4])[0];
            let entry = entries.get(number).unwrap_or_else(|| panic!("seed {seed}: invented {number}"));
            assert_eq!((entry.location, &entry.payload), (record.location, &record.payload), "seed {seed}: {number}");
            assert!(last < Some(number), "seed {seed}: {number} after {last:?}");
            last = Some(number);
            delivered.push(number);
        }
        assert!(
            delivered.windows(2).all(|pair| pair[0] < pair[1]),
            "seed {seed}: out of order or twice: {delivered:?}"
        );
        assert!(
            recovered.quarantined.iter().all(|place| place.unconfirmed),
            "seed {seed}: {:?}",
            recovered.quarantined
        );
        // A failed record that was taken back can return with a power cut, as long as nothing after it was synced.
        let newest_good = entries.iter().rposition(|entry| entry.told == Some(true) && !entry.weak);
        for (number, entry) in entries.iter_mut().enumerate() {
            let found = delivered.binary_search(&number).is_ok();
            let promised = entry.must || (entry.told == Some(true) && !entry.weak);
            assert!(found || !promised, "seed {seed}: lost {number} {:?}", (entry.location, entry.durability));
            assert!(!found || !entry.gone, "seed {seed}: {number} came back");
            if found && entry.told == Some(false) {
                assert!(newest_good < Some(number), "seed {seed}: {number} failed, and a later one did not: {entry:?}");
            }
            entry.must |= found;
            entry.gone |= !found;
            if found {
                entry.told = Some(true);
                entry.durable = true;
            }
        }
        drop(entries);
        let below = self.deleted_below;
        let read = common_read(journal);
        let entries = self.entries.lock();
        assert!(read.windows(2).all(|pair| pair[0].1 < pair[1].1), "seed {seed}: read out of order or twice");
        let mut readable = read.iter().map(|(_, number)| *number).collect::<Vec<_>>();
        assert!(
            readable.iter().all(|number| !entries[*number].gone),
            "seed {seed}: a reader brings back what was gone"
        );
        readable.retain(|number| entries[*number].location.segment >= below && !entries[*number].weak);
        let there = |entry: &Entry| entry.must && !entry.weak && entry.location.segment >= below;
        let wanted: Vec<usize> = (0..entries.len()).filter(|number| there(&entries[*number])).collect();
        assert_eq!(readable, wanted, "seed {seed}: a reader gives what the opening and its snapshots stand for");
    }
}

fn common_read(journal: &Journal) -> Vec<(Location, usize)> {
    let mut reader = journal.reader(Location { segment: 0, offset: 0 });
    let mut all = Vec::new();
    while let Some((location, _, payload)) = reader.next().unwrap() {
        all.push((location, decode(&payload[..4])[0]));
    }
    all
}

#[test]
fn random_lives_lose_nothing_that_was_acknowledged() {
    SCHEDULES.run(|seed| Life::new(seed).run());
}
