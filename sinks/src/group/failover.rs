//! The sink of the highest priority that works takes everything.
//!
//! # Delivery
//! A take that one member fails to deliver goes to the next one at once, under the same names: if the first one's peer
//! stored it all the same, and both lead to one receiver of ours, that one knows it.
//!
//! # Source
//! `org.apache.flume.sink.FailoverSinkProcessor` (Flume 1.11). Different on purpose: a member whose penalty is over is tried
//! when its turn comes by priority, not before those of higher priority that work.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{
    Batch, Fut, GroupSpec, Kind, Member, OptionSpec, Options, Result, Sink, SinkContext, family, optional,
};

use super::members::{Failures, Members};

/// The declaration.
pub static SPEC: GroupSpec = GroupSpec {
    name: "failover",
    aliases: &["org.apache.flume.sink.FailoverSinkProcessor"],
    summary: "Hands everything to the working sink of the highest priority.",
    options: OPTIONS,
    build: |options, members| Ok(Box::new(Group(Arc::new(Failover::from_options(options, members)?)))),
};

const OPTIONS: &[OptionSpec] = &[
    family(
        "priority.*",
        Kind::Int(i32::MIN as i64, i32::MAX as i64),
        "Of a sink, by its name; higher goes first. Sinks without one come last, in the order of the group.",
    ),
    optional("maxpenalty", Kind::Millis, "30000", "Longest time for which a sink that failed is not tried."),
];

/// Members by priority.
pub(super) struct Failover {
    members: Members,
    /// Places of members, the highest priority first.
    order: Vec<usize>,
    max_penalty: Duration,
}

struct Group(Arc<Failover>);

// === impl Failover ===

impl Failover {
    pub(super) fn from_options(options: &Options, members: Vec<Member>) -> Result<Self> {
        let members = Members::new(members);
        let mut priorities = vec![None; members.len()];
        for setting in options.under("priority.") {
            let Some(index) = members.find(&setting.key) else {
                let problem = format!("expected a sink of this group ({}), got {:?}", members.names(), setting.key);
                return Err(millstream_core::Error::config(&setting.place, problem));
            };
            priorities[index] = setting.value.parse::<i32>().ok();
        }
        let mut order: Vec<usize> = (0..members.len()).collect();
        // Stable, and nothing is below everything.
        order.sort_by_key(|index| Reverse(priorities[*index]));
        Ok(Self { members, order, max_penalty: options.millis("maxpenalty")? })
    }

    pub(super) async fn deliver(&self, batches: Arc<[Batch]>) -> Result<()> {
        let mut failures = Failures::default();
        for &index in &self.order {
            if !self.members.is_live(index) {
                continue;
            }
            match self.members.deliver(index, Arc::clone(&batches), self.max_penalty).await {
                Ok(()) => return Ok(()),
                Err(error) => failures.add(error),
            }
        }
        Err(self.members.none_left(failures))
    }

    /// What the member takes at once whose turn it is.
    pub(super) fn most_open(&self) -> usize {
        let active = self.order.iter().find(|index| self.members.is_live(**index));
        active.map_or(1, |index| self.members.most_open(*index))
    }

    pub(super) fn members(&self) -> &Members {
        &self.members
    }
}

impl Sink for Group {
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        let group = Arc::clone(&self.0);
        Box::pin(async move { group.deliver(batches).await })
    }

    fn most_open(&self) -> usize {
        self.0.most_open()
    }

    fn start(&mut self, cx: SinkContext) {
        self.0.members.start(&cx);
    }

    fn close(&mut self) -> Fut<'static, Result<()>> {
        let group = Arc::clone(&self.0);
        Box::pin(async move { group.members.close().await })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::members::tests::{Log, context, members, one, options};
    use super::*;

    type Switches = Vec<Arc<AtomicBool>>;

    fn group(settings: &[(&str, &str)], log: &Log) -> (Box<dyn Sink>, Switches) {
        let (members, switches) = members(&["a", "b", "c"], log);
        let mut group = (SPEC.build)(&options(OPTIONS, settings).unwrap(), members).unwrap();
        group.start(context());
        (group, switches)
    }

    fn set(switch: &Arc<AtomicBool>, broken: bool) {
        switch.store(broken, Ordering::SeqCst);
    }

    const PRIORITIES: &[(&str, &str)] = &[("priority.b", "10"), ("priority.a", "5"), ("maxpenalty", "5000")];

    #[tokio::test(start_paused = true)]
    async fn the_highest_priority_that_works_takes_everything_and_takes_it_back_once_its_penalty_is_over() {
        let log = Log::default();
        let (mut group, switches) = group(PRIORITIES, &log);
        group.deliver(one("1")).await.unwrap();
        assert_eq!(log.taken(), "b");
        set(&switches[1], true);
        group.deliver(one("2")).await.unwrap();
        set(&switches[0], true);
        group.deliver(one("3")).await.unwrap();
        assert_eq!(log.taken(), "ac", "the same take, by the next one");
        set(&switches[1], false);
        group.deliver(one("4")).await.unwrap();
        assert_eq!(log.taken(), "c", "held back for two seconds");
        tokio::time::advance(Duration::from_secs(2)).await;
        group.deliver(one("5")).await.unwrap();
        assert_eq!(log.taken(), "b");
    }

    #[tokio::test(start_paused = true)]
    async fn penalties_double_up_to_the_most() {
        let log = Log::default();
        let (mut group, switches) = group(PRIORITIES, &log);
        set(&switches[1], true);
        for wait_ms in [2000, 4000, 5000, 5000] {
            group.deliver(one("x")).await.unwrap();
            assert_eq!(log.taken(), "a");
            set(&switches[1], false);
            tokio::time::advance(Duration::from_millis(wait_ms - 1)).await;
            group.deliver(one("x")).await.unwrap();
            assert_eq!(log.taken(), "a", "still held back");
            set(&switches[1], true);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_every_member_rejects_is_rejected_and_holds_none_of_them_back() {
        let log = Log::default();
        let (mut group, switches) = group(PRIORITIES, &log);
        let error = group.deliver(one("poison")).await.unwrap_err();
        assert_eq!(error.to_string(), "rejected: not to the taste of c");
        group.deliver(one("1")).await.unwrap();
        assert_eq!(log.taken(), "b", "the next event goes where it should");
        // One that cannot be asked might take it.
        set(&switches[0], true);
        set(&switches[1], true);
        group.deliver(one("2")).await.unwrap();
        let error = group.deliver(one("poison")).await.unwrap_err();
        assert!(matches!(error.reaction(), millstream_core::Reaction::Retry { .. }), "{error}");
    }

    #[tokio::test]
    async fn when_all_fail_the_delivery_fails_and_says_why() {
        let (mut group, switches) = group(&[], &Log::default());
        switches.iter().for_each(|switch| set(switch, true));
        let error = group.deliver(one("x")).await.unwrap_err();
        let wanted =
            "deliver by one of a b c: all sinks failed to process, nothing left to fail over to; last: deliver to c: ";
        assert!(error.to_string().starts_with(wanted), "{error}");
        assert!(matches!(error.reaction(), millstream_core::Reaction::Retry { .. }));
        let error = group.deliver(one("x")).await.unwrap_err().to_string();
        assert!(error.ends_with("each is held back after a failure"), "{error}");
    }

    #[test]
    fn a_priority_of_a_sink_that_is_not_in_the_group_is_refused_at_its_place() {
        let (members, _) = members(&["a", "b"], &Log::default());
        let options = options(OPTIONS, &[("priority.d", "1")]).unwrap();
        let error = (SPEC.build)(&options, members).err().unwrap().to_string();
        assert_eq!(error, "flume.conf:7: a1.sources.r1.priority.d: expected a sink of this group (a b), got \"d\"");
    }
}
