//! The way out: what was delivered is written to the acks, and segments of which nothing is left are removed.

use std::ops::Range;
use std::sync::Arc;

use millstream_core::{IntervalSet, OpenTake, Result, Ticket, ticket};
use millstream_io::failpoint;
use millstream_journal::Durability;

use super::format::{AckSnapshot, LOST, RECORD, ack_record};
use super::store::{State, Store};
use crate::queue::Piece;

/// What of the acks is not done yet.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Acknowledged, but perhaps not written, as a write failed: part of the next record.
    unwritten: IntervalSet,
    /// Segments of the log below this number are being removed.
    removing_below: u64,
}

/// Events that a sink holds.
pub(super) struct Open {
    pub(super) store: Arc<Store>,
    pub(super) held: Held,
}

/// The events of an open take.
pub(super) enum Held {
    /// As they were taken.
    Memory(Vec<Piece>),
    /// On disk alone: they are read back, should they be given back.
    Disk(IntervalSet),
}

// === impl Open ===

impl OpenTake for Open {
    fn release(&mut self) {
        self.held = Held::Disk(self.held.sequences());
    }

    fn commit(self: Box<Self>) -> Ticket {
        self.store.commit(&self.held.sequences())
    }

    fn roll_back(self: Box<Self>) {
        let mut state = self.store.state.lock();
        for range in self.held.sequences().ranges() {
            state.open.remove(range);
        }
        match self.held {
            Held::Memory(pieces) => {
                // What lies in the backlog is read with it: given back here, it would come too early, and twice.
                let from = state.backlog.map_or(u64::MAX, |backlog| backlog.next);
                state.queue.give_back(pieces.into_iter().filter_map(|piece| piece.before(from)).collect());
            }
            Held::Disk(sequences) => sequences.ranges().next().into_iter().for_each(|first| state.rewind(first.start)),
        }
        drop(state);
        self.store.gate.wake();
    }
}

impl Held {
    fn sequences(&self) -> IntervalSet {
        match self {
            Self::Memory(pieces) => pieces.iter().map(Piece::range).collect(),
            Self::Disk(sequences) => sequences.clone(),
        }
    }
}

// === impl Store ===

impl Store {
    fn commit(self: &Arc<Self>, delivered: &IntervalSet) -> Ticket {
        let mut state = self.state.lock();
        for range in delivered.ranges() {
            state.open.remove(range);
        }
        let events = delivered.len();
        let written = self.acknowledge(&mut state, delivered.ranges().collect());
        self.remove_delivered(&mut state);
        drop(state);
        self.gate.room.free(events, 0);
        // The commit is enqueued, whatever a test asks for here.
        let _ = failpoint::hit("channel.commit-enqueued");
        written
    }

    /// Marks `ranges` as delivered. The ticket resolves once that is written.
    pub(super) fn acknowledge(self: &Arc<Self>, state: &mut State, mut ranges: Vec<Range<u64>>) -> Ticket {
        for range in &ranges {
            state.acked.insert(range.clone());
        }
        ranges.extend(std::mem::take(&mut state.acks.unwritten).ranges());
        let (resolver, written) = ticket();
        let appended = self.append_acks(&ranges, Durability::Lazy, move |_, outcome| {
            if outcome.is_ok() {
                // The commit is written, whatever a test asks for here.
                let _ = failpoint::hit("channel.commit-written");
            }
            resolver.resolve(outcome);
        });
        let rolled = match appended {
            Ok(wants_roll) => {
                if wants_roll && let Err(error) = self.roll_acks(state) {
                    tracing::warn!(channel = %self.gate.channel, %error, "no new segment of acks yet");
                }
                return written;
            }
            // A snapshot says it as well; until it is known to be there, the next record says it again.
            Err(_) => self.roll_acks(state),
        };
        state.acks.owe(ranges);
        rolled.map_or_else(|error| Ticket::ready(Err(error)), |()| self.acks.sync())
    }

    /// Enqueues a record of `ranges`; whether a roll is due. `done` is called without a lock.
    fn append_acks(
        self: &Arc<Self>,
        ranges: &[Range<u64>],
        durability: Durability,
        done: impl FnOnce(&Arc<Self>, Result<()>) + Send + 'static,
    ) -> Result<bool> {
        let record = ack_record(ranges.iter().cloned());
        let (store, ranges) = (Arc::clone(self), ranges.to_vec());
        let done = move |outcome: Result<()>| {
            if outcome.is_err() {
                store.state.lock().acks.owe(ranges);
            }
            done(&store, outcome);
        };
        let appended = self.acks.append(RECORD, vec![record], durability, Box::new(done))?;
        Ok(appended.wants_roll)
    }

    /// Says of acknowledged ranges that nobody got them. What is not written is in the next snapshot.
    pub(super) fn note_lost(&self, ranges: Vec<Range<u64>>) {
        let appended = self.acks.append(LOST, vec![ack_record(ranges)], Durability::Lazy, Box::new(|_| ()));
        if let Err(error) = appended {
            tracing::debug!(channel = %self.gate.channel, %error, "lost events are noted with the next snapshot");
        }
    }

    /// Begins a segment of acks and removes the older ones.
    pub(super) fn roll_acks(&self, state: &State) -> Result<()> {
        self.acks.roll(AckSnapshot::encode(self.id, &state.acked, &state.lost))?;
        self.acks.delete_before(u64::MAX)
    }

    /// Removes the segments of the log of which every event is delivered, once the acks that say so are on the disk.
    pub(super) fn remove_delivered(self: &Arc<Self>, state: &mut State) {
        let Some(keep) = state.first_to_keep() else { return };
        if keep <= state.acks.removing_below {
            return;
        }
        let ranges: Vec<Range<u64>> = state.acks.unwritten.ranges().collect();
        let appended = self.append_acks(&ranges, Durability::Synced, move |store, outcome| {
            let removed = outcome.and_then(|()| store.log.delete_before(keep));
            let mut state = store.state.lock();
            match removed {
                Ok(()) => state.forget_before(keep),
                // The next commit tries again.
                Err(_) => state.acks.removing_below = 0,
            }
        });
        if appended.is_ok() {
            state.acks.removing_below = keep;
        }
    }
}

// === impl Acks ===

impl Acks {
    fn owe(&mut self, ranges: Vec<Range<u64>>) {
        ranges.into_iter().for_each(|range| _ = self.unwritten.insert(range));
    }
}

// === impl State ===

impl State {
    /// The segments before `keep` are gone, and nothing in them can come again.
    fn forget_before(&mut self, keep: u64) {
        self.segments.retain(|segment| segment.number >= keep);
        let oldest = self.segments.front().map_or(0, |oldest| oldest.first);
        self.names.forget(oldest);
    }

    /// Number of the first segment of the log that is needed, if there are others before it.
    pub(super) fn first_to_keep(&self) -> Option<u64> {
        let floor = self.acked.run_end(0);
        let delivered = self.segments.iter().skip(1).take_while(|next| next.first <= floor);
        delivered.last().map(|segment| segment.number)
    }
}
