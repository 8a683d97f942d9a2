//! Keeps events in memory.
//!
//! # Delivery
//! What waits is lost with the process. Events are named like those of a durable channel, so a receiver knows what is
//! delivered twice while the process lives; an origin's positions are not remembered. There is no place for dead letters: an
//! event that a sink rejects for good stays, and holds up what is behind it.
//!
//! # Source
//! `org.apache.flume.channel.MemoryChannel` (Flume 1.11). Different on purpose: `byteCapacity` counts everything that the
//! events keep in memory, not their bodies alone, so the share kept free for headers has no effect; its default is fixed,
//! as there is no heap to take a share of; a value that cannot be used is refused, not replaced by the default.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{
    Batch, Channel, ChannelSpec, ChannelTotals, Error, Fut, IntervalSet, Kind, Limit, NameSet, OpenTake, OptionSpec,
    Options, Reconfigure, Result, Room, RoomKeeper, Take, Ticket, optional,
};

use crate::gate::Gate;
use crate::names::Names;
use crate::queue::{Piece, Queue};
use crate::random::random;
use crate::sync::{Mutex, timeout};

/// The declaration.
pub static SPEC: ChannelSpec = ChannelSpec {
    name: "memory",
    aliases: &["org.apache.flume.channel.MemoryChannel"],
    summary: "Keeps events in memory; what waits is lost with the process.",
    options: OPTIONS,
    build: |options, cx| {
        let channel = MemoryChannel::from_options(Arc::clone(&cx.name), options)?;
        Ok(Box::new(|| Ok(Arc::new(channel))))
    },
};

const OPTIONS: &[OptionSpec] = &[
    optional("capacity", Kind::Int(1, i64::MAX), "100", "Most events that may wait."),
    optional("transactionCapacity", Kind::Int(1, i64::MAX), "100", "Most events of one batch; at most capacity."),
    optional("keep-alive", Kind::Seconds, "3", "Longest wait for room, and for events."),
    optional("byteCapacity", Kind::Bytes, "67108864", "Most bytes that may wait, headers included; 0 for no bound."),
    optional(
        "byteCapacityBufferPercentage",
        Kind::Int(0, 100),
        "20",
        "No effect: headers are counted, so no room needs to be kept for them.",
    ),
];

/// A queue in memory.
#[derive(Debug)]
pub(crate) struct MemoryChannel {
    pub(crate) store: Arc<Store>,
}

/// What the channel and its open takes share.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) gate: Gate,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The sequence of the next event.
    next: u64,
    /// Sequences of events that were delivered.
    acked: IntervalSet,
    names: Names,
    /// Names that events came with, as long as they may come again.
    received: NameSet,
    incarnation: u128,
    /// Puts of which an event is left, by first sequence: their bytes stay until the last one is delivered.
    puts: BTreeMap<u64, Put>,
    closed: bool,
}

#[derive(Debug)]
struct Put {
    events_left: u64,
    bytes: u64,
}

struct Open {
    store: Arc<Store>,
    pieces: Vec<Piece>,
}

/// The options, typed.
struct Bounds {
    capacity: u64,
    transaction: u64,
    keep_alive: Duration,
    bytes: u64,
}

// === impl Bounds ===

impl Bounds {
    fn of(options: &Options) -> Result<Self> {
        let (capacity, transaction) = (options.int::<u64>("capacity")?, options.int::<u64>("transactionCapacity")?);
        if transaction > capacity {
            let problem = format!("expected at most capacity, {capacity}, got {transaction}");
            return Err(options.refuse("transactionCapacity", problem));
        }
        let bytes = match options.int::<u64>("byteCapacity")? {
            0 => u64::MAX,
            bytes => bytes,
        };
        Ok(Self { capacity, transaction, keep_alive: options.seconds("keep-alive")?, bytes })
    }
}

// === impl MemoryChannel ===

impl MemoryChannel {
    fn from_options(name: Arc<str>, options: &Options) -> Result<Self> {
        let Bounds { capacity, transaction, keep_alive, bytes } = Bounds::of(options)?;
        Self::open(name, capacity, transaction, keep_alive, bytes)
    }

    pub(crate) fn open(
        name: Arc<str>,
        capacity: u64,
        transaction: u64,
        keep_alive: Duration,
        bytes: u64,
    ) -> Result<Self> {
        let incarnation = u128::from(random()?) << 64 | u128::from(random()?);
        let mut names = Names::default();
        names.open(incarnation, 0);
        let (queue, acked) = (Queue::default(), IntervalSet::new());
        let gate = Gate::new(name, transaction, keep_alive, RoomKeeper::new(capacity, bytes));
        let state = State {
            queue,
            next: 0,
            acked,
            names,
            received: NameSet::default(),
            incarnation,
            puts: BTreeMap::new(),
            closed: false,
        };
        Ok(Self { store: Arc::new(Store { gate, state: Mutex::new(state) }) })
    }

    async fn next(&self, limit: Limit) -> Result<Take> {
        let _turn = self.store.gate.turn().await;
        loop {
            if let Some(take) = self.store.take(limit)? {
                return Ok(take);
            }
            self.store.gate.arrival().await;
        }
    }
}

impl Channel for MemoryChannel {
    fn name(&self) -> &Arc<str> {
        &self.store.gate.channel
    }

    fn reserve(&self, events: u64, bytes: u64) -> Fut<'_, Result<Room>> {
        Box::pin(self.store.gate.reserve(events, bytes))
    }

    fn put(&self, batch: Batch, room: Room) -> Ticket {
        Ticket::ready(self.store.put(batch, room))
    }

    fn take(&self, limit: Limit) -> Fut<'_, Result<Take>> {
        Box::pin(async move {
            let taken = timeout(self.store.gate.keep_alive(), self.next(limit)).await;
            taken.unwrap_or_else(|_| Ok(Take::empty()))
        })
    }

    fn transaction_capacity(&self) -> u64 {
        self.store.gate.transaction_capacity()
    }

    fn totals(&self) -> ChannelTotals {
        let (_, waiting_bytes) = self.store.gate.room.used();
        let (capacity_events, capacity_bytes) = self.store.gate.room.capacity();
        let state = self.store.state.lock();
        ChannelTotals {
            put_events: state.next,
            taken_events: state.acked.len(),
            waiting_bytes,
            capacity_events,
            capacity_bytes,
            ..ChannelTotals::default()
        }
    }

    fn waiting_names(&self) -> Vec<(u128, Range<u64>)> {
        let state = self.store.state.lock();
        state.names.waiting(&state.acked, 0..state.next)
    }

    fn reconfigure(&self, options: &Options) -> Result<Option<Reconfigure>> {
        let Bounds { capacity, transaction, keep_alive, bytes } = Bounds::of(options)?;
        let store = Arc::clone(&self.store);
        Ok(Some(Box::new(move || {
            store.gate.set(transaction, keep_alive);
            store.gate.room.resize(capacity, bytes);
        })))
    }

    fn close(&self) -> Ticket {
        self.store.state.lock().closed = true;
        self.store.gate.wake();
        Ticket::ready(Ok(()))
    }
}

// === impl Store ===

impl Store {
    fn put(&self, batch: Batch, room: Room) -> Result<()> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.stopped());
        }
        let batch = if batch.has_names() { state.received.trim(&batch).compact() } else { batch };
        let (events, bytes) = (batch.len() as u64, batch.retained_bytes());
        state.received.collapse(batch.low_water(), |_| false);
        if events == 0 {
            return Ok(());
        }
        let first = state.next;
        let batch = if batch.has_names() {
            state.names.record(first, &batch, &batch.names());
            for (incarnation, range) in batch.name_ranges() {
                state.received.insert(incarnation, range);
            }
            batch
        } else {
            batch.named(state.incarnation, first)
        };
        room.keep(events, bytes);
        state.next += events;
        state.puts.insert(first, Put { events_left: events, bytes });
        // Sliced, it has no coverage any more: that was said to this channel alone.
        state.queue.push(Piece { first, batch: batch.slice(0..batch.len()) });
        drop(state);
        self.gate.wake();
        Ok(())
    }

    /// Leaves of `batch` what did not come here before.
    pub(crate) fn unknown(&self, batch: &Batch) -> Batch {
        let mut state = self.state.lock();
        let fresh = state.received.trim(batch);
        state.received.collapse(batch.low_water(), |_| false);
        fresh
    }

    /// The sequence of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.state.lock().next
    }

    /// All before are delivered.
    pub(crate) fn floor(&self) -> u64 {
        self.state.lock().acked.run_end(0)
    }

    /// How many events below `end` can be taken, counted as far as `most`.
    pub(crate) fn untaken_below(&self, end: u64, most: u64) -> u64 {
        self.state.lock().queue.events_below(end, most)
    }

    /// What can be taken now; `None` when there is nothing yet.
    pub(crate) fn take(self: &Arc<Self>, limit: Limit) -> Result<Option<Take>> {
        let mut state = self.state.lock();
        let pieces = state.queue.take(limit);
        if pieces.is_empty() {
            return if state.closed { Err(self.stopped()) } else { Ok(None) };
        }
        let low_water = state.names.low_water(&state.acked);
        drop(state);
        let batches = pieces.iter().map(|piece| piece.batch.clone()).collect();
        Ok(Some(Take::new(batches, low_water, Box::new(Open { store: Arc::clone(self), pieces }))))
    }

    fn stopped(&self) -> Error {
        Error::Stopped { what: Arc::clone(&self.gate.channel) }
    }
}

// === impl State ===

impl State {
    /// Marks events as delivered; returns the bytes that are free now.
    fn acknowledge(&mut self, range: Range<u64>) -> u64 {
        self.acked.insert(range.clone());
        let Some((&first, put)) = self.puts.range_mut(..=range.start).next_back() else { return 0 };
        put.events_left -= range.end - range.start;
        if put.events_left > 0 {
            return 0;
        }
        self.puts.remove(&first).map_or(0, |put| put.bytes)
    }
}

// === impl Open ===

impl OpenTake for Open {
    fn commit(self: Box<Self>) -> Ticket {
        let (mut events, mut bytes) = (0, 0);
        let mut state = self.store.state.lock();
        for piece in &self.pieces {
            events += piece.batch.len() as u64;
            bytes += state.acknowledge(piece.range());
        }
        let floor = state.acked.run_end(0);
        state.names.forget(floor);
        drop(state);
        self.store.gate.room.free(events, bytes);
        Ticket::ready(Ok(()))
    }

    fn roll_back(self: Box<Self>) {
        self.store.state.lock().queue.give_back(self.pieces);
        self.store.gate.wake();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use millstream_core::ChannelRef;
    use millstream_core::{Coverage, Setting};
    use millstream_testkit::channel_contract;
    use millstream_testkit::contract::channel::{Home, Shape};

    struct Memory;

    impl Home for Memory {
        fn open(&self, shape: Shape) -> ChannelRef {
            let Shape { capacity_events, transaction_events, keep_alive } = shape;
            let opened = MemoryChannel::open("c1".into(), capacity_events, transaction_events, keep_alive, u64::MAX);
            Arc::new(opened.unwrap())
        }
    }

    channel_contract!(Memory);

    fn refused(key: &str, value: &str) -> String {
        let setting =
            Setting { key: key.into(), value: value.into(), place: format!("f.conf:3: a1.channels.c1.{key}") };
        let parsed = Options::parse("a1.channels.c1", SPEC.options, &[], [setting]);
        let built = parsed.and_then(|(options, _)| MemoryChannel::from_options("c1".into(), &options));
        built.err().map_or_else(|| "accepted".to_owned(), |error| error.to_string())
    }

    #[test]
    fn values_that_cannot_be_used_are_refused_by_name() {
        assert_eq!(
            refused("transactionCapacity", "101"),
            "f.conf:3: a1.channels.c1.transactionCapacity: expected at most capacity, 100, got 101"
        );
        assert!(refused("capacity", "0").contains("at least 1"));
        assert_eq!(refused("byteCapacity", "0"), "accepted");
    }

    #[tokio::test]
    async fn other_options_come_into_force_while_events_stay() {
        let channel = MemoryChannel::open("c1".into(), 2, 2, Duration::ZERO, u64::MAX).unwrap();
        let put = async |events: u64| {
            let batch = Batch::from_bodies(vec!["a"; usize::try_from(events).unwrap()]);
            let room = channel.reserve(events, batch.retained_bytes()).await?;
            channel.put(batch, room).await
        };
        put(2).await.unwrap();
        let options = |capacity: &str| {
            let setting =
                |key: &str, value: &str| Setting { key: key.into(), value: value.into(), place: "f:1".into() };
            let settings = [setting("capacity", capacity), setting("transactionCapacity", "5")];
            Options::parse("a1.channels.c1", SPEC.options, &[], settings).unwrap().0
        };
        assert!(channel.reconfigure(&options("4")).is_err(), "transactions larger than the channel");
        let larger = channel.reconfigure(&options("7")).unwrap().unwrap();
        assert!(put(1).await.is_err(), "not before it is put into force");
        larger();
        put(5).await.unwrap();
        assert!(put(1).await.is_err());
        channel.reconfigure(&options("5")).unwrap().unwrap()();
        let totals = channel.totals();
        assert_eq!((totals.waiting_events(), totals.capacity_events, channel.transaction_capacity()), (7, 5, 5));
    }

    #[tokio::test]
    async fn bytes_are_free_again_once_the_last_event_of_a_put_is_delivered() {
        let channel = MemoryChannel::open("c1".into(), 10, 10, Duration::ZERO, 10_000).unwrap();
        let batch = Batch::from_bodies([[0_u8; 3000], [1; 3000]]);
        let bytes = batch.retained_bytes();
        let room = channel.reserve(2, bytes).await.unwrap();
        channel.put(batch.clone(), room).await.unwrap();
        let one = Limit { events: 1, bytes: u64::MAX };
        let (first, second) = (channel.take(one).await.unwrap(), channel.take(one).await.unwrap());
        second.commit().await.unwrap();
        assert_eq!(channel.totals().waiting_bytes, bytes, "the first event keeps the buffer");
        assert!(matches!(channel.reserve(2, bytes).await, Err(Error::ChannelFull { .. })));
        first.commit().await.unwrap();
        assert_eq!(channel.totals().waiting_bytes, 0);
        assert!(channel.reserve(2, bytes).await.is_ok());
    }

    #[tokio::test]
    async fn coverage_without_events_is_accepted_and_not_handed_on() {
        let channel = MemoryChannel::open("c1".into(), 10, 10, Duration::ZERO, u64::MAX).unwrap();
        for batch in [Batch::empty(), Batch::from_bodies(["a"])] {
            let batch = batch.with_coverage(Coverage::new("o".into(), 0, 9));
            let room = channel.reserve(batch.len() as u64, 0).await.unwrap();
            channel.put(batch, room).await.unwrap();
        }
        assert_eq!(channel.covered("o"), None);
        let take = channel.take(Limit { events: 9, bytes: u64::MAX }).await.unwrap();
        assert_eq!((take.events(), take.batches()[0].coverage()), (1, None));
    }
}
