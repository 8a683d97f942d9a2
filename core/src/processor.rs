//! From a source into its channels: interceptors, then the selector, then one put per channel.

use std::sync::Arc;

use crate::batch::{Batch, Coverage, NameRun};
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
        status.see(std::slice::from_ref(&batch));
        let routes = self.selector.select(&batch).channels;
        let batch = with_unrouted(batch, &routes);
        let mut puts = Vec::with_capacity(self.channels.len());
        // Only names depend on who else gets an event.
        let mut sent = if batch.has_names() { Sent::Nothing } else { Sent::Unknown };
        for (index, (channel, route)) in self.channels.iter().zip(routes).enumerate() {
            let (part, required) = match &route {
                Route::None if batch.coverage().is_none() => continue,
                Route::None => (batch.filter(|_| false), true),
                Route::Required => (batch.clone(), true),
                Route::Optional => (unrepeated(batch.clone()), false),
                Route::RequiredSome(rows) => (chosen(&batch, rows), true),
                Route::OptionalSome(rows) => (unrepeated(chosen(&batch, rows)), false),
            };
            // Copies of named events are other events downstream; the first channel that gets an event keeps its name.
            let part = sent.named(part, &route, index as u64);
            sent.add(&route, batch.len());
            let part = part.compact();
            let (events, bytes) = (part.len() as u64, part.retained_bytes());
            // Coverage alone takes no room: a full channel does not hold up events that go elsewhere.
            let reserved = if part.is_empty() { Ok(Room::unbounded()) } else { channel.reserve(events, bytes).await };
            let room = match reserved {
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

/// Says in the coverage how many events no channel gets.
fn with_unrouted(batch: Batch, routes: &[Route]) -> Batch {
    let whole = routes.iter().any(|route| matches!(route, Route::Required | Route::Optional));
    let (false, Some(coverage)) = (whole, batch.coverage()) else { return batch };
    let mut sent = Sent::Nothing;
    routes.iter().for_each(|route| sent.add(route, batch.len()));
    let unrouted = (0..batch.len()).filter(|&index| !sent.has(index)).count() as u64;
    if unrouted == 0 {
        return batch;
    }
    let mut coverage = coverage.clone();
    coverage.drop_by(UNROUTED, unrouted);
    batch.with_coverage(coverage)
}

/// Rule under which events are counted that the selector gives to no channel.
const UNROUTED: &str = "no channel";

/// Which events of a batch went to some channel already.
#[derive(Debug)]
enum Sent {
    /// Nobody asks.
    Unknown,
    Nothing,
    All,
    /// By index.
    Some(Vec<bool>),
}

// === impl Sent ===

impl Sent {
    fn has(&self, index: usize) -> bool {
        match self {
            Self::Unknown | Self::Nothing => false,
            Self::All => true,
            Self::Some(sent) => sent[index],
        }
    }

    fn add(&mut self, route: &Route, events: usize) {
        match (&mut *self, route) {
            (Self::Unknown | Self::All, _) | (_, Route::None) => {}
            (_, Route::Required | Route::Optional) => *self = Self::All,
            (Self::Some(sent), Route::RequiredSome(rows) | Route::OptionalSome(rows)) => {
                rows.iter().for_each(|&row| sent[row as usize] = true);
            }
            (Self::Nothing, Route::RequiredSome(_) | Route::OptionalSome(_)) => {
                *self = Self::Some(vec![false; events]);
                self.add(route, events);
            }
        }
    }

    /// Gives names of their own to those events of `part`, the batch along `route`, that are copies.
    fn named(&self, part: Batch, route: &Route, branch: u64) -> Batch {
        match (self, route) {
            (Self::Unknown | Self::Nothing, _) | (_, Route::None) => part,
            (Self::All, _) => {
                let mut runs = part.names();
                runs.iter_mut().for_each(|run| run.incarnation = branch_incarnation(run.incarnation, branch));
                let marks = branched_marks(&part, branch);
                part.with_names(runs).with_low_water(marks)
            }
            (Self::Some(_), Route::RequiredSome(rows) | Route::OptionalSome(rows)) => {
                branched(part, branch, |index| self.has(rows[index] as usize))
            }
            (Self::Some(_), Route::Required | Route::Optional) => branched(part, branch, |index| self.has(index)),
        }
    }
}

/// The names of copies: the same sequences under incarnations of their own, and the sender's marks on them.
fn branched(batch: Batch, branch: u64, is_copy: impl Fn(usize) -> bool) -> Batch {
    let (mut copies, mut runs) = (0, Vec::new());
    for (run, end) in runs_with_ends(&batch) {
        // One run, as long as copies and originals do not take turns in it.
        for index in run.first_row..end {
            let copy = is_copy(index as usize);
            copies += usize::from(copy);
            if index == run.first_row || copy != is_copy(index as usize - 1) {
                let incarnation = if copy { branch_incarnation(run.incarnation, branch) } else { run.incarnation };
                runs.push(NameRun {
                    first_row: index,
                    incarnation,
                    first: run.first + u64::from(index - run.first_row),
                });
            }
        }
    }
    if copies == 0 {
        return batch;
    }
    let mut marks = branched_marks(&batch, branch);
    if copies < batch.len() {
        marks.extend_from_slice(batch.low_water());
    }
    batch.with_names(runs).with_low_water(marks)
}

fn branched_marks(batch: &Batch, branch: u64) -> Vec<(u128, u64)> {
    batch.low_water().iter().map(|&(incarnation, low)| (branch_incarnation(incarnation, branch), low)).collect()
}

/// The runs of names, each with the row behind its last.
fn runs_with_ends(batch: &Batch) -> Vec<(NameRun, u32)> {
    let runs = batch.names();
    let ends: Vec<u32> = runs.iter().skip(1).map(|run| run.first_row).chain([batch.len() as u32]).collect();
    runs.into_iter().zip(ends).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn five() -> Batch {
        Batch::from_bodies(["a", "b", "c", "d", "e"]).named(7, 100).with_low_water([(7, 90)])
    }

    fn names(batch: &Batch) -> Vec<(bool, std::ops::Range<u64>)> {
        batch.name_ranges().into_iter().map(|(incarnation, range)| (incarnation == 7, range)).collect()
    }

    #[test]
    fn the_first_channel_that_gets_an_event_keeps_its_name() {
        let routes =
            [Route::RequiredSome(vec![1, 2]), Route::None, Route::OptionalSome(vec![0, 1, 2, 4]), Route::Required];
        let mut sent = Sent::Nothing;
        let mut parts = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            let part = match route {
                Route::RequiredSome(rows) | Route::OptionalSome(rows) => chosen(&five(), rows),
                Route::None => five().filter(|_| false),
                _ => five(),
            };
            parts.push(sent.named(part, route, index as u64));
            sent.add(route, 5);
        }
        assert_eq!(names(&parts[0]), [(true, 101..103)]);
        assert_eq!(names(&parts[2]), [(true, 100..101), (false, 101..103), (true, 104..105)]);
        assert_eq!(names(&parts[3]), [(false, 100..103), (true, 103..104), (false, 104..105)]);
        let unlike = |part: usize| parts[part].name_ranges().into_iter().find(|(id, _)| *id != 7).expect("a copy").0;
        assert_ne!(unlike(2), unlike(3), "copies of two channels are two events");
        assert_eq!(parts[0].low_water(), [(7, 90)]);
        assert_eq!(parts[2].low_water(), [(unlike(2), 90), (7, 90)]);
    }

    #[test]
    fn whole_copies_are_named_as_one_run() {
        let mut sent = Sent::Nothing;
        sent.add(&Route::Required, 5);
        let copy = sent.named(five(), &Route::Required, 1);
        assert_eq!(copy.names().len(), 1);
        assert_eq!(names(&copy), [(false, 100..105)]);
        assert_eq!(copy.low_water().len(), 1, "there is no original in it");
    }

    #[test]
    fn events_for_no_channel_are_counted_in_the_coverage() {
        let batch = five().with_coverage(Coverage::new("o".into(), 0, 9));
        let dropped = |routes: &[Route]| {
            let coverage = with_unrouted(batch.clone(), routes).coverage().cloned().expect("covered");
            coverage.dropped.iter().map(|(_, events)| events).sum::<u64>()
        };
        assert_eq!(dropped(&[Route::RequiredSome(vec![0, 1]), Route::OptionalSome(vec![1, 4])]), 2);
        assert_eq!(dropped(&[Route::None, Route::Optional]), 0);
        assert_eq!(dropped(&[Route::None, Route::None]), 5);
    }
}
