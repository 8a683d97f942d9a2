//! Group commit between threads: what was said to be stored is on the disk at that moment, and everyone is told.
//!
//! Seen to catch: told before the sync, or before readers may read it; a group synced only if its first record asks for it; a
//! sync told well that was none, or tried again after it failed; a roll or an end without a sync; an append that does not
//! wake the writer, or wakes it too early; a writer that sleeps without a look, or drops what came meanwhile; after a
//! failure: what is enqueued forgotten, a close forgotten, a snapshot taken while failures are told, the next place
//! not set back.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use millstream_core::sync::point;
use millstream_core::{Result, Slow, Ticket, explore, ticket};
use millstream_interleavings_journal::{Appended, Durability, Journal, Location, Options};
use millstream_testkit::{Call, FakeDisk};
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::thread::{self, JoinHandle};

const DIR: &str = "/log";
/// Records of each appending thread.
const RECORDS: usize = 3;

/// What the user of a journal knows of one append.
#[derive(Debug, Clone)]
struct Entry {
    durability: Durability,
    location: Location,
    /// What `done` said.
    told: Option<bool>,
    /// A sync that was asked for later was reported well.
    synced: bool,
}

/// One life of a journal.
struct Life {
    disk: FakeDisk,
    journal: Journal,
    /// Every append that was enqueued, by number. As with a channel, the lock is held over an append and taken by `done`.
    entries: Arc<Mutex<Vec<Entry>>>,
    /// Numbers in the order in which they were told.
    told: Arc<Mutex<Vec<usize>>>,
    /// The disk was full, perhaps.
    filled: AtomicBool,
}

fn open(disk: FakeDisk, first: Bytes) -> (Journal, Vec<usize>) {
    let options = Options { name: "j".into(), segment_bytes: 256, reserve_bytes: 0, max_record_bytes: 1000 };
    let (journal, recovered) = Journal::open(Arc::new(Slow(disk)), Path::new(DIR), options, first).unwrap();
    let mut stored = decode(&recovered.snapshot);
    stored.extend(recovered.records.iter().flat_map(|record| decode(&record.payload)));
    (journal, stored)
}

fn encode(numbers: &[usize]) -> Bytes {
    numbers.iter().flat_map(|number| (*number as u32).to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Vec<usize> {
    bytes.chunks(4).map(|four| u32::from_le_bytes(four.try_into().unwrap()) as usize).collect()
}

// === impl Life ===

impl Life {
    fn begin() -> Arc<Self> {
        let disk = FakeDisk::new();
        let (journal, _) = open(disk.clone(), Bytes::new());
        Arc::new(Self { disk, journal, entries: Arc::default(), told: Arc::default(), filled: AtomicBool::new(false) })
    }

    fn append(&self, durability: Durability) -> Result<(usize, Appended, Ticket)> {
        let (resolver, told) = ticket();
        let mut entries = self.entries.lock().unwrap();
        let number = entries.len();
        let (theirs, order) = (Arc::clone(&self.entries), Arc::clone(&self.told));
        let done = move |outcome: Result<()>| {
            theirs.lock().unwrap()[number].told = Some(outcome.is_ok());
            order.lock().unwrap().push(number);
            resolver.resolve(outcome);
        };
        let appended = self.journal.append(1, vec![encode(&[number])], durability, Box::new(done))?;
        entries.push(Entry { durability, location: appended.location, told: None, synced: false });
        Ok((number, appended, told))
    }

    /// The snapshot stands for all that was not reported as failed.
    fn roll(&self) {
        let entries = self.entries.lock().unwrap();
        let known: Vec<usize> = (0..entries.len()).filter(|number| entries[*number].told != Some(false)).collect();
        // Refused while failures are told, and when the journal is closed.
        let _ = self.journal.roll(encode(&known));
    }

    fn sync(&self) {
        let before = self.entries.lock().unwrap().len();
        if block_on(self.journal.sync()).is_ok() && !self.struck() {
            let mut entries = self.entries.lock().unwrap();
            entries[..before].iter_mut().for_each(|entry| entry.synced = true);
        }
    }

    /// Appends, waits for what it is told, and holds it against the disk.
    fn append_some(&self, reads: bool) {
        for _ in 0..RECORDS {
            let durability = if thread_rng().gen_bool(0.7) { Durability::Synced } else { Durability::Lazy };
            let Ok((number, appended, told)) = self.append(durability) else {
                self.roll();
                thread::yield_now();
                continue;
            };
            if appended.wants_roll {
                self.roll();
            }
            // Some go on without waiting, so that groups have several records.
            if thread_rng().gen_bool(0.5) {
                continue;
            }
            if block_on(told).is_err() {
                // Where it was full, there is room again.
                self.disk.set_capacity(None);
            } else if reads {
                let read = self.journal.reader(appended.location).next().unwrap();
                let (location, _, payload) = read.expect("what was told well can be read");
                assert_eq!((location, decode(&payload)), (appended.location, vec![number]));
            }
        }
    }

    /// One call of the disk fails, once or twice, or it is full for a while.
    fn strike(&self) {
        let calls = [Call::Write, Call::TornWrite, Call::Sync, Call::SetLen, Call::Create, Call::SyncDir];
        match calls.get(thread_rng().gen_range(0..=calls.len())) {
            Some(call) => self.disk.fail(*call, thread_rng().gen_range(0..3), thread_rng().gen_range(1..=2)),
            None => {
                self.disk.set_capacity(Some(self.disk.used() + thread_rng().gen_range(0..200)));
                self.filled.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether anything has failed, perhaps.
    fn struck(&self) -> bool {
        self.disk.strikes() > 0 || self.filled.load(Ordering::Relaxed)
    }

    /// Numbers of `entries` that the next life must find.
    fn promised(&self, entries: &[Entry], power_goes: bool) -> Vec<usize> {
        let struck = self.struck();
        let well = |entry: &Entry| entry.told == Some(true);
        let stored = |entry: &Entry| entry.durability == Durability::Synced && well(entry);
        // What follows was synced with all before it, or comes behind a roll whose snapshot stands for it.
        let followed = entries.iter().rposition(stored);
        let lasts = |entry: &Entry| !struck && (!power_goes || entry.synced);
        let promised =
            |number: &usize| well(&entries[*number]) && (Some(*number) <= followed || lasts(&entries[*number]));
        (0..entries.len()).filter(promised).collect()
    }

    /// Ends this life here and now, and holds what the next one finds against what was promised until then.
    fn crash(&self) {
        let power_goes = thread_rng().gen_bool(0.7);
        let entries = self.entries.lock().unwrap();
        // From here to what was promised there is no point at which others go on.
        let next = if power_goes { self.disk.power_cut(thread_rng().r#gen()) } else { self.disk.kill() };
        let promised = self.promised(&entries, power_goes);
        let (entries, struck) = (entries.clone(), self.disk.strikes() > 0);
        Self::check(next, &entries, &promised, struck);
    }

    /// Holds what the next life finds against what this one told.
    fn check(disk: FakeDisk, entries: &[Entry], promised: &[usize], struck: bool) -> Vec<usize> {
        disk.set_capacity(None);
        let (journal, found) = open(disk, Bytes::new());
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "in order, once: {found:?}");
        for number in promised {
            assert!(found.contains(number), "lost {number}, found {found:?}: {entries:?}");
        }
        let failed = |number: &&usize| entries.get(**number).is_some_and(|entry| entry.told == Some(false));
        if let (Some(failed), Some(last)) = (found.iter().find(failed), promised.last()) {
            assert!(failed > last, "{failed} failed, and {last} was stored behind it; found {found:?}: {entries:?}");
        }
        // No segment was deleted: what a snapshot stands for is there itself, unless a failed sync took it.
        let mut reader = journal.reader(Location { segment: 0, offset: 0 });
        let mut read = Vec::new();
        while let Some((location, _, payload)) = reader.next().unwrap() {
            let number = decode(&payload)[0];
            let told = entries.get(number).map_or(location, |entry| entry.location);
            assert_eq!(location, told, "{number} is not where it was told to be: {entries:?}");
            read.push(number);
        }
        assert!(struck || read == found, "read {read:?}, found {found:?}: {entries:?}");
        found
    }

    /// Nothing is left untold by a journal that was closed, and what it holds is what it told.
    fn close(&self) {
        let closed = self.journal.close();
        let struck = self.struck();
        assert!(closed.is_ok() || struck, "{closed:?}");
        let mut entries = self.entries.lock().unwrap().clone();
        if closed.is_ok() && !struck {
            entries.iter_mut().for_each(|entry| entry.synced = true);
        }
        assert!(entries.iter().all(|entry| entry.told.is_some()), "untold: {entries:?}");
        assert_eq!(*self.told.lock().unwrap(), (0..entries.len()).collect::<Vec<_>>(), "told once each, in order");
        let locations: Vec<Location> = entries.iter().map(|entry| entry.location).collect();
        assert!(struck || locations.is_sorted(), "{locations:?}");
        let power_goes = thread_rng().gen_bool(0.5);
        let next = if power_goes { self.disk.power_cut(thread_rng().r#gen()) } else { self.disk.kill() };
        let found = Self::check(next, &entries, &self.promised(&entries, power_goes), struck);
        if !struck {
            assert_eq!(found, (0..entries.len()).collect::<Vec<_>>());
        }
    }
}

fn spawn(life: &Arc<Life>, work: impl FnOnce(&Life) + Send + 'static) -> JoinHandle<()> {
    let life = Arc::clone(life);
    thread::spawn(move || work(&life))
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn what_was_told_well_is_read_and_found_again_and_everyone_is_told() {
    explore("JOURNAL_CLOSE", 8, || {
        let life = Life::begin();
        let others = [0, 1].map(|_| spawn(&life, |life| life.append_some(true)));
        let syncs = spawn(&life, |life| life.sync());
        life.roll();
        join(others);
        join([syncs]);
        life.close();
    });
}

#[test]
fn a_crash_at_any_moment_takes_nothing_that_was_told_well() {
    explore("JOURNAL_CRASH", 24, || {
        let life = Life::begin();
        let others = [0, 1].map(|_| spawn(&life, |life| life.append_some(false)));
        let syncs = spawn(&life, |life| life.sync());
        let rolls = spawn(&life, |life| life.roll());
        for _ in 0..thread_rng().gen_range(0..20) {
            point();
        }
        life.crash();
        join(others);
        join([syncs, rolls]);
    });
}

#[test]
fn failures_at_any_moment_are_told_and_take_nothing_that_was_told_well() {
    explore("JOURNAL_FAILS", 24, || {
        let life = Life::begin();
        life.strike();
        let others = [0, 1].map(|_| spawn(&life, |life| life.append_some(false)));
        let syncs = spawn(&life, |life| life.sync());
        let crashes = thread_rng().gen_bool(0.5);
        if crashes {
            for _ in 0..thread_rng().gen_range(0..40) {
                point();
            }
            life.crash();
        }
        join(others);
        join([syncs]);
        if !crashes {
            life.close();
        }
    });
}

#[test]
fn a_close_between_appends_tells_everyone() {
    explore("JOURNAL_ENDS", 8, || {
        let life = Life::begin();
        let others = [0, 1].map(|_| spawn(&life, |life| life.append_some(false)));
        let syncs = spawn(&life, |life| life.sync());
        life.close();
        join(others);
        join([syncs]);
    });
}
