//! A channel of numbers in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Batch, Channel, ChannelTotals, Fut, Limit, OpenTake, Result, Room, Take, Ticket};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

pub(super) const INCARNATION: u128 = 7;
const KEEP_ALIVE: Duration = Duration::from_millis(300);

#[derive(Debug, Clone)]
pub(super) struct TestChannel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: Arc<str>,
    transaction_capacity: u64,
    state: Mutex<State>,
    changed: watch::Sender<Seen>,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<u64, String>,
    committed: Vec<u64>,
}

/// What tests wait for.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    asked: usize,
    committed: usize,
    waiting: usize,
}

impl TestChannel {
    pub(super) fn new(transaction_capacity: u64) -> Self {
        let changed = watch::Sender::default();
        Self(Arc::new(Inner { name: "c1".into(), transaction_capacity, state: Mutex::default(), changed }))
    }

    pub(super) fn fill(&self, sequences: Range<u64>) {
        self.change(|state| state.waiting.extend(sequences.map(|sequence| (sequence, sequence.to_string()))));
    }

    /// Sequences acknowledged, in the order of the acks.
    pub(super) fn committed(&self) -> Vec<u64> {
        self.0.state.lock().committed.clone()
    }

    pub(super) async fn wait_until_committed(&self, events: usize) {
        self.wait_until(|seen| seen.committed == events).await;
    }

    pub(super) async fn wait_until_asked(&self, takes: usize) {
        self.wait_until(|seen| seen.asked == takes).await;
    }

    pub(super) async fn wait_until_waiting(&self, events: usize) {
        self.wait_until(|seen| seen.waiting == events).await;
    }

    async fn wait_until(&self, holds: impl FnMut(&Seen) -> bool) {
        let mut changes = self.0.changed.subscribe();
        let waited = timeout(Duration::from_secs(10), changes.wait_for(holds)).await;
        waited.expect("in time").expect("the channel lives");
    }

    fn change<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let (result, waiting, committed) = {
            let mut state = self.0.state.lock();
            (f(&mut state), state.waiting.len(), state.committed.len())
        };
        self.0.changed.send_modify(|seen| (seen.waiting, seen.committed) = (waiting, committed));
        result
    }
}

impl TestChannel {
    fn take_now(&self, limit: Limit) -> Option<Take> {
        let taken: Vec<(u64, String)> =
            self.change(|state| std::iter::from_fn(|| state.waiting.pop_first()).take(limit.events).collect());
        taken.first()?;
        let mut runs: Vec<Batch> = Vec::new();
        let mut rest = taken.as_slice();
        while let Some((first, _)) = rest.first() {
            let len = rest.iter().enumerate().take_while(|(i, (sequence, _))| first + *i as u64 == *sequence).count();
            runs.push(Batch::from_bodies(rest[..len].iter().map(|(_, body)| body)).named(INCARNATION, *first));
            rest = &rest[len..];
        }
        Some(Take::new(runs, vec![(INCARNATION, 0)], Box::new(Open { channel: self.clone(), taken })))
    }
}

struct Open {
    channel: TestChannel,
    taken: Vec<(u64, String)>,
}

impl OpenTake for Open {
    fn commit(self: Box<Self>) -> Ticket {
        let Self { channel, taken } = *self;
        channel.change(|state| state.committed.extend(taken.into_iter().map(|(sequence, _)| sequence)));
        Ticket::ready(Ok(()))
    }

    fn roll_back(self: Box<Self>) {
        let Self { channel, taken } = *self;
        channel.change(|state| state.waiting.extend(taken));
    }
}

/// One more take that waits.
struct Asked<'a>(&'a TestChannel);

impl<'a> Asked<'a> {
    fn new(channel: &'a TestChannel) -> Self {
        channel.0.changed.send_modify(|seen| seen.asked += 1);
        Self(channel)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.0.changed.send_modify(|seen| seen.asked -= 1);
    }
}

impl Channel for TestChannel {
    fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    fn reserve(&self, _: u64, _: u64) -> Fut<'_, Result<Room>> {
        Box::pin(async { Ok(Room::unbounded()) })
    }

    fn put(&self, _: Batch, _: Room) -> Ticket {
        panic!("tests put numbers")
    }

    fn take(&self, limit: Limit) -> Fut<'_, Result<Take>> {
        Box::pin(async move {
            let mut changes = self.0.changed.subscribe();
            let until = Instant::now() + KEEP_ALIVE;
            let _asked = Asked::new(self);
            loop {
                if let Some(take) = self.take_now(limit) {
                    return Ok(take);
                }
                let waits = changes.wait_for(|seen| seen.waiting > 0);
                if tokio::time::timeout_at(until, waits).await.is_err() {
                    return Ok(Take::empty());
                }
            }
        })
    }

    fn transaction_capacity(&self) -> u64 {
        self.0.transaction_capacity
    }

    fn totals(&self) -> ChannelTotals {
        ChannelTotals::default()
    }
}
