//! The memory channel between threads: each event goes out once or is still there, in order, and nobody waits in vain.
//!
//! Seen to catch: a put, a roll-back or a close that wakes nobody, or wakes before there is something to see; a roll-back
//! that loses its events, or puts them behind others; a take whose events can still be taken; a commit that frees
//! nothing; a sequence counted under one lock and queued under another; a close that leaves what waits, or lets puts in.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millstream_interleavings::memory::SPEC;
use millstream_interleavings::{
    Batch, ChannelContext, ChannelRef, Error, FOREVER, Limit, Options, Result, Setting, Take, explore, timeout,
};
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::thread::{self, JoinHandle};

const LIMIT: Limit = Limit { events: 2, bytes: u64::MAX };
/// Batches of each putting thread; every second one has two events.
const BATCHES: u64 = 3;
/// Events of each putting thread.
const EVENTS: usize = 4;
/// Any limit that is not [`FOREVER`] ends at any moment.
const SHORT: Duration = Duration::from_secs(1);

fn open(keep_alive: Duration) -> ChannelRef {
    let set = |key: &str, value: u64| Setting { key: key.into(), value: value.to_string(), place: "f:1".into() };
    let settings = [set("capacity", 3), set("transactionCapacity", 2), set("keep-alive", keep_alive.as_secs())];
    let options = Options::parse("a1.channels.c1", SPEC.options, &[], settings).unwrap().0;
    let context = ChannelContext { name: "c1".into(), home: "/".into() };
    (SPEC.build)(&options, &context).unwrap()().unwrap()
}

/// Puts as long as the channel is open; gives the events that it took.
fn put(channel: &ChannelRef, putter: u64) -> Vec<String> {
    let mut stored = Vec::new();
    for number in 0..BATCHES {
        let events: Vec<String> = (0..=number % 2).map(|event| format!("{putter}.{number}.{event}")).collect();
        let batch = Batch::from_bodies(&events);
        loop {
            let outcome = block_on(async {
                let room = channel.reserve(events.len() as u64, batch.retained_bytes()).await?;
                channel.put(batch.clone(), room).await
            });
            match outcome {
                Ok(()) => stored.extend(events.iter().cloned()),
                Err(Error::ChannelFull { .. }) => {
                    thread::yield_now();
                    continue;
                }
                Err(_) => return stored,
            }
            break;
        }
    }
    stored
}

/// What is out of the channel, or was delivered.
#[derive(Default)]
struct Out {
    taken: BTreeSet<u64>,
    delivered: Vec<(u64, String)>,
}

fn events(take: &Take) -> Vec<(u64, String)> {
    let sequences = take.batches().iter().flat_map(Batch::name_ranges).flat_map(|(_, range)| range);
    let bodies = take.batches().iter().flat_map(Batch::iter);
    let bodies = bodies.map(|event| String::from_utf8(event.body().to_vec()).unwrap());
    sequences.zip(bodies).collect()
}

/// Delivers what it took, or gives it back; says how many events were delivered by now.
fn deliver(take: Take, out: &Mutex<Out>) -> usize {
    let events = events(&take);
    assert!(events.windows(2).all(|pair| pair[0].0 < pair[1].0), "a take in order: {events:?}");
    let mut state = out.lock().unwrap();
    for (sequence, _) in &events {
        assert!(state.taken.insert(*sequence), "{sequence} is out twice");
    }
    drop(state);
    let delivers = thread_rng().gen_bool(0.6);
    if delivers {
        block_on(take.commit()).unwrap();
        let mut state = out.lock().unwrap();
        state.delivered.extend(events);
        return state.delivered.len();
    }
    // From here on others may take it.
    let mut state = out.lock().unwrap();
    events.iter().for_each(|(sequence, _)| _ = state.taken.remove(sequence));
    drop(state);
    drop(take);
    0
}

fn take_until(channel: &ChannelRef, out: &Mutex<Out>, end: usize) {
    loop {
        match block_on(channel.take(LIMIT)) {
            Ok(take) if take.is_empty() => thread::yield_now(),
            Ok(take) => {
                if deliver(take, out) == end {
                    drop(channel.close());
                }
            }
            Err(_) => return,
        }
    }
}

fn spawn<T: Send + 'static>(
    channel: &ChannelRef,
    out: &Arc<Mutex<Out>>,
    work: impl FnOnce(&ChannelRef, &Mutex<Out>) -> T + Send + 'static,
) -> JoinHandle<T> {
    let (channel, out) = (Arc::clone(channel), Arc::clone(out));
    thread::spawn(move || work(&channel, &out))
}

fn join<T>(threads: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Holds what came out against what went in: each event once, numbered from 0 on, each thread's in its order.
fn check(channel: &ChannelRef, out: &Mutex<Out>, stored: &[Vec<String>]) {
    let mut delivered = std::mem::take(&mut out.lock().unwrap().delivered);
    delivered.sort();
    let sequences: Vec<u64> = delivered.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, (0..delivered.len() as u64).collect::<Vec<_>>());
    for (putter, stored) in stored.iter().enumerate() {
        let theirs = |(_, body): &&(u64, String)| body.starts_with(&format!("{putter}."));
        let came: Vec<&String> = delivered.iter().filter(theirs).map(|(_, body)| body).collect();
        assert_eq!(came, stored.iter().collect::<Vec<_>>());
    }
    let totals = channel.totals();
    assert_eq!((totals.put_events, totals.waiting_events()), (delivered.len() as u64, 0));
    assert_eq!(totals.waiting_bytes, 0, "room that nobody holds is free");
    let all = block_on(channel.reserve(2, 1));
    assert!(all.is_ok(), "{all:?}");
}

fn everything_comes_out(name: &'static str, seeds: u64, keep_alive: Duration, takers: usize) {
    explore(name, seeds, move || {
        let (channel, out) = (open(keep_alive), Arc::new(Mutex::new(Out::default())));
        let putters: Vec<_> =
            (0..2).map(|putter| spawn(&channel, &out, move |channel, _| put(channel, putter))).collect();
        let takers = (0..takers).map(|_| spawn(&channel, &out, |channel, out| take_until(channel, out, 2 * EVENTS)));
        join(takers.collect::<Vec<_>>());
        let stored = join(putters);
        assert!(stored.iter().all(|stored| stored.len() == EVENTS));
        check(&channel, &out, &stored);
    });
}

#[test]
fn events_go_out_once_while_takers_commit_and_roll_back() {
    everything_comes_out("MEMORY_TAKERS", 12, FOREVER, 2);
}

#[test]
fn one_taker_gets_everything_in_order() {
    explore("MEMORY_ORDER", 8, || {
        let (channel, out) = (open(FOREVER), Arc::new(Mutex::new(Out::default())));
        let putters: Vec<_> =
            (0..2).map(|putter| spawn(&channel, &out, move |channel, _| put(channel, putter))).collect();
        take_until(&channel, &out, 2 * EVENTS);
        let delivered: Vec<u64> = out.lock().unwrap().delivered.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(delivered, (0..2 * EVENTS as u64).collect::<Vec<_>>());
        check(&channel, &out, &join(putters));
    });
}

#[test]
fn waits_that_end_at_any_moment_lose_nothing() {
    everything_comes_out("MEMORY_KEEP_ALIVE", 8, SHORT, 2);
}

#[test]
fn a_taker_who_leaves_hands_on_the_call() {
    explore("MEMORY_LEAVES", 12, || {
        let (channel, out) = (open(FOREVER), Arc::new(Mutex::new(Out::default())));
        let putter = spawn(&channel, &out, |channel, _| put(channel, 0));
        let impatient = spawn(&channel, &out, |channel, out| {
            for _ in 0..3 {
                if let Ok(Ok(take)) = block_on(timeout(SHORT, channel.take(LIMIT)))
                    && deliver(take, out) == EVENTS
                {
                    drop(channel.close());
                }
            }
        });
        take_until(&channel, &out, EVENTS);
        impatient.join().unwrap();
        check(&channel, &out, &[putter.join().unwrap()]);
    });
}

#[test]
fn what_was_stored_before_the_close_comes_out_and_nothing_else() {
    explore("MEMORY_CLOSE", 12, || {
        let (channel, out) = (open(FOREVER), Arc::new(Mutex::new(Out::default())));
        let putters: Vec<_> =
            (0..2).map(|putter| spawn(&channel, &out, move |channel, _| put(channel, putter))).collect();
        let closer = spawn(&channel, &out, |channel, _| drop(channel.close()));
        let takers = [0, 1].map(|_| spawn(&channel, &out, |channel, out| take_until(channel, out, usize::MAX)));
        join([closer]);
        join(takers);
        let stored = join(putters);
        // A take that was given back after the other taker had seen the end.
        take_until(&channel, &out, usize::MAX);
        check(&channel, &out, &stored);
    });
}

#[test]
fn room_that_was_asked_for_in_vain_comes_back() {
    explore("MEMORY_ROOM", 8, || {
        let (channel, out) = (open(SHORT), Arc::new(Mutex::new(Out::default())));
        let work = |channel: &ChannelRef, _: &Mutex<Out>| {
            for events in [2, 1] {
                let room: Result<_> = block_on(channel.reserve(events, 10));
                assert!(matches!(room, Ok(_) | Err(Error::ChannelFull { .. })), "{room:?}");
            }
        };
        join([0, 1, 2].map(|_| spawn(&channel, &out, work)));
        let totals = channel.totals();
        assert_eq!((totals.waiting_events(), totals.waiting_bytes), (0, 0));
    });
}
