#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use millstream_core::{ChannelRef, Coverage, Setting};
use millstream_journal::Durability;
use millstream_testkit::contract::channel::{DurableHome, Home, Shape};
use millstream_testkit::{Call, Dice, FakeDisk, channel_cases, channel_contract};

use super::*;
use crate::file::store::MEMORY_BYTES;

const LONG: Duration = Duration::from_secs(600);

/// A disk in memory, and how a shape is divided between both sides.
struct Place {
    disk: Mutex<FakeDisk>,
    sides: fn(u64) -> (u64, u64),
}

impl Place {
    fn of(sides: fn(u64) -> (u64, u64)) -> Self {
        Self { disk: Mutex::new(FakeDisk::new()), sides }
    }

    fn channel(&self, bounds: &Bounds) -> SpillableMemoryChannel {
        let options = FileOptions {
            checkpoint_dir: PathBuf::from("/checkpoint"),
            data_dirs: vec![PathBuf::from("/data")],
            capacity_events: bounds.disk_events,
            transaction_events: bounds.transaction_events,
            keep_alive: bounds.keep_alive,
            segment_bytes: 300,
            reserve_bytes: 0,
            durability: Durability::Synced,
            roll_on_close: true,
        };
        let open = || {
            let disk = Arc::new(self.disk.lock().clone());
            FileChannel::open(disk, &"c1".into(), &options, None, MEMORY_BYTES).unwrap()
        };
        let disk = (bounds.disk_events > 0).then(open);
        SpillableMemoryChannel::open("c1".into(), bounds, disk).unwrap()
    }
}

impl Home for Place {
    fn open(&self, shape: Shape) -> ChannelRef {
        let (memory_events, disk_events) = (self.sides)(shape.capacity_events);
        let Shape { transaction_events, keep_alive, .. } = shape;
        Arc::new(self.channel(&Bounds { memory_events, disk_events, transaction_events, keep_alive, ..roomy() }))
    }
}

impl DurableHome for Place {
    fn kill(&self) {
        let mut disk = self.disk.lock();
        *disk = disk.kill();
    }
}

fn roomy() -> Bounds {
    Bounds {
        memory_events: 4,
        disk_events: 1000,
        transaction_events: 100,
        memory_bytes: u64::MAX,
        keep_alive: Duration::from_millis(5),
        threshold_percent: 50,
    }
}

mod memory_alone {
    use super::*;
    channel_contract!(Place::of(|capacity| (capacity, 0)));
}

mod disk_alone {
    use super::*;
    channel_contract!(Place::of(|capacity| (0, capacity)));
    channel_cases!(
        durable_contract, Place::of(|capacity| (0, capacity));
        a_restart_delivers_exactly_what_was_not_committed
        a_kill_loses_no_put_and_brings_back_no_commit
        names_survive_a_restart
        names_received_are_known_after_a_restart_and_a_kill
    );
}

/// With room for all in memory: what a disk beside it must not change.
mod memory_before_disk {
    use super::*;
    channel_cases!(
        contract, Place::of(|capacity| (capacity, 1000));
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
        coverage_without_events_is_accepted
        a_closed_channel_refuses
    );
}

async fn put(channel: &SpillableMemoryChannel, bodies: &[&str]) {
    put_batch(channel, Batch::from_bodies(bodies)).await;
}

/// Offers it as a source does, until the disk has left the file that failed and takes it.
async fn put_again(channel: &SpillableMemoryChannel, bodies: &[&str]) {
    let put = async || {
        let batch = Batch::from_bodies(bodies);
        let room = channel.reserve(batch.len() as u64, batch.retained_bytes()).await?;
        channel.put(batch, room).await
    };
    let stored = async {
        while put().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, stored).await.expect("stored in time");
}

async fn put_batch(channel: &SpillableMemoryChannel, batch: Batch) {
    let room = channel.reserve(batch.len() as u64, batch.retained_bytes()).await.unwrap();
    channel.put(batch, room).await.unwrap();
}

fn texts(take: &Take) -> Vec<String> {
    let events = take.batches().iter().flat_map(Batch::iter);
    events.map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect()
}

async fn take(channel: &SpillableMemoryChannel, events: usize) -> Take {
    channel.take(Limit { events, bytes: u64::MAX }).await.unwrap()
}

async fn drain(channel: &SpillableMemoryChannel) -> Vec<String> {
    let mut all = Vec::new();
    while channel.totals().waiting_events() > 0 {
        let take = take(channel, 100).await;
        all.extend(texts(&take));
        take.commit().await.unwrap();
    }
    all
}

fn in_memory(channel: &SpillableMemoryChannel) -> u64 {
    channel.memory.as_ref().unwrap().totals().waiting_events()
}

#[tokio::test]
async fn what_memory_has_no_room_for_goes_to_the_disk_until_enough_is_free_again() {
    let place = Place::of(|capacity| (capacity, 0));
    let channel = place.channel(&roomy());
    put(&channel, &["1", "2", "3"]).await;
    put(&channel, &["4", "5"]).await;
    assert_eq!((in_memory(&channel), channel.totals().waiting_events()), (3, 5), "a put is on one side as a whole");
    put(&channel, &["6"]).await;
    assert_eq!(in_memory(&channel), 3, "there is room for one, but not enough of it is free");
    let first = take(&channel, 2).await;
    assert_eq!(texts(&first), ["1", "2"]);
    first.commit().await.unwrap();
    put(&channel, &["7", "8"]).await;
    assert_eq!(in_memory(&channel), 3, "memory again");
    put(&channel, &["9", "10", "11", "12", "13"]).await;
    assert_eq!(in_memory(&channel), 3, "larger than all of the memory");
    put(&channel, &["14"]).await;
    assert_eq!(in_memory(&channel), 4, "which does not mean that memory is full");
    let all: Vec<String> = (3..=14).map(|number| number.to_string()).collect();
    assert_eq!(drain(&channel).await, all);
    assert_eq!(channel.totals().put_events, 14);
}

#[tokio::test]
async fn bytes_bound_the_memory_too() {
    let place = Place::of(|capacity| (capacity, 0));
    let channel = place.channel(&Bounds { memory_bytes: 10_000, memory_events: 1000, ..roomy() });
    let large = "x".repeat(6000);
    put(&channel, &[&large]).await;
    put(&channel, &[&large]).await;
    assert_eq!((in_memory(&channel), channel.totals().waiting_events()), (1, 2));
}

#[tokio::test]
async fn both_sides_full_is_told_with_both_and_loses_nothing() {
    let place = Place::of(|capacity| (capacity, 0));
    let channel = place.channel(&Bounds { disk_events: 2, ..roomy() });
    put(&channel, &["1", "2", "3", "4"]).await;
    put(&channel, &["5", "6"]).await;
    let error = channel.reserve(1, 10).await.unwrap_err();
    assert!(matches!(error, Error::ChannelFull { queued_events: 6, capacity_events: 6, .. }), "{error}");
    assert_eq!(drain(&channel).await, ["1", "2", "3", "4", "5", "6"]);
}

#[tokio::test]
async fn a_stop_writes_what_is_in_memory_and_a_kill_loses_that_alone() {
    let place = Place::of(|capacity| (capacity, 0));
    let channel = place.channel(&roomy());
    put(&channel, &["m1", "m2", "m3", "m4"]).await;
    put(&channel, &["d1", "d2"]).await;
    channel.close().await.unwrap();
    let channel = place.channel(&roomy());
    assert_eq!(channel.totals().waiting_events(), 6);
    put(&channel, &["m5"]).await;
    place.kill();
    let channel = place.channel(&roomy());
    assert_eq!(drain(&channel).await, ["d1", "d2", "m1", "m2", "m3", "m4"], "the disk's own first");
}

#[tokio::test]
async fn a_peer_that_sends_again_is_known_on_either_side() {
    let place = Place::of(|capacity| (capacity, 0));
    let channel = place.channel(&roomy());
    let named = |first: u64, events: u64| {
        Batch::from_bodies((first..first + events).map(|name| name.to_string())).named(7 << 64 | 1, first)
    };
    put_batch(&channel, named(0, 3)).await;
    put_batch(&channel, named(3, 3)).await;
    assert_eq!((in_memory(&channel), channel.totals().put_events), (3, 6));
    put_batch(&channel, named(0, 6)).await;
    put_batch(&channel, named(1, 2)).await;
    let first = take(&channel, 3).await;
    first.commit().await.unwrap();
    // To memory, of which the disk has a part.
    put_batch(&channel, named(4, 4)).await;
    assert_eq!(channel.totals().put_events, 8);
    assert_eq!(drain(&channel).await, ["3", "4", "5", "6", "7"]);
}

#[tokio::test]
async fn positions_are_not_remembered_as_memory_cannot_promise_them() {
    let place = Place::of(|capacity| (capacity, 0));
    let channel = place.channel(&roomy());
    let covered =
        |bodies: &[&str], from, to| Batch::from_bodies(bodies).with_coverage(Coverage::new("o".into(), from, to));
    put_batch(&channel, covered(&["m1", "m2", "m3", "m4"], 0, 4)).await;
    put_batch(&channel, covered(&["d1"], 4, 5)).await;
    assert_eq!(channel.covered("o"), None);
    place.kill();
    let channel = place.channel(&roomy());
    put_batch(&channel, covered(&["m1", "m2", "m3", "m4"], 0, 4)).await;
    assert_eq!(drain(&channel).await, ["d1", "m1", "m2", "m3", "m4"], "what was lost is taken when it comes again");
}

#[tokio::test]
async fn a_put_that_the_disk_refuses_holds_up_nothing_behind_it() {
    let place = Place::of(|capacity| (capacity, 0));
    let channel = place.channel(&Bounds { keep_alive: LONG, ..roomy() });
    put(&channel, &["m1", "m2", "m3"]).await;
    channel.state.lock().overflows = true;
    place.disk.lock().fail(Call::Sync, 0, 1);
    let room = channel.reserve(2, 100).await.unwrap();
    assert!(channel.put(Batch::from_bodies(["d1", "d2"]), room).await.is_err());
    channel.state.lock().overflows = false;
    put(&channel, &["m4"]).await;
    channel.state.lock().overflows = true;
    put_again(&channel, &["d1", "d2"]).await;
    assert_eq!(drain(&channel).await, ["m1", "m2", "m3", "m4", "d1", "d2"]);
}

/// Dice puts, takes, commits and rollbacks against a set of numbers: one take gives the lowest that are free, in order.
#[tokio::test]
async fn whatever_happens_takes_come_in_the_order_of_the_puts() {
    for seed in 1..200_u64 {
        let place = Place::of(|capacity| (capacity, 0));
        let channel = place.channel(&Bounds { keep_alive: Duration::ZERO, memory_events: 1 + seed % 9, ..roomy() });
        let mut random = Dice::new(seed);
        let mut below = |bound: u64| random.below(bound);
        let (mut next, mut free, mut open) = (0_u64, BTreeSet::new(), Vec::new());
        for step in 0..300 {
            match below(4) {
                0 => {
                    let numbers: Vec<String> = (next..next + 1 + below(5)).map(|number| number.to_string()).collect();
                    put(&channel, &numbers.iter().map(String::as_str).collect::<Vec<_>>()).await;
                    free.extend(next..next + numbers.len() as u64);
                    next += numbers.len() as u64;
                }
                1 if !free.is_empty() => {
                    let mut take =
                        channel.next(Limit { events: 1 + below(6) as usize, bytes: u64::MAX }).await.unwrap();
                    let numbers: Vec<u64> = texts(&take).iter().map(|text| text.parse().unwrap()).collect();
                    let lowest: Vec<u64> = free.iter().copied().take(numbers.len()).collect();
                    assert!(
                        !numbers.is_empty() && numbers == lowest,
                        "seed {seed} step {step}: {numbers:?} of {free:?}"
                    );
                    numbers.iter().for_each(|number| _ = free.remove(number));
                    if below(2) == 0 {
                        take.release();
                    }
                    open.push((take, numbers));
                }
                2 if !open.is_empty() => {
                    let (take, _) = open.swap_remove(below(open.len() as u64) as usize);
                    take.commit().await.unwrap();
                }
                3 if !open.is_empty() => {
                    let (take, numbers) = open.swap_remove(below(open.len() as u64) as usize);
                    drop(take);
                    free.extend(numbers);
                }
                _ => {}
            }
            let waiting = free.len() + open.iter().map(|(_, numbers)| numbers.len()).sum::<usize>();
            assert_eq!(channel.totals().waiting_events(), waiting as u64, "seed {seed} step {step}");
        }
        assert!(channel.disk.as_ref().unwrap().totals().put_events > 0, "seed {seed}: nothing overflowed");
        open.into_iter().for_each(|(take, _)| drop(take));
        let left = drain(&channel).await;
        assert!(left.iter().map(|text| text.parse::<u64>().unwrap()).is_sorted(), "seed {seed}: {left:?}");
    }
}

fn refused(settings: &[(&str, &str)]) -> String {
    let setting = |(key, value): &(&str, &str)| Setting {
        key: (*key).into(),
        value: (*value).into(),
        place: format!("f.conf:3: a1.channels.c1.{key}"),
    };
    let (options, unknown) = Options::parse("a1.channels.c1", SPEC.options, &[], settings.iter().map(setting)).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    Bounds::of(&options).err().map_or_else(|| "accepted".to_owned(), |error| error.to_string())
}

#[test]
fn bounds_that_cannot_be_used_are_refused_by_name() {
    let none = refused(&[("memoryCapacity", "0"), ("overflowCapacity", "0")]);
    assert!(none.starts_with("f.conf:3: a1.channels.c1.memoryCapacity: expected at least 1"), "{none}");
    let large = refused(&[("memoryCapacity", "10"), ("overflowCapacity", "20"), ("transactionCapacity", "21")]);
    assert!(large.contains("transactionCapacity: expected at most the larger one of both capacities, 20"), "{large}");
    assert_eq!(refused(&[("memoryCapacity", "10"), ("overflowCapacity", "0"), ("maxFileSize", "5")]), "accepted");
}
