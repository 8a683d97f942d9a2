//! Where events wait: the only owner of undelivered events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::batch::Batch;
use crate::error::Result;
use crate::options::Options;
use crate::room::Room;
use crate::ticket::Ticket;

/// A boxed future: one box per batch, never per event.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A channel, shared by its sources and sinks.
pub type ChannelRef = Arc<dyn Channel>;

/// Opens a channel whose options are good. Waits for the disk.
pub type OpenChannel = Box<dyn FnOnce() -> Result<ChannelRef> + Send>;

/// Puts other options of a channel into force.
pub type Reconfigure = Box<dyn FnOnce() + Send>;

/// How much one take may return. It ends at whichever comes first, but always has at least one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Most events.
    pub events: usize,
    /// Most bytes of bodies.
    pub bytes: u64,
}

/// A queue with transactions.
///
/// # Delivery
/// Events can be taken only after the ticket of their put resolved. What is taken and not committed goes back to the
/// head, in the order in which it was stored.
pub trait Channel: Send + Sync + std::fmt::Debug {
    /// The name in the configuration.
    fn name(&self) -> &Arc<str>;

    /// Waits, at most the channel's keep-alive, until there is room.
    ///
    /// # Errors
    /// `ChannelFull` after the keep-alive; `BatchTooLarge` when it can never fit; `DiskFull` while the disk is.
    fn reserve(&self, events: u64, bytes: u64) -> Fut<'_, Result<Room>>;

    /// Stores a batch in room that was reserved for it. Enqueued at once, in call order; the ticket resolves when it is
    /// as durable as this channel promises. Events that the channel has already, by their position, are not stored again.
    fn put(&self, batch: Batch, room: Room) -> Ticket;

    /// Takes the next events. Returns as soon as there is one; an empty take only after the keep-alive.
    fn take(&self, limit: Limit) -> Fut<'_, Result<Take>>;

    /// How far `origin` is stored here: a source resumes at the least over its channels. `None`: never heard of it.
    fn covered(&self, _origin: &str) -> Option<u64> {
        None
    }

    /// Whether a restart finds the events again.
    fn is_durable(&self) -> bool {
        false
    }

    /// The most events of one transaction.
    fn transaction_capacity(&self) -> u64;

    /// What is in it now, and what went through it.
    fn totals(&self) -> ChannelTotals;

    /// Names of the events that are stored and not acknowledged, for the ledger; empty where the store gives no names.
    fn waiting_names(&self) -> Vec<(u128, std::ops::Range<u64>)> {
        Vec::new()
    }

    /// Prepares other options for a channel that keeps what it holds. `None` when it cannot take them over while it is
    /// open: then it is closed and built anew.
    ///
    /// # Errors
    /// A value that cannot be used. Nothing changes before the closure is called.
    fn reconfigure(&self, _options: &Options) -> Result<Option<Reconfigure>> {
        Ok(None)
    }

    /// Keeps an event that `sink` rejects for good beside the channel, as a dead letter. The ticket resolves once that is
    /// durable: then the take that holds the event may be committed. An event whose name is kept already is not kept
    /// twice. `None`: this channel has no place for it.
    fn set_aside(&self, _event: Batch, _sink: &str, _reason: &str) -> Option<Ticket> {
        None
    }

    /// Stops accepting, finishes what was accepted, and releases the store.
    fn close(&self) -> Ticket {
        Ticket::ready(Ok(()))
    }
}

/// What a channel holds and what passed, over the lifetime of its data. The ledger is computed from this, never from
/// process counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelTotals {
    /// Identity of the store (the high half of the incarnations that it gives); `None` for one that forgets.
    pub store: Option<u64>,
    /// Events ever stored.
    pub put_events: u64,
    /// Events that wait no more.
    pub taken_events: u64,
    /// Of these, events that no sink got: their records were damaged.
    pub lost_events: u64,
    /// Of `taken_events`, events that a sink rejected: they are kept as dead letters.
    pub dead_lettered: u64,
    /// Damaged places that were set aside since it was opened, each once over all openings.
    pub quarantined: u64,
    /// Events that came again under a name or position that was stored: they are not in `put_events` a second time.
    pub redelivered_events: u64,
    /// Of `put_events`, those that came under a name that another channel had given.
    pub named_elsewhere: u64,
    /// Bytes waiting.
    pub waiting_bytes: u64,
    /// The `capacity` option.
    pub capacity_events: u64,
    /// Bytes that may wait.
    pub capacity_bytes: u64,
    /// Events dropped on the way in: rule, count.
    pub dropped: Vec<(Arc<str>, u64)>,
}

impl ChannelTotals {
    /// Events stored and not yet acknowledged.
    pub fn waiting_events(&self) -> u64 {
        self.put_events.saturating_sub(self.taken_events)
    }
}

/// Events on their way out, in one transaction. Dropping it gives them back to the head of the channel.
#[must_use = "a dropped take is rolled back"]
pub struct Take {
    batches: Vec<Batch>,
    events: usize,
    low_water: Vec<(u128, u64)>,
    open: Option<Box<dyn OpenTake>>,
}

/// The channel's side of a [`Take`].
pub trait OpenTake: Send {
    /// The sink needs the events no more, but for giving them back: a channel that has them on disk lets go of its memory.
    fn release(&mut self) {}
    /// The events were delivered: enqueued at once.
    fn commit(self: Box<Self>) -> Ticket;
    /// The events go back to the head, in sequence order.
    fn roll_back(self: Box<Self>);
}

// === impl Take ===

impl Take {
    /// A take of `batches`; `low_water` gives per incarnation the sequence below which everything was acknowledged, so
    /// that receivers may forget those names.
    pub fn new(batches: Vec<Batch>, low_water: Vec<(u128, u64)>, open: Box<dyn OpenTake>) -> Self {
        let events = batches.iter().map(Batch::len).sum();
        Self { batches, events, low_water, open: Some(open) }
    }

    /// A take of nothing: the keep-alive passed.
    pub fn empty() -> Self {
        Self { batches: Vec::new(), events: 0, low_water: Vec::new(), open: None }
    }

    /// The events, in the channel's order; may span several puts. None after [`Self::release`].
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// Per incarnation, the sequence below which everything was acknowledged.
    pub fn low_water(&self) -> &[(u128, u64)] {
        &self.low_water
    }

    /// How many events were taken.
    pub fn events(&self) -> usize {
        self.events
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Lets go of the events, for a sink that has sent them and waits for an answer that may take long. The take stays open:
    /// [`Self::batches`] is empty from now on, committing and rolling back are as before.
    pub fn release(&mut self) {
        self.batches = Vec::new();
        if let Some(open) = &mut self.open {
            open.release();
        }
    }

    /// The events were delivered. The work is enqueued at once; dropping the ticket does not undo it.
    pub fn commit(mut self) -> Ticket {
        match self.open.take() {
            Some(open) => open.commit(),
            None => Ticket::ready(Ok(())),
        }
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.roll_back();
        }
    }
}

impl std::fmt::Debug for Take {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Take").field("events", &self.events()).field("open", &self.open.is_some()).finish()
    }
}
