//! A channel whose uses are counted under Flume's names.
//!
//! Counted where everyone passes, since a sink may take by itself: once per put and once per take, never per event. What
//! succeeded is not counted here: the channel's own totals say it. Whoever taps the channel sees what is put.

use std::ops::Range;
use std::sync::Arc;

use millstream_core::{
    Batch, Channel, ChannelRef, ChannelTotals, ComponentStatus, Error, Fut, Limit, MetricName, Options, Reconfigure,
    Result, Room, Take, Ticket,
};

/// Counts into the status of the channel inside.
#[derive(Debug)]
pub(crate) struct Metered {
    inner: ChannelRef,
    status: Arc<ComponentStatus>,
}

// === impl Metered ===

impl Metered {
    pub(crate) fn wrap(inner: ChannelRef, status: Arc<ComponentStatus>) -> ChannelRef {
        Arc::new(Self { inner, status })
    }

    /// A channel that is full or stopping is not at fault.
    fn failed(&self, error: &Error, counter: MetricName) {
        let at_fault =
            !matches!(error, Error::ChannelFull { .. } | Error::BatchTooLarge { .. } | Error::Stopped { .. });
        if at_fault {
            self.status.count(counter, 1);
            self.status.failed(error);
        }
    }
}

impl Channel for Metered {
    fn name(&self) -> &Arc<str> {
        self.inner.name()
    }

    fn reserve(&self, events: u64, bytes: u64) -> Fut<'_, Result<Room>> {
        self.status.count(MetricName::EventPutAttemptCount, events);
        let reserving = self.inner.reserve(events, bytes);
        Box::pin(async move {
            let reserved = reserving.await;
            match &reserved {
                Ok(_) => self.status.found_room(true),
                Err(error) => {
                    self.status.found_room(!matches!(error, Error::ChannelFull { .. }));
                    self.failed(error, MetricName::EventPutErrorCount);
                }
            }
            reserved
        })
    }

    fn put(&self, batch: Batch, room: Room) -> Ticket {
        self.status.see(std::slice::from_ref(&batch));
        self.inner.put(batch, room)
    }

    /// As in Flume, where an event is taken at a time: one attempt more than there were events, if not all came that were
    /// asked for.
    fn take(&self, limit: Limit) -> Fut<'_, Result<Take>> {
        let taking = self.inner.take(limit);
        Box::pin(async move {
            let taken = taking.await;
            match &taken {
                Ok(take) => {
                    if !take.is_empty() {
                        self.status.taken();
                    }
                    let attempts = take.events() + usize::from(take.events() < limit.events);
                    self.status.count(MetricName::EventTakeAttemptCount, attempts as u64);
                }
                Err(error) => self.failed(error, MetricName::EventTakeErrorCount),
            }
            taken
        })
    }

    fn covered(&self, origin: &str) -> Option<u64> {
        self.inner.covered(origin)
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn transaction_capacity(&self) -> u64 {
        self.inner.transaction_capacity()
    }

    fn totals(&self) -> ChannelTotals {
        self.inner.totals()
    }

    fn waiting_names(&self) -> Vec<(u128, Range<u64>)> {
        self.inner.waiting_names()
    }

    fn reconfigure(&self, options: &Options) -> Result<Option<Reconfigure>> {
        self.inner.reconfigure(options)
    }

    fn set_aside(&self, event: Batch, sink: &str, reason: &str) -> Option<Ticket> {
        self.inner.set_aside(event, sink, reason)
    }

    fn close(&self) -> Ticket {
        self.inner.close()
    }
}
