//! A channel in memory that does as a test tells it, and tells what happened.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{
    Batch, Channel, ChannelRef, ChannelTotals, Error, Fut, Limit, OpenTake, Resolver, Result, Room, SlabBuilder, Take,
    Ticket, ticket,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::PATIENCE;

/// Remembers positions as a durable channel does, names its events ([`TestChannel::INCARNATION`], sequence from 0), and
/// refuses, fails or waits on demand.
#[derive(Debug, Clone)]
pub struct TestChannel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: Arc<str>,
    incarnation: u128,
    transaction_capacity: u64,
    stored: watch::Sender<Stored>,
    /// Tickets of puts that are told nothing yet; `None` when puts are told at once.
    held: Mutex<Option<Vec<Resolver>>>,
}

/// What a [`TestChannel`] was given and what became of it.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Bodies of all events ever put, in order.
    pub bodies: Vec<Vec<u8>>,
    /// Their headers.
    pub headers: Vec<BTreeMap<String, String>>,
    /// Events of each put that had some.
    pub puts: Vec<usize>,
    /// How far each origin is stored.
    pub covered: BTreeMap<String, u64>,
    /// Origins that were completed, in order.
    pub retired: Vec<String>,
    /// Bodies of events that were set aside; `None` where there is no place for them.
    pub letters: Option<Vec<String>>,
    /// Calls for room that were refused.
    pub refused: u64,
    /// Who waits for room now.
    pub waiting_for_room: usize,
    /// Takes that wait for events now.
    pub asked: usize,
    /// Takes that ended without an event.
    pub empty_takes: usize,
    /// Events that can be taken, by sequence.
    waiting: BTreeMap<u64, Event>,
    /// Sequences that are taken and neither committed nor given back.
    taken: BTreeSet<u64>,
    /// Sequences committed, in order, and their bodies.
    committed: Vec<(u64, String)>,
    next: u64,
    refuse_reservations: u32,
    fail_puts: u32,
    /// Puts that still find room; `None` for all of them.
    room: Option<u32>,
}

#[derive(Debug, Clone)]
struct Event {
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

/// One more in a count for as long as this lives.
struct Counted<'a> {
    channel: &'a TestChannel,
    count: fn(&mut Stored) -> &mut usize,
}

struct Open {
    channel: TestChannel,
    events: Vec<(u64, Event)>,
}

// === impl TestChannel ===

impl Default for TestChannel {
    fn default() -> Self {
        Self::new()
    }
}

impl TestChannel {
    /// The incarnation of every name, unless another was asked for.
    pub const INCARNATION: u128 = 7;
    /// How long a take waits for events.
    pub const KEEP_ALIVE: Duration = Duration::from_millis(300);

    /// An empty one, with room for everything.
    pub fn new() -> Self {
        Self::with_transaction_capacity(u64::MAX)
    }

    /// From now on it keeps what is set aside.
    pub fn keep_letters(&self) {
        self.change(|stored| stored.letters = Some(Vec::new()));
    }

    /// An empty one that gives at most so many events in one take.
    pub fn with_transaction_capacity(events: u64) -> Self {
        Self::of_incarnation(Self::INCARNATION, events)
    }

    /// As [`Self::with_transaction_capacity`], for a test of several channels: no two give the same names.
    pub fn of_incarnation(incarnation: u128, transaction_capacity: u64) -> Self {
        Self(Arc::new(Inner {
            name: "c1".into(),
            incarnation,
            transaction_capacity,
            stored: watch::Sender::default(),
            held: Mutex::default(),
        }))
    }

    /// As its sources and sinks hold it.
    pub fn shared(&self) -> ChannelRef {
        Arc::new(self.clone())
    }

    /// Events that wait to be taken: the sequences as decimal text.
    pub fn fill(&self, sequences: Range<u64>) {
        self.change(|stored| {
            stored.next = stored.next.max(sequences.end);
            let event = |sequence: u64| Event { headers: Vec::new(), body: sequence.to_string().into() };
            stored.waiting.extend(sequences.map(|sequence| (sequence, event(sequence))));
        });
    }

    /// As if everything before `end` of `origin` had been stored in an earlier life.
    pub fn cover(&self, origin: &str, end: u64) {
        self.change(|stored| stored.covered.insert(origin.to_owned(), end));
    }

    /// The next `count` calls for room are refused.
    pub fn refuse_reservations(&self, count: u32) {
        self.change(|stored| stored.refuse_reservations = count);
    }

    /// The next `count` puts are lost.
    pub fn fail_puts(&self, count: u32) {
        self.change(|stored| stored.fail_puts = count);
    }

    /// After `puts` more with events in them it is full: whoever asks for room waits.
    pub fn fill_up_after(&self, puts: u32) {
        self.change(|stored| stored.room = Some(puts));
    }

    /// It is full no longer.
    pub fn make_room(&self) {
        self.change(|stored| stored.room = None);
    }

    /// What is put from now on is not told to be stored before [`Self::tell`].
    pub fn hold(&self) {
        self.0.held.lock().get_or_insert_default();
    }

    /// Tells that everything put is stored.
    pub fn tell(&self) {
        let held = self.0.held.lock().take();
        held.into_iter().flatten().for_each(|resolver| resolver.resolve(Ok(())));
    }
}

impl TestChannel {
    /// Everything it was given.
    pub fn stored(&self) -> Stored {
        self.0.stored.borrow().clone()
    }

    /// Bodies of all events ever put, in order.
    pub fn texts(&self) -> Vec<String> {
        self.0.stored.borrow().bodies.iter().map(|body| text(body)).collect()
    }

    /// Events of each put that had some.
    pub fn puts(&self) -> Vec<usize> {
        self.0.stored.borrow().puts.clone()
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.0.stored.borrow().waiting.len()
    }

    /// Bodies committed, in the order of the commits.
    pub fn committed(&self) -> Vec<String> {
        self.0.stored.borrow().committed.iter().map(|(_, body)| body.clone()).collect()
    }

    /// Sequences committed, in the order of the commits.
    pub fn committed_sequences(&self) -> Vec<u64> {
        self.0.stored.borrow().committed.iter().map(|(sequence, _)| *sequence).collect()
    }

    /// Waits until `holds` of what is stored.
    pub async fn until(&self, holds: impl Fn(&Stored) -> bool) {
        let mut watcher = self.0.stored.subscribe();
        let waited = tokio::time::timeout(PATIENCE, watcher.wait_for(|stored| holds(stored))).await;
        if waited.is_err() {
            let stored = self.0.stored.borrow();
            let counts = [stored.bodies.len(), stored.waiting.len(), stored.committed.len(), stored.asked];
            panic!("never held; put, waiting, committed, asked {counts:?}, retired {:?}", stored.retired);
        }
    }

    /// Waits until exactly so many takes wait for events.
    pub async fn until_asked(&self, takes: usize) {
        self.until(|stored| stored.asked == takes).await;
    }

    /// Waits until exactly so many events wait.
    pub async fn until_waiting(&self, events: usize) {
        self.until(|stored| stored.waiting.len() == events).await;
    }

    /// Waits until exactly so many events are committed.
    pub async fn until_committed(&self, events: usize) {
        self.until(|stored| stored.committed.len() == events).await;
    }
}

impl TestChannel {
    fn change<R>(&self, change: impl FnOnce(&mut Stored) -> R) -> R {
        let mut result = None;
        self.0.stored.send_modify(|stored| result = Some(change(stored)));
        result.unwrap()
    }

    fn counted(&self, count: fn(&mut Stored) -> &mut usize) -> Counted<'_> {
        self.change(|stored| *count(stored) += 1);
        Counted { channel: self, count }
    }

    fn take_now(&self, limit: Limit) -> Option<Take> {
        let (events, low_water) = self.change(|stored| stored.take(limit));
        if events.is_empty() {
            return None;
        }
        let runs = events.chunk_by(|(before, _), (after, _)| before + 1 == *after);
        let batches = runs.map(|run| batch_of(run).named(self.0.incarnation, run[0].0)).collect();
        let low_water = vec![(self.0.incarnation, low_water)];
        Some(Take::new(batches, low_water, Box::new(Open { channel: self.clone(), events })))
    }

    fn full(&self) -> Error {
        Error::ChannelFull {
            channel: Arc::clone(&self.0.name),
            queued_events: 1,
            capacity_events: 1,
            queued_bytes: 1,
            capacity_bytes: 1,
        }
    }
}

impl Channel for TestChannel {
    fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    fn reserve(&self, events: u64, _: u64) -> Fut<'_, Result<Room>> {
        Box::pin(async move {
            if self.change(Stored::refuses) {
                return Err(self.full());
            }
            if self.change(|stored| stored.grants(events)) {
                return Ok(Room::unbounded());
            }
            let _waits = self.counted(|stored| &mut stored.waiting_for_room);
            let mut watcher = self.0.stored.subscribe();
            loop {
                // The sender lives as long as the channel.
                let _ = watcher.wait_for(|stored| stored.room != Some(0)).await;
                if self.change(|stored| stored.grants(events)) {
                    return Ok(Room::unbounded());
                }
            }
        })
    }

    fn put(&self, batch: Batch, _: Room) -> Ticket {
        if !self.change(|stored| stored.put(&batch)) {
            let lost = std::io::Error::other("the disk went away");
            return Ticket::ready(Err(Error::io("fdatasync", "/test", lost)));
        }
        let mut held = self.0.held.lock();
        let Some(held) = held.as_mut() else { return Ticket::ready(Ok(())) };
        let (resolver, ticket) = ticket();
        held.push(resolver);
        ticket
    }

    fn take(&self, limit: Limit) -> Fut<'_, Result<Take>> {
        Box::pin(async move {
            let mut watcher = self.0.stored.subscribe();
            let until = Instant::now() + Self::KEEP_ALIVE;
            let _asked = self.counted(|stored| &mut stored.asked);
            loop {
                if let Some(take) = self.take_now(limit) {
                    return Ok(take);
                }
                let some = watcher.wait_for(|stored| !stored.waiting.is_empty());
                if tokio::time::timeout_at(until, some).await.is_err() {
                    self.change(|stored| stored.empty_takes += 1);
                    return Ok(Take::empty());
                }
            }
        })
    }

    fn covered(&self, origin: &str) -> Option<u64> {
        self.0.stored.borrow().covered.get(origin).copied()
    }

    fn transaction_capacity(&self) -> u64 {
        self.0.transaction_capacity
    }

    fn set_aside(&self, event: Batch, _sink: &str, _reason: &str) -> Option<Ticket> {
        let bodies = event.iter().map(|event| String::from_utf8_lossy(event.body()).into_owned());
        self.change(|stored| stored.letters.as_mut().map(|letters| letters.extend(bodies)))?;
        Some(Ticket::ready(Ok(())))
    }

    fn totals(&self) -> ChannelTotals {
        let stored = self.0.stored.borrow();
        let taken_events = stored.committed.len() as u64;
        let put_events = taken_events + (stored.waiting.len() + stored.taken.len()) as u64;
        ChannelTotals { put_events, taken_events, ..ChannelTotals::default() }
    }
}

// === impl Stored ===

impl Stored {
    fn refuses(&mut self) -> bool {
        let refuses = fails(&mut self.refuse_reservations);
        self.refused += u64::from(refuses);
        refuses
    }

    /// Whether there is room. Coverage alone needs none.
    fn grants(&mut self, events: u64) -> bool {
        match &mut self.room {
            Some(0) if events > 0 => false,
            Some(puts) if events > 0 => {
                *puts -= 1;
                true
            }
            _ => true,
        }
    }

    /// `false` for a put that is to fail, and for a batch behind a gap: one before it failed.
    fn put(&mut self, batch: &Batch) -> bool {
        if fails(&mut self.fail_puts) {
            return false;
        }
        let mut fresh = batch.clone();
        if let Some(coverage) = batch.coverage() {
            if coverage.retire {
                self.covered.remove(&*coverage.origin);
                self.retired.push(coverage.origin.to_string());
                return true;
            }
            let covered = self.covered.entry(coverage.origin.to_string()).or_default();
            if coverage.start > *covered {
                return false;
            }
            fresh = batch.without_covered(*covered);
            *covered = coverage.end.max(*covered);
        }
        for event in fresh.iter() {
            let headers: Vec<_> = event.headers().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
            self.bodies.push(event.body().to_vec());
            self.headers.push(headers.iter().map(|(key, value)| (text(key), text(value))).collect());
            self.waiting.insert(self.next, Event { headers, body: event.body().to_vec() });
            self.next += 1;
        }
        if !fresh.is_empty() {
            self.puts.push(fresh.len());
        }
        true
    }

    /// The next events, and the least sequence that is not committed.
    fn take(&mut self, limit: Limit) -> (Vec<(u64, Event)>, u64) {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.waiting.first_entry() {
            bytes += next.get().body.len() as u64;
            if events.len() == limit.events || (!events.is_empty() && bytes > limit.bytes) {
                break;
            }
            self.taken.insert(*next.key());
            events.push(next.remove_entry());
        }
        let low_water = self.taken.first().copied().unwrap_or_default();
        (events, self.waiting.first_key_value().map_or(low_water, |(first, _)| low_water.min(*first)))
    }
}

// === impl Open ===

impl OpenTake for Open {
    fn commit(self: Box<Self>) -> Ticket {
        let Self { channel, events } = *self;
        channel.change(|stored| {
            for (sequence, event) in events {
                stored.taken.remove(&sequence);
                stored.committed.push((sequence, text(&event.body)));
            }
        });
        Ticket::ready(Ok(()))
    }

    fn roll_back(self: Box<Self>) {
        let Self { channel, events } = *self;
        channel.change(|stored| {
            for (sequence, event) in events {
                stored.taken.remove(&sequence);
                stored.waiting.insert(sequence, event);
            }
        });
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.channel.change(|stored| *(self.count)(stored) -= 1);
    }
}

// === helpers ===

/// Whether a call that has `left` failures to show fails.
fn fails(left: &mut u32) -> bool {
    let fails = *left > 0;
    *left = left.saturating_sub(1);
    fails
}

fn batch_of(events: &[(u64, Event)]) -> Batch {
    let mut buffer = Vec::new();
    let mut add = |bytes: &[u8]| {
        buffer.extend_from_slice(bytes);
        buffer.len() - bytes.len()..buffer.len()
    };
    let spans: Vec<_> = events
        .iter()
        .map(|(_, event)| {
            let headers: Vec<_> = event.headers.iter().map(|(key, value)| (add(key), add(value))).collect();
            (headers, add(&event.body))
        })
        .collect();
    let mut builder = SlabBuilder::with_capacity(buffer.into(), spans.len());
    for (headers, body) in spans {
        headers.into_iter().for_each(|(key, value)| builder.header(key, value));
        builder.row(body);
    }
    builder.finish()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
