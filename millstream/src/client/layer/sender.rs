//! The thread that sends.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_core::Setting;

use super::queue::Queue;
use crate::client::{Event, blocking};

/// Takes events from the queue and sends them until they are stored.
#[derive(Debug)]
pub(super) struct Sender {
    queue: Arc<Queue>,
    settings: Vec<Setting>,
    batch_size: usize,
    client: Option<blocking::RpcClient>,
    /// Drops of which the agent knows.
    told: u64,
}

thread_local! {
    static SENDS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller is a thread that sends.
pub(super) fn is_this_thread() -> bool {
    SENDS.get()
}

// === impl Sender ===

impl Sender {
    pub(super) fn new(queue: Arc<Queue>, settings: Vec<Setting>, batch_size: usize) -> Self {
        Self { queue, settings, batch_size, client: None, told: 0 }
    }

    /// Sends until the queue is closed and empty, or its time is up; returns how many events were not stored.
    pub(super) fn run(mut self) -> u64 {
        SENDS.set(true);
        while let Some(mut events) = self.queue.next(self.batch_size) {
            events.extend(self.news_of_drops());
            if !self.deliver(events) {
                return self.queue.waiting();
            }
        }
        if let Some(client) = &mut self.client {
            client.close();
        }
        0
    }

    /// Tries until everything is stored; `false` when the time is up.
    fn deliver(&mut self, mut events: Vec<Event>) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            events = match self.attempt(events) {
                Ok(()) => {
                    self.queue.left(0);
                    return true;
                }
                Err(left) => left,
            };
            self.queue.left(events.len());
            let now = Instant::now();
            match self.queue.wait_closed(now + pause) {
                Some(deadline) if deadline <= now => return false,
                // Closed: the last attempts follow each other quickly.
                Some(deadline) => std::thread::sleep(FIRST_PAUSE.min(deadline - now)),
                None => pause = (pause * 2).min(MOST_PAUSE),
            }
        }
    }

    fn attempt(&mut self, events: Vec<Event>) -> Result<(), Vec<Event>> {
        let mut client = match self.client.take().filter(blocking::RpcClient::is_active) {
            Some(client) => client,
            None => match blocking::RpcClient::open(self.settings.clone()) {
                Ok(client) => client,
                // Said on no log, which is what cannot be sent; the guard tells what was lost.
                Err(_) => return Err(events),
            },
        };
        let outcome = client.append_batch(events);
        self.client = Some(client);
        outcome.map_err(|undelivered| undelivered.events)
    }

    /// A line about lines that are missing, once for each time that some are.
    fn news_of_drops(&mut self) -> Option<Event> {
        let dropped = self.queue.dropped();
        let new = dropped - std::mem::replace(&mut self.told, dropped);
        (new > 0).then(|| {
            let text = format!("{new} log lines were dropped here: the queue to the agent was full");
            super::line(text, module_path!(), &tracing::Level::WARN)
        })
    }
}

/// Between two attempts, doubled with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MOST_PAUSE: Duration = Duration::from_secs(5);
