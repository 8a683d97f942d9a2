//! What was acknowledged, and what arrived.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream::client::Event;
use millstream::client::blocking::{RpcClient, RpcClientFactory};
use millstream_testkit::{AvroPeer, Dice};

/// Clients that send at the same time.
pub const PRODUCERS: usize = 2;
/// Most events of one of their calls.
const MOST_EVENTS: u64 = 40;
/// Between two calls of a client.
const PACE: Duration = Duration::from_millis(2);

/// Who sends an event, and its number there.
type Id = (usize, u64);

/// Threads that send numbered events to wherever the agent listens now, each batch again until it is acknowledged.
pub struct Producers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Where the agent listens; 0 while it does not.
    port: AtomicU64,
    paused: AtomicBool,
    /// Of each producer: it has seen the pause, and nothing of it is under way.
    idle: [AtomicBool; PRODUCERS],
    stop: AtomicBool,
    /// Of each producer: all below were sent at least once.
    offered: [AtomicU64; PRODUCERS],
    /// Of each producer: all below are acknowledged.
    acknowledged: [AtomicU64; PRODUCERS],
    /// Calls that were answered well or badly.
    calls: AtomicU64,
}

/// What the peer received, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Of each event that arrived: its name, and which life of the agent sent it last, of those that sent anything.
    events: BTreeMap<Id, ((u128, u64), u32)>,
    /// Events that were never sent, or whose bytes are others.
    pub alien: u64,
    /// Events that arrived under two names: they were stored twice.
    pub stored_twice: u64,
    /// Events that came again under their name.
    pub again: u64,
    /// Of those, the ones that the life before had not sent, but an earlier one.
    pub long_known: u64,
    /// The last life of the agent that sent anything, and how many did before it.
    life: (u32, u32),
}

// === impl Producers ===

impl Producers {
    pub fn start(seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let producer = |number: usize| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.produce(number, Dice::new(seed ^ number as u64)))
        };
        Self { threads: (0..PRODUCERS).map(producer).collect(), shared }
    }

    /// Where to send from now on; `None` for nowhere.
    pub fn send_to(&self, port: Option<u16>) {
        self.shared.port.store(port.unwrap_or_default().into(), Ordering::SeqCst);
    }

    /// Lets them send no new events; what was sent goes on until it is acknowledged.
    pub fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::SeqCst);
        self.shared.idle.iter().for_each(|idle| idle.store(false, Ordering::SeqCst));
    }

    /// Events acknowledged so far, of all together.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.iter().map(|number| number.load(Ordering::SeqCst)).sum()
    }

    /// Answers so far, good or bad.
    pub fn answered_calls(&self) -> u64 {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// Of each producer, where what is acknowledged ends.
    pub fn acknowledged_each(&self) -> [u64; PRODUCERS] {
        std::array::from_fn(|number| self.shared.acknowledged[number].load(Ordering::SeqCst))
    }

    /// Whether they pause, and all that was sent is acknowledged.
    pub fn are_settled(&self) -> bool {
        self.shared.idle.iter().all(|idle| idle.load(Ordering::SeqCst))
    }

    /// Ends them once all that was sent is acknowledged.
    pub fn finish(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        // A failed test does not wait for an agent that is gone.
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

// === impl Shared ===

impl Shared {
    fn produce(&self, producer: usize, mut dice: Dice) {
        let mut client: Option<(u64, RpcClient)> = None;
        let mut batch: Vec<Event> = Vec::new();
        let mut next = 0;
        loop {
            std::thread::sleep(PACE); // sleeps: pace of the load, not a wait for anything
            let port = self.port.load(Ordering::SeqCst);
            if client.as_ref().is_some_and(|(connected, _)| *connected != port) {
                client = None;
            }
            if batch.is_empty() {
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                if self.paused.load(Ordering::SeqCst) {
                    self.idle[producer].store(true, Ordering::SeqCst);
                    continue;
                }
                let end = next + 1 + dice.below(MOST_EVENTS);
                batch = (next..end).map(|number| Event::new(body((producer, number)))).collect();
                next = end;
                self.offered[producer].store(end, Ordering::SeqCst);
            }
            if client.is_none() && port != 0 {
                client = connect(port).map(|client| (port, client));
            }
            let Some((_, connected)) = &mut client else { continue };
            match connected.append_batch(std::mem::take(&mut batch)) {
                Ok(()) => self.acknowledged[producer].store(next, Ordering::SeqCst),
                Err(undelivered) => {
                    // Under the names that they have.
                    batch = undelivered.events;
                    client = None;
                }
            }
            self.calls.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn connect(port: u64) -> Option<RpcClient> {
    let host = format!("127.0.0.1:{port}");
    let properties = [("hosts", "h1"), ("hosts.h1", &host), ("batch-size", "100"), ("request-timeout", "10000")];
    RpcClientFactory::get_instance(properties).ok()
}

fn body((producer, number): Id) -> String {
    let length = (number * 7_919 + producer as u64) % 300;
    let letters = (0..length).map(|at| char::from(b'a' + ((number + at) % 26) as u8));
    format!("{producer}-{number} {}", letters.collect::<String>())
}

fn id_of(text: &str) -> Option<Id> {
    let (producer, number) = text.split_once(' ')?.0.split_once('-')?;
    let id = (producer.parse().ok()?, number.parse().ok()?);
    (body(id) == text).then_some(id)
}

// === impl Arrivals ===

impl Arrivals {
    /// Notes what came to `peer` since the last look, in this life of the agent.
    pub fn collect(&mut self, peer: &AvroPeer, producers: &Producers, life: u32) {
        let calls = peer.take_calls();
        if !calls.is_empty() && self.life.0 != life {
            self.life = (life, self.life.1 + 1);
        }
        for call in calls {
            let runs = call.names.expect("our sink names its events").runs;
            let names =
                runs.into_iter().flat_map(|(origin, first, count)| (first..first + count).map(move |at| (origin, at)));
            for (body, name) in call.bodies.iter().zip(names) {
                self.arrived(body, name, producers);
            }
        }
    }

    fn arrived(&mut self, body: &str, name: (u128, u64), producers: &Producers) {
        let life = self.life.1;
        let offered = |(producer, number): Id| {
            let offered = producers.shared.offered.get(producer);
            offered.is_some_and(|offered| number < offered.load(Ordering::SeqCst))
        };
        let Some(id) = id_of(body).filter(|id| offered(*id)) else {
            self.alien += 1;
            return;
        };
        let Some((known, sent_in)) = self.events.insert(id, (name, life)) else { return };
        self.stored_twice += u64::from(known != name);
        self.again += u64::from(known == name);
        self.long_known += u64::from(sent_in + 1 < life);
    }

    /// How many events arrived.
    pub fn counted(&self) -> usize {
        self.events.len()
    }

    /// Whether the last event before each of these numbers arrived.
    pub fn have_last(&self, acknowledged: [u64; PRODUCERS]) -> bool {
        (0..PRODUCERS).all(|producer| {
            acknowledged[producer] == 0 || self.events.contains_key(&(producer, acknowledged[producer] - 1))
        })
    }

    /// Of what is acknowledged up to these numbers, how many events did not arrive.
    pub fn missing(&self, acknowledged: [u64; PRODUCERS]) -> u64 {
        let arrived = |producer: usize, below: u64| self.events.range((producer, 0)..(producer, below)).count() as u64;
        (0..PRODUCERS).map(|producer| acknowledged[producer] - arrived(producer, acknowledged[producer])).sum()
    }
}
