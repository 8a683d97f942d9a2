//! A running agent, and how it stops.
//!
//! Started are channels, sinks, sources; stopped in reverse. Sources end first: what they handed over is stored. Sinks
//! finish the delivery in hand; those of a channel that forgets go on until it is empty. Then channels close. All of that
//! within a limit, after which components are discarded where they are, as in a crash: takes go back, durable channels
//! keep what they have. How a part of it is exchanged while the rest runs: `reload`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use millstream_config::{AgentConfig, ComponentConfig};
use millstream_core::{
    ChannelProcessor, ChannelRef, ComponentStatus, ObservedChannel, PathStatus, Result, State, Status, Stopper,
    stop_token,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument;

use crate::builder::Blueprint;
use crate::path::{self, Shown};
use crate::pipeline::{ChannelDraft, ChannelPart, Pipeline, Refused, SinkPart, SourcePart};
use crate::reload::ConfigWatch;
use crate::runner::{run_sink, run_source};

/// Components at work. Dropped, they are discarded where they are; see [`RunningAgent::stop`].
#[derive(Debug)]
pub struct RunningAgent {
    pub(crate) blueprint: Arc<Blueprint>,
    /// The files as they were when the agent started.
    pub(crate) watch: ConfigWatch,
    pub(crate) config: AgentConfig,
    path: String,
    status: Arc<Status>,
    /// Each list in the order of the configuration.
    pub(crate) channels: Vec<RunningChannel>,
    pub(crate) sources: Vec<Running>,
    pub(crate) sinks: Vec<Running>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) stop_limit: Duration,
}

/// A source or a sink at work.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) definition: ComponentConfig,
    pub(crate) full_name: String,
    pub(crate) shown: Shown,
    pub(crate) status: Arc<ComponentStatus>,
    /// Of a group: those of its sinks.
    members: Vec<Arc<ComponentStatus>>,
    stopper: Stopper,
    /// Of a sink: where it takes.
    channel: Option<ChannelRef>,
    /// Its one task.
    task: JoinSet<()>,
}

/// An open channel.
#[derive(Debug)]
pub(crate) struct RunningChannel {
    pub(crate) definition: ComponentConfig,
    pub(crate) type_name: &'static str,
    pub(crate) observed: ObservedChannel,
    /// To open it again.
    pub(crate) draft: Arc<ChannelDraft>,
}

// === impl RunningAgent ===

impl RunningAgent {
    pub(crate) async fn start(
        blueprint: Blueprint,
        pipeline: Pipeline,
        watch: ConfigWatch,
        stop_limit: Duration,
    ) -> Self {
        let mut agent = Self {
            blueprint: Arc::new(blueprint),
            watch,
            config: AgentConfig::default(),
            path: String::new(),
            status: Arc::new(Status::default()),
            channels: Vec::new(),
            sources: Vec::new(),
            sinks: Vec::new(),
            refused: Vec::new(),
            stop_limit,
        };
        agent.apply(pipeline).await;
        tracing::info!(agent = agent.name(), path = %agent.path, "agent runs");
        agent
    }

    /// The agent's name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The path on one line: `spooldir r1 → file c1 → spark k1 127.0.0.1:41414`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was wrong with the configuration and did not keep the agent from running: place, value, remedy.
    pub fn warnings(&self) -> &[String] {
        &self.config.warnings
    }

    /// What the components show: also after the agent stopped.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// An open channel.
    pub fn channel(&self, name: &str) -> Option<ChannelRef> {
        let found = self.channels.iter().find(|running| running.definition.name == name);
        found.map(|running| Arc::clone(&running.observed.channel))
    }

    /// Resolves once no component is starting any more: each works, tries again or has failed.
    pub async fn ready(&self) {
        for component in self.status.components() {
            component.settled().await;
        }
    }

    /// Resolves once no source and no sink is at work any more, though nobody asked them to stop: all have failed or come
    /// to their end.
    ///
    /// # Cancel safety
    /// May be dropped and awaited again.
    pub async fn ended(&mut self) {
        for running in self.sources.iter_mut().chain(&mut self.sinks) {
            while running.task.join_next().await.is_some() {}
        }
    }

    /// Ends the sources, within the limit: what they handed over is stored, and nothing more comes in. The first part of
    /// [`Self::stop`], for who wants to see the channels empty before the rest.
    pub async fn stop_sources(&mut self) {
        let deadline = Instant::now() + self.stop_limit;
        finish(&mut self.sources, deadline).await;
    }

    /// Stops in order, within the limit.
    ///
    /// # Errors
    /// The first of a channel that could not be closed well. What it had acknowledged is not lost by that.
    pub async fn stop(mut self) -> Result<()> {
        let deadline = Instant::now() + self.stop_limit;
        self.stop_sources().await;
        drain(&self.sinks.iter().collect::<Vec<_>>(), deadline).await;
        finish(&mut self.sinks, deadline).await;
        let mut closed = Ok(());
        for channel in &self.channels {
            closed = closed.and(channel.close().await);
        }
        tracing::info!(agent = self.name(), "agent stopped");
        closed
    }

    pub(crate) fn start_source(&mut self, definition: ComponentConfig, part: SourcePart) {
        let channels: Option<Vec<ChannelRef>> = definition.channels.iter().map(|name| self.channel(name)).collect();
        let Some(channels) = channels else { return self.refuse_unconnected("source", definition) };
        let SourcePart { component, source, interceptors, selector, shown } = part;
        let processor = Arc::new(ChannelProcessor::new(interceptors, selector, channels));
        let (stopper, stop) = stop_token();
        let (full_name, status) = (component.full_name.clone(), Arc::clone(&component.status));
        let task = spawned(&full_name, run_source(component, source, processor, stop));
        let (members, channel) = (Vec::new(), None);
        self.sources.push(Running { definition, full_name, shown, status, members, stopper, channel, task });
    }

    pub(crate) fn start_sink(&mut self, definition: ComponentConfig, part: SinkPart) {
        let channel = definition.channels.first().and_then(|name| self.channel(name));
        let Some(channel) = channel else { return self.refuse_unconnected("sink", definition) };
        let spool = definition.channels.get(1).map(|name| self.channel(name));
        let Ok(spool) = spool.map(|open| open.ok_or(())).transpose() else {
            return self.refuse_unconnected("sinkgroup", definition);
        };
        let (stopper, stop) = stop_token();
        let (full_name, status, shown) = (part.full_name.clone(), Arc::clone(&part.status), part.shown.clone());
        let members = part.members.clone();
        let task = spawned(&full_name, run_sink(part, Arc::clone(&channel), spool, stop));
        let channel = Some(channel);
        self.sinks.push(Running { definition, full_name, shown, status, members, stopper, channel, task });
    }

    /// Orders the lists as the configuration does, and shows the path as it is now.
    pub(crate) fn show(&mut self) {
        let Self { config, channels, sources, sinks, refused, .. } = self;
        let order = |list: &[ComponentConfig], name: &str| list.iter().position(|one| one.name == name);
        sources.sort_by_key(|running| order(&config.sources, &running.definition.name));
        channels.sort_by_key(|running| order(&config.channels, &running.definition.name));
        // A group stands where its first sink does.
        sinks.sort_by_key(|running| {
            let name = &running.definition.name;
            let group = config.sink_groups.iter().find(|group| group.name == *name);
            order(&config.sinks, group.and_then(|group| group.sinks.first()).unwrap_or(name))
        });
        let shown = |list: &[Running]| list.iter().map(|running| running.shown.clone()).collect::<Vec<_>>();
        let typed: Vec<(&str, &str)> =
            channels.iter().map(|running| (running.type_name, running.definition.name.as_str())).collect();
        self.path = path::on_one_line(&shown(sources), &typed, &shown(sinks));
        let refused = |kind| refused.iter().map(|one| &one.status).filter(move |status| status.kind == kind);
        let sources = sources.iter().map(|running| &running.status).chain(refused("source"));
        let channel_statuses = channels.iter().map(|running| &running.observed.status).chain(refused("channel"));
        let sinks = sinks.iter().flat_map(|running| std::iter::once(&running.status).chain(&running.members));
        let sinks = sinks.chain(refused("sink")).chain(refused("sinkgroup"));
        self.status.replace(PathStatus {
            name: config.name.clone(),
            line: self.path.clone(),
            components: sources.chain(channel_statuses).chain(sinks).cloned().collect(),
            channels: channels.iter().map(|running| running.observed.clone()).collect(),
        });
    }
}

// === impl Running ===

impl Running {
    pub(crate) fn state(&self) -> State {
        self.status.state()
    }

    /// Whether what its channel holds is lost when it closes.
    fn forgets(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| !channel.is_durable())
    }

    /// Whether its channel has events that it may still deliver.
    fn can_drain(&self) -> bool {
        let alive = !matches!(self.state(), State::Failed | State::Stopped);
        alive && self.channel.as_ref().is_some_and(|channel| channel.totals().waiting_events() > 0)
    }
}

// === impl RunningChannel ===

impl RunningChannel {
    /// A channel that was just opened.
    pub(crate) fn opened(definition: ComponentConfig, part: ChannelPart) -> Self {
        let ChannelPart { type_name, channel, status, draft } = part;
        status.ready();
        Self { definition, type_name, observed: ObservedChannel::new(channel, status), draft }
    }

    /// Closes it, within its own limit.
    ///
    /// # Errors
    /// Its own. What it had acknowledged is not lost by that.
    pub(crate) async fn close(&self) -> Result<()> {
        let ObservedChannel { channel, status, .. } = &self.observed;
        let waiting = channel.totals().waiting_events();
        let closed = match tokio::time::timeout(CLOSE_LIMIT, channel.close()).await {
            Ok(closed) => closed,
            Err(_) => {
                tracing::error!(channel = %channel.name(), "channel did not close in time, left as it is");
                Ok(())
            }
        };
        if let Err(error) = &closed {
            tracing::error!(channel = %channel.name(), %error, "channel could not be closed well");
            status.failed(error);
        }
        if waiting > 0 && !channel.is_durable() {
            tracing::warn!(channel = %channel.name(), lost_events = waiting, "channel forgets what was not delivered");
        }
        status.enter(State::Stopped);
        closed
    }
}

// === helpers ===

/// A component's task. Its log lines name it.
fn spawned<F: Future<Output = ()> + Send + 'static>(full_name: &str, run: F) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(run.instrument(tracing::info_span!("run", component = full_name)));
    task
}

/// Asks sinks to stop; those of a channel that forgets once it is empty, or at the deadline.
pub(crate) async fn drain(sinks: &[&Running], deadline: Instant) {
    let mut draining = sinks.to_vec();
    for sink in draining.iter().filter(|sink| sink.forgets() && sink.can_drain()) {
        let waiting_events = sink.channel.as_ref().map_or(0, |channel| channel.totals().waiting_events());
        tracing::info!(component = sink.full_name, waiting_events, "empties its channel before it stops");
    }
    loop {
        draining.retain(|sink| {
            let goes_on = sink.forgets() && sink.can_drain() && Instant::now() < deadline;
            if !goes_on {
                sink.stopper.stop();
            }
            goes_on
        });
        if draining.is_empty() {
            break;
        }
        sleep(DRAIN_LOOK).await;
    }
}

/// Asks components to stop and waits for them; those that do not in time are discarded.
pub(crate) async fn finish(components: &mut [Running], deadline: Instant) {
    components.iter().for_each(|component| component.stopper.stop());
    for component in components {
        let task = &mut component.task;
        if timeout_at(deadline, async { while task.join_next().await.is_some() {} }).await.is_ok() {
            continue;
        }
        if !matches!(component.status.state(), State::Failed | State::Stopped) {
            tracing::warn!(component = component.full_name, "did not stop in time, discarded where it is");
            component.status.enter(State::Stopped);
        }
        task.shutdown().await;
    }
}

/// How often a channel that is drained is looked at.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long one channel may take to close, whatever was left of the limit.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
