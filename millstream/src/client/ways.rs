//! How a client with several hosts goes on when one fails.
//!
//! # Source
//! `FailoverRpcClient`, `LoadBalancingRpcClient`, `OrderSelector` (Flume SDK 1.11).

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use millstream_core::{Error, Result};
use tokio::time::Instant;

use super::call::Call;
use super::host::Host;

/// One host at a time, the next one in the circle when it fails.
#[derive(Debug)]
pub(super) struct Failover {
    hosts: Vec<Host>,
    /// The host in use, or where the search begins.
    current: usize,
    max_attempts: usize,
}

/// Hosts in turn or at random.
#[derive(Debug)]
pub(super) struct LoadBalance {
    hosts: Vec<Host>,
    /// As many as hosts.
    penalties: Vec<Option<Penalty>>,
    order: Order,
    max_backoff: Option<Duration>,
    round: usize,
}

/// Which host comes first.
#[derive(Debug)]
pub(super) enum Order {
    /// Each after the other.
    RoundRobin,
    /// Any, by a hash of the round.
    Random(RandomState),
}

/// Of a host that failed.
#[derive(Debug, Clone, Copy)]
struct Penalty {
    /// In a row.
    failures: u32,
    until: Instant,
}

// === impl Failover ===

impl Failover {
    pub(super) fn new(hosts: Vec<Host>, max_attempts: usize) -> Self {
        Self { hosts, current: 0, max_attempts }
    }

    /// The hosts, the one in use first.
    pub(super) fn hosts_mut(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// # Errors
    /// The last host's; at once when none can be connected to.
    pub(super) async fn call(&mut self, call: &Call) -> Result<()> {
        let mut last = None;
        for _ in 0..self.max_attempts {
            self.connect().await?;
            match self.hosts[self.current].call(call).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, address = self.hosts[self.current].address(), "host failed, trying the next");
                    self.hosts[self.current].close().await;
                    self.current = (self.current + 1) % self.hosts.len();
                    last = Some(error);
                }
            }
        }
        Err(none_left(last, "no attempt was made"))
    }

    /// Finds a host that can be connected to, from the current one on, once around.
    async fn connect(&mut self) -> Result<()> {
        let mut last = None;
        for _ in 0..self.hosts.len() {
            match self.hosts[self.current].connect().await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
            self.current = (self.current + 1) % self.hosts.len();
        }
        Err(none_left(last, "there is no host"))
    }
}

// === impl LoadBalance ===

impl LoadBalance {
    pub(super) fn new(hosts: Vec<Host>, order: Order, max_backoff: Option<Duration>) -> Self {
        let penalties = vec![None; hosts.len()];
        Self { hosts, penalties, order, max_backoff, round: 0 }
    }

    pub(super) fn hosts_mut(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// # Errors
    /// The last host's, after each was tried once.
    pub(super) async fn call(&mut self, call: &Call) -> Result<()> {
        let mut last = None;
        for index in self.next_order() {
            match self.hosts[index].call(call).await {
                Ok(()) => {
                    self.penalties[index] = None;
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(%error, address = self.hosts[index].address(), "host failed, trying the next");
                    self.penalize(index);
                    last = Some(error);
                }
            }
        }
        Err(none_left(last, "each host is held back after a failure"))
    }

    /// The hosts to try, first one first, without those that are held back.
    fn next_order(&mut self) -> Vec<usize> {
        let (count, round) = (self.hosts.len(), self.round);
        self.round = self.round.wrapping_add(1);
        let mut order: Vec<usize> = (0..count).map(|step| (round % count + step) % count).collect();
        if let Order::Random(seed) = &self.order {
            // Fisher and Yates.
            for last in (1..count).rev() {
                let at = seed.hash_one((round, last)) % (last as u64 + 1);
                order.swap(last, at as usize);
            }
        }
        let now = Instant::now();
        order.retain(|index| self.penalties[*index].is_none_or(|penalty| penalty.until <= now));
        order
    }

    /// Holds a host back: 2 s, twice as long with each further failure.
    fn penalize(&mut self, index: usize) {
        let Some(most) = self.max_backoff else { return };
        let failures = self.penalties[index].map_or(1, |penalty| penalty.failures.saturating_add(1));
        let length = FIRST_BACKOFF.saturating_mul(1 << (failures - 1).min(MOST_DOUBLINGS)).min(most);
        self.penalties[index] = Some(Penalty { failures, until: Instant::now() + length });
    }
}

fn none_left(last: Option<Error>, otherwise: &str) -> Error {
    last.unwrap_or_else(|| Error::net("deliver to", "any host", std::io::Error::other(otherwise.to_owned())))
}

const FIRST_BACKOFF: Duration = Duration::from_secs(2);
const MOST_DOUBLINGS: u32 = 15;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::series::Series;
    use super::super::{Event, properties};
    use super::*;

    fn of_three(more: [(&str, &str); 2]) -> LoadBalance {
        let hosts = [("hosts", "a b c"), ("hosts.a", "h:1"), ("hosts.b", "h:2"), ("hosts.c", "h:3")];
        let kind = [("client.type", "default_loadbalance")];
        let settings = properties::settings(hosts.into_iter().chain(kind).chain(more));
        match properties::Plan::of(settings).unwrap().way {
            properties::Way::LoadBalance(load_balance) => load_balance,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_backoff_a_host_that_failed_is_left_out_twice_as_long_each_time() {
        let mut hosts = of_three([("backoff", "true"), ("maxBackoff", "5000")]);
        for seconds in [2, 4, 5, 5] {
            hosts.penalize(1);
            assert!(!hosts.next_order().contains(&1));
            tokio::time::advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert!(!hosts.next_order().contains(&1), "before {seconds} s");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(hosts.next_order().contains(&1), "after {seconds} s");
        }
        (0..3).for_each(|index| hosts.penalize(index));
        let call = Call::of(&[Event::from("a")], &Series::draw().unwrap(), true);
        let error = hosts.call(&call).await.unwrap_err().to_string();
        assert_eq!(error, "deliver to any host: each host is held back after a failure");
    }

    #[tokio::test]
    async fn without_backoff_no_host_is_left_out() {
        let mut hosts = of_three([("backoff", "false"), ("host-selector", "RANDOM")]);
        (0..3).for_each(|index| hosts.penalize(index));
        let mut order = hosts.next_order();
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2]);
    }
}
