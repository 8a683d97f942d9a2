//! Live first, the disk second: what no sink of the group can deliver now waits in a channel of its own.
//!
//! A take goes to the working sink of the highest priority, as with `failover`. When none works it is put into `channel`,
//! a file channel as a rule, and so is done: memory speed while the peer is there, nothing lost while it is not. What waits
//! there is delivered, oldest first, once a sink works again, beside what comes in.
//!
//! # Delivery
//! Of Flume's three levels the one in the middle: with a memory channel before the group and a file channel in it, events are
//! safe from the peer's failure as soon as that is noticed, and lost only with this process while they are in memory. A take is
//! done when a sink delivered it or the channel stored it. An event that every sink rejects for good becomes a dead letter of
//! that channel.
//!
//! # Source
//! The *store on failure* reliability level of Flume OG; Flume NG has no such processor.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::poison::{Letterbox, Suspicion, Verdict};
use millstream_core::{
    Batch, ChannelRef, Error, Fut, GroupSpec, Kind, Limit, Member, OptionSpec, Options, Reaction, Result, Sink,
    SinkContext, StopToken, Take, family, optional, required,
};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::failover::Failover;

/// The declaration.
pub static SPEC: GroupSpec = GroupSpec {
    name: "store_on_failure",
    aliases: &[],
    summary: "Hands everything to a working sink, and keeps in a channel what none can take.",
    options: OPTIONS,
    build: |options, members| Ok(Box::new(StoreOnFailure::new(options, members)?)),
};

const OPTIONS: &[OptionSpec] = &[
    required("channel", Kind::Text, "The channel for what cannot be delivered; no source and no other sink uses it."),
    family(
        "priority.*",
        Kind::Int(i32::MIN as i64, i32::MAX as i64),
        "Of a sink, by its name; higher goes first. Sinks without one come last, in the order of the group.",
    ),
    optional("maxpenalty", Kind::Millis, "30000", "Longest time for which a sink that failed is not tried."),
];

struct StoreOnFailure {
    sinks: Arc<Failover>,
    channel: String,
    spool: Option<ChannelRef>,
    draining: JoinSet<()>,
}

// === impl StoreOnFailure ===

impl StoreOnFailure {
    fn new(options: &Options, members: Vec<Member>) -> Result<Self> {
        let sinks = Arc::new(Failover::from_options(options, members)?);
        Ok(Self { sinks, channel: options.text("channel")?.to_owned(), spool: None, draining: JoinSet::new() })
    }
}

impl Sink for StoreOnFailure {
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        let (sinks, spool, channel) = (Arc::clone(&self.sinks), self.spool.clone(), self.channel.clone());
        Box::pin(async move {
            let Err(error) = sinks.deliver(Arc::clone(&batches)).await else { return Ok(()) };
            if error.reaction() == Reaction::Reject {
                // No sink will ever take all of it.
                return Err(error);
            }
            let Some(spool) = spool else {
                return Err(Error::config("channel", format!("there is no working channel {channel:?}")));
            };
            store(&batches, &spool).await?;
            tracing::debug!(%error, channel = %spool.name(), "stored, as no sink delivers");
            Ok(())
        })
    }

    fn most_open(&self) -> usize {
        self.sinks.most_open()
    }

    fn start(&mut self, cx: SinkContext) {
        self.sinks.members().start(&cx);
        self.spool.clone_from(&cx.spool);
        if let Some(spool) = &self.spool {
            let (spool, sinks, suspicion) = (Arc::clone(spool), Arc::clone(&self.sinks), Suspicion::default());
            let spooled = Spooled { spool, sinks, name: cx.name, suspicion };
            self.draining.spawn(spooled.drain(cx.stop));
        }
    }

    fn close(&mut self) -> Fut<'static, Result<()>> {
        let (sinks, mut draining) = (Arc::clone(&self.sinks), std::mem::take(&mut self.draining));
        Box::pin(async move {
            while draining.join_next().await.is_some() {}
            sinks.members().close().await
        })
    }
}

async fn store(batches: &[Batch], spool: &ChannelRef) -> Result<()> {
    let mut stored = Vec::with_capacity(batches.len());
    for batch in batches {
        // A take is as large as its channel allows, which may be more than this one does.
        let most = usize::try_from(spool.transaction_capacity()).unwrap_or(usize::MAX).max(1);
        for start in (0..batch.len()).step_by(most) {
            let part = batch.slice(start..(start + most).min(batch.len())).compact();
            let room = spool.reserve(part.len() as u64, part.retained_bytes()).await?;
            stored.push(spool.put(part, room));
        }
    }
    for ticket in stored {
        ticket.await?;
    }
    Ok(())
}

/// What waits in the channel of a group.
struct Spooled {
    spool: ChannelRef,
    sinks: Arc<Failover>,
    /// The group's.
    name: Arc<str>,
    suspicion: Suspicion,
}

// === impl Spooled ===

impl Spooled {
    /// Delivers it, oldest first, until the group stops.
    async fn drain(mut self, mut stop: StopToken) {
        let most = usize::try_from(self.spool.transaction_capacity()).unwrap_or(usize::MAX).min(MOST_EVENTS);
        loop {
            let limit = Limit { events: self.suspicion.limit(most), bytes: MOST_BYTES };
            let taken = tokio::select! {
                biased;
                () = stop.stopped() => return,
                taken = self.spool.take(limit) => taken,
            };
            let outcome = match taken {
                Ok(take) if take.is_empty() => {
                    drop(take.commit());
                    Ok(())
                }
                Ok(take) => self.deliver(take).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, channel = %self.spool.name(), "what is stored waits");
                tokio::select! {
                    () = stop.stopped() => return,
                    () = sleep(PAUSE) => {}
                }
            }
        }
    }

    async fn deliver(&mut self, take: Take) -> Result<()> {
        let events = take.events();
        let Err(error) = self.sinks.deliver(take.batches().into()).await else {
            self.suspicion.delivered(events);
            return take.commit().await;
        };
        if error.reaction() != Reaction::Reject {
            return Err(error);
        }
        let alone = take.batches().first().filter(|_| events == 1 && self.suspicion.may_set_aside());
        let verdict = match alone.map(|batch| self.letterbox(batch)) {
            Some(letterbox) => match letterbox.keep(&error).await {
                Some(Err(error)) if error.reaction() != Reaction::Reject => return Err(error),
                // What can never be written has no place either.
                Some(Err(_)) => self.suspicion.has_no_place(),
                Some(Ok(())) => {
                    self.suspicion.set_aside();
                    return take.commit().await;
                }
                None => self.suspicion.has_no_place(),
            },
            None => self.suspicion.rejected(events),
        };
        match verdict {
            Verdict::Divide => return Ok(()),
            Verdict::Stays(why, true) => {
                let channel = self.spool.name();
                tracing::error!(%error, %channel, "the sinks reject an event that is stored: {}", why.text());
            }
            Verdict::Again | Verdict::Stays(_, false) => {}
        }
        Err(error)
    }

    fn letterbox(&self, batch: &Batch) -> Letterbox {
        let channels = vec![Arc::clone(&self.spool)];
        Letterbox { channels, sink: Arc::clone(&self.name), event: batch.slice(0..1) }
    }
}

const MOST_EVENTS: usize = 1000;
const MOST_BYTES: u64 = 2 << 20;
/// Between two attempts to deliver what is stored; a member that failed is held back longer anyway.
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::atomic::Ordering;

    use millstream_core::stop_token;
    use millstream_testkit::TestChannel;

    use super::super::members::tests::{Log, context, members, one, options};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_no_sink_takes_waits_in_the_channel_and_is_delivered_once_one_works() {
        let log = Log::default();
        let spool = TestChannel::new();
        let (members, switches) = members(&["a", "b"], &log);
        let mut group = (SPEC.build)(&options(OPTIONS, &[("channel", "spool")]).unwrap(), members).unwrap();
        let (stopper, stop) = stop_token();
        group.start(SinkContext { spool: Some(spool.shared()), stop, ..context() });
        group.deliver(one("1")).await.unwrap();
        switches[0].store(true, Ordering::SeqCst);
        group.deliver(one("2")).await.unwrap();
        switches[1].store(true, Ordering::SeqCst);
        for body in ["3", "4"] {
            group.deliver(one(body)).await.unwrap();
        }
        assert_eq!(spool.texts(), ["3", "4"], "what a sink took is not stored");
        assert_eq!(log.bodies(), ["1", "2"]);
        switches[1].store(false, Ordering::SeqCst);
        spool.until_committed(2).await;
        assert_eq!(log.bodies()[2..], ["3", "4"]);
        stopper.stop();
        group.close().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_every_sink_rejects_is_not_stored_and_leaves_the_channel_as_a_dead_letter() {
        let log = Log::default();
        let spool = TestChannel::new();
        spool.keep_letters();
        let (members, switches) = members(&["a", "b"], &log);
        let mut group = (SPEC.build)(&options(OPTIONS, &[("channel", "spool")]).unwrap(), members).unwrap();
        let (stopper, stop) = stop_token();
        group.start(SinkContext { spool: Some(spool.shared()), stop, ..context() });
        let error = group.deliver(one("poison")).await.unwrap_err();
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        assert!(spool.texts().is_empty());
        // While no sink can be asked nobody knows.
        switches.iter().for_each(|switch| switch.store(true, Ordering::SeqCst));
        group.deliver(one("0")).await.unwrap();
        for body in ["1", "poison", "2"] {
            group.deliver(one(body)).await.unwrap();
        }
        switches.iter().for_each(|switch| switch.store(false, Ordering::SeqCst));
        spool.until_committed(4).await;
        assert_eq!(log.bodies(), ["0", "1", "2"]);
        assert_eq!(spool.stored().letters, Some(vec!["poison".to_owned()]));
        stopper.stop();
        group.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_channel_that_refuses_fails_the_delivery() {
        let spool = TestChannel::new();
        let (members, switches) = members(&["a"], &Log::default());
        let mut group = (SPEC.build)(&options(OPTIONS, &[("channel", "spool")]).unwrap(), members).unwrap();
        group.start(SinkContext { spool: Some(spool.shared()), ..context() });
        switches[0].store(true, Ordering::SeqCst);
        spool.refuse_reservations(1);
        assert!(group.deliver(one("x")).await.is_err());
        group.deliver(one("x")).await.unwrap();
        assert_eq!(spool.texts(), ["x"]);
    }
}
