//! Keeps events in memory, and on disk what memory has no room for.
//!
//! Puts go to memory. Once a put has waited for `overflowTimeout` in vain, it and those after it go to a file channel, without
//! waiting, until `overflowDeactivationThreshold` percent of the memory are free again. The order of the puts is kept over
//! both; one take has events of one side.
//!
//! # Delivery
//! What is on disk is stored as in the file channel: it survives a power cut. What is in memory when the process is killed is
//! lost, though its source was told that it is stored, and nobody counts it. At a stop in order, what is left in
//! memory is written behind what is on disk, and nothing is lost. Positions of origins are not remembered, as a position
//! says that everything before it is there: sources go on with their trackers, as with a memory channel. With
//! `memoryCapacity = 0` it keeps everything on disk, with `overflowCapacity = 0` nothing, not even at a stop. What a sink
//! rejects for good is kept on the disk, as by the file channel, whichever side it was on.
//!
//! # Source
//! `org.apache.flume.channel.SpillableMemoryChannel` (Flume 1.11), for the options and for when which side is used.

mod runs;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::options::joined;
use millstream_core::{
    Batch, Channel, ChannelContext, ChannelSpec, ChannelTotals, Error, Fut, Kind, Limit, OptionSpec, Options, Result,
    Room, Take, Ticket, optional, ticket, unset,
};

use crate::file::FileChannel;
use crate::file::options::{Bounds as FileBounds, FileOptions, SHARED};
use crate::memory::MemoryChannel;
use crate::sync::{Mutex, thread, timeout};
use runs::{Runs, Side};

/// The declaration.
pub static SPEC: ChannelSpec = ChannelSpec {
    name: "spillablememory",
    aliases: &["org.apache.flume.channel.SpillableMemoryChannel"],
    summary: "Keeps events in memory, and on disk what memory has no room for; what is in memory is lost with a kill.",
    options: OPTIONS,
    build: |options, cx| {
        let bounds = Bounds::of(options)?;
        let file = (bounds.disk_events > 0).then(|| bounds.file_options(options, cx)).transpose()?;
        let name = Arc::clone(&cx.name);
        Ok(Box::new(move || {
            let disk = file.map(|file| FileChannel::locked(&file, &name)).transpose()?;
            Ok(Arc::new(SpillableMemoryChannel::open(name, &bounds, disk)?))
        }))
    },
};

const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + SHARED.len() }>(&[OWN, SHARED]);

const OWN: &[OptionSpec] = &[
    optional("memoryCapacity", Kind::Int(0, i64::MAX), "10000", "Most events that may wait in memory; 0: none."),
    optional("overflowCapacity", Kind::Int(0, i64::MAX), "100000000", "Most events that may wait on disk; 0: none."),
    optional("overflowTimeout", Kind::Seconds, "3", "Longest wait for room in memory, then on disk, and for events."),
    optional(
        "overflowDeactivationThreshold",
        Kind::Int(0, 100),
        "5",
        "Percent of the memory that must be free before puts go there again.",
    ),
    optional("byteCapacity", Kind::Bytes, "67108864", "Most bytes in memory, headers included; 0 for no bound."),
    optional(
        "byteCapacityBufferPercentage",
        Kind::Int(0, 100),
        "20",
        "No effect: headers are counted, so no room needs to be kept for them.",
    ),
    optional("avgEventSize", Kind::Bytes, "500", "No effect: bytes are counted, not guessed."),
    unset("capacity", Kind::Int(0, i64::MAX), "No effect: overflowCapacity bounds the disk, as in Flume."),
    unset("keep-alive", Kind::Seconds, "No effect: overflowTimeout says how long to wait, as in Flume."),
];

/// A queue of two sides.
#[derive(Debug)]
pub(crate) struct SpillableMemoryChannel {
    name: Arc<str>,
    transaction_events: u64,
    keep_alive: Duration,
    threshold_percent: u64,
    memory: Option<MemoryChannel>,
    disk: Option<Arc<FileChannel>>,
    /// Locked before the sides', never after them.
    state: Mutex<State>,
    /// Takers get their turn in the order in which they came.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    runs: Runs,
    /// Puts do not even try the memory.
    overflows: bool,
    closed: bool,
}

/// The options, typed.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) memory_events: u64,
    pub(crate) disk_events: u64,
    pub(crate) transaction_events: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) keep_alive: Duration,
    pub(crate) threshold_percent: u64,
}

// === impl Bounds ===

impl Bounds {
    fn of(options: &Options) -> Result<Self> {
        let memory_events = options.int::<u64>("memoryCapacity")?;
        let disk_events = options.int::<u64>("overflowCapacity")?;
        let most = memory_events.max(disk_events);
        if most == 0 {
            return Err(options.refuse("memoryCapacity", "expected at least 1, as overflowCapacity is 0 too"));
        }
        let transaction_events = options.int::<u64>("transactionCapacity")?;
        if transaction_events > most && options.find("transactionCapacity") != Some(DEFAULT_TRANSACTION) {
            let problem =
                format!("expected at most the larger one of both capacities, {most}, got {transaction_events}");
            return Err(options.refuse("transactionCapacity", problem));
        }
        let memory_bytes = match options.int::<u64>("byteCapacity")? {
            0 => u64::MAX,
            bytes => bytes,
        };
        Ok(Self {
            memory_events,
            disk_events,
            transaction_events: transaction_events.min(most),
            memory_bytes,
            keep_alive: options.seconds("overflowTimeout")?,
            threshold_percent: options.int("overflowDeactivationThreshold")?,
        })
    }

    fn file_options(&self, options: &Options, cx: &ChannelContext) -> Result<FileOptions> {
        let bounds = FileBounds {
            capacity_events: self.disk_events,
            transaction_events: self.transaction_events,
            keep_alive: self.keep_alive,
        };
        FileOptions::within(bounds, options, cx)
    }
}

// === impl SpillableMemoryChannel ===

impl SpillableMemoryChannel {
    pub(crate) fn open(name: Arc<str>, bounds: &Bounds, disk: Option<FileChannel>) -> Result<Self> {
        let Bounds { memory_events, transaction_events, memory_bytes, keep_alive, threshold_percent, .. } = *bounds;
        let open = || {
            let name = Arc::clone(&name);
            MemoryChannel::open(name, memory_events, transaction_events, keep_alive, memory_bytes)
        };
        let memory = (memory_events > 0).then(open).transpose()?;
        let mut state = State { overflows: memory.is_none(), ..State::default() };
        if let Some(disk) = &disk {
            // What an earlier process left comes first.
            let totals = disk.totals();
            state.runs.put(Side::Disk, disk.store.floor()..totals.put_events);
        }
        let (state, disk) = (Mutex::new(state), disk.map(Arc::new));
        let turn = tokio::sync::Mutex::new(());
        Ok(Self { name, transaction_events, keep_alive, threshold_percent, memory, disk, state, turn })
    }

    async fn reserve_room(&self, events: u64, bytes: u64) -> Result<Room> {
        if events > self.transaction_events {
            let (channel, limit) = (Arc::clone(&self.name), self.transaction_events);
            return Err(Error::BatchTooLarge { channel, events, limit });
        }
        let memory = self.memory.as_ref().filter(|memory| self.disk.is_none() || self.may_fit(memory, events));
        if let Some(memory) = memory {
            match memory.reserve(events, bytes).await {
                Err(Error::ChannelFull { .. }) if self.disk.is_some() => {
                    if !std::mem::replace(&mut self.state.lock().overflows, true) {
                        tracing::info!(channel = %self.name, "memory is full, what comes goes to the disk");
                    }
                }
                outcome => return outcome.map_err(|error| self.with_both(error)),
            }
        }
        match &self.disk {
            Some(disk) => disk.reserve(events, bytes).await.map_err(|error| self.with_both(error)),
            None => Err(self.stopped()),
        }
    }

    /// Whether a put tries the memory first.
    fn may_fit(&self, memory: &MemoryChannel, events: u64) -> bool {
        let room = &memory.store.gate.room;
        let (capacity_events, capacity_bytes) = room.capacity();
        if events > capacity_events {
            return false;
        }
        let mut state = self.state.lock();
        if state.overflows {
            let (used_events, used_bytes) = room.used();
            let free = |used: u64, capacity: u64| {
                u128::from(capacity.saturating_sub(used)) * 100
                    >= u128::from(capacity) * u128::from(self.threshold_percent)
            };
            let is_free =
                used_events < capacity_events && free(used_events, capacity_events) && free(used_bytes, capacity_bytes);
            if is_free {
                tracing::info!(channel = %self.name, "memory has room again, what comes goes there");
            }
            state.overflows = !is_free;
        }
        !state.overflows
    }

    /// A full channel says how much is in both sides.
    fn with_both(&self, error: Error) -> Error {
        match error {
            Error::ChannelFull { channel, .. } => {
                let totals = self.totals();
                Error::ChannelFull {
                    channel,
                    queued_events: totals.waiting_events(),
                    capacity_events: totals.capacity_events,
                    queued_bytes: totals.waiting_bytes,
                    capacity_bytes: totals.capacity_bytes,
                }
            }
            other => other,
        }
    }

    fn put_in_order(&self, batch: Batch, room: Room) -> Ticket {
        let batch = without_coverage(batch);
        let mut state = self.state.lock();
        if state.closed {
            return Ticket::ready(Err(self.stopped()));
        }
        let Some(disk) = &self.disk else {
            let Some(memory) = &self.memory else { return Ticket::ready(Err(self.stopped())) };
            return put_in_memory(&mut state.runs, memory, batch, room);
        };
        let (mut batch, mut room) = (batch, room);
        if let Some(memory) = &self.memory {
            if room.is_of(&memory.store.gate.room) {
                let fresh = if batch.has_names() { disk.store.unknown(batch.clone()) } else { batch.clone() };
                if fresh.len() == batch.len() {
                    return put_in_memory(&mut state.runs, memory, batch, room);
                }
                // A part is on its way to the disk: what is new shares its fate.
                room = disk.store.gate.room.seize(fresh.len() as u64, fresh.retained_bytes());
            } else if batch.has_names() {
                let marks = batch.low_water().to_vec();
                batch = memory.store.unknown(&batch).with_low_water(marks);
            }
        }
        let (put, given) = disk.store.put_at(batch, room);
        state.runs.put(Side::Disk, given);
        put
    }

    /// The side from which to take, and how many events at most.
    fn next_side(&self, limit: Limit) -> Result<Option<(Side, usize)>> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.stopped());
        }
        let floor_of_memory = self.memory.as_ref().map_or(0, |memory| memory.store.floor());
        state.runs.forget(floor_of_memory, self.disk.as_ref().map_or(0, |disk| disk.store.floor()));
        let most = limit.events.max(1) as u64;
        for run in state.runs.iter() {
            let (untaken, stored) = self.untaken(run.side, run.range.clone(), most);
            if untaken > 0 {
                let events = usize::try_from(untaken.min(most)).unwrap_or(usize::MAX);
                return Ok(Some((run.side, events)));
            }
            if stored < run.range.end {
                // Nothing overtakes what is on its way to the disk.
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// How many events of `range` can be taken, and up to where all is stored.
    fn untaken(&self, side: Side, range: Range<u64>, most: u64) -> (u64, u64) {
        match (side, &self.memory, &self.disk) {
            (Side::Memory, Some(memory), _) => (memory.store.untaken_below(range.end, most), u64::MAX),
            (Side::Disk, _, Some(disk)) => disk.store.untaken(range),
            _ => (0, u64::MAX),
        }
    }

    async fn next(&self, limit: Limit) -> Result<Take> {
        let _turn = self.turn.lock().await;
        loop {
            match (self.next_side(limit)?, &self.memory, &self.disk) {
                (Some((Side::Memory, events)), Some(memory), _) => {
                    if let Some(take) = memory.store.take(Limit { events, ..limit })? {
                        return Ok(take);
                    }
                }
                (Some((Side::Disk, events)), _, Some(disk)) => return disk.next(Limit { events, ..limit }).await,
                (_, Some(memory), Some(disk)) => {
                    tokio::select! {
                        () = memory.store.gate.arrival() => {}
                        () = disk.store.gate.arrival() => {}
                    }
                }
                (_, Some(memory), None) => memory.store.gate.arrival().await,
                (_, None, Some(disk)) => disk.store.gate.arrival().await,
                (_, None, None) => return Err(self.stopped()),
            }
        }
    }

    fn stopped(&self) -> Error {
        Error::Stopped { what: Arc::clone(&self.name) }
    }
}

impl Channel for SpillableMemoryChannel {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn reserve(&self, events: u64, bytes: u64) -> Fut<'_, Result<Room>> {
        Box::pin(self.reserve_room(events, bytes))
    }

    fn put(&self, batch: Batch, room: Room) -> Ticket {
        self.put_in_order(batch, room)
    }

    fn take(&self, limit: Limit) -> Fut<'_, Result<Take>> {
        Box::pin(async move {
            let taken = timeout(self.keep_alive, self.next(limit)).await;
            taken.unwrap_or_else(|_| Ok(Take::empty()))
        })
    }

    /// A stop in order keeps everything, as far as there is a disk.
    fn is_durable(&self) -> bool {
        self.disk.is_some()
    }

    fn transaction_capacity(&self) -> u64 {
        self.transaction_events
    }

    fn totals(&self) -> ChannelTotals {
        let memory = self.memory.as_ref().map(Channel::totals).unwrap_or_default();
        let disk = self.disk.as_ref().map(|disk| disk.totals()).unwrap_or_default();
        ChannelTotals {
            // Which of the events of one store are counted here is not known after a kill.
            store: None,
            put_events: memory.put_events + disk.put_events,
            taken_events: memory.taken_events + disk.taken_events,
            lost_events: disk.lost_events,
            dead_lettered: disk.dead_lettered,
            quarantined: disk.quarantined,
            redelivered_events: memory.redelivered_events + disk.redelivered_events,
            named_elsewhere: disk.named_elsewhere,
            waiting_bytes: memory.waiting_bytes + disk.waiting_bytes,
            capacity_events: memory.capacity_events.saturating_add(disk.capacity_events),
            capacity_bytes: memory.capacity_bytes.saturating_add(disk.capacity_bytes),
            dropped: Vec::new(),
        }
    }

    fn waiting_names(&self) -> Vec<(u128, Range<u64>)> {
        let memory = self.memory.as_ref().map(Channel::waiting_names);
        let disk = self.disk.as_ref().map(|disk| disk.waiting_names());
        memory.into_iter().chain(disk).flatten().collect()
    }

    /// What came from memory too: there is one place for all.
    fn set_aside(&self, event: Batch, sink: &str, reason: &str) -> Option<Ticket> {
        self.disk.as_ref()?.set_aside(event, sink, reason)
    }

    fn close(&self) -> Ticket {
        if std::mem::replace(&mut self.state.lock().closed, true) {
            return Ticket::ready(Ok(()));
        }
        let memory = self.memory.as_ref().map(|memory| Arc::clone(&memory.store));
        if let Some(memory) = &self.memory {
            memory.store.gate.wake();
        }
        let Some(disk) = self.disk.clone() else {
            return self.memory.as_ref().map_or_else(|| Ticket::ready(Ok(())), Channel::close);
        };
        disk.store.gate.wake();
        let (resolver, closed) = ticket();
        let close = move || {
            let left = memory.as_ref().map_or(Ok(()), |memory| spill(memory, &disk));
            resolver.resolve(disk.close().wait().and(left));
        };
        // Writing waits for the disk, which the caller must not.
        match thread::Builder::new().name(format!("{}-spill", self.name)).spawn(close) {
            Ok(_) => closed,
            Err(error) => Ticket::ready(Err(Error::io("start the closing thread for", &*self.name, error))),
        }
    }
}

/// Writes what waits in memory behind what is on disk.
fn spill(memory: &Arc<crate::memory::Store>, disk: &FileChannel) -> Result<()> {
    let mut outcome = Ok(());
    while let Some(take) = memory.take(SPILLED_AT_ONCE)? {
        let puts: Vec<Ticket> = take
            .batches()
            .iter()
            .map(|batch| {
                let room = disk.store.gate.room.seize(batch.len() as u64, batch.retained_bytes());
                disk.store.put(batch.clone(), room)
            })
            .collect();
        let events = take.events();
        let written = puts.into_iter().map(Ticket::wait).fold(Ok(()), Result::and);
        // Delivered or given up: either way they are in memory no more.
        take.commit().wait()?;
        if let Err(error) = written {
            tracing::error!(lost_events = events, %error, "what was left in memory cannot be written");
            outcome = Err(error);
        }
    }
    outcome
}

fn put_in_memory(runs: &mut Runs, memory: &MemoryChannel, batch: Batch, room: Room) -> Ticket {
    let first = memory.store.next();
    let put = memory.put(batch, room);
    runs.put(Side::Memory, first..memory.store.next());
    put
}

/// A position says that everything before it is there, which memory cannot promise.
fn without_coverage(batch: Batch) -> Batch {
    if batch.coverage().is_none() {
        return batch;
    }
    let marks = batch.low_water().to_vec();
    let bare = batch.slice(0..batch.len());
    if marks.is_empty() { bare } else { bare.with_low_water(marks) }
}

/// The default of the file channel's option, which need not fit a small channel.
const DEFAULT_TRANSACTION: &str = "10000";
/// At a stop.
const SPILLED_AT_ONCE: Limit = Limit { events: 10_000, bytes: 4 << 20 };
