//! Random lives of the channel against a model: what was acknowledged is delivered, what was committed is not delivered
//! again, positions tell the truth, and nothing is invented.
//!
//! A failing seed is printed; `CHANNEL_SEED=n` runs it alone, `CHANNEL_SEEDS=n` runs that many.
#![allow(clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use millstream_core::{Coverage, Room, SlabBuilder, Take, Ticket};
use millstream_testkit::{Call, Dice, FakeDisk, Schedules};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::*;

const SCHEDULES: Schedules = Schedules { name: "CHANNEL", count: 6_000, regressions: REGRESSIONS };
/// Seeds that failed once, each with what was found: they run before all others.
const REGRESSIONS: &[u64] = &[];
const ACTIONS: u64 = 60;
const ORIGINS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// Names one event: the origin's life, and the position before it.
type Id = (u64, u64);

/// What a source knows of a file.
#[derive(Debug)]
struct Origin {
    name: Arc<str>,
    /// Grows when the file is completed and its name comes again.
    life: u64,
    /// Where it goes on reading.
    at: u64,
    /// All before it was acknowledged.
    acknowledged: u64,
    /// It was completed, and the channel's answer is not known.
    retiring: bool,
}

struct Life {
    seed: u64,
    dice: Dice,
    runtime: Runtime,
    disk: FakeDisk,
    options: FileOptions,
    memory_bytes: u64,
    channel: Option<FileChannel>,
    origins: Vec<Origin>,
    /// The next life of an origin, or put without one.
    next_life: u64,
    open: Vec<(Take, Vec<Id>)>,
    /// In an open take.
    held: BTreeSet<Id>,
    /// Stored for sure and not committed.
    must: BTreeSet<Id>,
    /// A put or a commit of it failed, or its commit was perhaps lost: it may come or not.
    may: BTreeSet<Id>,
    /// Committed for sure.
    gone: BTreeSet<Id>,
    /// Committed in this life of the process.
    recent: BTreeSet<Id>,
    /// Calls that had failed when this life began.
    strikes: u64,
    /// Bodies of events, for comparison.
    sizes: BTreeMap<Id, usize>,
}

/// Prints what happens when a seed runs alone.
fn log(line: impl FnOnce() -> String) {
    if std::env::var_os("CHANNEL_SEED").is_some() {
        println!("{}", line());
    }
}

fn body((life, at): Id, size: usize) -> Vec<u8> {
    let mut body = [life.to_le_bytes(), at.to_le_bytes()].concat();
    body.extend((0..size).map(|byte| (life + at + byte as u64) as u8));
    body
}

fn id_of(body: &[u8]) -> Id {
    let number = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let memory_bytes = [1, 1_500, MEMORY_BYTES][dice.below(3) as usize];
        let segment_bytes = [600, 3_000][dice.below(2) as usize];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let origins = (0..ORIGINS).map(|number| Origin {
            name: format!("o{number}").into(),
            life: number,
            at: 0,
            acknowledged: 0,
            retiring: false,
        });
        let mut life = Self {
            seed,
            dice,
            runtime,
            disk: FakeDisk::new(),
            options: FileOptions { segment_bytes, ..options() },
            memory_bytes,
            channel: None,
            origins: origins.collect(),
            next_life: ORIGINS,
            open: Vec::new(),
            held: BTreeSet::new(),
            must: BTreeSet::new(),
            may: BTreeSet::new(),
            gone: BTreeSet::new(),
            recent: BTreeSet::new(),
            strikes: 0,
            sizes: BTreeMap::new(),
        };
        life.start();
        life
    }

    fn run(&mut self) {
        for _ in 0..ACTIONS {
            match self.dice.below(100) {
                0..=29 => self.read_origin(),
                30..=39 => self.put_without_origin(),
                40..=42 => self.retire(),
                43..=59 => self.take(),
                60..=73 => self.end_take(),
                74..=79 => self.inject(),
                80..=84 => self.fill_or_free(),
                85..=89 => self.restart(),
                90..=95 => self.kill(),
                _ => self.power_cut(),
            }
            self.check_totals();
        }
        self.disk.set_capacity(None);
        self.disk.heal();
        self.power_cut();
        self.drain();
        self.restart();
        self.drain();
    }

    fn channel(&self) -> &FileChannel {
        self.channel.as_ref().unwrap()
    }

    fn settle(&self, ticket: Ticket) -> Result<()> {
        self.runtime.block_on(async { timeout(PATIENCE, ticket).await.expect("told in time") })
    }

    fn put(&self, batch: Batch) -> Ticket {
        let reserved = self.channel().reserve(batch.len() as u64, batch.retained_bytes());
        let room: Room = self.runtime.block_on(async { timeout(PATIENCE, reserved).await.unwrap().unwrap() });
        self.channel().put(batch, room)
    }

    fn batch(&mut self, ids: &[Id]) -> Batch {
        let mut bytes = Vec::new();
        let mut spans = Vec::new();
        for id in ids {
            let size = if self.dice.chance(5) { 2_000 } else { self.dice.below(40) } as usize;
            let size = *self.sizes.entry(*id).or_insert(size);
            let start = bytes.len();
            bytes.extend(body(*id, size));
            spans.push((start..bytes.len(), id.1 + 1));
        }
        let mut builder = SlabBuilder::new(Bytes::from(bytes));
        spans.into_iter().for_each(|(span, end)| builder.row_ending_at(span, end));
        builder.finish()
    }

    /// Hands over some batches of one file without waiting in between, as sources do.
    fn read_origin(&mut self) {
        let index = self.dice.below(ORIGINS) as usize;
        if self.origins[index].retiring {
            return self.retire_origin(index);
        }
        let mut puts = Vec::new();
        for _ in 0..1 + self.dice.below(4) {
            let (life, start) = (self.origins[index].life, self.origins[index].at);
            let end = start + 1 + self.dice.below(6);
            // Some ranges lose their events on the way, and their positions do not.
            let filtered = self.dice.chance(10);
            // A batch from further back holds what is stored already: after a failure sources do that.
            let again = !filtered && self.dice.chance(10);
            let from = if again { start - self.dice.below(start.min(4) + 1) } else { start };
            let ids: Vec<Id> = (from..end).filter(|_| !filtered).map(|at| (life, at)).collect();
            if filtered {
                (start..end).for_each(|at| _ = self.gone.insert((life, at)));
            }
            let coverage = Coverage::new(Arc::clone(&self.origins[index].name), from, end);
            let batch = self.batch(&ids).with_coverage(coverage);
            puts.push((from, end, self.put(batch)));
            self.origins[index].at = end;
        }
        let mut failed = None;
        for (start, end, ticket) in puts {
            let stored = self.settle(ticket);
            log(|| format!("put {:?} {start}..{end} {stored:?}", self.origins[index]));
            match stored {
                Ok(()) => {
                    let behind = failed.take_if(|failed| *failed < start);
                    assert_eq!(behind, None, "seed {}: stored {start}..{end} behind a failure", self.seed);
                    failed = None;
                    self.origins[index].acknowledged = end;
                    self.stored_below(index, end);
                }
                Err(_) => {
                    let start = start.max(self.origins[index].acknowledged);
                    failed = failed.or(Some(start));
                    self.doubt_behind(index, start);
                }
            }
        }
        if let Some(start) = failed {
            self.origins[index].at = start;
        }
    }

    /// A put from `start` on failed. What was filtered out there may be read again, and kept this time; or the failed put
    /// comes back, without events.
    fn doubt_behind(&mut self, index: usize, start: u64) {
        let life = self.origins[index].life;
        let doubtful: Vec<Id> = self.gone.range((life, start)..(life + 1, 0)).copied().collect();
        for id in doubtful {
            self.gone.remove(&id);
            self.may.insert(id);
        }
    }

    /// The channel says that everything of the origin before `end` is stored.
    fn stored_below(&mut self, index: usize, end: u64) {
        let life = self.origins[index].life;
        for id in (0..end).map(|at| (life, at)) {
            let settled = self.gone.contains(&id) || self.may.contains(&id) || self.recent.contains(&id);
            if !settled {
                self.must.insert(id);
            }
        }
    }

    fn put_without_origin(&mut self) {
        let life = self.next_life;
        self.next_life += 1;
        let ids: Vec<Id> = (0..1 + self.dice.below(5)).map(|at| (life, at)).collect();
        let batch = self.batch(&ids);
        let ticket = self.put(batch);
        let stored = self.settle(ticket);
        log(|| format!("put {life}, {} events {stored:?}", ids.len()));
        match stored {
            Ok(()) => self.must.extend(ids),
            Err(_) => self.may.extend(ids),
        }
    }

    fn retire(&mut self) {
        let index = self.dice.below(ORIGINS) as usize;
        self.retire_origin(index);
    }

    fn retire_origin(&mut self, index: usize) {
        self.origins[index].retiring = true;
        let batch = Batch::empty().with_coverage(Coverage::retired(Arc::clone(&self.origins[index].name)));
        let ticket = self.put(batch);
        if self.settle(ticket).is_ok() {
            self.begin_anew(index);
        }
    }

    /// The same name, another file.
    fn begin_anew(&mut self, index: usize) {
        let origin = &mut self.origins[index];
        (origin.life, origin.at, origin.acknowledged, origin.retiring) = (self.next_life, 0, 0, false);
        self.next_life += 1;
    }

    fn take(&mut self) {
        let waiting = self.channel().totals().waiting_events();
        if waiting <= self.held.len() as u64 {
            return;
        }
        let bytes = if self.dice.chance(30) { self.dice.below(200) } else { u64::MAX };
        let limit = Limit { events: 1 + self.dice.below(12) as usize, bytes };
        let taken = self.channel().take(limit);
        match self.runtime.block_on(async { timeout(PATIENCE, taken).await.expect("taken in time") }) {
            Ok(take) => self.receive(take, limit),
            // A read failed.
            Err(error) => assert!(self.disk.strikes() > self.strikes, "seed {}: {error}", self.seed),
        }
    }

    fn receive(&mut self, mut take: Take, limit: Limit) {
        let seed = self.seed;
        assert!((1..=limit.events).contains(&take.events()), "seed {seed}: {} events", take.events());
        let bytes: u64 = take.batches().iter().map(Batch::body_bytes).sum();
        assert!(bytes <= limit.bytes || take.events() == 1, "seed {seed}: {bytes} bytes of {limit:?}");
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for event in take.batches().iter().flat_map(Batch::iter) {
            let id = id_of(event.body());
            assert_eq!(event.body(), body(id, self.sizes[&id]), "seed {seed}: {id:?}");
            assert!(!self.gone.contains(&id), "seed {seed}: {id:?} came again");
            assert!(self.must.contains(&id) || self.may.contains(&id), "seed {seed}: {id:?} is not known");
            assert!(self.held.insert(id), "seed {seed}: {id:?} is in another take");
            let before = last.insert(id.0, id.1);
            assert!(before < Some(id.1), "seed {seed}: {id:?} after {before:?}");
            assert!(event.name().is_some());
        }
        let ids = take.batches().iter().flat_map(Batch::iter).map(|event| id_of(event.body())).collect();
        if self.dice.chance(50) {
            take.release();
        }
        self.open.push((take, ids));
    }

    fn end_take(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let index = self.dice.below(self.open.len() as u64) as usize;
        let (take, ids) = self.open.remove(index);
        ids.iter().for_each(|id| _ = self.held.remove(id));
        if self.dice.chance(30) {
            return drop(take);
        }
        let committed = self.settle(take.commit());
        log(|| format!("commit {ids:?} {committed:?}"));
        let sure = committed.is_ok();
        for id in ids {
            self.must.remove(&id);
            self.may.remove(&id);
            if sure {
                self.recent.insert(id);
            } else {
                self.may.insert(id);
            }
        }
    }

    fn inject(&mut self) {
        let calls = [
            Call::Create,
            Call::Open,
            Call::Write,
            Call::TornWrite,
            Call::Read,
            Call::Sync,
            Call::SyncDir,
            Call::Rename,
            Call::Remove,
            Call::SetLen,
        ];
        let call = calls[self.dice.below(calls.len() as u64) as usize];
        let (skip, times) = (self.dice.below(3) as u32, 1 + self.dice.below(2) as u32);
        log(|| format!("let {call:?} fail after {skip} {times} times"));
        self.disk.fail(call, skip, times);
    }

    fn fill_or_free(&mut self) {
        let full = self.dice.chance(50);
        let room = self.dice.below(600);
        log(|| format!("disk full: {full}, {room} bytes left"));
        self.disk.set_capacity(full.then(|| self.disk.used() + room));
    }

    fn restart(&mut self) {
        self.disk.heal();
        self.forget_takes();
        let closed = self.channel().close();
        let closed = self.settle(closed);
        let safe = closed.is_ok() && self.disk.strikes() == self.strikes;
        self.channel = None;
        self.end_life(safe);
        self.start();
    }

    fn kill(&mut self) {
        let safe = self.disk.strikes() == self.strikes;
        self.disk = self.disk.kill();
        self.forget_takes();
        self.channel = None;
        self.end_life(safe);
        self.start();
    }

    fn power_cut(&mut self) {
        let seed = self.dice.below(u64::MAX);
        self.disk = self.disk.power_cut(seed);
        self.forget_takes();
        self.channel = None;
        self.end_life(false);
        self.start();
    }

    fn forget_takes(&mut self) {
        self.open.clear();
        self.held.clear();
    }

    /// Commits of this life are final, or may have been lost.
    fn end_life(&mut self, commits_are_safe: bool) {
        log(|| format!("end of a life, commits are safe: {commits_are_safe}"));
        let recent = std::mem::take(&mut self.recent);
        if commits_are_safe { self.gone.extend(recent) } else { self.may.extend(recent) }
    }

    fn start(&mut self) {
        let open = |life: &Self| {
            let disk = Arc::new(life.disk.clone());
            FileChannel::open(disk, &"c1".into(), &life.options, None, life.memory_bytes)
        };
        let channel = open(self).or_else(|_| {
            // Too full even for a first segment.
            self.disk.set_capacity(None);
            open(self)
        });
        let channel = channel.unwrap();
        log(|| {
            let state = channel.store.state.lock();
            format!("opened: next {} segments {:?} acked {:?}", state.next, state.segments, state.acked)
        });
        self.channel = Some(channel);
        self.strikes = self.disk.strikes();
        for index in 0..self.origins.len() {
            let covered = self.channel().covered(&self.origins[index].name);
            let origin = &mut self.origins[index];
            if covered.is_none() && origin.retiring {
                self.begin_anew(index);
                continue;
            }
            let covered = covered.unwrap_or_default();
            assert!(
                covered >= origin.acknowledged,
                "seed {}: {} is covered to {covered}, acknowledged to {}",
                self.seed,
                origin.name,
                origin.acknowledged
            );
            (origin.at, origin.acknowledged) = (covered, covered);
            self.stored_below(index, covered);
        }
        self.check_totals();
    }

    fn check_totals(&self) {
        let totals = self.channel().totals();
        let waiting = totals.waiting_events();
        let (least, most) = (self.must.len() as u64, (self.must.len() + self.may.len()) as u64);
        assert!((least..=most).contains(&waiting), "seed {}: {waiting} wait of {least}..={most}", self.seed);
        let named: u64 = self.channel().waiting_names().iter().map(|(_, range)| range.end - range.start).sum();
        assert_eq!(named, waiting, "seed {}", self.seed);
    }

    /// Everything that must come comes, and then nothing is left.
    fn drain(&mut self) {
        self.disk.set_capacity(None);
        self.disk.heal();
        self.forget_takes();
        while self.channel().totals().waiting_events() > 0 {
            self.take();
            while !self.open.is_empty() {
                self.end_take();
            }
        }
        assert!(self.must.is_empty(), "seed {}: {:?} never came", self.seed, self.must);
        // What did not come now never will.
        self.gone.extend(std::mem::take(&mut self.may));
        self.gone.extend(std::mem::take(&mut self.recent));
    }
}

#[test]
fn random_lives_lose_nothing_and_deliver_nothing_again() {
    SCHEDULES.run(|seed| Life::new(seed).run());
}
