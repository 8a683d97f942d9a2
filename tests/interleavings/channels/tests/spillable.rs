//! The spillable memory channel between threads: each event goes out once or is still there, whichever side has it, in the
//! order of who put it; a stop in order leaves all that was stored and not delivered to the next life.
//!
//! Seen to catch: a stop that leaves what is in memory; a close that wakes nobody.
#![allow(clippy::unwrap_used, reason = "tests")]

mod lives;
mod parties;

use std::time::Duration;

use millstream_core::sync::FOREVER;
use millstream_core::{ChannelRef, explore};
use millstream_interleavings_channels::{Shape, spillable};
use millstream_testkit::FakeDisk;
use parties::{EVENTS, Party, check_order, join};
use shuttle::rand::{Rng, thread_rng};

/// Any limit that is not [`FOREVER`] ends at any moment: then what comes goes to the disk.
const SHORT: Duration = Duration::from_secs(1);

fn open(disk: &FakeDisk) -> ChannelRef {
    spillable(disk, Shape { capacity: 2, transaction: 2, keep_alive: SHORT }).unwrap()
}

#[test]
fn events_go_out_once_while_takers_commit_and_roll_back() {
    explore("SPILLABLE_TAKERS", 12, || {
        let party = Party::at(open(&FakeDisk::new()));
        party.passes_everything();
    });
}

#[test]
fn one_taker_gets_everything_in_the_order_of_who_put_it() {
    explore("SPILLABLE_ORDER", 12, || {
        let party = Party::at(open(&FakeDisk::new()));
        let putters = party.two_put();
        party.take_until(2 * EVENTS);
        join(putters);
        party.check_that_all_is_out();
        check_order(party.ledger.lock().unwrap().delivered.iter().map(|(_, body)| body));
    });
}

#[test]
fn a_close_at_any_moment_leaves_what_was_not_delivered_to_the_next_life() {
    explore("SPILLABLE_CLOSE", 12, || {
        let disk = FakeDisk::new();
        let party = Party::at(open(&disk));
        let putters = party.two_put();
        // As an agent stops: takes are over, puts may go on.
        for _ in 0..thread_rng().gen_range(0..3) {
            party.take_once();
        }
        let next =
            |disk: &FakeDisk| spillable(disk, Shape { capacity: 2, transaction: 2, keep_alive: FOREVER }).unwrap();
        party.close(&disk, next);
        join(putters);
    });
}
