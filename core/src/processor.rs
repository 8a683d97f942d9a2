//! From a source into its channels: interceptors, then the selector, then one put per channel.

use std::sync::Arc;

use crate::batch::{Batch, Coverage};
use crate::channel::ChannelRef;
use crate::component::{Interceptor, Route, Selector};
use crate::counters::MetricName;
use crate::error::Result;
use crate::room::Room;
use crate::status::ComponentStatus;
use crate::ticket::Ticket;

/// The way of one source's events into its channels.
pub struct ChannelProcessor {
    interceptors: Vec<Box<dyn Interceptor>>,
    selector: Box<dyn Selector>,
    /// In configuration order: what the selector's indexes count.
    channels: Vec<ChannelRef>,
}

/// Events handed over; resolves when every required channel has them.
#[derive(Debug)]
#[must_use = "only a resolved delivery says that the events are stored"]
pub struct Delivery(Vec<Ticket>);

// === impl ChannelProcessor ===

impl ChannelProcessor {
    /// Interceptors run in the order given.
    pub fn new(
        interceptors: Vec<Box<dyn Interceptor>>,
        selector: Box<dyn Selector>,
        channels: Vec<ChannelRef>,
    ) -> Self {
        Self { interceptors, selector, channels }
    }

    /// Room is reserved in every required channel before anything is put into one: a full channel leaves the others
    /// without a half-delivered batch.
    pub(crate) async fn deliver(&self, batch: Batch, status: &ComponentStatus) -> Result<Delivery> {
        let received = batch.len() as u64;
        let batch = self.intercept(batch)?;
        let routes = self.selector.select(&batch).channels;
        let mut puts = Vec::with_capacity(self.channels.len());
        for (index, (channel, route)) in self.channels.iter().zip(routes).enumerate() {
            let (part, required) = match route {
                Route::None if batch.coverage().is_none() => continue,
                Route::None => (batch.filter(|_| false), true),
                Route::Required => (batch.clone(), true),
                Route::Optional => (unrepeated(batch.clone()), false),
                Route::RequiredSome(rows) => (chosen(&batch, &rows), true),
                Route::OptionalSome(rows) => (unrepeated(chosen(&batch, &rows)), false),
            };
            // Copies of named events are other events downstream; the first channel keeps the name.
            let part = if index == 0 { part } else { branched(part, index as u64) };
            let part = part.compact();
            let (events, bytes) = (part.len() as u64, part.retained_bytes());
            let room = match channel.reserve(events, bytes).await {
                Ok(room) => room,
                Err(error) if required => {
                    status.count(MetricName::ChannelWriteFail, 1);
                    return Err(error);
                }
                Err(error) => {
                    status.count(MetricName::ChannelWriteFail, 1);
                    tracing::warn!(channel = %channel.name(), %error, events, "optional channel refused a batch");
                    continue;
                }
            };
            puts.push((channel, part, room, required));
        }
        Ok(Delivery(self.put_all(puts, received, status)))
    }

    fn put_all(
        &self,
        puts: Vec<(&ChannelRef, Batch, Room, bool)>,
        received: u64,
        status: &ComponentStatus,
    ) -> Vec<Ticket> {
        let mut tickets = Vec::with_capacity(puts.len());
        for (channel, part, room, required) in puts {
            let ticket = channel.put(part, room);
            if required {
                tickets.push(ticket);
            }
        }
        status.count(MetricName::EventReceivedCount, received);
        tickets
    }

    fn intercept(&self, mut batch: Batch) -> Result<Batch> {
        for interceptor in &self.interceptors {
            let coverage = batch.coverage().cloned();
            let outcome = interceptor.intercept(batch)?;
            batch = outcome.batch;
            if let Some(mut coverage) = coverage {
                outcome.dropped.iter().for_each(|(rule, events)| coverage.drop_by(rule, *events));
                batch = batch.with_coverage(coverage);
            }
        }
        Ok(batch)
    }

    /// The least position over the channels that remember; `None` when one of them does not know the origin.
    pub(crate) fn resume(&self, origin: &str) -> Option<u64> {
        self.channels.iter().map(|channel| channel.covered(origin)).min().flatten()
    }

    /// Tells every channel that `origin` is completed, so that its identity may come again as another file.
    pub async fn retire(&self, origin: Arc<str>) -> Result<Delivery> {
        let mut tickets = Vec::with_capacity(self.channels.len());
        for channel in &self.channels {
            let batch = Batch::empty().with_coverage(Coverage::retired(Arc::clone(&origin)));
            let room = channel.reserve(0, batch.retained_bytes()).await?;
            tickets.push(channel.put(batch, room));
        }
        Ok(Delivery(tickets))
    }

    /// The channels, in configuration order.
    pub fn channels(&self) -> &[ChannelRef] {
        &self.channels
    }
}

/// A batch that does not come again when its put fails: it accounts for whatever is missing before it.
fn unrepeated(batch: Batch) -> Batch {
    match batch.coverage().cloned() {
        Some(coverage) => batch.with_coverage(Coverage { start: 0, ..coverage }),
        None => batch,
    }
}

fn chosen(batch: &Batch, rows: &[u32]) -> Batch {
    batch.filter(|index| rows.binary_search(&(index as u32)).is_ok())
}

/// The names of a copy: the same sequences under incarnations of their own, and the sender's marks on them.
fn branched(batch: Batch, branch: u64) -> Batch {
    if !batch.has_names() {
        return batch;
    }
    let marks = batch.low_water().iter().map(|&(incarnation, low)| (branch_incarnation(incarnation, branch), low));
    let marks: Vec<(u128, u64)> = marks.collect();
    let runs = batch.names().into_iter().map(|mut run| {
        run.incarnation = branch_incarnation(run.incarnation, branch);
        run
    });
    let runs = runs.collect();
    batch.with_names(runs).with_low_water(marks)
}

/// Mixes a branch number into an incarnation (splitmix64 over each half); the same inputs always give the same id. The
/// halves stay apart: the high one names the store, the low one its opening, and a branch of a store is one store.
fn branch_incarnation(incarnation: u128, branch: u64) -> u128 {
    let mix = |half: u64| {
        let mut x = half.wrapping_add(branch.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    (u128::from(mix((incarnation >> 64) as u64)) << 64) | u128::from(mix(incarnation as u64))
}

impl std::fmt::Debug for ChannelProcessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let channels: Vec<_> = self.channels.iter().map(|channel| channel.name()).collect();
        f.debug_struct("ChannelProcessor").field("channels", &channels).finish_non_exhaustive()
    }
}

// === impl Delivery ===

impl Delivery {
    /// Waits until every required channel has the events.
    ///
    /// # Errors
    /// The first failure: deliver the batch again. Channels that have it already trim it by its positions.
    pub async fn stored(self) -> Result<()> {
        let mut outcome = Ok(());
        for ticket in self.0 {
            let one = ticket.await;
            if outcome.is_ok() {
                outcome = one;
            }
        }
        outcome
    }
}
