//! What a component is, and how it declares itself.
//!
//! A component is one file with a `SPEC`; registries are slices of these, and a program adds its own
//! (`Agent::builder().register(&MY_SPEC)`).

use std::path::PathBuf;
use std::sync::Arc;

use crate::batch::Batch;
use crate::channel::{ChannelRef, Fut, OpenChannel};
use crate::error::Result;
use crate::options::{OptionSpec, Options};
use crate::processor::{ChannelProcessor, Delivery};
use crate::status::ComponentStatus;
use crate::stop::StopToken;

/// Brings events in.
pub trait Source: Send {
    /// Runs until `cx.stop` asks it to end or it cannot go on. Calls `cx.status.ready()` once it works. It answers its
    /// peer, or completes its file, only after the [`Delivery`] of the events resolved.
    ///
    /// # Errors
    /// The runner obeys [`crate::Error::reaction`]; sources do not loop to retry.
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>>;
}

/// What a source works with.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where it delivers.
    pub processor: Arc<ChannelProcessor>,
    /// Its counters and state.
    pub status: Arc<ComponentStatus>,
    /// When to end.
    pub stop: StopToken,
}

impl SourceContext {
    /// Hands a batch to interceptors, selector and channels: waits for room, then gives a [`Delivery`] that resolves when
    /// every required channel has it. Several may be open.
    ///
    /// # Errors
    /// `ChannelFull` when a required channel had no room within its keep-alive: nothing was stored, deliver it again.
    pub async fn deliver(&self, batch: Batch) -> Result<Delivery> {
        self.processor.deliver(batch, &self.status).await
    }

    /// Where to go on reading `origin`: the least position over the required channels. `None` when a channel does not
    /// know it: a new origin, or a store that forgets.
    pub fn resume(&self, origin: &str) -> Option<u64> {
        self.processor.resume(origin)
    }
}

/// Changes events on their way in.
pub trait Interceptor: Send + Sync {
    /// Gives back the batch, with fewer events or other headers, and counts what it dropped by rule. It never adds events.
    fn intercept(&self, batch: Batch) -> Result<Intercepted>;
}

/// What an interceptor leaves.
#[derive(Debug)]
pub struct Intercepted {
    /// The events that go on.
    pub batch: Batch,
    /// Events dropped: name of the rule, count.
    pub dropped: Vec<(Arc<str>, u64)>,
}

impl Intercepted {
    /// Everything goes on.
    pub fn kept(batch: Batch) -> Self {
        Self { batch, dropped: Vec::new() }
    }
}

/// Chooses channels.
pub trait Selector: Send + Sync {
    /// Which events go to which channels; indexes count the channels of the source, in configuration order.
    fn select(&self, batch: &Batch) -> Routes;
}

/// Where the events of one batch go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    /// Per channel of the source: how it takes part.
    pub channels: Vec<Route>,
}

/// What one channel gets of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Nothing but the coverage.
    None,
    /// All events; the source waits for it.
    Required,
    /// All events; failure is counted, not returned.
    Optional,
    /// These events, by index, ascending; the source waits for it.
    RequiredSome(Vec<u32>),
    /// These events, by index, ascending; failure is counted, not returned.
    OptionalSome(Vec<u32>),
}

/// Takes events out to a peer or a file.
pub trait Sink: Send {
    /// Delivers the batches of one take. The runner commits the take after it resolved well and rolls it back otherwise.
    ///
    /// # Cancel safety
    /// Runners never drop it while it runs.
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>>;

    /// How many deliveries may be open at once; asked before each. Above 1 they may end in any order.
    fn most_open(&self) -> usize {
        1
    }

    /// What it works with, before the first delivery.
    fn start(&mut self, _cx: SinkContext) {}

    /// After the last delivery, when it is asked to end: closes files and connections.
    ///
    /// # Errors
    /// Are reported; everything delivered stays delivered.
    fn close(&mut self) -> Fut<'static, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A sink whose peers come and take.
pub trait PullSink: Send {
    /// Serves until `cx.stop` asks it to end. Calls `cx.status.ready()` once it listens.
    fn serve(self: Box<Self>, channel: ChannelRef, cx: SinkContext) -> Fut<'static, Result<()>>;
}

/// What a sink works with.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its counters and state.
    pub status: Arc<ComponentStatus>,
    /// When to end.
    pub stop: StopToken,
    /// Of a group: the channel in which it keeps what it cannot deliver.
    pub spool: Option<ChannelRef>,
}

/// A sink in a group.
pub struct Member {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The sink; the group starts and closes it.
    pub sink: Box<dyn Sink>,
    /// Most events that it wants at once.
    pub batch_size: usize,
    /// Its own counters and state: the group counts what it delivers by each.
    pub status: Arc<ComponentStatus>,
}

/// What a channel is built with.
#[derive(Debug, Clone)]
pub struct ChannelContext {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where it keeps its data when the configuration does not say: Flume's `~/.flume`.
    pub home: PathBuf,
}

/// A sink of either kind, as built from its options.
pub enum BuiltSink {
    /// The runner takes, in transactions of at most this many events, and the sink delivers.
    Push {
        /// The sink.
        sink: Box<dyn Sink>,
        /// Most events per take.
        batch_size: usize,
    },
    /// Peers come and take.
    Pull(Box<dyn PullSink>),
}

/// Declares a component: what `T` is built.
#[derive(Debug)]
pub struct Spec<B> {
    /// The type name in the configuration; compared without regard to case, as Flume does.
    pub name: &'static str,
    /// Other names, Flume's class names among them; compared exactly.
    pub aliases: &'static [&'static str],
    /// One sentence.
    pub summary: &'static str,
    /// Every option.
    pub options: &'static [OptionSpec],
    /// Builds it.
    pub build: B,
}

/// A source's declaration.
pub type SourceSpec = Spec<fn(&Options) -> Result<Box<dyn Source>>>;
/// An interceptor's declaration.
pub type InterceptorSpec = Spec<fn(&Options) -> Result<Box<dyn Interceptor>>>;
/// A selector's declaration; the context names the source's channels.
pub type SelectorSpec = Spec<fn(&Options, &[Arc<str>]) -> Result<Box<dyn Selector>>>;
/// A channel's declaration. Its options are judged when it is built; its store is touched when it is opened.
pub type ChannelSpec = Spec<fn(&Options, &ChannelContext) -> Result<OpenChannel>>;
/// A sink processor's declaration: it makes one sink of several.
pub type GroupSpec = Spec<fn(&Options, Vec<Member>) -> Result<Box<dyn Sink>>>;
/// A sink's declaration.
pub type SinkSpec = Spec<fn(&Options) -> Result<BuiltSink>>;

impl<B> Spec<B> {
    /// Whether `type_name` in a configuration means this component.
    pub fn is_called(&self, type_name: &str) -> bool {
        self.name.eq_ignore_ascii_case(type_name) || self.aliases.contains(&type_name)
    }
}
