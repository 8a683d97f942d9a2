//! What the running path says of itself: what a page, `top` or a test shows.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tokio::sync::watch;

use crate::batch_info::BatchHistory;
use crate::channel::ChannelRef;
use crate::counters::{Counters, MetricName};
use crate::error::Error;

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
    last_error: Mutex<Option<(SystemTime, String)>>,
}

// === impl ComponentStatus ===

impl ComponentStatus {
    /// A component that is starting.
    pub fn new(kind: &'static str, name: Arc<str>, type_name: Arc<str>) -> Arc<Self> {
        let (state, _) = watch::channel(State::Starting);
        Arc::new(Self { kind, name, type_name, counters: Counters::default(), state, last_error: Mutex::default() })
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
        self.state.send_replace(state);
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

    /// Keeps an error for those who look later.
    pub fn failed(&self, error: &Error) {
        *self.last_error.lock() = Some((SystemTime::now(), error.to_string()));
    }

    /// The last error's text.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().as_ref().map(|(_, text)| text.clone())
    }
}

/// The status of a whole path: every component, in the order of travel.
#[derive(Debug, Default)]
pub struct Status {
    components: RwLock<Vec<Arc<ComponentStatus>>>,
    channels: RwLock<Vec<ChannelRef>>,
    batches: BatchHistory,
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
    /// Flume's `ChannelFillPercentage`.
    pub fill_percentage: f64,
    /// Events ever stored, over the lifetime of the data.
    pub put_events: u64,
    /// Events acknowledged by sinks.
    pub taken_events: u64,
}

// === impl Status ===

impl Status {
    /// Adds a component.
    pub fn add(&self, component: Arc<ComponentStatus>) {
        self.components.write().push(component);
    }

    /// Adds a channel, whose fill is read when someone looks.
    pub fn add_channel(&self, channel: ChannelRef) {
        self.channels.write().push(channel);
    }

    /// The components, in the order of travel.
    pub fn components(&self) -> Vec<Arc<ComponentStatus>> {
        self.components.read().clone()
    }

    /// The last batches of a job.
    pub fn batches(&self) -> &BatchHistory {
        &self.batches
    }

    /// What every component shows now.
    pub fn view(&self) -> Vec<ComponentView> {
        let components = self.components.read();
        components
            .iter()
            .map(|component| ComponentView {
                kind: component.kind,
                name: component.name.to_string(),
                type_name: component.type_name.to_string(),
                state: component.state(),
                counters: component.counters().nonzero().map(|(name, value)| (name.flume_name(), value)).collect(),
                last_error: component.last_error(),
            })
            .collect()
    }

    /// What every channel holds now.
    pub fn channel_view(&self) -> Vec<ChannelView> {
        let channels = self.channels.read();
        channels
            .iter()
            .map(|channel| {
                let totals = channel.totals();
                let size_events = totals.waiting_events();
                ChannelView {
                    name: channel.name().to_string(),
                    size_events,
                    capacity_events: totals.capacity_events,
                    size_bytes: totals.waiting_bytes,
                    fill_percentage: 100.0 * size_events as f64 / totals.capacity_events.max(1) as f64,
                    put_events: totals.put_events,
                    taken_events: totals.taken_events,
                }
            })
            .collect()
    }
}
