//! The state of an open channel, and the way in: puts are enqueued in the log, and can be taken once they are stored.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Batch, Error, IntervalSet, Resolver, Result, Room, Ticket, ticket};
use millstream_io::failpoint;
use millstream_journal::{Appended, Durability, Journal, Location, Reader};

use super::acks::Acks;
use super::format::{LogSnapshot, RECORD, TRIMMED, incarnation, put_record};
use super::letters::Letters;
use super::origins::Origins;
use crate::gate::Gate;
use crate::names::Names;
use crate::queue::{Piece, Queue};
use crate::received::Received;
use crate::sync::Mutex;

/// Bytes of stored events that are kept in memory for sinks that keep up. Beyond, they are read back when their turn comes.
pub(crate) const MEMORY_BYTES: u64 = 8 << 20;

/// What the channel, its open takes and the journals' callbacks share.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) gate: Gate,
    /// Drawn once per directory.
    pub(super) id: u64,
    /// Drawn at this opening.
    pub(super) opening: u64,
    pub(super) log: Journal,
    pub(super) acks: Journal,
    pub(super) letters: Arc<Letters>,
    /// When a put counts as done.
    pub(super) durability: Durability,
    pub(super) memory_bytes: u64,
    /// Locked before `state`, never after it.
    /// Reads the backlog of that number.
    pub(super) reader: Mutex<Option<(u64, Reader)>>,
    /// May be held while something is enqueued in a journal, as that never waits.
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Sequence of the next event to be enqueued.
    pub(super) next: u64,
    /// All before are stored, or were lost to damage.
    pub(super) stored: u64,
    /// Bytes of all bodies up to `next`, and up to `stored`.
    pub(super) body_bytes: u64,
    pub(super) stored_body_bytes: u64,
    pub(super) origins: Origins,
    pub(super) names: Names,
    pub(super) received: Received,
    pub(super) acked: IntervalSet,
    /// Of these, events that were never delivered: their records are damaged.
    pub(super) lost: IntervalSet,
    /// Events that came again and were known.
    pub(super) trimmed: u64,
    /// Events that came with a name, those in flight included.
    pub(super) named_elsewhere: u64,
    /// Held by open takes.
    pub(super) open: IntervalSet,
    pub(super) acks: Acks,
    /// Puts that are enqueued and not stored, in order.
    pub(super) in_flight: VecDeque<InFlight>,
    /// What can be taken.
    pub(super) queue: Queue,
    /// What can be taken and is on disk alone: it comes behind `queue`.
    pub(super) backlog: Option<Backlog>,
    /// Backlogs begun so far.
    pub(super) backlogs: u64,
    /// Segments of the log with their first sequences, ascending.
    pub(super) segments: VecDeque<Segment>,
    /// Whether anything was put since the last snapshot of the log.
    pub(super) dirty: bool,
    pub(super) closed: bool,
}

/// One put on its way to the disk.
#[derive(Debug)]
pub(super) struct InFlight {
    piece: Piece,
    /// Whether the events came with their names.
    foreign: bool,
    location: Location,
    /// Retained while on its way.
    bytes: u64,
    body_bytes: u64,
    /// Who waits: the put, and later ones that had nothing to add to it.
    waiting: Vec<Resolver>,
}

/// Events from `next` up to the last stored one, in the log from `from` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backlog {
    /// Counts backlogs, so that what was read of an earlier one is not taken for this one's.
    pub(super) number: u64,
    pub(super) from: Location,
    pub(super) next: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) first: u64,
    /// Bytes of all bodies before.
    pub(super) body_bytes: u64,
}

// === impl Store ===

impl Store {
    /// See [`millstream_core::Channel::put`].
    pub(crate) fn put(self: &Arc<Self>, batch: Batch, room: Room) -> Ticket {
        self.put_at(batch, room).0
    }

    /// The same, with the sequences that the events were given.
    pub(crate) fn put_at(self: &Arc<Self>, batch: Batch, room: Room) -> (Ticket, Range<u64>) {
        let mut state = self.state.lock();
        let (first, enqueued) = (state.next, state.in_flight.len());
        let put = self.put_locked(&mut state, batch, room);
        let (given, enqueued) = (first..state.next, state.in_flight.len() > enqueued);
        drop(state);
        if enqueued {
            // It is, whatever a test asks for here.
            let _ = failpoint::hit("channel.put-enqueued");
        }
        (put, given)
    }

    fn put_locked(self: &Arc<Self>, state: &mut State, batch: Batch, room: Room) -> Ticket {
        if state.closed {
            return Ticket::ready(Err(self.stopped()));
        }
        let came = batch.len();
        let batch = match state.origins.trim(batch) {
            Ok(batch) => batch,
            Err(error) => return Ticket::ready(Err(error)),
        };
        let batch = state.received.trim(batch);
        if batch.len() < came {
            self.count_trimmed(state, (came - batch.len()) as u64);
        }
        let is_new = batch.coverage().is_some_and(|coverage| state.origins.is_new(coverage));
        if batch.is_empty() && !is_new {
            state.received.forget(batch.low_water());
            return state.wait_for_last();
        }
        let enqueued = self.enqueue(state, batch, room);
        enqueued.unwrap_or_else(|error| Ticket::ready(Err(error)))
    }

    /// Leaves of `batch` what did not come here before.
    pub(crate) fn unknown(&self, batch: Batch) -> Batch {
        let mut state = self.state.lock();
        let fresh = state.received.trim(batch.clone());
        state.received.forget(batch.low_water());
        fresh
    }

    /// How many events of `range` can be taken, and how far all is stored that was enqueued.
    pub(crate) fn untaken(&self, range: Range<u64>) -> (u64, u64) {
        let state = self.state.lock();
        let stored = if state.in_flight.is_empty() { u64::MAX } else { state.stored };
        let takeable = state.takeable(range.start..range.end.min(state.stored).max(range.start));
        (takeable.iter().map(|gap| gap.end - gap.start).sum(), stored)
    }

    /// All before are delivered.
    pub(crate) fn floor(&self) -> u64 {
        self.state.lock().acked.run_end(0)
    }

    fn enqueue(self: &Arc<Self>, state: &mut State, batch: Batch, room: Room) -> Result<Ticket> {
        let first = state.next;
        let foreign = if batch.has_names() { batch.names() } else { Vec::new() };
        let batch = if foreign.is_empty() { batch.named(incarnation(self.id, self.opening), first) } else { batch };
        let appended = match self.append(state, put_record(first, self.opening, &batch)) {
            Ok(appended) => appended,
            Err(error) => {
                if let Some(coverage) = batch.coverage() {
                    state.origins.refuse_behind(coverage, &error);
                }
                return Err(error);
            }
        };
        let (events, bytes, body_bytes) = (batch.len() as u64, batch.retained_bytes(), batch.body_bytes());
        room.keep(events, bytes);
        state.next += events;
        state.body_bytes += body_bytes;
        state.dirty = true;
        state.names.record(first, &batch, &foreign);
        if !foreign.is_empty() {
            state.named_elsewhere += events;
            state.received.enqueue(&batch);
        }
        if let Some(coverage) = batch.coverage() {
            state.origins.enqueue(coverage);
        }
        let (resolver, put) = ticket();
        let (piece, location, foreign) = (Piece { first, batch }, appended.location, !foreign.is_empty());
        let waiting = vec![resolver];
        state.in_flight.push_back(InFlight { piece, foreign, location, bytes, body_bytes, waiting });
        if appended.wants_roll {
            self.roll(state);
        }
        Ok(put)
    }

    /// Counts events that are not stored, as they are already. Written with what comes next: the count is for the ledger.
    fn count_trimmed(&self, state: &mut State, events: u64) {
        state.trimmed += events;
        let total = Bytes::copy_from_slice(&state.trimmed.to_le_bytes());
        match self.log.append(TRIMMED, vec![total], Durability::Lazy, Box::new(|_| ())) {
            Ok(_) => state.dirty = true,
            // The next snapshot says it as well.
            Err(error) => tracing::debug!(channel = %self.gate.channel, %error, "trimmed events are counted later"),
        }
    }

    /// Enqueues a record, in a new segment where the last one was given up.
    fn append(self: &Arc<Self>, state: &mut State, parts: Vec<Bytes>) -> Result<Appended> {
        let append = |parts| {
            let store = Arc::clone(self);
            self.log.append(RECORD, parts, self.durability, Box::new(move |outcome| store.put_done(outcome)))
        };
        match append(parts.clone()) {
            // Refused while puts that failed are told one by one, as `state` still counts on them.
            Err(_) if self.log.needs_roll() => {
                self.log.roll(self.log_snapshot(state).encode())?;
                append(parts)
            }
            outcome => outcome,
        }
    }

    /// Begins a segment. One that cannot be made is asked for again by the next put.
    pub(super) fn roll(&self, state: &mut State) {
        match self.log.roll(self.log_snapshot(state).encode()) {
            Ok(()) => state.dirty = false,
            Err(error) => tracing::warn!(channel = %self.gate.channel, %error, "no new segment yet"),
        }
    }

    /// What all puts so far add up to, those in flight included.
    fn log_snapshot(&self, state: &State) -> LogSnapshot {
        let enqueued = &state.origins.enqueued;
        LogSnapshot {
            store: self.id,
            next: state.next,
            body_bytes: state.body_bytes,
            origins: enqueued.ends.clone(),
            dropped: enqueued.dropped.clone(),
            names: state.names.clone(),
            received: state.received.enqueued().clone(),
            trimmed: state.trimmed,
            named_elsewhere: state.named_elsewhere,
        }
    }

    /// The oldest put in flight is stored, or failed: called in order, on the log's thread.
    fn put_done(self: &Arc<Self>, outcome: Result<()>) {
        let mut state = self.state.lock();
        let put = state.in_flight.pop_front().expect("every append is told once, in order");
        let events = put.piece.batch.len() as u64;
        let bytes = put.bytes;
        let (freed_events, waiting) = match &outcome {
            Ok(()) => (0, state.has_stored(put, self.memory_bytes)),
            Err(error) => (events, state.has_failed(put, error)),
        };
        self.remove_delivered(&mut state);
        drop(state);
        self.gate.room.free(freed_events, bytes);
        self.gate.wake();
        if outcome.is_ok() {
            // The put is stored, whatever a test asks for here.
            let _ = failpoint::hit("channel.put-durable");
        }
        waiting.into_iter().for_each(|resolver| resolver.resolve(outcome.clone()));
    }

    pub(super) fn stopped(&self) -> Error {
        Error::Stopped { what: Arc::clone(&self.gate.channel) }
    }
}

// === impl State ===

impl State {
    /// A ticket for a put that adds nothing: it resolves with the last one enqueued, on which it may rely.
    fn wait_for_last(&mut self) -> Ticket {
        let Some(last) = self.in_flight.back_mut() else { return Ticket::ready(Ok(())) };
        let (resolver, put) = ticket();
        last.waiting.push(resolver);
        put
    }

    fn has_stored(&mut self, put: InFlight, memory_bytes: u64) -> Vec<Resolver> {
        let Piece { first, batch } = put.piece;
        if self.segments.back().is_none_or(|last| last.number < put.location.segment) {
            let (number, body_bytes) = (put.location.segment, self.stored_body_bytes);
            self.segments.push_back(Segment { number, first, body_bytes });
        }
        if let Some(coverage) = batch.coverage() {
            self.origins.store(coverage);
        }
        if put.foreign {
            self.received.store(&batch);
        }
        self.stored = first + batch.len() as u64;
        self.stored_body_bytes += put.body_bytes;
        if batch.is_empty() || self.backlog.is_some() {
            return put.waiting;
        }
        let in_memory = self.queue.ready_bytes();
        if in_memory > 0 && in_memory + batch.retained_bytes() > memory_bytes {
            self.begin_backlog(put.location, first);
        } else {
            // Sliced, it has no coverage any more: that was said to this channel alone.
            self.queue.push(Piece { first, batch: batch.slice(0..batch.len()) });
        }
        put.waiting
    }

    /// From `next` on, what can be taken is read from the log, beginning at `from`.
    pub(super) fn begin_backlog(&mut self, from: Location, next: u64) {
        self.backlogs += 1;
        self.backlog = Some(Backlog { number: self.backlogs, from, next });
    }

    /// Gives back the events from `first` on that are not held or delivered, when they are on disk alone.
    pub(super) fn rewind(&mut self, first: u64) {
        if self.backlog.is_some_and(|backlog| backlog.next <= first) {
            // They come up anyway; what another take gave back before must not be passed over.
            return;
        }
        let Some(segment) = self.segments.iter().rev().find(|segment| segment.first <= first) else { return };
        let from = Location { segment: segment.number, offset: 0 };
        self.queue.forget_from(first);
        self.begin_backlog(from, first);
    }

    /// The parts of `range` that are neither delivered nor held by a take.
    pub(super) fn takeable(&self, range: Range<u64>) -> Vec<Range<u64>> {
        self.acked.gaps(range).into_iter().flat_map(|gap| self.open.gaps(gap)).collect()
    }

    /// Everything enqueued behind it fails too, and until then nothing new is enqueued.
    fn has_failed(&mut self, put: InFlight, error: &Error) -> Vec<Resolver> {
        self.origins.fail(put.piece.batch.coverage(), error);
        self.next = self.stored;
        self.body_bytes = self.stored_body_bytes;
        if put.foreign {
            self.named_elsewhere -= put.piece.batch.len() as u64;
        }
        self.names.cut(self.stored);
        self.received.fail();
        put.waiting
    }
}
