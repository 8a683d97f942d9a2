//! Who waits for room gets it: never more than there is, in the order asked, and nothing is lost of what comes back.
//!
//! Seen to catch: an asker who leaves, room that comes back, or bounds that grow, without a look at the line; a look at the
//! line before the asker stands in it; fitting looked at under one lock and counted under another; room that is dropped
//! and not given back; what was stored counted beside its room for a moment; the last asker served first.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use millstream_interleavings_core::sync::point;
use millstream_interleavings_core::{Room, RoomKeeper, explore};
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::thread::{self, JoinHandle};

const CAPACITY: u64 = 3;

fn join(threads: Vec<JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Gives room back in one of the ways there are.
fn give_back(keeper: &Arc<RoomKeeper>, room: Room, events: u64) {
    match thread_rng().gen_range(0..3) {
        0 => drop(room),
        1 => {
            room.keep(events - 1, 0);
            point();
            keeper.free(events - 1, 0);
        }
        _ => drop(room.resize(1)),
    }
}

#[test]
fn no_more_is_granted_than_there_is_and_all_of_it_comes_back() {
    explore("ROOM_GRANTED", 12, || {
        let keeper = RoomKeeper::new(CAPACITY, u64::MAX);
        let held = Arc::new(Mutex::new(0));
        let threads = (0..4).map(|number| {
            let (keeper, held) = (Arc::clone(&keeper), Arc::clone(&held));
            let leaves = number == 3;
            thread::spawn(move || {
                let events = thread_rng().gen_range(1..=CAPACITY);
                let mut asked = keeper.ask(events, 0);
                if leaves {
                    point();
                    drop(asked.granted());
                    return;
                }
                let room = block_on(asked);
                *held.lock().unwrap() += events;
                assert!(*held.lock().unwrap() <= CAPACITY, "more is held than there is");
                assert!(keeper.used().0 <= CAPACITY, "more is counted than there is: {:?}", keeper.used());
                *held.lock().unwrap() -= events;
                give_back(&keeper, room, events);
            })
        });
        join(threads.collect());
        assert_eq!(keeper.used(), (0, 0));
    });
}

#[test]
fn who_asks_first_is_served_first() {
    explore("ROOM_ORDER", 8, || {
        let keeper = RoomKeeper::new(CAPACITY, u64::MAX);
        let (asked, served) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let threads = (0..4).map(|number| {
            let (keeper, asked, served) = (Arc::clone(&keeper), Arc::clone(&asked), Arc::clone(&served));
            thread::spawn(move || {
                let mut order = asked.lock().unwrap();
                let place = keeper.ask(CAPACITY, 0);
                order.push(number);
                drop(order);
                let room = block_on(place);
                served.lock().unwrap().push(number);
                drop(room);
            })
        });
        join(threads.collect());
        assert_eq!(*asked.lock().unwrap(), *served.lock().unwrap());
    });
}

#[test]
fn an_asker_who_leaves_makes_way_for_one_who_fits() {
    explore("ROOM_LEAVES", 8, || {
        let keeper = RoomKeeper::new(CAPACITY, u64::MAX);
        let held = block_on(keeper.ask(CAPACITY - 1, 0));
        let too_much = keeper.ask(CAPACITY, 0);
        let small = keeper.ask(1, 0);
        let leaving = thread::spawn(move || drop(too_much));
        // Waits without an end when nobody looks at the line again.
        drop(block_on(small));
        leaving.join().unwrap();
        drop(held);
        assert_eq!(keeper.used(), (0, 0));
    });
}

#[test]
fn bounds_that_grow_let_in_who_waits() {
    explore("ROOM_RESIZED", 4, || {
        let keeper = RoomKeeper::new(1, u64::MAX);
        let asker = Arc::clone(&keeper);
        let waiting = thread::spawn(move || drop(block_on(asker.ask(CAPACITY, 0))));
        keeper.resize(CAPACITY, u64::MAX);
        waiting.join().unwrap();
        assert_eq!(keeper.used(), (0, 0));
    });
}
