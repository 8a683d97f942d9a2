//! A ticket says what its resolver said, or that nobody said anything; nobody waits for good.
//!
//! Seen to catch: a resolver that keeps what it should say.
#![allow(clippy::unwrap_used, reason = "tests")]

use millstream_interleavings_core::sync::point;
use millstream_interleavings_core::{Error, explore, ticket};
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

#[test]
fn a_ticket_resolves_however_its_ends_meet() {
    explore("TICKET", 8, || {
        let (resolver, ticket) = ticket();
        let (resolves, waits) = (thread_rng().gen_bool(0.7), thread_rng().gen_range(0..3));
        let resolving = thread::spawn(move || {
            if resolves {
                resolver.resolve(Ok(7));
            }
        });
        let waiting = thread::spawn(move || match waits {
            0 => Some(block_on(ticket)),
            1 => Some(ticket.wait()),
            _ => {
                point();
                drop(ticket);
                None
            }
        });
        resolving.join().unwrap();
        match waiting.join().unwrap() {
            Some(outcome) if resolves => assert_eq!(outcome.unwrap(), 7),
            Some(outcome) => assert!(matches!(outcome, Err(Error::Stopped { .. })), "{outcome:?}"),
            None => {}
        }
    });
}
