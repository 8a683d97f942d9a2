//! Room in a channel: who waits first gets it first.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::sync::{Mutex, oneshot};

/// The bounds of one channel, in events and in retained bytes, and who waits for room.
#[derive(Debug)]
pub struct RoomKeeper {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    capacity_events: u64,
    capacity_bytes: u64,
    used_events: u64,
    used_bytes: u64,
    waiting: VecDeque<(u64, u64, oneshot::Sender<Room>)>,
}

/// A place in the line for room: resolves to the room. Dropped, the place is given up, and those behind move up.
#[derive(Debug)]
#[must_use = "a place that is dropped is given up"]
pub struct Asked {
    keeper: Arc<RoomKeeper>,
    /// `None` once it has resolved.
    answer: Option<oneshot::Receiver<Room>>,
}

/// Room granted to one batch. Dropped, it is free again; [`Room::keep`] moves it to the events that fill it.
#[derive(Debug)]
#[must_use = "room that is dropped is given back"]
pub struct Room {
    keeper: Option<Arc<RoomKeeper>>,
    events: u64,
    bytes: u64,
}

// === impl RoomKeeper ===

impl RoomKeeper {
    /// A keeper of that much room, all free.
    pub fn new(capacity_events: u64, capacity_bytes: u64) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { capacity_events, capacity_bytes, ..State::default() }) })
    }

    /// Counts what is there already, when a store is opened. It may exceed the capacity: nothing is refused that was
    /// accepted once.
    pub fn occupy(&self, events: u64, bytes: u64) {
        let mut state = self.state.lock();
        state.used_events += events;
        state.used_bytes += bytes;
    }

    /// Asks for room: granted in the order asked. A batch larger than all bytes there are is let in when it is alone.
    /// The caller limits the wait by dropping what it gets.
    pub fn ask(self: &Arc<Self>, events: u64, bytes: u64) -> Asked {
        let (sender, receiver) = oneshot::channel();
        self.state.lock().waiting.push_back((events, bytes, sender));
        self.grant();
        Asked { keeper: Arc::clone(self), answer: Some(receiver) }
    }

    /// Takes room at once, beyond the bounds if need be: for what exists already and can only be counted.
    pub fn seize(self: &Arc<Self>, events: u64, bytes: u64) -> Room {
        self.occupy(events, bytes);
        Room { keeper: Some(Arc::clone(self)), events, bytes }
    }

    /// Gives room back.
    pub fn free(self: &Arc<Self>, events: u64, bytes: u64) {
        self.exchange((events, bytes), (0, 0));
    }

    /// Gives room back and takes other room for what is there, in one step: nobody sees both counted.
    fn exchange(self: &Arc<Self>, freed: (u64, u64), taken: (u64, u64)) {
        {
            let mut state = self.state.lock();
            state.used_events = state.used_events.saturating_sub(freed.0) + taken.0;
            state.used_bytes = state.used_bytes.saturating_sub(freed.1) + taken.1;
        }
        self.grant();
    }

    /// Events and bytes in use.
    pub fn used(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.used_events, state.used_bytes)
    }

    /// The bounds: events and bytes.
    pub fn capacity(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.capacity_events, state.capacity_bytes)
    }

    /// Changes the bounds. What is there stays, also where it exceeds the new ones: then nothing comes in until it fits.
    pub fn resize(self: &Arc<Self>, capacity_events: u64, capacity_bytes: u64) {
        {
            let mut state = self.state.lock();
            (state.capacity_events, state.capacity_bytes) = (capacity_events, capacity_bytes);
        }
        self.grant();
    }

    fn grant(self: &Arc<Self>) {
        let mut granted = Vec::new();
        {
            let mut state = self.state.lock();
            while let Some(&(events, bytes, _)) = state.waiting.front() {
                let fits_events = state.used_events + events <= state.capacity_events;
                let fits_bytes = state.used_bytes + bytes <= state.capacity_bytes || state.used_bytes == 0;
                let fits = fits_events && fits_bytes;
                let asker_left = state.waiting.front().is_some_and(|(_, _, sender)| sender.is_closed());
                if !(asker_left || fits) {
                    break;
                }
                let Some((events, bytes, sender)) = state.waiting.pop_front() else { break };
                if !asker_left {
                    state.used_events += events;
                    state.used_bytes += bytes;
                    granted.push((Room { keeper: Some(Arc::clone(self)), events, bytes }, sender));
                }
            }
        }
        // Outside the lock: a room that nobody receives any more is dropped here, and so given back.
        for (room, sender) in granted {
            drop(sender.send(room));
        }
    }
}

// === impl Asked ===

impl Asked {
    /// The room, if it is granted already. Asked no more after that.
    pub fn granted(&mut self) -> Option<Room> {
        let room = self.answer.as_mut()?.try_recv().ok()?;
        self.answer = None;
        Some(room)
    }
}

impl Future for Asked {
    type Output = Room;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Room> {
        let answer = self.answer.as_mut().expect("polled no more once it has resolved");
        let Poll::Ready(answer) = Pin::new(answer).poll(cx) else { return Poll::Pending };
        self.answer = None;
        Poll::Ready(answer.expect("the keeper answers everyone who has not left, and lives as long as this"))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            // Room that was granted meanwhile is given back with it.
            drop(answer);
            // This one may have been too large where the next one fits.
            self.keeper.grant();
        }
    }
}

// === impl Room ===

impl Room {
    /// Room in a channel that has no bounds to keep: for tests and in-process uses.
    pub fn unbounded() -> Self {
        Self { keeper: None, events: 0, bytes: 0 }
    }

    /// Whether it is room of `keeper`.
    pub fn is_of(&self, keeper: &Arc<RoomKeeper>) -> bool {
        self.keeper.as_ref().is_some_and(|own| Arc::ptr_eq(own, keeper))
    }

    /// Fills the room with what was really stored; what was reserved beyond that is free again at once. The store gives
    /// this back with [`RoomKeeper::free`].
    pub fn keep(mut self, events: u64, bytes: u64) {
        if let Some(keeper) = self.keeper.take() {
            keeper.exchange((self.events, self.bytes), (events, bytes));
        }
    }
}

impl Room {
    /// The same room for another number of bytes, known only now; may exceed the bound by what was not foreseen.
    pub fn resize(mut self, bytes: u64) -> Self {
        let (keeper, events) = (self.keeper.take(), self.events);
        if let Some(keeper) = &keeper {
            keeper.exchange((0, self.bytes), (0, bytes));
        }
        Self { keeper, events, bytes }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.free(self.events, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_granted_in_the_order_asked_and_only_while_it_lasts() {
        let keeper = RoomKeeper::new(10, 1000);
        let first = keeper.ask(8, 10).granted().expect("there is room");
        let mut second = keeper.ask(5, 10);
        let mut third = keeper.ask(1, 10);
        assert!(second.granted().is_none());
        assert!(third.granted().is_none(), "who asked later does not overtake");
        drop(first);
        let _second = second.granted().expect("freed");
        let _third = third.granted().expect("fits beside it");
        assert_eq!(keeper.used(), (6, 20));
    }

    #[test]
    fn an_asker_who_left_blocks_nobody() {
        let keeper = RoomKeeper::new(1, 1000);
        let held = keeper.ask(1, 1).granted().expect("room");
        drop(keeper.ask(1, 1));
        let mut next = keeper.ask(1, 1);
        drop(held);
        assert!(next.granted().is_some());
    }

    #[test]
    fn an_asker_who_leaves_makes_way_for_one_who_fits() {
        let keeper = RoomKeeper::new(3, 1000);
        let _held = keeper.ask(2, 1).granted().expect("room");
        let too_large = keeper.ask(3, 1);
        let mut small = keeper.ask(1, 1);
        assert!(small.granted().is_none(), "who asked later does not overtake");
        drop(too_large);
        assert!(small.granted().is_some(), "nobody is before it any more");
    }

    #[test]
    fn bounds_that_change_let_in_who_waits_and_take_nothing_away() {
        let keeper = RoomKeeper::new(4, 100);
        keeper.ask(4, 10).granted().expect("room").keep(4, 10);
        let mut waiting = keeper.ask(2, 10);
        keeper.resize(6, 100);
        let room = waiting.granted().expect("there is room now");
        keeper.resize(3, 100);
        assert_eq!((keeper.used(), keeper.capacity()), ((6, 20), (3, 100)));
        drop(room);
        let mut waiting = keeper.ask(1, 1);
        assert!(waiting.granted().is_none(), "more is there than may be");
        keeper.free(2, 5);
        assert!(waiting.granted().is_some());
    }

    #[test]
    fn a_batch_above_the_byte_bound_passes_alone() {
        let keeper = RoomKeeper::new(10, 100);
        let small = keeper.ask(1, 1).granted().expect("room");
        let mut large = keeper.ask(1, 500);
        assert!(large.granted().is_none());
        drop(small);
        assert!(large.granted().is_some());
    }

    #[test]
    fn kept_room_is_what_was_stored() {
        let keeper = RoomKeeper::new(10, 100);
        keeper.ask(5, 50).granted().expect("room").keep(2, 20);
        assert_eq!(keeper.used(), (2, 20));
        keeper.free(2, 20);
        assert_eq!(keeper.used(), (0, 0));
    }
}
