//! Puts an agent's path together:
//! sources → interceptors → selectors → channels → sinks.
//!
//! A component that cannot be built is refused alone: a warning names the place, the value and the remedy, and the rest
//! runs. What cannot work without it goes too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use millstream_config::{AgentConfig, ComponentConfig, PartConfig};
use millstream_core::{
    BuiltSink, ChannelContext, ChannelProcessor, ChannelRef, ComponentStatus, Error, Interceptor, Options, Result,
    Selector, SinkSpec, Source, SourceSpec, Spec, State, Status,
};

use crate::path;
use crate::registry::{Registry, find};

/// A path, built and not yet running. Lists are in the order of the configuration.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) agent: String,
    pub(crate) sources: Vec<SourcePart>,
    pub(crate) channels: Vec<ChannelPart>,
    pub(crate) sinks: Vec<SinkPart>,
    pub(crate) status: Arc<Status>,
    pub(crate) warnings: Vec<String>,
    /// The path on one line.
    pub(crate) path: String,
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
    pub(crate) processor: Arc<ChannelProcessor>,
    /// Types of its interceptors, first one first.
    pub(crate) interceptors: Vec<&'static str>,
}

#[derive(Debug)]
pub(crate) struct ChannelPart {
    pub(crate) type_name: &'static str,
    pub(crate) channel: ChannelRef,
    pub(crate) status: Arc<ComponentStatus>,
}

pub(crate) struct SinkPart {
    pub(crate) component: Component<SinkSpec>,
    pub(crate) sink: BuiltSink,
    pub(crate) channel: ChannelRef,
}

/// A path on its way.
struct Assembly<'a> {
    config: AgentConfig,
    registry: &'a Registry,
    home: &'a Path,
    sources: Vec<SourcePart>,
    channels: Vec<ChannelPart>,
    sinks: Vec<SinkPart>,
    /// Of refused components, to be shown beside the others.
    refused: Vec<Arc<ComponentStatus>>,
    /// Why each of them was refused.
    reasons: Vec<Error>,
}

// === impl Pipeline ===

impl Pipeline {
    /// Builds what can be built of `config`. `home` is where channels keep their data unless they are told.
    ///
    /// # Errors
    /// The first component's, when neither a source nor a sink is left.
    pub(crate) fn build(config: AgentConfig, registry: &Registry, home: &Path) -> Result<Self, (Error, Vec<String>)> {
        Assembly::new(config, registry, home)
            // First, because both ends hold on to them.
            .with_channels()
            // With their interceptors and selectors.
            .with_sources()
            .with_sinks()
            // What neither fills nor empties a channel any more does not keep it open.
            .without_unconnected_channels()
            .finish()
    }
}

// === impl Assembly ===

impl<'a> Assembly<'a> {
    fn new(config: AgentConfig, registry: &'a Registry, home: &'a Path) -> Self {
        let (sources, channels, sinks) = (Vec::new(), Vec::new(), Vec::new());
        Self { config, registry, home, sources, channels, sinks, refused: Vec::new(), reasons: Vec::new() }
    }

    fn with_channels(mut self) -> Self {
        for config in self.config.channels.clone() {
            match self.channel(&config) {
                Ok(channel) => self.channels.push(channel),
                Err(error) => self.refuse("channel", &config, error),
            }
        }
        let Self { config, channels, .. } = &mut self;
        config.retain_channels(|name| channels.iter().any(|part| **part.channel.name() == *name));
        self
    }

    fn with_sources(mut self) -> Self {
        for config in self.config.sources.clone() {
            match self.source(&config) {
                Ok(source) => self.sources.push(source),
                Err(error) => self.refuse("source", &config, error),
            }
        }
        self
    }

    fn with_sinks(mut self) -> Self {
        for config in self.config.sinks.clone() {
            match self.sink(&config) {
                Ok(sink) => self.sinks.push(sink),
                Err(error) => self.refuse("sink", &config, error),
            }
        }
        self
    }

    fn channel(&mut self, config: &ComponentConfig) -> Result<ChannelPart> {
        let component = self.configure("channel", self.registry.channels(), config)?;
        let cx = ChannelContext { name: Arc::clone(&component.name), home: self.home.to_owned() };
        let channel = guarded(&component.full_name, || (component.spec.build)(&component.options, &cx))?;
        Ok(ChannelPart { type_name: component.spec.name, channel, status: component.status })
    }

    fn source(&mut self, config: &ComponentConfig) -> Result<SourcePart> {
        let component = self.configure("source", self.registry.sources(), config)?;
        let (mut interceptors, mut names) = (Vec::new(), Vec::new());
        for part in &config.interceptors {
            let (name, interceptor) = self.interceptor(part)?;
            names.push(name);
            interceptors.push(interceptor);
        }
        let channels: Vec<ChannelRef> = config.channels.iter().filter_map(|name| self.open_channel(name)).collect();
        let selector = self.selector(&config.selector, &channels)?;
        check_batch_size(&component.options, &channels)?;
        let processor = Arc::new(ChannelProcessor::new(interceptors, selector, channels));
        let source = build_source(component.spec, &component.options, &component.full_name)?;
        Ok(SourcePart { component, source, processor, interceptors: names })
    }

    fn interceptor(&mut self, part: &PartConfig) -> Result<(&'static str, Box<dyn Interceptor>)> {
        let (spec, options) = self.configure_part("interceptor", self.registry.interceptors(), part)?;
        Ok((spec.name, guarded(&part.name, || (spec.build)(&options))?))
    }

    fn selector(&mut self, part: &PartConfig, channels: &[ChannelRef]) -> Result<Box<dyn Selector>> {
        let (spec, options) = self.configure_part("selector", self.registry.selectors(), part)?;
        let names: Vec<Arc<str>> = channels.iter().map(|channel| Arc::clone(channel.name())).collect();
        guarded(&part.name, || (spec.build)(&options, &names))
    }

    fn sink(&mut self, config: &ComponentConfig) -> Result<SinkPart> {
        let component = self.configure("sink", self.registry.sinks(), config)?;
        let name = config.channels.first().map_or("", String::as_str);
        let missing = || Error::config(&config.channels_place, format!("there is no working channel {name:?}"));
        let channel = self.open_channel(name).ok_or_else(missing)?;
        check_batch_size(&component.options, std::slice::from_ref(&channel))?;
        let sink = build_sink(component.spec, &component.options, &component.full_name)?;
        Ok(SinkPart { component, sink, channel })
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

    fn typed<B>(&mut self, spec: &Spec<B>, type_place: &str, settings: &[millstream_core::Setting]) -> Result<Options> {
        // What is missing is missed where the type was written.
        let place = type_place.strip_suffix(".type").unwrap_or(type_place);
        let (options, unknown) = Options::parse(place, spec.options, &[], settings.iter().cloned())?;
        self.config.warnings.extend(unknown);
        Ok(options)
    }

    fn open_channel(&self, name: &str) -> Option<ChannelRef> {
        let found = self.channels.iter().find(|part| **part.channel.name() == *name);
        found.map(|part| Arc::clone(&part.channel))
    }

    fn full_name(&self, kind: &str, component: &str) -> String {
        self.config.full_name(&format!("{kind}s"), component)
    }

    fn refuse(&mut self, kind: &'static str, config: &ComponentConfig, error: Error) {
        let full = self.full_name(kind, &config.name);
        self.config.warnings.push(match &error {
            // Says already where.
            Error::Config { .. } => format!("{error}; so {full} is not run"),
            _ => format!("{}: {full} is not run: {error}", config.type_place),
        });
        let status = ComponentStatus::new(kind, config.name.as_str().into(), config.type_name.as_str().into());
        status.failed(&error);
        status.enter(State::Failed);
        self.refused.push(status);
        self.reasons.push(error);
    }

    fn without_unconnected_channels(mut self) -> Self {
        let Self { config, sources, channels, sinks, .. } = &mut self;
        channels.retain(|part| {
            let name = part.channel.name();
            let fills = sources.iter().any(|source| source.processor.channels().iter().any(|c| c.name() == name));
            let empties = sinks.iter().any(|sink| sink.channel.name() == name);
            let full = config.full_name("channels", name);
            if !fills && !empties {
                config.warnings.push(format!("{full}: none of its sources and sinks works, so it is not run"));
            } else if !empties {
                let warning = "no sink takes events from it; once it is full its sources wait";
                config.warnings.push(format!("{full}: {warning}"));
            }
            fills || empties
        });
        self
    }

    fn finish(self) -> Result<Pipeline, (Error, Vec<String>)> {
        let Self { config, sources, channels, sinks, refused, reasons, .. } = self;
        let AgentConfig { name: agent, warnings, .. } = config;
        if sources.is_empty() && sinks.is_empty() {
            let nothing = || Error::config(&agent, "neither a source nor a sink can run");
            return Err((reasons.into_iter().next().unwrap_or_else(nothing), warnings));
        }
        let status = Arc::new(Status::default());
        let of_kind = |kind| refused.iter().filter(move |status| status.kind == kind).cloned();
        sources.iter().map(|part| Arc::clone(&part.component.status)).for_each(|one| status.add(one));
        of_kind("source").for_each(|one| status.add(one));
        for part in &channels {
            status.add(Arc::clone(&part.status));
            status.add_channel(Arc::clone(&part.channel));
        }
        of_kind("channel").for_each(|one| status.add(one));
        sinks.iter().map(|part| Arc::clone(&part.component.status)).for_each(|one| status.add(one));
        of_kind("sink").for_each(|one| status.add(one));
        let path = path::on_one_line(&sources, &channels, &sinks);
        Ok(Pipeline { agent, sources, channels, sinks, status, warnings, path })
    }
}

// === helpers ===

/// Builds a source, also again after it failed.
pub(crate) fn build_source(spec: &SourceSpec, options: &Options, full_name: &str) -> Result<Box<dyn Source>> {
    guarded(full_name, || (spec.build)(options))
}

/// Builds a sink, also again after it failed.
pub(crate) fn build_sink(spec: &SinkSpec, options: &Options, full_name: &str) -> Result<BuiltSink> {
    guarded(full_name, || (spec.build)(options))
}

/// A panic while `place` is built is an error of that component alone.
fn guarded<T>(place: &str, build: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|payload| Err(panicked(place, &*payload)))
}

/// A panic as an error.
pub(crate) fn panicked(place: &str, payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    Error::Panicked { place: place.to_owned(), message: text.unwrap_or("no text").to_owned() }
}

/// A batch that no transaction of a channel can hold would never get through.
fn check_batch_size(options: &Options, channels: &[ChannelRef]) -> Result<()> {
    let Some(channel) = channels.iter().min_by_key(|channel| channel.transaction_capacity()) else { return Ok(()) };
    let most = channel.transaction_capacity();
    for key in BATCH_SIZE_KEYS {
        let Some(size) = options.find(key).and_then(|value| value.parse::<u64>().ok()) else { continue };
        if size > most {
            let name = channel.name();
            let problem = format!(
                "expected at most {most}, the transactionCapacity of channel {name}, got {size}; lower it or raise that"
            );
            return Err(options.refuse(key, problem));
        }
    }
    Ok(())
}

/// How Flume's components call the size of their batches.
const BATCH_SIZE_KEYS: [&str; 2] = ["batchSize", "batch-size"];

impl std::fmt::Debug for SourcePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourcePart").field("component", &self.component).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SinkPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkPart").field("component", &self.component).finish_non_exhaustive()
    }
}
