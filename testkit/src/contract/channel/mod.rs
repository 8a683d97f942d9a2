//! What every channel does.
//!
//! A channel's tests call [`channel_contract!`](crate::channel_contract) with a [`Home`], and
//! [`durable_channel_contract!`](crate::durable_channel_contract) with a [`DurableHome`] if it survives a restart.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests; the names of the cases are their claims")]

mod letters;
mod names;

use std::time::{Duration, Instant};

use millstream_core::{Batch, ChannelRef, Coverage, Error, Limit, Name, Take};
use tokio::time::timeout;

pub use letters::*;
pub use names::*;

/// How long a case waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// A keep-alive that no case waits for.
const LONG: Duration = Duration::from_secs(600);
/// A keep-alive that cases wait for.
const SHORT: Duration = Duration::from_millis(40);

/// How the channel under test is to be configured.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Most events that may wait.
    pub capacity_events: u64,
    /// Most events of one batch.
    pub transaction_events: u64,
    /// Longest wait.
    pub keep_alive: Duration,
}

/// The place of one channel: a directory, a disk in memory, or nothing at all.
pub trait Home {
    /// Opens the channel, which is not open.
    fn open(&self, shape: Shape) -> ChannelRef;
}

/// The place of a channel that survives.
pub trait DurableHome: Home {
    /// The process that opened the channel is killed: whatever of it still runs changes nothing any more.
    fn kill(&self);
}

/// Tests a channel: `channel_contract!(home)`, where `home` is an expression that makes a [`Home`].
#[macro_export]
macro_rules! channel_contract {
    ($home:expr) => {
        $crate::channel_cases!(
            contract, $home;
            events_come_out_in_the_order_of_the_puts
            a_partial_batch_is_given_at_once
            an_empty_take_lasts_as_long_as_the_keep_alive
            a_waiting_take_is_woken_by_a_put
            every_waiting_taker_is_served
            what_is_rolled_back_comes_first_in_order
            what_a_sink_let_go_of_is_given_back_and_committed_as_before
            several_takes_that_were_let_go_of_are_given_back_in_any_order
            takes_let_go_of_and_others_are_given_back_in_any_order
            what_is_rolled_back_is_regrouped_by_other_limits
            a_full_channel_refuses_after_the_keep_alive_and_stores_nothing
            a_commit_lets_a_waiting_put_in
            a_batch_above_the_transaction_capacity_is_refused
            bytes_bound_a_take_but_one_event_always_passes
            several_takes_are_open_and_commit_in_any_order
            a_dropped_ticket_undoes_nothing
            every_event_has_a_name_of_its_own_across_openings
            names_given_elsewhere_stay
            events_that_come_again_under_their_names_are_stored_once
            what_went_another_way_is_stored_when_it_arrives_below_the_senders_marks
            waiting_names_are_those_not_committed
            low_water_is_the_lowest_name_not_committed
            only_a_channel_with_a_disk_sets_events_aside
            coverage_without_events_is_accepted
            a_closed_channel_refuses
        );
    };
}

/// Tests what a channel owes that is durable; beside [`channel_contract!`].
#[macro_export]
macro_rules! durable_channel_contract {
    ($home:expr) => {
        $crate::channel_cases!(
            durable_contract, $home;
            a_restart_delivers_exactly_what_was_not_committed
            a_kill_loses_no_put_and_brings_back_no_commit
            a_restart_knows_positions_drops_and_totals
            names_survive_a_restart
            names_received_are_known_after_a_restart_and_a_kill
            what_is_set_aside_is_kept_once_over_a_kill_before_its_commit
        );
    };
}

/// One test per case.
#[doc(hidden)]
#[macro_export]
macro_rules! channel_cases {
    ($module:ident, $home:expr; $($case:ident)*) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    $crate::contract::channel::$case(&$home).await;
                }
            )*
        }
    };
}

fn shape(capacity_events: u64, keep_alive: Duration) -> Shape {
    Shape { capacity_events, transaction_events: capacity_events.min(10), keep_alive }
}

fn roomy() -> Shape {
    shape(1000, LONG)
}

fn events(count: usize) -> Limit {
    Limit { events: count, bytes: u64::MAX }
}

async fn put(channel: &ChannelRef, bodies: &[&str]) {
    put_batch(channel, Batch::from_bodies(bodies)).await;
}

async fn put_batch(channel: &ChannelRef, batch: Batch) {
    let stored = async {
        let room = channel.reserve(batch.len() as u64, batch.retained_bytes()).await.unwrap();
        channel.put(batch, room).await.unwrap();
    };
    timeout(PATIENCE, stored).await.expect("stored in time");
}

async fn take(channel: &ChannelRef, limit: Limit) -> Take {
    timeout(PATIENCE, channel.take(limit)).await.expect("taken in time").unwrap()
}

async fn commit(take: Take) {
    timeout(PATIENCE, take.commit()).await.expect("committed in time").unwrap();
}

async fn close(channel: ChannelRef) {
    timeout(PATIENCE, channel.close()).await.expect("closed in time").unwrap();
}

/// Takes and commits `count` events, however they are cut.
async fn drain(channel: &ChannelRef, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let take = take(channel, events(count - all.len())).await;
        all.extend(texts(&take));
        commit(take).await;
    }
    all
}

fn texts(take: &Take) -> Vec<String> {
    let events = take.batches().iter().flat_map(Batch::iter);
    events.map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect()
}

fn names(take: &Take) -> Vec<Name> {
    take.batches().iter().flat_map(Batch::iter).map(|event| event.name().expect("a stored event has a name")).collect()
}

async fn assert_empty(channel: &ChannelRef) {
    let totals = channel.totals();
    assert_eq!(totals.waiting_events(), 0, "{totals:?}");
    assert!(channel.waiting_names().is_empty());
}

pub async fn events_come_out_in_the_order_of_the_puts(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b"]).await;
    put(&channel, &["c"]).await;
    put(&channel, &["d", "e"]).await;
    let all = take(&channel, events(10)).await;
    assert_eq!(texts(&all), ["a", "b", "c", "d", "e"]);
    commit(all).await;
    assert_empty(&channel).await;
}

pub async fn a_partial_batch_is_given_at_once(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a"]).await;
    // The keep-alive is far longer than the patience of this case.
    assert_eq!(texts(&take(&channel, events(100)).await), ["a"]);
}

pub async fn an_empty_take_lasts_as_long_as_the_keep_alive(home: &impl Home) {
    let channel = home.open(shape(10, SHORT));
    let begun = Instant::now();
    let nothing = take(&channel, events(10)).await;
    assert!(nothing.is_empty());
    assert!(begun.elapsed() >= SHORT);
    commit(nothing).await;
}

pub async fn a_waiting_take_is_woken_by_a_put(home: &impl Home) {
    let channel = home.open(roomy());
    let taker = std::sync::Arc::clone(&channel);
    let taken = tokio::spawn(async move { taker.take(events(10)).await });
    tokio::task::yield_now().await;
    put(&channel, &["a"]).await;
    let taken = timeout(PATIENCE, taken).await.expect("woken").unwrap().unwrap();
    assert_eq!(texts(&taken), ["a"]);
}

pub async fn every_waiting_taker_is_served(home: &impl Home) {
    let channel = home.open(roomy());
    let takers: Vec<_> = (0..5)
        .map(|_| {
            let taker = std::sync::Arc::clone(&channel);
            tokio::spawn(async move { taker.take(events(1)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    put(&channel, &["a", "b", "c", "d", "e"]).await;
    let mut all = Vec::new();
    for taker in takers {
        let taken = timeout(PATIENCE, taker).await.expect("served").unwrap().unwrap();
        all.extend(texts(&taken));
        commit(taken).await;
    }
    all.sort();
    assert_eq!(all, ["a", "b", "c", "d", "e"]);
}

pub async fn what_is_rolled_back_comes_first_in_order(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b", "c", "d", "e", "f"]).await;
    let first = take(&channel, events(2)).await;
    let second = take(&channel, events(2)).await;
    let third = take(&channel, events(1)).await;
    drop(third);
    drop(first);
    commit(second).await;
    assert_eq!(drain(&channel, 4).await, ["a", "b", "e", "f"]);
    assert_empty(&channel).await;
}

pub async fn what_a_sink_let_go_of_is_given_back_and_committed_as_before(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b", "c"]).await;
    put(&channel, &["d", "e"]).await;
    let (mut first, second, mut third) =
        (take(&channel, events(2)).await, take(&channel, events(1)).await, take(&channel, events(1)).await);
    first.release();
    third.release();
    assert_eq!((first.events(), first.batches().len(), first.is_empty()), (2, 0, false));
    commit(third).await;
    drop(first);
    assert_eq!(drain(&channel, 3).await, ["a", "b", "e"], "what other takes hold or delivered does not come again");
    drop(second);
    assert_eq!(drain(&channel, 1).await, ["c"]);
    assert_empty(&channel).await;
    close(channel).await;
}

pub async fn several_takes_that_were_let_go_of_are_given_back_in_any_order(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b", "c", "d", "e", "f"]).await;
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1]] {
        let mut takes = Vec::new();
        for _ in 0..3 {
            let mut taken = take(&channel, events(2)).await;
            taken.release();
            takes.push(Some(taken));
        }
        order.into_iter().for_each(|index| drop(takes[index].take()));
    }
    assert_eq!(drain(&channel, 6).await, ["a", "b", "c", "d", "e", "f"]);
    assert_empty(&channel).await;
}

pub async fn takes_let_go_of_and_others_are_given_back_in_any_order(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b", "c", "d", "e", "f"]).await;
    for (released, order) in [(0, [0, 1, 2]), (0, [1, 0, 2]), (1, [1, 2, 0]), (1, [2, 0, 1]), (2, [2, 1, 0])] {
        let mut takes = Vec::new();
        for _ in 0..3 {
            takes.push(Some(take(&channel, events(2)).await));
        }
        takes[released].iter_mut().for_each(Take::release);
        order.into_iter().for_each(|index| drop(takes[index].take()));
        let first = take(&channel, events(1)).await;
        assert_eq!(texts(&first), ["a"], "{released} let go of, given back in the order {order:?}");
    }
    assert_eq!(drain(&channel, 6).await, ["a", "b", "c", "d", "e", "f"]);
    assert_empty(&channel).await;
}

pub async fn what_is_rolled_back_is_regrouped_by_other_limits(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b", "c"]).await;
    put(&channel, &["d", "e"]).await;
    drop(take(&channel, events(2)).await);
    let regrouped = take(&channel, events(4)).await;
    assert_eq!(texts(&regrouped), ["a", "b", "c", "d"]);
    drop(regrouped);
    let one = take(&channel, events(1)).await;
    assert_eq!(texts(&one), ["a"]);
    commit(one).await;
    assert_eq!(drain(&channel, 4).await, ["b", "c", "d", "e"]);
}

pub async fn a_full_channel_refuses_after_the_keep_alive_and_stores_nothing(home: &impl Home) {
    let channel = home.open(shape(3, SHORT));
    put(&channel, &["a", "b"]).await;
    let begun = Instant::now();
    let error = channel.reserve(2, 100).await.unwrap_err();
    assert!(begun.elapsed() >= SHORT);
    assert!(matches!(error, Error::ChannelFull { capacity_events: 3, queued_events: 2, .. }), "{error}");
    put(&channel, &["c"]).await;
    assert_eq!(drain(&channel, 3).await, ["a", "b", "c"]);
    put(&channel, &["d", "e", "f"]).await;
}

pub async fn a_commit_lets_a_waiting_put_in(home: &impl Home) {
    let channel = home.open(shape(2, LONG));
    put(&channel, &["a", "b"]).await;
    let putter = std::sync::Arc::clone(&channel);
    let waiting = tokio::spawn(async move { put(&putter, &["c"]).await });
    tokio::task::yield_now().await;
    let one = take(&channel, events(1)).await;
    assert!(!waiting.is_finished(), "what is taken still fills the channel");
    commit(one).await;
    timeout(PATIENCE, waiting).await.expect("let in").unwrap();
    assert_eq!(drain(&channel, 2).await, ["b", "c"]);
}

pub async fn a_batch_above_the_transaction_capacity_is_refused(home: &impl Home) {
    let channel = home.open(shape(100, LONG));
    let error = channel.reserve(11, 100).await.unwrap_err();
    assert!(matches!(error, Error::BatchTooLarge { events: 11, limit: 10, .. }), "{error}");
    assert_eq!(channel.transaction_capacity(), 10);
}

pub async fn bytes_bound_a_take_but_one_event_always_passes(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["aaaa", "bb"]).await;
    put(&channel, &["cc", "dd"]).await;
    for expected in [vec!["aaaa"], vec!["bb"], vec!["cc"], vec!["dd"]] {
        let one = take(&channel, Limit { events: 10, bytes: 1 }).await;
        assert_eq!(texts(&one), expected);
        commit(one).await;
    }
    put(&channel, &["aa", "bb"]).await;
    put(&channel, &["cc", "dd"]).await;
    assert_eq!(texts(&take(&channel, Limit { events: 10, bytes: 7 }).await), ["aa", "bb", "cc"]);
}

pub async fn several_takes_are_open_and_commit_in_any_order(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b", "c", "d"]).await;
    let (first, second) = (take(&channel, events(1)).await, take(&channel, events(2)).await);
    assert_eq!((texts(&first), texts(&second)), (vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()]));
    commit(second).await;
    commit(first).await;
    assert_eq!(drain(&channel, 1).await, ["d"]);
    assert_empty(&channel).await;
}

pub async fn a_dropped_ticket_undoes_nothing(home: &impl Home) {
    let channel = home.open(roomy());
    let batch = Batch::from_bodies(["a", "b"]);
    let room = channel.reserve(2, batch.retained_bytes()).await.unwrap();
    drop(channel.put(batch, room));
    let one = take(&channel, events(1)).await;
    drop(one.commit());
    assert_eq!(drain(&channel, 1).await, ["b"]);
    assert_empty(&channel).await;
}

pub async fn coverage_without_events_is_accepted(home: &impl Home) {
    let channel = home.open(shape(1, LONG));
    put(&channel, &["fills it"]).await;
    put_batch(&channel, Batch::empty().with_coverage(Coverage::new("o".into(), 0, 9))).await;
    put_batch(&channel, Batch::empty().with_coverage(Coverage::retired("o".into()))).await;
    put_batch(&channel, Batch::empty()).await;
    assert_eq!(channel.totals().put_events, 1);
    assert_eq!(drain(&channel, 1).await, ["fills it"]);
}

pub async fn a_closed_channel_refuses(home: &impl Home) {
    let channel = home.open(roomy());
    let taker = std::sync::Arc::clone(&channel);
    let waiting = tokio::spawn(async move { taker.take(events(1)).await.map(drop) });
    tokio::task::yield_now().await;
    close(std::sync::Arc::clone(&channel)).await;
    let ended = timeout(PATIENCE, waiting).await.expect("a waiting take ends").unwrap();
    assert!(matches!(ended, Err(Error::Stopped { .. })), "{ended:?}");
    let room = channel.reserve(1, 1).await;
    let outcome = match room {
        Ok(room) => channel.put(Batch::from_bodies(["late"]), room).await,
        Err(error) => Err(error),
    };
    assert!(matches!(outcome, Err(Error::Stopped { .. })), "{outcome:?}");
}

pub async fn a_restart_delivers_exactly_what_was_not_committed(home: &impl DurableHome) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b", "c", "d", "e", "f"]).await;
    let first = take(&channel, events(2)).await;
    commit(take(&channel, events(2)).await).await;
    let third = take(&channel, events(1)).await;
    drop(third);
    close(channel).await;
    drop(first);
    let channel = home.open(roomy());
    put(&channel, &["g"]).await;
    assert_eq!(drain(&channel, 5).await, ["a", "b", "e", "f", "g"]);
    assert_empty(&channel).await;
    close(channel).await;
    let channel = home.open(roomy());
    assert_empty(&channel).await;
    close(channel).await;
}

pub async fn a_kill_loses_no_put_and_brings_back_no_commit(home: &impl DurableHome) {
    let mut expected: Vec<String> = Vec::new();
    for life in 0..4 {
        let channel = home.open(roomy());
        let bodies: Vec<String> = (0..6).map(|event| format!("{life}.{event}")).collect();
        put_batch(&channel, Batch::from_bodies(&bodies)).await;
        expected.extend(bodies);
        let open = take(&channel, events(2)).await;
        let committed = take(&channel, events(3)).await;
        assert_eq!(texts(&open), expected[..2]);
        let committed_texts = texts(&committed);
        commit(committed).await;
        home.kill();
        expected.retain(|text| !committed_texts.contains(text));
    }
    let channel = home.open(roomy());
    assert_eq!(channel.totals().waiting_events(), expected.len() as u64);
    assert_eq!(drain(&channel, expected.len()).await, expected);
    close(channel).await;
}

pub async fn a_restart_knows_positions_drops_and_totals(home: &impl DurableHome) {
    let channel = home.open(roomy());
    assert_eq!(channel.covered("o"), None);
    let mut coverage = Coverage::new("o".into(), 0, 9);
    coverage.drop_by("rule", 2);
    put_batch(&channel, Batch::from_bodies(["a", "b"]).with_coverage(coverage)).await;
    put_batch(&channel, Batch::empty().with_coverage(Coverage::new("o".into(), 9, 20))).await;
    put_batch(&channel, Batch::from_bodies(["c"]).with_coverage(Coverage::new("gone".into(), 0, 5))).await;
    put_batch(&channel, Batch::empty().with_coverage(Coverage::retired("gone".into()))).await;
    assert_eq!(drain(&channel, 1).await, ["a"]);
    let before = channel.totals();
    home.kill();
    for _ in 0..2 {
        let channel = home.open(roomy());
        assert_eq!((channel.covered("o"), channel.covered("gone")), (Some(20), None));
        let after = channel.totals();
        assert_eq!(
            (after.store, after.put_events, after.taken_events, &after.dropped),
            (before.store, 3, 1, &vec![("rule".into(), 2)])
        );
        close(channel).await;
    }
}
