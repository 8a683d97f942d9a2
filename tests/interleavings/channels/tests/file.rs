//! The file channel between threads: each event goes out once or is still there, in order, whether memory or the disk has
//! it; and the next life finds what this one told to be stored, and not what was delivered.
//!
//! Seen to catch: a put, a roll-back or a close that wakes nobody; a take whose events can still be taken; a roll-back that gives
//! events back into a backlog too, or none of those that were released, or rewinds over what another one gave back; a commit
//! that frees nothing; what is stored behind a backlog put before it; a backlog read on that began anew meanwhile, or
//! read twice; sequences that go on behind puts that failed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod lives;
mod parties;

use std::time::Duration;

use millstream_core::sync::{FOREVER, point};
use millstream_core::{ChannelRef, explore};
use millstream_interleavings_channels::{Shape, file};
use millstream_testkit::{Call, FakeDisk};
use parties::{EVENTS, Party, check_order, join};
use shuttle::rand::{Rng, thread_rng};

/// Any limit that is not [`FOREVER`] ends at any moment.
const SHORT: Duration = Duration::from_secs(1);

/// Keeps all that is stored in memory, or nearly nothing.
fn open(disk: &FakeDisk, keep_alive: Duration) -> ChannelRef {
    let memory_bytes = if thread_rng().gen_bool(0.5) { 1 } else { 1 << 20 };
    file(disk, Shape { capacity: 3, transaction: 2, keep_alive }, memory_bytes).unwrap()
}

/// The next life, in which all that waits comes out.
fn again(disk: &FakeDisk) -> ChannelRef {
    open(disk, FOREVER)
}

fn some_time(longest: usize) {
    for _ in 0..thread_rng().gen_range(0..longest) {
        point();
    }
}

fn check_in_order(found: &[(u64, String)]) {
    assert!(found.is_sorted_by(|a, b| a.0 < b.0), "in order: {found:?}");
    check_order(found.iter().map(|(_, body)| body));
}

fn everything_comes_out(name: &'static str, seeds: u64, keep_alive: Duration) {
    explore(name, seeds, move || {
        let party = Party::at(open(&FakeDisk::new(), keep_alive));
        party.passes_everything();
        party.check_sequences();
    });
}

#[test]
fn events_go_out_once_while_takers_commit_and_roll_back() {
    everything_comes_out("FILE_TAKERS", 8, FOREVER);
}

#[test]
fn waits_that_end_at_any_moment_lose_nothing() {
    everything_comes_out("FILE_KEEP_ALIVE", 8, SHORT);
}

#[test]
fn one_taker_gets_everything_in_order() {
    explore("FILE_ORDER", 8, || {
        let party = Party::at(open(&FakeDisk::new(), FOREVER));
        party.passes_everything_in_order();
    });
}

#[test]
fn a_close_at_any_moment_leaves_what_was_not_delivered_to_the_next_life() {
    explore("FILE_CLOSE", 8, || {
        let disk = FakeDisk::new();
        let party = Party::at(open(&disk, SHORT));
        let putters = party.two_put();
        let taker = party.spawn(|party| party.take_until(usize::MAX));
        some_time(60);
        check_in_order(&party.close(&disk, again));
        join(putters);
        join([taker]);
    });
}

#[test]
fn a_crash_at_any_moment_takes_nothing_that_was_stored_and_not_delivered() {
    explore("FILE_CRASH", 16, || {
        let disk = FakeDisk::new();
        let party = Party::at(open(&disk, SHORT));
        let putters = party.two_put();
        let taker = party.spawn(|party| party.take_until(2 * EVENTS));
        some_time(200);
        check_in_order(&party.crash(&disk, again));
        join(putters);
        join([taker]);
    });
}

#[test]
fn a_call_of_the_disk_that_fails_takes_nothing_that_was_stored_and_not_delivered() {
    explore("FILE_FAILS", 16, || {
        let disk = FakeDisk::new();
        let party = Party::at(open(&disk, SHORT));
        let calls = [Call::Write, Call::TornWrite, Call::Sync, Call::SetLen, Call::Create, Call::SyncDir];
        let call = calls[thread_rng().gen_range(0..calls.len())];
        disk.fail(call, thread_rng().gen_range(0..4), thread_rng().gen_range(1..=2));
        let putters = party.two_put();
        let takers = [0, 1].map(|_| party.spawn(|party| party.take_until(2 * EVENTS)));
        some_time(200);
        check_in_order(&party.crash(&disk, again));
        join(putters);
        join(takers);
    });
}
