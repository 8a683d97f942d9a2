//! Lines that wait to be sent.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::WhenFull;
use crate::client::Event;

/// A queue with two bounds.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Something came, or it was closed.
    grown: Condvar,
    /// There is room, or it was closed.
    shrunk: Condvar,
    capacity_events: usize,
    capacity_bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    bytes: usize,
    dropped: u64,
    /// Taken and not stored yet.
    taken: usize,
    /// Once closed: until when to send.
    deadline: Option<Instant>,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(capacity_events: usize, capacity_bytes: usize) -> Self {
        let (inner, grown, shrunk) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self { inner, grown, shrunk, capacity_events, capacity_bytes }
    }

    /// Adds an event, if there is or comes room for it; for one that is larger than the queue none ever comes.
    pub(super) fn push(&self, event: Event, when_full: WhenFull) {
        let bytes = event.bytes();
        let mut inner = self.inner.lock();
        let fits = bytes <= self.capacity_bytes;
        while fits && inner.deadline.is_none() && self.is_full(&inner, bytes) && when_full == WhenFull::Block {
            self.shrunk.wait(&mut inner);
        }
        if inner.deadline.is_some() || self.is_full(&inner, bytes) {
            inner.dropped += 1;
            return;
        }
        inner.bytes += bytes;
        inner.events.push_back(event);
        self.grown.notify_one();
    }

    /// The next events, at most `limit`, as soon as there is one; `None` once it is closed and empty.
    pub(super) fn next(&self, limit: usize) -> Option<Vec<Event>> {
        let mut inner = self.inner.lock();
        while inner.events.is_empty() {
            if inner.deadline.is_some() {
                return None;
            }
            self.grown.wait(&mut inner);
        }
        let count = inner.events.len().min(limit);
        let events: Vec<Event> = inner.events.drain(..count).collect();
        inner.bytes -= events.iter().map(Event::bytes).sum::<usize>();
        inner.taken = count;
        self.shrunk.notify_all();
        Some(events)
    }

    /// What was taken is stored, but for so many.
    pub(super) fn left(&self, count: usize) {
        self.inner.lock().taken = count;
    }

    /// Waits until it is closed or `until`; the deadline if it is closed.
    pub(super) fn wait_closed(&self, until: Instant) -> Option<Instant> {
        let mut inner = self.inner.lock();
        while inner.deadline.is_none() && !self.grown.wait_until(&mut inner, until).timed_out() {}
        inner.deadline
    }

    /// Takes nothing any more. Nobody waits for room.
    pub(super) fn close(&self, deadline: Instant) {
        self.inner.lock().deadline = Some(deadline);
        self.grown.notify_all();
        self.shrunk.notify_all();
    }

    pub(super) fn dropped(&self) -> u64 {
        self.inner.lock().dropped
    }

    /// Events that are neither stored nor dropped.
    pub(super) fn waiting(&self) -> u64 {
        let inner = self.inner.lock();
        (inner.events.len() + inner.taken) as u64
    }

    /// Events that are not taken.
    #[cfg(test)]
    pub(super) fn next_len(&self) -> usize {
        self.inner.lock().events.len()
    }

    fn is_full(&self, inner: &Inner, bytes: usize) -> bool {
        inner.events.len() >= self.capacity_events || inner.bytes + bytes > self.capacity_bytes
    }
}
