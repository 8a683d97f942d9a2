//! Another configuration for an agent that runs.
//!
//! Only components whose definition changed restart: an unchanged source, sink or channel goes on as the object that it is,
//! wherever its lines stand now. A channel that can take over other bounds while it is open does (memory); another one is
//! closed and opened again, and those at both ends of it restart. A component that had failed for good starts again.
//!
//! # All or nothing
//! The whole of the new path is built before anything of the old one stops. If a component of it cannot be built that was
//! not broken before, nothing changes, and the error names every reason. Only what needs the old one gone first, a store
//! on the same directories, is tried after that; if it cannot be opened, the old definition is.
//!
//! # Delivery
//! What stops, stops as in [`RunningAgent::stop`]: a source after what it handed over is stored, a sink after the delivery
//! in hand. What a removed channel that forgets still holds is delivered first, within the limit; one whose type changes
//! hands over its events to its successor.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use millstream_config::ComponentConfig;
use millstream_core::{ChannelRef, Error, Limit, Result, State};
use tokio::time::{Instant, sleep};

use crate::builder::tell;
use crate::pipeline::{Beside, ChannelDraft, ChannelPart, ChannelStage, Hopeless, Pipeline, Refused, Stage, panicked};
use crate::supervisor::{Running, RunningAgent, RunningChannel, drain, finish};

/// What another configuration changed; full names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Components that are new, or began anew.
    pub started: Vec<String>,
    /// Components that are there no more.
    pub removed: Vec<String>,
    /// Channels that took over other bounds and kept what they held.
    pub resized: Vec<String>,
}

/// Looks at the files of a configuration.
#[derive(Debug, Clone)]
pub struct ConfigWatch {
    files: Vec<(PathBuf, Option<Look>)>,
}

/// What a file looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    modified: SystemTime,
    bytes: u64,
}

// === impl RunningAgent ===

impl RunningAgent {
    /// Reads the configuration again and puts it into force.
    ///
    /// # Errors
    /// Why nothing was changed: it cannot be read, nothing of it can run, or a component is broken that was not before.
    ///
    /// # Cancel safety
    /// Dropped, it may leave the agent between two configurations.
    pub async fn reload(&mut self) -> Result<Changes> {
        let (blueprint, beside) = (Arc::clone(&self.blueprint), self.beside());
        let planned = tokio::task::spawn_blocking(move || {
            let pipeline =
                blueprint.build(&beside).map_err(|Hopeless { first, reasons, .. }| match reasons.as_slice() {
                    [] => first,
                    reasons => Error::config(blueprint.files(), reasons.join("; ")),
                })?;
            let reasons = pipeline.newly_broken(&beside);
            if reasons.is_empty() {
                tell(&pipeline.config.warnings);
                return Ok(pipeline);
            }
            pipeline.give_up();
            Err(Error::config(blueprint.files(), reasons.join("; ")))
        });
        let pipeline = planned.await.unwrap_or_else(|ended| match ended.try_into_panic() {
            Ok(payload) => Err(panicked("the configuration", &*payload)),
            Err(_) => Err(Error::Stopped { what: "the runtime".into() }),
        })?;
        let changes = self.apply(pipeline).await;
        if changes.is_empty() {
            return Ok(changes);
        }
        tracing::info!(
            started = changes.started.join(" "),
            removed = changes.removed.join(" "),
            resized = changes.resized.join(" "),
            path = self.path(),
            "configuration taken over"
        );
        Ok(changes)
    }

    /// Looks at the files; what changed since the agent started is a change.
    pub fn watch(&self) -> ConfigWatch {
        self.watch.clone()
    }

    /// What a new path must know of this one.
    fn beside(&self) -> Beside {
        let working = |list: &[Running]| {
            let working = list.iter().filter(|running| running.state() != State::Failed);
            working.map(|running| running.definition.clone()).collect()
        };
        let open = |running: &RunningChannel| (running.definition.clone(), Arc::clone(&running.observed.channel));
        Beside {
            sources: working(&self.sources),
            sinks: working(&self.sinks),
            channels: self.channels.iter().map(open).collect(),
            refused: self.refused.iter().map(|one| (one.status.kind, one.definition.clone())).collect(),
            broken: self.config.broken.iter().map(|broken| broken.component.clone()).collect(),
        }
    }

    /// Puts a plan into force: stops what goes, exchanges channels, starts what is new.
    pub(crate) async fn apply(&mut self, pipeline: Pipeline) -> Changes {
        let Pipeline { config, sources, channels, sinks, refused } = pipeline;
        let deadline = Instant::now() + self.stop_limit;
        let mut changes = Changes::default();
        // Sources first: nothing comes in for a sink or a channel that goes.
        let goes = |running: &mut Running| !sources.iter().any(|stage| stage.keeps(&running.definition.name));
        let mut old_sources: Vec<Running> = self.sources.extract_if(.., goes).collect();
        finish(&mut old_sources, deadline).await;
        let goes = |running: &mut Running| !sinks.iter().any(|stage| stage.keeps(&running.definition.name));
        let mut old_sinks: Vec<Running> = self.sinks.extract_if(.., goes).collect();
        // What another sink or a successor will take is left to it.
        let ends = |channel: &String| !config.channels.iter().any(|one| one.name == *channel);
        let last = old_sinks.iter().filter(|sink| sink.definition.channels.iter().any(ends));
        drain(&last.collect::<Vec<_>>(), deadline).await;
        finish(&mut old_sinks, deadline).await;
        let old: Vec<String> = old_sources.iter().chain(&old_sinks).map(|running| running.full_name.clone()).collect();
        // They hold on to channels.
        drop((old_sources, old_sinks));
        self.config = config;
        self.refused = refused;
        self.change_channels(channels, &mut changes).await;
        for stage in sinks {
            match stage {
                Stage::Kept(definition) => redefine(&mut self.sinks, definition),
                Stage::New(definition, part) => {
                    changes.started.push(part.full_name.clone());
                    self.start_sink(definition, *part);
                }
            }
        }
        for stage in sources {
            match stage {
                Stage::Kept(definition) => redefine(&mut self.sources, definition),
                Stage::New(definition, part) => {
                    changes.started.push(part.component.full_name.clone());
                    self.start_source(definition, *part);
                }
            }
        }
        changes.removed.extend(old.into_iter().filter(|name| !changes.started.contains(name)));
        self.show();
        changes
    }

    async fn change_channels(&mut self, stages: Vec<ChannelStage>, changes: &mut Changes) {
        let mut old = std::mem::take(&mut self.channels);
        let mut later = Vec::new();
        for stage in stages {
            let full_name = self.config.full_name("channels", &stage.definition().name);
            let at = old.iter().position(|running| running.definition.name == stage.definition().name);
            let before = at.map(|at| old.remove(at));
            match (stage, before) {
                (ChannelStage::Kept(definition), Some(running)) => {
                    self.channels.push(RunningChannel { definition, ..running });
                }
                (ChannelStage::Resized(definition, reconfigure), Some(running)) => {
                    reconfigure();
                    changes.resized.push(full_name);
                    self.channels.push(RunningChannel { definition, ..running });
                }
                (ChannelStage::Opened(definition, part), _) => {
                    changes.started.push(full_name);
                    self.channels.push(RunningChannel::opened(definition, part));
                }
                (ChannelStage::Later(definition, draft), before) => later.push((definition, draft, before)),
                // Only what is open is kept.
                (ChannelStage::Kept(_) | ChannelStage::Resized(..), None) => {}
            }
        }
        for running in old {
            changes.removed.push(self.config.full_name("channels", &running.definition.name));
            // Logged there; the rest goes on without it.
            let _ = running.close().await;
        }
        for (definition, draft, before) in later {
            let full_name = self.config.full_name("channels", &definition.name);
            match exchange(definition.clone(), draft, before, &full_name).await {
                Ok(running) => {
                    changes.started.push(full_name);
                    self.channels.push(running);
                }
                Err(error) => {
                    tracing::error!(component = full_name, %error, "channel cannot be opened");
                    self.refused.push(Refused::new("channel", definition, error));
                }
            }
        }
    }

    /// A component whose channel could not be opened.
    pub(crate) fn refuse_unconnected(&mut self, kind: &'static str, definition: ComponentConfig) {
        let names = definition.channels.join(" ");
        let error = Error::config(&definition.channels_place, format!("a channel of {names} is not open"));
        tracing::error!(%error, "not run");
        self.refused.push(Refused::new(kind, definition, error));
    }
}

/// A component goes on; its lines may stand elsewhere.
fn redefine(running: &mut [Running], definition: ComponentConfig) {
    if let Some(one) = running.iter_mut().find(|one| one.definition.name == definition.name) {
        one.definition = definition;
    }
}

/// Opens a channel in the place of another one.
///
/// # Errors
/// The new one's, when the old one cannot be opened again either.
async fn exchange(
    definition: ComponentConfig,
    draft: Arc<ChannelDraft>,
    before: Option<RunningChannel>,
    full_name: &str,
) -> Result<RunningChannel> {
    let Some(before) = before else { return Ok(RunningChannel::opened(definition, open(draft).await?)) };
    let old = &before.observed.channel;
    if !old.is_durable() {
        // It holds nothing that the new one needs, but for its events.
        let new = match open(draft).await {
            Ok(part) => RunningChannel::opened(definition, part),
            Err(error) => {
                tracing::error!(component = full_name, %error, "the old definition goes on");
                before.observed.status.failed(&error);
                return Ok(before);
            }
        };
        if let Err(error) = pour(old, &new.observed.channel).await {
            tracing::error!(component = full_name, %error, "events could not be handed over to the new channel");
        }
        // Logged there; the new one is open.
        let _ = before.close().await;
        return Ok(new);
    }
    // Logged there: if it holds its files still, the new one says so.
    let _ = before.close().await;
    let error = match open(draft).await {
        Ok(part) => return Ok(RunningChannel::opened(definition, part)),
        Err(error) => error,
    };
    tracing::error!(component = full_name, %error, "the old definition goes on");
    let reopened = open(Arc::clone(&before.draft)).await;
    let Ok(part) = reopened else { return Err(error) };
    part.status.failed(&error);
    Ok(RunningChannel::opened(before.definition, part))
}

async fn open(draft: Arc<ChannelDraft>) -> Result<ChannelPart> {
    let opened = tokio::task::spawn_blocking(move || draft.open()).await;
    opened.unwrap_or_else(|_| Err(Error::Stopped { what: "the runtime".into() }))
}

/// Moves what one channel holds into another one.
async fn pour(old: &ChannelRef, new: &ChannelRef) -> Result<()> {
    let events = usize::try_from(old.transaction_capacity().min(new.transaction_capacity())).unwrap_or(usize::MAX);
    while old.totals().waiting_events() > 0 {
        let take = old.take(Limit { events, bytes: POUR_BYTES }).await?;
        for batch in take.batches() {
            let room = new.reserve(batch.len() as u64, batch.retained_bytes()).await?;
            new.put(batch.clone(), room).await?;
        }
        take.commit().await?;
    }
    Ok(())
}

impl Pipeline {
    /// Closes what was opened for a plan that is dropped. Waits for the disk.
    fn give_up(self) {
        for stage in self.channels {
            if let ChannelStage::Opened(_, part) = stage
                && let Err(error) = part.channel.close().wait()
            {
                tracing::warn!(channel = %part.channel.name(), %error, "channel could not be closed well");
            }
        }
    }
}

// === impl Changes ===

impl Changes {
    /// Whether everything is as it was.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// === impl ConfigWatch ===

impl ConfigWatch {
    pub(crate) fn of<'a>(files: impl Iterator<Item = &'a Path>) -> Self {
        Self { files: files.map(|file| (file.to_owned(), look(file))).collect() }
    }

    /// Resolves once a file is another one than it was, looking every `interval`, and whoever writes it has been quiet for
    /// a moment.
    ///
    /// # Cancel safety
    /// May be dropped and awaited again.
    pub async fn changed(&mut self, interval: Duration) {
        loop {
            sleep(interval).await;
            let mut seen: Vec<Option<Look>> = self.looks();
            if self.files.iter().map(|(_, look)| *look).eq(seen.iter().copied()) {
                continue;
            }
            loop {
                sleep(QUIET).await;
                let now = self.looks();
                if now == seen {
                    break;
                }
                seen = now;
            }
            self.files.iter_mut().zip(seen).for_each(|((_, look), seen)| *look = seen);
            return;
        }
    }

    /// Takes the files for known as they are now: for who reads them without having been told.
    pub fn looked(&mut self) {
        for (file, seen) in &mut self.files {
            *seen = look(file);
        }
    }

    fn looks(&self) -> Vec<Option<Look>> {
        self.files.iter().map(|(file, _)| look(file)).collect()
    }
}

/// `None` for a file that is not there.
fn look(file: &Path) -> Option<Look> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(Look { modified: metadata.modified().ok()?, bytes: metadata.len() })
}

/// So long a file must stay as it is before it is read: an editor may write it in several pieces.
const QUIET: Duration = Duration::from_millis(100);
/// Most bytes of bodies that are moved at once.
const POUR_BYTES: u64 = 8 << 20;
