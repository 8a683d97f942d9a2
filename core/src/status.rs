//! What the running path says of itself: what a page, `top` or a test shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tokio::sync::watch;

use crate::batch::Batch;
use crate::batch_info::BatchHistory;
use crate::channel::{ChannelRef, ChannelTotals};
use crate::counters::{Counters, MetricName};
use crate::error::Error;
use crate::tap::{Listener, Tap};

/// Where a component is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Built, not yet working.
    Starting,
    /// Works.
    Running,
    /// Failed; its runner tries again.
    Retrying,
    /// Cannot go on.
    Failed,
    /// Ended as asked.
    Stopped,
}

/// One component's counters, state and last error. Shared by the component, its runner and whoever looks.
#[derive(Debug)]
pub struct ComponentStatus {
    /// `source`, `channel` or `sink`; in a job `receiver` or `output`.
    pub kind: &'static str,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its type name.
    pub type_name: Arc<str>,
    counters: Counters,
    state: watch::Sender<State>,
    /// When it began to work, and when it ended, in ms since 1970; 0 where it did not yet.
    started_ms: AtomicU64,
    stopped_ms: AtomicU64,
    /// Of a channel: when events were taken last, and whether the last ones that came found no room.
    taken_ms: AtomicU64,
    full: AtomicBool,
    last_error: Mutex<Option<(SystemTime, String)>>,
    tap: Tap,
}

// === impl ComponentStatus ===

impl ComponentStatus {
    /// A component that is starting.
    pub fn new(kind: &'static str, name: Arc<str>, type_name: Arc<str>) -> Arc<Self> {
        let (state, _) = watch::channel(State::Starting);
        Arc::new(Self {
            kind,
            name,
            type_name,
            counters: Counters::default(),
            state,
            started_ms: AtomicU64::default(),
            stopped_ms: AtomicU64::default(),
            taken_ms: AtomicU64::default(),
            full: AtomicBool::default(),
            last_error: Mutex::default(),
            tap: Tap::default(),
        })
    }

    /// Adds to a counter.
    pub fn count(&self, name: MetricName, by: u64) {
        self.counters.add(name, by);
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The component works now.
    pub fn ready(&self) {
        self.enter(State::Running);
    }

    /// Changes the state.
    pub fn enter(&self, state: State) {
        match state {
            // Of a component that was tried again, the first start counts.
            State::Running => _ = self.started_ms.compare_exchange(0, now_ms(), Ordering::Relaxed, Ordering::Relaxed),
            State::Failed | State::Stopped => self.stopped_ms.store(now_ms(), Ordering::Relaxed),
            State::Starting | State::Retrying => {}
        }
        self.state.send_replace(state);
    }

    /// When it began to work, in ms since 1970; 0 if it does not yet.
    pub fn started_ms(&self) -> u64 {
        self.started_ms.load(Ordering::Relaxed)
    }

    /// When it ended, in ms since 1970; 0 if it did not.
    pub fn stopped_ms(&self) -> u64 {
        self.stopped_ms.load(Ordering::Relaxed)
    }

    /// The state now.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Resolves once the component is no longer starting; returns what it is then.
    pub async fn settled(&self) -> State {
        let mut watcher = self.state.subscribe();
        watcher.wait_for(|state| *state != State::Starting).await.map_or(State::Stopped, |state| *state)
    }

    /// Of a channel: events were taken.
    pub fn taken(&self) {
        self.taken_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Of a channel: how long ago events were taken, or it began to work; zero if it does not work.
    pub fn untaken(&self) -> Duration {
        let since = match self.taken_ms.load(Ordering::Relaxed) {
            0 => self.started_ms(),
            taken => taken,
        };
        Duration::from_millis(if since == 0 { 0 } else { now_ms().saturating_sub(since) })
    }

    /// Of a channel: whether the events that came last found room.
    pub fn found_room(&self, room: bool) {
        self.full.store(!room, Ordering::Relaxed);
    }

    /// Of a channel: whether the events that came last found no room.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Keeps an error for those who look later.
    pub fn failed(&self, error: &Error) {
        *self.last_error.lock() = Some((SystemTime::now(), error.to_string()));
    }

    /// The last error's text.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().as_ref().map(|(_, text)| text.clone())
    }

    /// Shows what passes to those who look; see [`crate::tap`].
    pub fn see(&self, batches: &[Batch]) {
        batches.iter().for_each(|batch| self.tap.see(batch));
    }

    /// Looks at what passes from now on.
    pub fn listen(&self) -> Listener {
        self.tap.listen()
    }

    /// What it shows now.
    pub fn view(&self) -> ComponentView {
        ComponentView {
            kind: self.kind,
            name: self.name.to_string(),
            type_name: self.type_name.to_string(),
            state: self.state(),
            started_ms: self.started_ms(),
            stopped_ms: self.stopped_ms(),
            counters: self.counters().nonzero().map(|(name, value)| (name.flume_name(), value)).collect(),
            last_error: self.last_error(),
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The status of a whole path: every component, in the order of travel.
#[derive(Debug, Default)]
pub struct Status {
    path: RwLock<PathStatus>,
    batches: BatchHistory,
}

/// What a path consists of at the moment.
#[derive(Debug, Clone, Default)]
pub struct PathStatus {
    /// Name of the agent or the job.
    pub name: String,
    /// The path on one line; empty where there is none.
    pub line: String,
    /// The components, in the order of travel.
    pub components: Vec<Arc<ComponentStatus>>,
    /// The open channels.
    pub channels: Vec<ObservedChannel>,
}

/// An open channel, as seen since it was opened.
#[derive(Debug, Clone)]
pub struct ObservedChannel {
    /// The channel, whose fill is read when someone looks.
    pub channel: ChannelRef,
    /// Its state, and the attempts that were counted.
    pub status: Arc<ComponentStatus>,
    put_before: u64,
    taken_before: u64,
}

/// A component as shown.
#[derive(Debug, Clone, Serialize)]
pub struct ComponentView {
    /// `source`, `channel` or `sink`.
    pub kind: &'static str,
    /// Its name in the configuration.
    pub name: String,
    /// Its type name.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Where it is in its life.
    pub state: State,
    /// When it began to work, in ms since 1970; 0 if it does not yet.
    pub started_ms: u64,
    /// When it ended, in ms since 1970; 0 if it did not.
    pub stopped_ms: u64,
    /// Flume's counters that are not zero.
    pub counters: Vec<(&'static str, u64)>,
    /// The last error's text.
    pub last_error: Option<String>,
}

/// A channel's fill as shown.
#[derive(Debug, Clone, Serialize)]
pub struct ChannelView {
    /// Its name in the configuration.
    pub name: String,
    /// Events waiting: Flume's `ChannelSize`.
    pub size_events: u64,
    /// Flume's `ChannelCapacity`.
    pub capacity_events: u64,
    /// Bytes waiting.
    pub size_bytes: u64,
    /// Bytes that may wait; 0 where that is not bounded.
    pub capacity_bytes: u64,
    /// Flume's `ChannelFillPercentage`.
    pub fill_percentage: f64,
    /// Events ever stored, over the lifetime of the data.
    pub put_events: u64,
    /// Events acknowledged by sinks, over the lifetime of the data.
    pub taken_events: u64,
    /// Events stored since it was opened: Flume's `EventPutSuccessCount`.
    pub put_since_start: u64,
    /// Events acknowledged since it was opened: Flume's `EventTakeSuccessCount`.
    pub taken_since_start: u64,
    /// Of these, events that no sink got as their records were damaged: `EventLostCount`.
    pub lost_events: u64,
    /// Of these, events that a sink rejected, over the lifetime of the data: `EventDeadLetterCount`.
    pub dead_lettered: u64,
    /// Damaged places that were set aside since it was opened: `QuarantineCount`.
    pub quarantined: u64,
    /// Whether a restart finds the events again.
    pub durable: bool,
}

// === impl ObservedChannel ===

impl ObservedChannel {
    /// Looks at a channel from now on.
    pub fn new(channel: ChannelRef, status: Arc<ComponentStatus>) -> Self {
        let ChannelTotals { put_events, taken_events, .. } = channel.totals();
        Self { channel, status, put_before: put_events, taken_before: taken_events }
    }

    /// What it holds now.
    pub fn view(&self) -> ChannelView {
        let totals = self.channel.totals();
        let size_events = totals.waiting_events();
        ChannelView {
            name: self.channel.name().to_string(),
            size_events,
            capacity_events: totals.capacity_events,
            size_bytes: totals.waiting_bytes,
            capacity_bytes: if totals.capacity_bytes == u64::MAX { 0 } else { totals.capacity_bytes },
            fill_percentage: 100.0 * size_events as f64 / totals.capacity_events.max(1) as f64,
            put_events: totals.put_events,
            taken_events: totals.taken_events,
            put_since_start: totals.put_events.saturating_sub(self.put_before),
            taken_since_start: totals.taken_events.saturating_sub(self.taken_before),
            lost_events: totals.lost_events,
            dead_lettered: totals.dead_lettered,
            quarantined: totals.quarantined,
            durable: self.channel.is_durable(),
        }
    }
}

// === impl Status ===

impl Status {
    /// Adds a component.
    pub fn add(&self, component: Arc<ComponentStatus>) {
        self.path.write().components.push(component);
    }

    /// Shows another path from now on.
    pub fn replace(&self, path: PathStatus) {
        *self.path.write() = path;
    }

    /// The path as it is now.
    pub fn path(&self) -> PathStatus {
        self.path.read().clone()
    }

    /// The components, in the order of travel.
    pub fn components(&self) -> Vec<Arc<ComponentStatus>> {
        self.path.read().components.clone()
    }

    /// The last batches of a job.
    pub fn batches(&self) -> &BatchHistory {
        &self.batches
    }

    /// What every component shows now.
    pub fn view(&self) -> Vec<ComponentView> {
        self.path.read().components.iter().map(|component| component.view()).collect()
    }

    /// What every channel holds now.
    pub fn channel_view(&self) -> Vec<ChannelView> {
        self.path.read().channels.iter().map(ObservedChannel::view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_and_the_last_end_are_kept() {
        let status = ComponentStatus::new("sink", "k1".into(), "null".into());
        assert_eq!((status.started_ms(), status.stopped_ms()), (0, 0));
        status.ready();
        let started = status.started_ms();
        assert!(started > 0);
        status.enter(State::Retrying);
        status.ready();
        assert_eq!((status.started_ms(), status.stopped_ms()), (started, 0));
        status.enter(State::Stopped);
        assert!(status.stopped_ms() >= started);
    }
}
