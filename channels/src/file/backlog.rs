//! Taking, and reading back what is not in memory any more.

use std::ops::Range;
use std::sync::Arc;

use millstream_core::{Batch, Limit, Result, Take};
use millstream_io::failpoint;

use super::acks::{Held, Open};
use super::format::{PutRecord, RECORD};
use super::store::{Backlog, State, Store};
use crate::queue::Piece;

/// Bytes read back at once.
const READ_AHEAD_BYTES: u64 = 2 << 20;

/// What a taker does next.
pub(super) enum Next {
    Deliver(Take),
    /// Call [`Store::read_back`], where it may block.
    Read,
    /// Nothing is there yet.
    Wait,
}

// === impl Store ===

impl Store {
    /// Takes what is in memory.
    ///
    /// # Errors
    /// `Stopped` after close.
    pub(super) fn take(self: &Arc<Self>, limit: Limit) -> Result<Next> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.stopped());
        }
        let pieces = state.queue.take(limit);
        if pieces.is_empty() {
            return Ok(if state.backlog.is_some() { Next::Read } else { Next::Wait });
        }
        let low_water = state.names.low_water(&state.acked);
        for piece in &pieces {
            state.open.insert(piece.range());
        }
        drop(state);
        let batches = pieces.iter().map(|piece| piece.batch.clone()).collect();
        let open = Open { store: Arc::clone(self), held: Held::Memory(pieces) };
        let take = Take::new(batches, low_water, Box::new(open));
        failpoint::hit("channel.taken")?;
        Ok(Next::Deliver(take))
    }

    /// Reads the next part of the backlog into memory. Blocks while it reads.
    ///
    /// # Errors
    /// A failed read; the next call goes on where this one stopped.
    pub(super) fn read_back(self: &Arc<Self>) -> Result<()> {
        let mut slot = self.reader.lock();
        let mut bytes = 0;
        while bytes < READ_AHEAD_BYTES {
            let (backlog, stored) = {
                let state = self.state.lock();
                (state.backlog, state.stored)
            };
            // Another taker, whose wait ended meanwhile, may have read it all.
            let Some(backlog) = backlog else { break };
            let reader = match &mut *slot {
                Some((number, reader)) if *number == backlog.number => reader,
                _ => &mut slot.insert((backlog.number, self.log.reader(backlog.from))).1,
            };
            let record = reader.next()?;
            let mut state = self.state.lock();
            if state.backlog.is_none_or(|now| now.number != backlog.number) {
                // A take gave events back meanwhile: the next round reads those first.
                continue;
            }
            if record.as_ref().is_some_and(|(_, kind, _)| *kind != RECORD) {
                continue;
            }
            match record.map(|(location, _, payload)| (location, PutRecord::decode(&payload))) {
                Some((_, Ok(put))) => bytes += self.bring_back(&mut state, put),
                // The next record shows what is missing.
                Some((location, Err(error))) => {
                    tracing::warn!(channel = %self.gate.channel, ?location, %error, "stored put cannot be read");
                }
                // What was stored before we looked, and is not there. More may have been stored since.
                None => {
                    self.give_up(&mut state, backlog.next..stored);
                    let rest = Backlog { next: stored, ..backlog };
                    state.backlog = (stored < state.stored).then_some(rest);
                }
            }
            if state.backlog.is_none() {
                *slot = None;
            }
        }
        Ok(())
    }

    /// Adds a put of the backlog to what can be taken; returns the bytes that it keeps in memory.
    fn bring_back(self: &Arc<Self>, state: &mut State, put: PutRecord) -> u64 {
        let Some(backlog) = &mut state.backlog else { return 0 };
        let expected = backlog.next;
        let end = put.end().min(state.stored);
        backlog.next = end.max(expected);
        let drained = backlog.next >= state.stored;
        if put.first > expected {
            self.give_up(state, expected..put.first.min(end));
        }
        let bytes = put.batch.retained_bytes();
        let waiting = state.enqueue_waiting(put.first, &put.batch, expected..end);
        if drained {
            state.backlog = None;
        }
        if waiting { bytes } else { 0 }
    }

    /// Accepts that the events of `range` which were not delivered are gone: their records were damaged.
    pub(super) fn give_up(self: &Arc<Self>, state: &mut State, range: Range<u64>) {
        let gone = state.takeable(range);
        let events: u64 = gone.iter().map(|gap| gap.end - gap.start).sum();
        if events == 0 {
            return;
        }
        let first = gone.first().map_or(0, |gap| gap.start);
        tracing::warn!(channel = %self.gate.channel, events, first, "stored events are lost to damage of the log");
        for range in &gone {
            state.lost.insert(range.clone());
        }
        // Before they are acknowledged, so that a kill in between does not make them delivered.
        self.note_lost(gone.clone());
        // Nobody waits: what is not written is found missing again.
        drop(self.acknowledge(state, gone));
        self.gate.room.free(events, 0);
    }
}

// === impl State ===

impl State {
    /// Makes those events of a stored batch takeable that lie in `range` and were not delivered; whether there are any.
    pub(super) fn enqueue_waiting(&mut self, first: u64, batch: &Batch, range: Range<u64>) -> bool {
        let end = first + batch.len() as u64;
        let waiting = self.takeable(first.max(range.start)..end.min(range.end));
        for gap in &waiting {
            let rows = (gap.start - first) as usize..(gap.end - first) as usize;
            self.queue.push(Piece { first: gap.start, batch: batch.slice(rows) });
        }
        !waiting.is_empty()
    }
}
