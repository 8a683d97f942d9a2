//! The memory channel between threads: each event goes out once or is still there, in order, and nobody waits in vain.
//!
//! Seen to catch: a put, a roll-back or a close that wakes nobody, or wakes before there is something to see; a roll-back
//! that loses its events, or puts them behind others; a take whose events can still be taken; a commit that frees
//! nothing; a sequence counted under one lock and queued under another; a close that leaves what waits, or lets puts in.
#![allow(clippy::unwrap_used, reason = "tests")]

mod parties;

use std::sync::Arc;
use std::time::Duration;

use millstream_core::sync::{FOREVER, timeout};
use millstream_core::{Error, Result, explore};
use millstream_interleavings_channels::{Shape, memory};
use parties::{EVENTS, LIMIT, Party, join};
use shuttle::future::block_on;

/// Any limit that is not [`FOREVER`] ends at any moment.
const SHORT: Duration = Duration::from_secs(1);

fn open(keep_alive: Duration) -> Arc<Party> {
    Party::at(memory(Shape { capacity: 3, transaction: 2, keep_alive }).unwrap())
}

fn everything_comes_out(name: &'static str, seeds: u64, keep_alive: Duration) {
    explore(name, seeds, move || {
        let party = open(keep_alive);
        party.passes_everything();
        party.check_sequences();
    });
}

#[test]
fn events_go_out_once_while_takers_commit_and_roll_back() {
    everything_comes_out("MEMORY_TAKERS", 12, FOREVER);
}

#[test]
fn one_taker_gets_everything_in_order() {
    explore("MEMORY_ORDER", 8, || {
        let party = open(FOREVER);
        party.passes_everything_in_order();
        party.check_sequences();
    });
}

#[test]
fn waits_that_end_at_any_moment_lose_nothing() {
    everything_comes_out("MEMORY_KEEP_ALIVE", 8, SHORT);
}

#[test]
fn a_taker_who_leaves_hands_on_the_call() {
    explore("MEMORY_LEAVES", 12, || {
        let party = open(FOREVER);
        let putter = party.spawn(|party| party.put(0));
        let impatient = party.spawn(|party| {
            for _ in 0..3 {
                if let Ok(Ok(take)) = block_on(timeout(SHORT, party.channel.take(LIMIT)))
                    && party.deliver(take) == EVENTS
                {
                    drop(party.channel.close());
                }
            }
        });
        party.take_until(EVENTS);
        join([impatient, putter]);
        party.check_that_all_is_out();
        party.check_sequences();
    });
}

#[test]
fn what_was_stored_before_the_close_comes_out_and_nothing_else() {
    explore("MEMORY_CLOSE", 12, || {
        let party = open(FOREVER);
        let putters = party.two_put();
        let closer = party.spawn(|party| drop(party.channel.close()));
        let takers = [0, 1].map(|_| party.spawn(|party| party.take_until(usize::MAX)));
        join([closer]);
        join(takers);
        join(putters);
        // A take that was given back after the other taker had seen the end.
        party.take_until(usize::MAX);
        party.check_that_all_is_out();
        party.check_sequences();
    });
}

#[test]
fn room_that_was_asked_for_in_vain_comes_back() {
    explore("MEMORY_ROOM", 8, || {
        let party = open(SHORT);
        let work = |party: &Party| {
            for events in [2, 1] {
                let room: Result<_> = block_on(party.channel.reserve(events, 10));
                assert!(matches!(room, Ok(_) | Err(Error::ChannelFull { .. })), "{room:?}");
            }
        };
        join([0, 1, 2].map(|_| party.spawn(work)));
        let totals = party.channel.totals();
        assert_eq!((totals.waiting_events(), totals.waiting_bytes), (0, 0));
    });
}
