//! The ledger: where every event is.
//!
//! Computed from what is durable (the channel's totals, the job's commit record), never from process counters, so it
//! holds over restarts and kills.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::channel::ChannelTotals;

/// Where the events of one path are, over the lifetime of its data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Events that a channel stored.
    #[serde(rename = "in")]
    pub stored: u64,
    /// Events whose effect is committed.
    pub counted: u64,
    /// Events stored and not yet committed.
    pub waiting: u64,
    /// Events that no retry could help.
    pub dead_lettered: u64,
    /// Events dropped on purpose, by rule; not part of `in`.
    pub dropped: BTreeMap<String, u64>,
    /// Events that came again and were known by their names.
    pub redelivered: u64,
    /// `in` − counted − waiting − dead-lettered: what nobody can account for. Not zero means a bug or a deleted store;
    /// negative means that something was counted twice.
    pub lost: i64,
}

/// What a job's durable record says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Events whose effect is in a commit record.
    pub counted: u64,
    /// Events in dead letters.
    pub dead_lettered: u64,
    /// Events trimmed because their names were committed or pending already.
    pub redelivered: u64,
    /// Events that are committed by the job and not yet acknowledged in the channel: counted, not waiting.
    pub unacknowledged: u64,
}

impl Ledger {
    /// Balances one channel against the job that empties it.
    pub fn balance(channel: &ChannelTotals, job: Committed) -> Self {
        let stored = channel.put_events;
        let waiting = channel.waiting_events().saturating_sub(job.unacknowledged);
        let accounted = job.counted + job.dead_lettered + waiting;
        Self {
            stored,
            counted: job.counted,
            waiting,
            dead_lettered: job.dead_lettered,
            dropped: channel.dropped.iter().map(|(rule, events)| (rule.to_string(), *events)).collect(),
            redelivered: job.redelivered,
            lost: stored as i64 - accounted as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_lost_and_a_double_count_is_negative() {
        let channel = ChannelTotals { put_events: 10, taken_events: 6, ..ChannelTotals::default() };
        let job = |counted| Committed { counted, ..Committed::default() };
        assert_eq!(Ledger::balance(&channel, job(6)).lost, 0);
        assert_eq!(Ledger::balance(&channel, job(4)).lost, 2);
        assert_eq!(Ledger::balance(&channel, job(8)).lost, -2);
    }

    #[test]
    fn committed_but_unacknowledged_events_do_not_wait() {
        let channel = ChannelTotals { put_events: 10, taken_events: 6, ..ChannelTotals::default() };
        let ledger = Ledger::balance(&channel, Committed { counted: 9, unacknowledged: 3, ..Committed::default() });
        assert_eq!((ledger.waiting, ledger.lost), (1, 0));
    }
}
