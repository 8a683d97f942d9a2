//! Puts an agent's path together:
//! sources → interceptors → selectors → channels → sinks.
//!
//! A component that cannot be built is refused alone: a warning names the place, the value and the remedy, and the rest
//! runs. What cannot work without it goes too.
//!
//! Beside a path that runs, only what changed is built, and nothing of what runs is touched: [`Pipeline::build`] gives a
//! plan, which the supervisor puts into force or drops.

mod draft;
mod group;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use millstream_config::{AgentConfig, ComponentConfig, PartConfig};
use millstream_core::{
    BuiltSink, ChannelRef, ComponentStatus, Error, Interceptor, Options, Reconfigure, Result, Selector, SelectorSpec,
    Setting, Source, SourceSpec, Spec, State,
};

use crate::path::Shown;
use crate::registry::{Registry, find};
pub(crate) use draft::{ChannelDraft, ChannelPart};

/// A path, built and not yet running. Lists are in the order of the configuration.
pub(crate) struct Pipeline {
    /// What it was built from, without what was refused.
    pub(crate) config: AgentConfig,
    pub(crate) sources: Vec<Stage<SourcePart>>,
    pub(crate) channels: Vec<ChannelStage>,
    pub(crate) sinks: Vec<Stage<SinkPart>>,
    pub(crate) refused: Vec<Refused>,
}

/// A path that runs, as far as another one beside it must know.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// What works, and can go on where its definition stays the same.
    pub(crate) sources: Vec<ComponentConfig>,
    pub(crate) sinks: Vec<ComponentConfig>,
    pub(crate) channels: Vec<(ComponentConfig, ChannelRef)>,
    /// What was refused already: kind, definition.
    pub(crate) refused: Vec<(&'static str, ComponentConfig)>,
    /// Full names of components that the configuration itself took away.
    pub(crate) broken: Vec<String>,
}

/// A source or a sink of a plan.
pub(crate) enum Stage<T> {
    /// The one that runs goes on.
    Kept(ComponentConfig),
    /// Takes the place of the one that runs, if there is one.
    New(ComponentConfig, Box<T>),
}

/// A channel of a plan.
pub(crate) enum ChannelStage {
    /// The open one stays.
    Kept(ComponentConfig),
    /// The open one stays and takes over other options.
    Resized(ComponentConfig, Reconfigure),
    /// Open.
    Opened(ComponentConfig, ChannelPart),
    /// To be opened once the one that runs, or another one on its directories, is closed.
    Later(ComponentConfig, Arc<ChannelDraft>),
}

/// What every component has; `S` is its kind of declaration.
#[derive(Debug)]
pub(crate) struct Component<S: 'static> {
    /// `a1.sources.r1`.
    pub(crate) full_name: String,
    pub(crate) name: Arc<str>,
    pub(crate) spec: &'static S,
    /// Kept, because a component that failed is built anew.
    pub(crate) options: Options,
    pub(crate) status: Arc<ComponentStatus>,
}

pub(crate) struct SourcePart {
    pub(crate) component: Component<SourceSpec>,
    pub(crate) source: Box<dyn Source>,
    pub(crate) interceptors: Vec<Box<dyn Interceptor>>,
    pub(crate) selector: Box<dyn Selector>,
    pub(crate) shown: Shown,
}

/// A sink, or a group of sinks that are one.
pub(crate) struct SinkPart {
    pub(crate) full_name: String,
    pub(crate) name: Arc<str>,
    pub(crate) status: Arc<ComponentStatus>,
    /// Of the sinks of a group.
    pub(crate) members: Vec<Arc<ComponentStatus>>,
    pub(crate) sink: BuiltSink,
    /// Builds it anew.
    pub(crate) build: BuildSink,
    pub(crate) shown: Shown,
}

/// Builds a sink, also again after it failed.
pub(crate) type BuildSink = Box<dyn Fn() -> Result<BuiltSink> + Send + Sync>;

/// A component that cannot be built.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) definition: ComponentConfig,
    pub(crate) status: Arc<ComponentStatus>,
    pub(crate) error: Error,
}

/// A configuration of which neither a source nor a sink can run.
#[derive(Debug)]
pub(crate) struct Hopeless {
    /// What is wrong with the first component.
    pub(crate) first: Error,
    /// Everything for which something cannot run.
    pub(crate) reasons: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// A configuration of which everything was built that can be built without touching a store.
pub(crate) struct Looked {
    /// Without what cannot run.
    pub(crate) config: AgentConfig,
    pub(crate) refused: Vec<Refused>,
}

/// A path on its way.
struct Assembly<'a> {
    config: AgentConfig,
    registry: &'a Registry,
    home: &'a Path,
    beside: &'a Beside,
    sources: Vec<Stage<SourcePart>>,
    channels: Vec<ChannelStage>,
    sinks: Vec<Stage<SinkPart>>,
    /// Options are judged, stores not touched.
    looks_only: bool,
    /// By name: most events of a transaction of the channels that there will be.
    capacities: BTreeMap<String, u64>,
    refused: Vec<Refused>,
}

// === impl Pipeline ===

impl Pipeline {
    /// Builds what can be built of `config` and does not run already. `home` is where channels keep their data unless they
    /// are told.
    ///
    /// # Errors
    /// When neither a source nor a sink is left.
    pub(crate) fn build(
        config: AgentConfig,
        registry: &Registry,
        home: &Path,
        beside: &Beside,
    ) -> Result<Self, Hopeless> {
        Assembly::new(config, registry, home, beside)
            // First, because both ends hold on to them.
            .with_channels()
            // With their interceptors and selectors.
            .with_sources()
            .with_sinks()
            // What neither fills nor empties a channel any more does not keep it open.
            .without_unconnected_channels()
            .finish()
    }

    /// Builds what judges options, and drops it.
    pub(crate) fn look(config: AgentConfig, registry: &Registry, home: &Path) -> Looked {
        let beside = Beside::default();
        let mut assembly = Assembly::new(config, registry, home, &beside);
        assembly.looks_only = true;
        let assembly = assembly.with_channels().with_sources().with_sinks().without_unconnected_channels();
        let Assembly { config, refused, .. } = assembly;
        Looked { config, refused }
    }

    /// What is wrong and was not wrong before: the reasons not to take the place of what runs.
    pub(crate) fn newly_broken(&self, beside: &Beside) -> Vec<String> {
        let known = |name: &String| beside.broken.contains(name);
        let broken = self.config.broken.iter().filter(|broken| !known(&broken.component));
        let refused = self.refused.iter().filter(|refused| {
            let kind = refused.status.kind;
            !beside.refused.iter().any(|(other, old)| *other == kind && old.means_the_same_as(&refused.definition))
        });
        let refused = refused.map(|refused| told(&refused.error, &refused.definition.type_place));
        let mut reasons: Vec<String> = broken.map(|broken| broken.reason.clone()).chain(refused).collect();
        reasons.dedup();
        reasons
    }
}

// === impl Assembly ===

impl<'a> Assembly<'a> {
    fn new(config: AgentConfig, registry: &'a Registry, home: &'a Path, beside: &'a Beside) -> Self {
        let (sources, channels, sinks) = (Vec::new(), Vec::new(), Vec::new());
        let (capacities, refused) = (BTreeMap::new(), Vec::new());
        Self { config, registry, home, beside, sources, channels, sinks, looks_only: false, capacities, refused }
    }

    fn with_channels(mut self) -> Self {
        for config in self.config.channels.clone() {
            match self.channel(&config) {
                Ok(channel) => self.channels.push(channel),
                Err(error) => self.refuse("channel", &config, error),
            }
        }
        let Self { config, channels, .. } = &mut self;
        config.retain_channels(|name| channels.iter().any(|stage| stage.definition().name == name));
        self
    }

    fn with_sources(mut self) -> Self {
        for config in self.config.sources.clone() {
            let same = self.beside.sources.iter().any(|old| old.means_the_same_as(&config));
            let built = self.source(&config, same && self.stays_connected(&config));
            match built {
                Ok(source) => self.sources.push(source),
                Err(error) => self.refuse("source", &config, error),
            }
        }
        self
    }

    fn with_sinks(mut self) -> Self {
        for group in self.config.sink_groups.clone() {
            self.add_group(&group);
        }
        for config in self.config.sinks.clone() {
            if self.config.sink_groups.iter().any(|group| group.sinks.contains(&config.name)) {
                continue;
            }
            let same = self.beside.sinks.iter().any(|old| old.means_the_same_as(&config));
            let built = self.sink(&config, same && self.stays_connected(&config));
            match built {
                Ok(sink) => self.sinks.push(sink),
                Err(error) => self.refuse("sink", &config, error),
            }
        }
        self
    }

    /// Whether every channel of the component stays the one that it is.
    fn stays_connected(&self, config: &ComponentConfig) -> bool {
        let stays = |stage: &ChannelStage| matches!(stage, ChannelStage::Kept(_) | ChannelStage::Resized(..));
        let staying = |name: &String| self.channels.iter().any(|one| one.definition().name == *name && stays(one));
        config.channels.iter().all(staying)
    }

    fn channel(&mut self, config: &ComponentConfig) -> Result<ChannelStage> {
        let component = self.configure("channel", self.registry.channels(), config)?;
        let draft = Arc::new(ChannelDraft { component, home: self.home.to_owned() });
        draft.check()?;
        if self.looks_only {
            return Ok(self.later(config, draft));
        }
        let beside = self.beside;
        let Some((old, open)) = beside.channels.iter().find(|(old, _)| old.name == config.name) else {
            return match draft.open() {
                Ok(part) => {
                    self.capacities.insert(config.name.clone(), part.channel.transaction_capacity());
                    Ok(ChannelStage::Opened(config.clone(), part))
                }
                // Perhaps by a channel that is about to go.
                Err(Error::InUse { .. }) if !beside.channels.is_empty() => Ok(self.later(config, draft)),
                Err(error) => Err(error),
            };
        };
        if old.means_the_same_as(config) {
            self.capacities.insert(config.name.clone(), open.transaction_capacity());
            return Ok(ChannelStage::Kept(config.clone()));
        }
        let same_type = old.type_name == config.type_name;
        let resized = if same_type { open.reconfigure(&draft.component.options)? } else { None };
        let Some(reconfigure) = resized else { return Ok(self.later(config, draft)) };
        self.capacities.insert(config.name.clone(), draft.transaction_capacity());
        Ok(ChannelStage::Resized(config.clone(), reconfigure))
    }

    fn later(&mut self, config: &ComponentConfig, draft: Arc<ChannelDraft>) -> ChannelStage {
        self.capacities.insert(config.name.clone(), draft.transaction_capacity());
        ChannelStage::Later(config.clone(), draft)
    }

    fn source(&mut self, config: &ComponentConfig, stays: bool) -> Result<Stage<SourcePart>> {
        let component = self.configure("source", self.registry.sources(), config)?;
        self.check_batch_size(&component.options, &config.channels)?;
        if stays {
            return Ok(Stage::Kept(config.clone()));
        }
        let (mut interceptors, mut names) = (Vec::new(), Vec::new());
        for part in &config.interceptors {
            let (name, interceptor) = self.interceptor(part)?;
            names.push(name);
            interceptors.push(interceptor);
        }
        let channels: Vec<Arc<str>> = config.channels.iter().map(|name| name.as_str().into()).collect();
        let selector = self.selector(&config.selector, &channels)?;
        let source = build_source(component.spec, &component.options, &component.full_name)?;
        let shown = Shown::new(&component, &names, channels);
        let part = SourcePart { component, source, interceptors, selector, shown };
        Ok(Stage::New(config.clone(), Box::new(part)))
    }

    fn interceptor(&mut self, part: &PartConfig) -> Result<(&'static str, Box<dyn Interceptor>)> {
        let (spec, options) = self.configure_part("interceptor", self.registry.interceptors(), part)?;
        Ok((spec.name, guarded(&part.name, || (spec.build)(&options))?))
    }

    fn selector(&mut self, part: &PartConfig, channels: &[Arc<str>]) -> Result<Box<dyn Selector>> {
        let (spec, options): (&SelectorSpec, _) = self.configure_part("selector", self.registry.selectors(), part)?;
        guarded(&part.name, || (spec.build)(&options, channels))
    }

    fn sink(&mut self, config: &ComponentConfig, stays: bool) -> Result<Stage<SinkPart>> {
        let component = self.configure("sink", self.registry.sinks(), config)?;
        self.check_batch_size(&component.options, &config.channels)?;
        if stays {
            return Ok(Stage::Kept(config.clone()));
        }
        let channels = config.channels.iter().map(|name| name.as_str().into()).collect();
        let shown = Shown::new(&component, &[], channels);
        let Component { full_name, name, spec, options, status } = component;
        let place = full_name.clone();
        let build: BuildSink = Box::new(move || guarded(&place, || (spec.build)(&options)));
        let (sink, members) = (build()?, Vec::new());
        let part = SinkPart { full_name, name, status, members, sink, build, shown };
        Ok(Stage::New(config.clone(), Box::new(part)))
    }

    /// Finds the declaration of a component and types its settings.
    fn configure<B>(
        &mut self,
        kind: &'static str,
        specs: &[&'static Spec<B>],
        config: &ComponentConfig,
    ) -> Result<Component<Spec<B>>> {
        let full_name = self.full_name(kind, &config.name);
        let spec = find(specs, kind, &config.type_name, &config.type_place)?;
        let options = self.typed(spec, &config.type_place, &config.settings)?;
        let name: Arc<str> = config.name.as_str().into();
        let status = ComponentStatus::new(kind, Arc::clone(&name), spec.name.into());
        Ok(Component { full_name, name, spec, options, status })
    }

    fn configure_part<B>(
        &mut self,
        kind: &'static str,
        specs: &[&'static Spec<B>],
        part: &PartConfig,
    ) -> Result<(&'static Spec<B>, Options)> {
        let spec = find(specs, kind, &part.type_name, &part.type_place)?;
        let options = self.typed(spec, &part.type_place, &part.settings)?;
        Ok((spec, options))
    }

    fn typed<B>(&mut self, spec: &Spec<B>, type_place: &str, settings: &[Setting]) -> Result<Options> {
        // What is missing is missed where the type was written.
        let place = type_place.strip_suffix(".type").unwrap_or(type_place);
        let (options, unknown) = Options::parse(place, spec.options, &[], settings.iter().cloned())?;
        self.config.warnings.extend(unknown);
        Ok(options)
    }

    /// A batch that no transaction of a channel can hold would never get through.
    fn check_batch_size(&self, options: &Options, channels: &[String]) -> Result<()> {
        let known = channels.iter().filter_map(|name| Some((*self.capacities.get(name)?, name)));
        let Some((most, name)) = known.min() else { return Ok(()) };
        for key in BATCH_SIZE_KEYS {
            let Some(size) = options.find(key).and_then(|value| value.parse::<u64>().ok()) else { continue };
            if size > most {
                let problem = format!(
                    "expected at most {most}, the transactionCapacity of channel {name}, got {size}; lower it or raise that"
                );
                return Err(options.refuse(key, problem));
            }
        }
        Ok(())
    }

    fn full_name(&self, kind: &str, component: &str) -> String {
        self.config.full_name(&format!("{kind}s"), component)
    }

    fn refuse(&mut self, kind: &'static str, config: &ComponentConfig, error: Error) {
        let full = self.full_name(kind, &config.name);
        self.config.warnings.push(match &error {
            Error::Config { .. } => format!("{error}; so {full} is not run"),
            _ => format!("{}: {full} is not run: {error}", config.type_place),
        });
        self.refused.push(Refused::new(kind, config.clone(), error));
    }

    fn without_unconnected_channels(mut self) -> Self {
        let Self { config, sources, channels, sinks, .. } = &mut self;
        let fills: Vec<&String> = sources.iter().flat_map(|source| &source.definition().channels).collect();
        let empties: Vec<&String> = sinks.iter().flat_map(|sink| &sink.definition().channels).collect();
        channels.retain(|stage| {
            let name = &stage.definition().name;
            let (fills, empties) = (fills.contains(&name), empties.contains(&name));
            let full = config.full_name("channels", name);
            if !fills && !empties {
                config.warnings.push(format!("{full}: none of its sources and sinks works, so it is not run"));
            } else if !empties {
                let place = &stage.definition().type_place;
                let place = place.strip_suffix(".type").unwrap_or(place);
                config.warnings.push(format!("{place}: {UNEMPTIED}"));
            }
            fills || empties
        });
        self
    }

    fn finish(self) -> Result<Pipeline, Hopeless> {
        let Self { config, sources, channels, sinks, refused, .. } = self;
        if sources.is_empty() && sinks.is_empty() {
            let refusals = refused.iter().map(|refused| told(&refused.error, &refused.definition.type_place));
            let reasons = refusals.chain(config.broken.iter().map(|broken| broken.reason.clone())).collect();
            let nothing = Error::config(&config.name, "neither a source nor a sink can run");
            let first = refused.into_iter().next().map_or(nothing, |refused| refused.error);
            return Err(Hopeless { first, reasons, warnings: config.warnings });
        }
        Ok(Pipeline { config, sources, channels, sinks, refused })
    }
}

// === impl Stage, ChannelStage ===

impl<T> Stage<T> {
    pub(crate) fn definition(&self) -> &ComponentConfig {
        match self {
            Self::Kept(definition) | Self::New(definition, _) => definition,
        }
    }

    /// Whether the component of this name that runs goes on.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        matches!(self, Self::Kept(definition) if definition.name == name)
    }
}

impl ChannelStage {
    pub(crate) fn definition(&self) -> &ComponentConfig {
        match self {
            Self::Kept(definition)
            | Self::Resized(definition, _)
            | Self::Opened(definition, _)
            | Self::Later(definition, _) => definition,
        }
    }
}

// === impl Refused ===

impl Refused {
    pub(crate) fn new(kind: &'static str, definition: ComponentConfig, error: Error) -> Self {
        let status = ComponentStatus::new(kind, definition.name.as_str().into(), definition.type_name.as_str().into());
        status.failed(&error);
        status.enter(State::Failed);
        Self { definition, status, error }
    }
}

// === helpers ===

/// An error with its place, where it does not say it itself.
pub(crate) fn told(error: &Error, place: &str) -> String {
    match error {
        Error::Config { .. } => error.to_string(),
        _ => format!("{place}: {error}"),
    }
}

/// Builds a source, also again after it failed.
pub(crate) fn build_source(spec: &SourceSpec, options: &Options, full_name: &str) -> Result<Box<dyn Source>> {
    guarded(full_name, || (spec.build)(options))
}

/// A panic while `place` is built is an error of that component alone.
pub(crate) fn guarded<T>(place: &str, build: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|payload| Err(panicked(place, &*payload)))
}

/// A panic as an error.
pub(crate) fn panicked(place: &str, payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    Error::Panicked { place: place.to_owned(), message: text.unwrap_or("no text").to_owned() }
}

/// Said of a channel that nobody empties.
pub(crate) const UNEMPTIED: &str = "no sink takes events from it; once it is full its sources wait";
/// How Flume's components call the size of their batches.
const BATCH_SIZE_KEYS: [&str; 4] = ["batchSize", "batch-size", "sink.batchSize", "hdfs.batchSize"];
