//! What was acknowledged, and what arrived.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream::client::Event;
use millstream::client::blocking::{RpcClient, RpcClientFactory};
use millstream_testkit::{AvroPeer, Dice};

/// Clients that send at the same time.
pub const PRODUCERS: usize = 2;
/// What they send unless they are told otherwise.
const LOAD: Load = Load { most_events: 40, pace: Duration::from_millis(2) };

/// Who sends an event, and its number there.
type Id = (usize, u64);

/// Threads that send numbered events to wherever the agent listens now, each batch again until it is acknowledged.
pub struct Producers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// How much a producer sends.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Most events of a call.
    pub most_events: u64,
    /// Between two calls.
    pub pace: Duration,
}

struct Shared {
    load: Mutex<Load>,
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
    /// Of each producer: calls that were answered well or badly.
    calls: [AtomicU64; PRODUCERS],
}

/// What the peer received, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Of each producer, by the number of its first event, what arrived.
    runs: [BTreeMap<u64, Run>; PRODUCERS],
    /// Which life sent an event that came again, as long as that can be the life before.
    repeated: BTreeMap<Id, u32>,
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

/// Events of a producer that follow one another, and whose names do so too: an hour of events are not many of them.
#[derive(Debug)]
struct Run {
    /// Behind its last event.
    end: u64,
    /// The name of its first event.
    name: (u128, u64),
    /// The life of the agent that sent them first, of those that sent anything.
    life: u32,
}

// === impl Producers ===

impl Producers {
    pub fn start(seed: u64) -> Self {
        let shared = Arc::new(Shared::new());
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

    /// How much they send from now on.
    pub fn load(&self, load: Option<Load>) {
        *self.shared.load.lock().unwrap() = load.unwrap_or(LOAD);
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
        self.answered_each().iter().sum()
    }

    /// Of each producer, answers so far.
    pub fn answered_each(&self) -> [u64; PRODUCERS] {
        std::array::from_fn(|number| self.shared.calls[number].load(Ordering::SeqCst))
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
    fn new() -> Self {
        Self {
            load: Mutex::new(LOAD),
            port: AtomicU64::default(),
            paused: AtomicBool::default(),
            idle: Default::default(),
            stop: AtomicBool::default(),
            offered: Default::default(),
            acknowledged: Default::default(),
            calls: Default::default(),
        }
    }

    fn produce(&self, producer: usize, mut dice: Dice) {
        let mut client: Option<(u64, RpcClient)> = None;
        let mut batch: Vec<Event> = Vec::new();
        let mut next = 0;
        loop {
            let Load { most_events, pace } = *self.load.lock().unwrap();
            std::thread::sleep(pace); // sleeps: pace of the load, not a wait for anything
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
                let end = next + 1 + dice.below(most_events);
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
            self.calls[producer].fetch_add(1, Ordering::SeqCst);
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
            let before = self.life.1;
            self.repeated.retain(|_, sent_in| *sent_in + 1 >= before);
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
        let Some((known, sent_in)) = self.noted(id, name, life) else { return };
        self.stored_twice += u64::from(known != name);
        self.again += u64::from(known == name);
        self.long_known += u64::from(sent_in + 1 < life);
    }

    /// Notes an event; one that arrived before gives its name, and the life that sent it last.
    fn noted(&mut self, id: Id, name: (u128, u64), life: u32) -> Option<((u128, u64), u32)> {
        let (producer, number) = id;
        let runs = &mut self.runs[producer];
        let before = runs.range_mut(..=number).next_back();
        let start = match before {
            Some((start, run)) if number < run.end => {
                let sent_in = self.repeated.insert(id, life).unwrap_or(run.life);
                return Some((run.name_of(number - start), sent_in));
            }
            Some((start, run)) if run.goes_on_with(*start, number, name, life) => {
                run.end += 1;
                *start
            }
            _ => {
                runs.insert(number, Run { end: number + 1, name, life });
                number
            }
        };
        // What came in another order closes gaps.
        let next = runs.get(&(number + 1)).map(|next| (next.end, next.name, next.life));
        if let Some((end, name, life)) = next
            && let Some(run) = runs.get_mut(&start)
            && run.goes_on_with(start, number + 1, name, life)
        {
            run.end = end;
            runs.remove(&(number + 1));
        }
        None
    }

    /// How many events arrived.
    pub fn counted(&self) -> u64 {
        self.runs.iter().flatten().map(|(start, run)| run.end - start).sum()
    }

    /// Whether the last event before each of these numbers arrived.
    pub fn have_last(&self, acknowledged: [u64; PRODUCERS]) -> bool {
        let has = |producer: usize, number| self.below(producer, number + 1) > self.below(producer, number);
        (0..PRODUCERS).all(|producer| acknowledged[producer] == 0 || has(producer, acknowledged[producer] - 1))
    }

    /// Of what is acknowledged up to these numbers, how many events did not arrive.
    pub fn missing(&self, acknowledged: [u64; PRODUCERS]) -> u64 {
        (0..PRODUCERS).map(|producer| acknowledged[producer] - self.below(producer, acknowledged[producer])).sum()
    }

    /// How many events of a producer arrived, of those below a number.
    fn below(&self, producer: usize, number: u64) -> u64 {
        self.runs[producer].range(..number).map(|(start, run)| run.end.min(number) - start).sum()
    }
}

// === impl Run ===

impl Run {
    fn name_of(&self, event: u64) -> (u128, u64) {
        (self.name.0, self.name.1 + event)
    }

    /// Whether an event with this name is the next of the run that begins at `start`.
    fn goes_on_with(&self, start: u64, number: u64, name: (u128, u64), life: u32) -> bool {
        number == self.end && name == self.name_of(number - start) && life == self.life
    }
}

#[test]
fn runs_of_events_say_what_is_missing_what_came_again_and_what_has_two_names() {
    let mut arrivals = Arrivals::default();
    for number in [0, 1, 2, 5, 6, 4, 3] {
        assert_eq!(arrivals.noted((0, number), (7, 100 + number), 1), None);
    }
    assert_eq!((arrivals.runs[0].len(), arrivals.counted(), arrivals.missing([7, 0])), (1, 7, 0));
    assert_eq!(arrivals.noted((0, 9), (7, 109), 1), None);
    assert_eq!((arrivals.runs[0].len(), arrivals.missing([10, 0]), arrivals.missing([10, 1])), (2, 2, 3));
    assert!(arrivals.have_last([10, 0]) && arrivals.have_last([7, 0]) && !arrivals.have_last([9, 0]));
    assert_eq!(arrivals.noted((0, 4), (8, 1), 2), Some(((7, 104), 1)), "the name that it had");
    assert_eq!(arrivals.noted((0, 4), (7, 104), 3), Some(((7, 104), 2)), "the life before");
    assert_eq!(arrivals.noted((0, 10), (8, 110), 1), None);
    assert_eq!(arrivals.runs[0].len(), 3, "another origin does not go on with it");
}
