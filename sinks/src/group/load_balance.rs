//! Sinks take turns.
//!
//! # Delivery
//! A take that one member fails to deliver goes to the next one at once. As many takes are open as all members take
//! together, and one that is at work as far as it can is passed over, so a slow one, or one that hangs, does not hold up the
//! others; the order of events over the group is not kept.
//!
//! # Source
//! `org.apache.flume.sink.LoadBalancingSinkProcessor` (Flume 1.11). Different on purpose: several takes are open; with
//! `backoff` and every member held back the delivery is tried again later, where the random selector of Flume never ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millstream_core::{Batch, Fut, GroupSpec, Kind, Member, OptionSpec, Options, Result, Sink, SinkContext, optional};

use super::members::{Failures, Members};

/// The declaration.
pub static SPEC: GroupSpec = GroupSpec {
    name: "load_balance",
    aliases: &["org.apache.flume.sink.LoadBalancingSinkProcessor"],
    summary: "Spreads takes over its sinks, in turn or at random.",
    options: OPTIONS,
    build: |options, members| Ok(Box::new(Group(Arc::new(LoadBalance::from_options(options, members)?)))),
};

const OPTIONS: &[OptionSpec] = &[
    optional("selector", Kind::Choice(&["round_robin", "random"]), "round_robin", "In turn, or at random."),
    optional("backoff", Kind::Bool, "false", "A sink that failed is not tried for a while, longer with each failure."),
    optional("selector.maxTimeOut", Kind::Millis, "30000", "The longest such while."),
];

struct LoadBalance {
    members: Members,
    random: bool,
    backoff: bool,
    max_penalty: Duration,
    /// Where the next round begins.
    head: AtomicUsize,
}

struct Group(Arc<LoadBalance>);

// === impl LoadBalance ===

impl LoadBalance {
    fn from_options(options: &Options, members: Vec<Member>) -> Result<Self> {
        let members = Members::new(members);
        if members.len() < 2 {
            let problem = format!("load_balance takes two sinks or more, this group has {:?} alone", members.names());
            return Err(options.refuse("type", problem));
        }
        let backoff = options.bool("backoff")?;
        let max_penalty = if backoff { options.millis("selector.maxTimeOut")? } else { Duration::ZERO };
        let random = options.text("selector")?.eq_ignore_ascii_case("random");
        Ok(Self { members, random, backoff, max_penalty, head: AtomicUsize::new(0) })
    }

    /// The members to try, first one first.
    fn order(&self) -> Vec<usize> {
        let count = self.members.len();
        let head = self.head.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<usize> = (0..count).map(|step| (head + step) % count).collect();
        if self.random {
            shuffle(&mut order, head as u64);
        }
        order.retain(|index| !self.backoff || self.members.is_live(*index));
        // One that is at work, or hangs, has its turn when nobody is idle.
        order.sort_by_key(|index| !self.members.has_room(*index));
        order
    }

    async fn deliver(&self, batches: Arc<[Batch]>) -> Result<()> {
        let mut failures = Failures::default();
        for index in self.order() {
            match self.members.deliver(index, Arc::clone(&batches), self.max_penalty).await {
                Ok(()) => return Ok(()),
                Err(error) => failures.add(error),
            }
        }
        Err(self.members.none_left(failures))
    }
}

impl Sink for Group {
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        let group = Arc::clone(&self.0);
        Box::pin(async move { group.deliver(batches).await })
    }

    fn most_open(&self) -> usize {
        (0..self.0.members.len()).map(|index| self.0.members.most_open(index)).sum()
    }

    fn start(&mut self, cx: SinkContext) {
        self.0.members.start(&cx);
    }

    fn close(&mut self) -> Fut<'static, Result<()>> {
        let group = Arc::clone(&self.0);
        Box::pin(async move { group.members.close().await })
    }
}

/// Fisher and Yates, by a hash of the number of the round and a seed of the process.
fn shuffle(order: &mut [usize], round: u64) {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::LazyLock;
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    for last in (1..order.len()).rev() {
        let at = SEED.hash_one((round, last)) % (last as u64 + 1);
        order.swap(last, at as usize);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::atomic::AtomicBool;

    use super::super::members::tests::{Log, context, members, one, options};
    use super::*;

    fn group(settings: &[(&str, &str)], log: &Log) -> (Box<dyn Sink>, Vec<Arc<AtomicBool>>) {
        let (members, switches) = members(&["a", "b", "c"], log);
        let mut group = (SPEC.build)(&options(OPTIONS, settings).unwrap(), members).unwrap();
        group.start(context());
        (group, switches)
    }

    #[tokio::test]
    async fn sinks_take_turns_and_the_next_one_takes_what_one_fails_to_deliver() {
        let log = Log::default();
        let (mut group, switches) = group(&[], &log);
        assert_eq!(group.most_open(), 3);
        for _ in 0..6 {
            group.deliver(one("x")).await.unwrap();
        }
        assert_eq!(log.taken(), "abcabc");
        switches[1].store(true, Ordering::SeqCst);
        for _ in 0..6 {
            group.deliver(one("x")).await.unwrap();
        }
        assert_eq!(log.taken(), "accacc", "without backoff it is tried every time");
    }

    struct Hung;

    impl Sink for Hung {
        fn deliver(&mut self, _: Arc<[Batch]>) -> Fut<'static, Result<()>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test]
    async fn one_that_hangs_holds_what_it_was_given_and_nothing_else() {
        let log = Log::default();
        let (mut all, _) = members(&["a", "b"], &log);
        all[1].sink = Box::new(Hung);
        let mut group = (SPEC.build)(&options(OPTIONS, &[]).unwrap(), all).unwrap();
        group.start(context());
        group.deliver(one("x")).await.unwrap();
        let mut held = group.deliver(one("held"));
        assert!(is_pending(&mut held).await);
        for _ in 0..10 {
            group.deliver(one("x")).await.unwrap();
        }
        assert_eq!(log.taken(), "aaaaaaaaaaa");
        drop(held);
        let mut held = group.deliver(one("its turn again"));
        let mut next = group.deliver(one("x"));
        assert!(is_pending(&mut held).await ^ is_pending(&mut next).await);
    }

    async fn is_pending(delivery: &mut Fut<'static, Result<()>>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(delivery.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test(start_paused = true)]
    async fn with_backoff_a_sink_that_failed_is_left_out_for_a_while() {
        let log = Log::default();
        let (mut group, switches) = group(&[("backoff", "true")], &log);
        switches.iter().for_each(|switch| switch.store(true, Ordering::SeqCst));
        let failed = group.deliver(one("x")).await.unwrap_err().to_string();
        assert!(failed.contains("last: deliver to"), "{failed}");
        let held_back = group.deliver(one("x")).await.unwrap_err().to_string();
        assert!(held_back.ends_with("each is held back after a failure"), "{held_back}");
        switches.iter().for_each(|switch| switch.store(false, Ordering::SeqCst));
        tokio::time::advance(Duration::from_secs(2)).await;
        group.deliver(one("x")).await.unwrap();
        assert_eq!(log.taken().len(), 1);
    }

    #[tokio::test]
    async fn at_random_every_sink_gets_its_part() {
        let log = Log::default();
        let (mut group, _) = group(&[("selector", "random")], &log);
        for _ in 0..300 {
            group.deliver(one("x")).await.unwrap();
        }
        let taken = log.taken();
        let part = |name| taken.matches(name).count();
        assert!([part("a"), part("b"), part("c")].iter().all(|count| (50..200).contains(count)), "{taken}");
        assert_ne!(&taken[..30], "abcabcabcabcabcabcabcabcabcabc");
    }

    #[test]
    fn one_sink_alone_is_refused() {
        let (members, _) = members(&["a"], &Log::default());
        let error = (SPEC.build)(&options(OPTIONS, &[]).unwrap(), members).err().unwrap().to_string();
        assert!(error.contains("two sinks or more"), "{error}");
    }
}
