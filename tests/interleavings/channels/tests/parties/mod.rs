//! Threads that put and take, and what came of it.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_core::{Batch, ChannelRef, Error, Limit, Take};
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::thread::{self, JoinHandle};

/// Of a take.
pub const LIMIT: Limit = Limit { events: 2, bytes: u64::MAX };
/// Batches of each putting thread; every second one has two events.
const BATCHES: u64 = 3;
/// Events of each putting thread.
pub const EVENTS: usize = 4;

/// What two sides know of the events, by their bodies.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Handed to the channel, in the order of each thread.
    pub offered: Vec<String>,
    /// Of these, what the channel said to be stored.
    pub stored: Vec<String>,
    /// Out of the channel just now.
    out: BTreeSet<String>,
    /// Handed to a commit, whatever it said.
    pub committed: BTreeSet<String>,
    /// Commits that were said to be written: the events with their sequences.
    pub delivered: Vec<(u64, String)>,
}

/// A channel, and who uses it.
#[derive(Debug)]
pub struct Party {
    pub channel: ChannelRef,
    pub ledger: Mutex<Ledger>,
    /// Nobody takes any more: a put that waits for room need not come again.
    pub over: AtomicBool,
}

// === impl Party ===

impl Party {
    pub fn at(channel: ChannelRef) -> Arc<Self> {
        Arc::new(Self { channel, ledger: Mutex::default(), over: AtomicBool::new(false) })
    }

    /// Puts as long as the channel is open, each batch until it is stored.
    pub fn put(&self, putter: u64) {
        for number in 0..BATCHES {
            let events: Vec<String> = (0..=number % 2).map(|event| format!("{putter}.{number}.{event}")).collect();
            let batch = Batch::from_bodies(&events);
            loop {
                self.ledger.lock().unwrap().offered.extend(events.iter().cloned());
                let outcome = block_on(async {
                    let room = self.channel.reserve(events.len() as u64, batch.retained_bytes()).await?;
                    self.channel.put(batch.clone(), room).await
                });
                match outcome {
                    Ok(()) => self.ledger.lock().unwrap().stored.extend(events.iter().cloned()),
                    Err(Error::ChannelFull { .. }) if !self.over.load(Ordering::Relaxed) => {
                        thread::yield_now();
                        continue;
                    }
                    Err(_) => return,
                }
                break;
            }
        }
    }

    /// Takes until the channel is closed, and closes it when `end` events are delivered.
    pub fn take_until(&self, end: usize) {
        loop {
            match block_on(self.channel.take(LIMIT)) {
                Ok(take) if take.is_empty() => thread::yield_now(),
                Ok(take) => {
                    if self.deliver(take) == end {
                        drop(self.channel.close());
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Takes what there is, if anything comes.
    pub fn take_once(&self) {
        let take = block_on(self.channel.take(LIMIT)).unwrap();
        if !take.is_empty() {
            self.deliver(take);
        }
    }

    /// Delivers what it took, or gives it back; says how many events were delivered by now.
    pub fn deliver(&self, mut take: Take) -> usize {
        let events = events(&take);
        let numbers: Vec<u64> = events.iter().map(|(sequence, _)| *sequence).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "a take in order: {events:?}");
        let mut ledger = self.ledger.lock().unwrap();
        for (_, body) in &events {
            assert!(ledger.out.insert(body.clone()), "{body} is out twice");
        }
        let delivers = thread_rng().gen_bool(0.6);
        if delivers {
            ledger.committed.extend(events.iter().map(|(_, body)| body.clone()));
        }
        drop(ledger);
        if thread_rng().gen_bool(0.3) {
            take.release();
        }
        if delivers {
            let written = block_on(take.commit()).is_ok();
            let mut ledger = self.ledger.lock().unwrap();
            if written {
                ledger.delivered.extend(events);
            }
            return ledger.delivered.len();
        }
        // From here on others may take it.
        let mut ledger = self.ledger.lock().unwrap();
        events.iter().for_each(|(_, body)| _ = ledger.out.remove(body));
        drop(ledger);
        drop(take);
        0
    }

    pub fn spawn(self: &Arc<Self>, work: impl FnOnce(&Self) + Send + 'static) -> JoinHandle<()> {
        let party = Arc::clone(self);
        thread::spawn(move || work(&party))
    }

    pub fn two_put(self: &Arc<Self>) -> [JoinHandle<()>; 2] {
        [0, 1].map(|putter| self.spawn(move |party| party.put(putter)))
    }

    /// Two put and two take, until all is out.
    pub fn passes_everything(self: &Arc<Self>) {
        let putters = self.two_put();
        join([0, 1].map(|_| self.spawn(|party| party.take_until(2 * EVENTS))));
        join(putters);
        assert_eq!(self.ledger.lock().unwrap().stored.len(), 2 * EVENTS);
        self.check_that_all_is_out();
    }

    /// Two put and one takes, in the order of the sequences.
    pub fn passes_everything_in_order(self: &Arc<Self>) {
        let putters = self.two_put();
        self.take_until(2 * EVENTS);
        join(putters);
        let sequences: Vec<u64> = self.ledger.lock().unwrap().delivered.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(sequences, (0..2 * EVENTS as u64).collect::<Vec<_>>());
        self.check_that_all_is_out();
    }

    /// Holds what came out against what went in: each event once, each thread's in its order, and nothing waits.
    pub fn check_that_all_is_out(&self) {
        let ledger = self.ledger.lock().unwrap();
        let mut delivered: Vec<&String> = ledger.delivered.iter().map(|(_, body)| body).collect();
        let mut stored: Vec<&String> = ledger.stored.iter().collect();
        delivered.sort();
        stored.sort();
        assert_eq!(delivered, stored);
        let totals = self.channel.totals();
        assert_eq!((totals.put_events, totals.waiting_events()), (stored.len() as u64, 0));
        assert_eq!(totals.waiting_bytes, 0, "room that nobody holds is free");
        drop(ledger);
        let all = block_on(self.channel.reserve(2, 1));
        assert!(all.is_ok(), "{all:?}");
    }

    /// Holds the sequences against the bodies: counted from 0 on, each thread's in its order.
    pub fn check_sequences(&self) {
        let ledger = self.ledger.lock().unwrap();
        let mut delivered = ledger.delivered.clone();
        delivered.sort();
        let sequences: Vec<u64> = delivered.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(sequences, (0..delivered.len() as u64).collect::<Vec<_>>());
        check_order(delivered.iter().map(|(_, body)| body));
    }
}

/// What a thread put comes in the order in which it put it.
pub fn check_order<'a>(bodies: impl Iterator<Item = &'a String> + Clone) {
    for putter in ["0.", "1."] {
        let theirs: Vec<&String> = bodies.clone().filter(|body| body.starts_with(putter)).collect();
        assert!(theirs.is_sorted_by(|a, b| a < b), "{theirs:?}");
    }
}

/// The events of a take, with their sequences.
pub fn events(take: &Take) -> Vec<(u64, String)> {
    let sequences = take.batches().iter().flat_map(Batch::name_ranges).flat_map(|(_, range)| range);
    let bodies = take.batches().iter().flat_map(Batch::iter);
    let bodies = bodies.map(|event| String::from_utf8(event.body().to_vec()).unwrap());
    sequences.zip(bodies).collect()
}

pub fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
