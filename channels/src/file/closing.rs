//! Closing, and counting what went through.

use std::sync::Arc;

use millstream_core::{ChannelTotals, Result};

use super::store::{Segment, State, Store};

impl Store {
    /// Puts and takes are refused from now on. Whether they were not before.
    pub(super) fn refuse(&self) -> bool {
        let was_closed = std::mem::replace(&mut self.state.lock().closed, true);
        self.gate.wake();
        !was_closed
    }

    /// Finishes what was accepted and closes the journals. Waits for the disk.
    ///
    /// # Errors
    /// What could not be written. Puts that were not stored were told so.
    pub(super) fn close(self: &Arc<Self>, roll: bool) -> Result<()> {
        let acks = self.close_acks();
        let mut state = self.state.lock();
        if roll && state.dirty {
            self.roll(&mut state);
        }
        // What is delivered need not stay, whether or not a commit comes again.
        if acks.is_ok()
            && let Some(keep) = state.first_to_keep()
            && let Err(error) = self.log.delete_before(keep)
        {
            tracing::debug!(channel = %self.gate.channel, %error, "delivered segments stay until the next start");
        }
        drop(state);
        let letters = self.letters.close();
        self.log.close().and(acks).and(letters)
    }

    /// Leaves a snapshot alone, on the disk.
    fn close_acks(&self) -> Result<()> {
        let rolled = self.roll_acks(&self.state.lock());
        let synced = rolled.and_then(|()| self.acks.sync().wait());
        synced.and(self.acks.close())
    }

    /// See [`millstream_core::Channel::totals`].
    pub(super) fn totals(&self) -> ChannelTotals {
        let (capacity_events, _) = self.gate.room.capacity();
        let dead_lettered = self.letters.count();
        let state = self.state.lock();
        let dropped = &state.origins.stored.dropped;
        ChannelTotals {
            store: Some(self.id),
            put_events: state.stored,
            taken_events: state.acked.len(),
            lost_events: state.lost.len(),
            dead_lettered,
            quarantined: self.log.stats().set_aside + self.acks.stats().set_aside + self.letters.damaged(),
            redelivered_events: state.trimmed,
            named_elsewhere: state.named_elsewhere,
            waiting_bytes: state.waiting_body_bytes(),
            capacity_events,
            // The disk is the bound.
            capacity_bytes: u64::MAX,
            dropped: dropped.iter().map(|(rule, events)| (Arc::clone(rule), *events)).collect(),
        }
    }
}

// === impl State ===

impl State {
    /// Bytes of the bodies that wait. In a segment of which a part was delivered, events count with their mean size.
    fn waiting_body_bytes(&self) -> u64 {
        let end = Segment { number: u64::MAX, first: self.stored, body_bytes: self.stored_body_bytes };
        let ends = self.segments.iter().skip(1).copied().chain([end]);
        let waiting = self.segments.iter().zip(ends).map(|(segment, next)| {
            let events = next.first - segment.first;
            let waiting = events - self.acked.overlaps(segment.first..next.first).map(|r| r.end - r.start).sum::<u64>();
            let bytes = u128::from(next.body_bytes - segment.body_bytes) * u128::from(waiting);
            (bytes / u128::from(events.max(1))) as u64
        });
        waiting.sum()
    }
}
