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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Events whose effect is in a commit record, per store that named them.
    pub counted: BTreeMap<u64, u64>,
    /// The same of events that came without a name: in, as far as they are committed.
    pub unnamed: u64,
    /// Of all these, events that were set aside as dead letters.
    pub dead_lettered: u64,
    /// Events trimmed because their names were committed or pending already.
    pub redelivered: u64,
    /// Events that are committed by the job and not yet acknowledged in the channel: counted, not waiting.
    pub unacknowledged: u64,
}

impl Ledger {
    /// Balances one channel against the job that empties it. Events of earlier stores, whose directory was deleted, are in
    /// as far as they were counted.
    pub fn balance(channel: &ChannelTotals, job: &Committed) -> Self {
        Self::balance_all(std::slice::from_ref(channel), channel.waiting_events(), job)
    }

    /// Balances the channels that named the events of a job. Of these events `waiting` are in some channel on the way.
    pub fn balance_all(channels: &[ChannelTotals], waiting: u64, job: &Committed) -> Self {
        let committed = job.counted.values().sum::<u64>() + job.unnamed;
        let counted_of = |channel: &ChannelTotals| channel.store.and_then(|store| job.counted.get(&store));
        let here: u64 = channels.iter().filter_map(counted_of).sum();
        let named_here = channels.iter().map(|channel| channel.put_events - channel.named_elsewhere);
        let stored = named_here.sum::<u64>() + (committed - here);
        let waiting = waiting.saturating_sub(job.unacknowledged);
        let mut dropped = BTreeMap::new();
        for (rule, events) in channels.iter().flat_map(|channel| &channel.dropped) {
            *dropped.entry(rule.to_string()).or_default() += events;
        }
        Self {
            stored,
            counted: committed - job.dead_lettered,
            waiting,
            dead_lettered: job.dead_lettered,
            dropped,
            redelivered: job.redelivered,
            lost: stored as i64 - (committed + waiting) as i64,
        }
    }

    /// Counts events that sinks on the way to the job rejected: they are kept beside the channels, and will not arrive.
    pub fn set_aside(&mut self, events: u64) {
        self.dead_lettered += events;
        self.lost -= events as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> ChannelTotals {
        ChannelTotals { store: Some(1), put_events: 10, taken_events: 6, ..ChannelTotals::default() }
    }

    fn job(store: u64, counted: u64) -> Committed {
        Committed { counted: [(store, counted)].into(), ..Committed::default() }
    }

    #[test]
    fn a_gap_is_lost_and_a_double_count_is_negative() {
        assert_eq!(Ledger::balance(&channel(), &job(1, 6)).lost, 0);
        assert_eq!(Ledger::balance(&channel(), &job(1, 4)).lost, 2);
        assert_eq!(Ledger::balance(&channel(), &job(1, 8)).lost, -2);
    }

    #[test]
    fn committed_but_unacknowledged_events_do_not_wait() {
        let ledger = Ledger::balance(&channel(), &Committed { unacknowledged: 3, ..job(1, 9) });
        assert_eq!((ledger.waiting, ledger.lost), (1, 0));
    }

    #[test]
    fn events_without_names_are_in_as_far_as_they_were_committed() {
        let job = Committed { unnamed: 5, dead_lettered: 9, ..job(1, 6) };
        let ledger = Ledger::balance(&channel(), &job);
        assert_eq!((ledger.stored, ledger.counted, ledger.waiting, ledger.lost), (15, 2, 4, 0));
    }

    #[test]
    fn an_event_in_two_channels_on_the_way_waits_once() {
        // The first one's events pass through it.
        let second = ChannelTotals {
            store: Some(2),
            put_events: 13,
            taken_events: 13,
            named_elsewhere: 6,
            ..ChannelTotals::default()
        };
        let job = Committed { counted: [(1, 6), (2, 7)].into(), ..Committed::default() };
        let ledger = Ledger::balance_all(&[channel(), second], 4, &job);
        assert_eq!((ledger.stored, ledger.counted, ledger.waiting, ledger.lost), (17, 13, 4, 0));
    }

    #[test]
    fn what_was_set_aside_on_the_way_is_not_lost() {
        let mut ledger = Ledger::balance(&channel(), &Committed { dead_lettered: 1, ..job(1, 4) });
        ledger.set_aside(2);
        assert_eq!((ledger.stored, ledger.counted, ledger.dead_lettered, ledger.lost), (10, 3, 3, 0));
    }

    #[test]
    fn what_a_deleted_store_brought_stays_in_the_sum() {
        let mut job = job(1, 6);
        job.counted.insert(7, 100);
        let ledger = Ledger::balance(&channel(), &job);
        assert_eq!((ledger.stored, ledger.counted, ledger.lost), (110, 106, 0));
    }
}
