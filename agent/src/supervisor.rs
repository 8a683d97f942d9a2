//! A running agent, and how it stops.
//!
//! Started are channels, sinks, sources; stopped in reverse. Sources end first: what they handed over is stored. Sinks
//! finish the delivery in hand; those of a channel that forgets go on until it is empty. Then channels close. All of that
//! within a limit, after which components are discarded where they are, as in a crash: takes go back, durable channels
//! keep what they have.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{ChannelRef, ComponentStatus, Result, State, Status, Stopper, stop_token};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument;

use crate::pipeline::Pipeline;
use crate::runner::{run_sink, run_source};

/// Components at work. Dropped, they are discarded where they are; see [`RunningAgent::stop`].
#[derive(Debug)]
pub struct RunningAgent {
    name: String,
    path: String,
    warnings: Vec<String>,
    status: Arc<Status>,
    channels: Vec<(ChannelRef, Arc<ComponentStatus>)>,
    sources: Vec<Running>,
    sinks: Vec<Running>,
    /// The tasks of the sources, and those of the sinks.
    source_tasks: JoinSet<()>,
    sink_tasks: JoinSet<()>,
    stop_limit: Duration,
}

/// A source or a sink at work.
#[derive(Debug)]
struct Running {
    full_name: String,
    status: Arc<ComponentStatus>,
    stopper: Stopper,
    /// Of a sink: where it takes.
    channel: Option<ChannelRef>,
}

// === impl RunningAgent ===

impl RunningAgent {
    pub(crate) fn start(pipeline: Pipeline, stop_limit: Duration) -> Self {
        let Pipeline { agent: name, sources, channels, sinks, status, warnings, path } = pipeline;
        let mut agent = Self {
            name,
            path,
            warnings,
            status,
            channels: channels.into_iter().map(|part| (part.channel, part.status)).collect(),
            sources: Vec::new(),
            sinks: Vec::new(),
            source_tasks: JoinSet::new(),
            sink_tasks: JoinSet::new(),
            stop_limit,
        };
        for (_, status) in &agent.channels {
            status.ready();
        }
        for part in sinks {
            let (stopper, stop) = stop_token();
            let (full_name, status) = (part.component.full_name.clone(), Arc::clone(&part.component.status));
            let channel = Some(Arc::clone(&part.channel));
            agent.sink_tasks.spawn(named(&full_name, run_sink(part, stop)));
            agent.sinks.push(Running { full_name, status, stopper, channel });
        }
        for part in sources {
            let (stopper, stop) = stop_token();
            let (full_name, status) = (part.component.full_name.clone(), Arc::clone(&part.component.status));
            agent.source_tasks.spawn(named(&full_name, run_source(part, stop)));
            agent.sources.push(Running { full_name, status, stopper, channel: None });
        }
        tracing::info!(agent = agent.name, path = %agent.path, "agent runs");
        agent
    }

    /// The agent's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path on one line: `spooldir r1 → file c1 → spark k1 127.0.0.1:41414`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was wrong with the configuration and did not keep the agent from running: place, value, remedy.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What the components show: also after the agent stopped.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// An open channel.
    pub fn channel(&self, name: &str) -> Option<ChannelRef> {
        let found = self.channels.iter().find(|(channel, _)| **channel.name() == *name);
        found.map(|(channel, _)| Arc::clone(channel))
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
        while self.source_tasks.join_next().await.is_some() {}
        while self.sink_tasks.join_next().await.is_some() {}
    }

    /// Ends the sources, within the limit: what they handed over is stored, and nothing more comes in. The first part of
    /// [`Self::stop`], for who wants to see the channels empty before the rest.
    pub async fn stop_sources(&mut self) {
        let deadline = Instant::now() + self.stop_limit;
        self.sources.iter().for_each(|source| source.stopper.stop());
        finish(&mut self.source_tasks, &self.sources, deadline).await;
    }

    /// Stops in order, within the limit.
    ///
    /// # Errors
    /// The first of a channel that could not be closed well. What it had acknowledged is not lost by that.
    pub async fn stop(mut self) -> Result<()> {
        let deadline = Instant::now() + self.stop_limit;
        self.stop_sources().await;
        self.drain(deadline).await;
        finish(&mut self.sink_tasks, &self.sinks, deadline).await;
        let closed = self.close_channels().await;
        tracing::info!(agent = self.name, "agent stopped");
        closed
    }

    /// Asks the sinks to stop; those of a channel that forgets once it is empty.
    async fn drain(&self, deadline: Instant) {
        let mut draining: Vec<&Running> = self.sinks.iter().collect();
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

    async fn close_channels(&self) -> Result<()> {
        let mut outcome = Ok(());
        for (channel, status) in &self.channels {
            let waiting = channel.totals().waiting_events();
            let closed = tokio::time::timeout(CLOSE_LIMIT, channel.close()).await;
            match closed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(channel = %channel.name(), %error, "channel could not be closed well");
                    status.failed(&error);
                    outcome = outcome.and(Err(error));
                }
                Err(_) => tracing::error!(channel = %channel.name(), "channel did not close in time, left as it is"),
            }
            if waiting > 0 && !channel.is_durable() {
                tracing::warn!(channel = %channel.name(), lost_events = waiting, "channel forgets what was not delivered");
            }
            status.enter(State::Stopped);
        }
        outcome
    }
}

// === impl Running ===

impl Running {
    /// Whether what its channel holds is lost when it closes.
    fn forgets(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| !channel.is_durable())
    }

    /// Whether its channel has events that it may still deliver.
    fn can_drain(&self) -> bool {
        let alive = !matches!(self.status.state(), State::Failed | State::Stopped);
        alive && self.channel.as_ref().is_some_and(|channel| channel.totals().waiting_events() > 0)
    }
}

// === helpers ===

/// Log lines of a component's task name it.
fn named<F: Future<Output = ()>>(full_name: &str, run: F) -> impl Future<Output = ()> + use<F> {
    run.instrument(tracing::info_span!("run", component = full_name))
}

/// Waits for tasks that were asked to stop; those that do not in time are discarded.
async fn finish(tasks: &mut JoinSet<()>, components: &[Running], deadline: Instant) {
    let ended = timeout_at(deadline, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_ok() {
        return;
    }
    for component in components.iter().filter(|one| !matches!(one.status.state(), State::Failed | State::Stopped)) {
        tracing::warn!(component = component.full_name, "did not stop in time, discarded where it is");
        component.status.enter(State::Stopped);
    }
    tasks.shutdown().await;
}

/// How often a channel that is drained is looked at.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long one channel may take to close, whatever was left of the limit.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
