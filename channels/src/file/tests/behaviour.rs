//! What the channel does while one thing, or nothing, fails.

use std::sync::mpsc;

use bytes::Bytes;
use millstream_core::{Coverage, Error, SlabBuilder, Take, Ticket};
use millstream_testkit::{Call, FakeDisk};
use tokio::time::timeout;

use super::format::RECORD;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// The events at `positions` of origin "o": each has its own position as its body.
pub(super) fn read(positions: Range<u64>) -> Batch {
    let bodies: Vec<String> = positions.clone().map(|at| at.to_string()).collect();
    let mut builder = SlabBuilder::new(Bytes::from(bodies.concat()));
    let mut start = 0;
    for (body, at) in bodies.iter().zip(positions.clone()) {
        builder.row_ending_at(start..start + body.len(), at + 1);
        start += body.len();
    }
    builder.finish().with_coverage(Coverage::new("o".into(), positions.start, positions.end))
}

async fn put(channel: &FileChannel, batch: Batch) -> Ticket {
    let room = channel.reserve(batch.len() as u64, batch.retained_bytes()).await.unwrap();
    channel.put(batch, room)
}

pub(super) async fn settle(ticket: Ticket) -> Result<()> {
    timeout(PATIENCE, ticket).await.expect("told in time")
}

pub(super) async fn store(channel: &FileChannel, batch: Batch) {
    settle(put(channel, batch).await).await.unwrap();
}

/// Puts until it succeeds: right after a failure others may still be told of theirs.
async fn store_again(channel: &FileChannel, batch: Batch) {
    let stored = async {
        while settle(put(channel, batch.clone()).await).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, stored).await.expect("stored in time");
}

pub(super) async fn take(channel: &FileChannel, events: usize) -> Take {
    timeout(PATIENCE, channel.take(Limit { events, bytes: u64::MAX })).await.expect("taken in time").unwrap()
}

fn texts(take: &Take) -> Vec<String> {
    let events = take.batches().iter().flat_map(Batch::iter);
    events.map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect()
}

/// Takes and commits everything that waits.
pub(super) async fn drain(channel: &FileChannel) -> Vec<String> {
    let mut all = Vec::new();
    while channel.totals().waiting_events() > 0 {
        let take = take(channel, 100).await;
        all.extend(texts(&take));
        settle(take.commit()).await.unwrap();
    }
    all
}

async fn close(channel: &FileChannel) {
    settle(channel.close()).await.unwrap();
}

pub(super) fn numbers(range: Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Files of a directory of the store, ascending.
pub(super) fn files(disk: &FakeDisk, dir: &str) -> Vec<PathBuf> {
    let dir = PathBuf::from("/data/millstream").join(dir);
    let mut names = disk.list(&dir).unwrap();
    names.sort();
    names.into_iter().map(|name| dir.join(name)).collect()
}

/// Waits until the log has at most `most` segments: removal is enqueued in both journals, one after the other.
pub(super) async fn until_segments(disk: &FakeDisk, most: usize) {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    let removed = async {
        while files(disk, "log").into_iter().filter(is_segment).count() > most {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, removed).await.expect("removed in time");
}

#[tokio::test]
async fn a_backlog_beyond_memory_is_read_back_in_order_under_a_bound() {
    const PUTS: u64 = 600;
    let disk = FakeDisk::new();
    let small = FileOptions { segment_bytes: 200_000, ..options() };
    let memory_bytes = 50_000;
    let channel = FileChannel::open(Arc::new(disk.clone()), &"c1".into(), &small, None, memory_bytes).unwrap();
    let batch = |number: u64| Batch::from_bodies([number.to_string(), "x".repeat(20_000)]);
    let mut expected = 0;
    for number in 0..PUTS {
        store(&channel, batch(number)).await;
        // Slower than the puts, so that memory overflows early and both ways are mixed.
        if number % 3 == 0 {
            let one = take(&channel, 2).await;
            assert_eq!(texts(&one)[0], expected.to_string());
            settle(one.commit()).await.unwrap();
            expected += 1;
        }
        let in_memory = channel.store.state.lock().queue.ready_bytes();
        assert!(in_memory <= memory_bytes + (3 << 20), "{in_memory} bytes in memory at {number}");
    }
    assert!(channel.store.state.lock().backlog.is_some());
    drop(channel);
    let disk = disk.kill();
    let channel = FileChannel::open(Arc::new(disk), &"c1".into(), &small, None, memory_bytes).unwrap();
    let rest = drain(&channel).await;
    let rest: Vec<&String> = rest.iter().step_by(2).collect();
    assert_eq!(rest, numbers(expected..PUTS).iter().collect::<Vec<_>>());
    assert!(channel.store.state.lock().backlog.is_none());
    store(&channel, batch(PUTS)).await;
    let in_memory = channel.store.state.lock().queue.ready_bytes();
    assert!(in_memory > 0, "a sink that caught up is served from memory again");
}

#[tokio::test]
async fn delivered_segments_are_removed_and_nothing_of_them_comes_again() {
    for seed in 0..20 {
        let disk = FakeDisk::new();
        let channel = open(&disk, &FileOptions { segment_bytes: 500, ..options() }).unwrap();
        for put in 0..30 {
            store(&channel, read(put * 10..put * 10 + 10)).await;
        }
        let before = files(&disk, "log").len();
        let (first, rest) = (take(&channel, 10).await, take(&channel, 280).await);
        settle(rest.commit()).await.unwrap();
        assert_eq!(files(&disk, "log").len(), before, "the oldest event holds them all");
        settle(first.commit()).await.unwrap();
        until_segments(&disk, 3).await;
        let disk = disk.power_cut(seed);
        let channel = open(&disk, &options()).unwrap();
        let totals = channel.totals();
        assert_eq!(totals.put_events, 300);
        // The last commits may be gone, those of removed segments may not.
        let again = drain(&channel).await;
        assert_eq!(again, numbers(300 - again.len() as u64..300), "seed {seed}");
        assert!(again.len() <= 30, "seed {seed}: {} events", again.len());
    }
}

#[tokio::test]
async fn positions_trim_what_was_stored_before_a_restart() {
    let disk = FakeDisk::new();
    let channel = open(&disk, &options()).unwrap();
    store(&channel, read(0..5)).await;
    drop(channel);
    let disk = disk.kill();
    let channel = open(&disk, &options()).unwrap();
    assert_eq!(channel.covered("o"), Some(5));
    store(&channel, read(0..3)).await;
    store(&channel, read(3..8)).await;
    assert_eq!(channel.covered("o"), Some(8));
    assert_eq!(drain(&channel).await, numbers(0..8));
    close(&channel).await;
}

#[tokio::test]
async fn a_batch_that_comes_again_shares_the_outcome_of_the_first() {
    let disk = FakeDisk::new();
    let channel = open(&disk, &options()).unwrap();
    for fails in [true, false] {
        let (hold, held) = mpsc::channel::<()>();
        let (enter, entered) = mpsc::channel::<()>();
        // Nothing more is written before this returns.
        let wait = Box::new(move |_| {
            enter.send(()).unwrap();
            _ = held.recv();
        });
        channel.store.log.append(RECORD, vec![Bytes::from(vec![0; 16])], Durability::Lazy, wait).unwrap();
        // Else the puts could be of the same group.
        entered.recv().unwrap();
        let (first, again) = (put(&channel, read(0..5)).await, put(&channel, read(0..5)).await);
        disk.fail(Call::Sync, 0, u32::from(fails));
        drop(hold);
        assert_eq!(settle(first).await.is_err(), fails);
        assert_eq!(settle(again).await.is_err(), fails, "it has nothing else to rely on");
        if fails {
            store_again(&channel, Batch::from_bodies(["until appends are accepted"])).await;
        }
    }
    assert_eq!(channel.totals().put_events, 6);
    assert_eq!(drain(&channel).await[1..], numbers(0..5));
}

#[tokio::test]
async fn after_a_failed_put_the_origin_waits_for_it_to_come_again() {
    for call in [Call::Sync, Call::Write, Call::TornWrite] {
        let disk = FakeDisk::new();
        let channel = open(&disk, &options()).unwrap();
        store(&channel, read(0..5)).await;
        disk.fail(call, 0, 1);
        let failing = put(&channel, read(5..10)).await;
        let behind = put(&channel, read(10..15)).await;
        assert!(settle(failing).await.is_err(), "{call:?}");
        // In the same write or after it, with the disk well again.
        assert!(settle(behind).await.is_err(), "{call:?}");
        assert!(settle(put(&channel, read(10..15)).await).await.is_err(), "{call:?}: a gap");
        store_again(&channel, Batch::from_bodies(["of nobody"])).await;
        assert_eq!(channel.covered("o"), Some(5), "{call:?}");
        for start in [5, 10] {
            store_again(&channel, read(start..start + 5)).await;
        }
        drop(channel);
        let channel = open(&disk.kill(), &options()).unwrap();
        let mut all = drain(&channel).await;
        all.retain(|text| text != "of nobody");
        assert_eq!(all, numbers(0..15), "{call:?}");
        assert_eq!(channel.totals().put_events, 16, "{call:?}: a failed put gives its sequences back");
    }
}

#[tokio::test]
async fn a_put_that_nobody_repeats_does_not_hold_up_its_origin() {
    let disk = FakeDisk::new();
    let channel = open(&disk, &options()).unwrap();
    let optional = |positions: Range<u64>| {
        let coverage = Coverage::new("o".into(), 0, positions.end);
        read(positions).with_coverage(coverage)
    };
    store(&channel, optional(0..5)).await;
    disk.fail(Call::Sync, 0, 1);
    assert!(settle(put(&channel, optional(5..10)).await).await.is_err());
    store_again(&channel, optional(10..15)).await;
    assert_eq!(drain(&channel).await, [numbers(0..5), numbers(10..15)].concat());
}

#[tokio::test]
async fn a_full_disk_refuses_puts_lets_events_out_and_passes() {
    let disk = FakeDisk::new();
    let channel = open(&disk, &FileOptions { reserve_bytes: 2_000, ..options() }).unwrap();
    store(&channel, read(0..5)).await;
    disk.set_capacity(Some(disk.used() + 1_000));
    // The space was looked at a moment ago: the disk itself refuses, or the reserve does.
    let large = Batch::from_bodies(["x".repeat(5_000)]);
    let error = settle(put(&channel, large).await).await.unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    let error = settle(put(&channel, read(5..10)).await).await.unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert_eq!(drain(&channel).await, numbers(0..5), "the reserve is there for acks");
    disk.set_capacity(None);
    store_again(&channel, read(5..10)).await;
    close(&channel).await;
    let channel = open(&disk, &options()).unwrap();
    assert_eq!(drain(&channel).await, numbers(5..10));
}

#[tokio::test]
async fn a_commit_that_could_not_be_written_is_written_with_the_next() {
    for call in [Call::Write, Call::Sync] {
        let disk = FakeDisk::new();
        let channel = open(&disk, &options()).unwrap();
        store(&channel, read(0..10)).await;
        let (first, second) = (take(&channel, 4).await, take(&channel, 4).await);
        disk.fail(call, 0, 1);
        let outcome = settle(first.commit()).await;
        if call == Call::Write {
            assert!(outcome.is_err());
        } else {
            // Written, and lost by the sync that follows within the second.
            assert!(settle(channel.store.acks.sync()).await.is_err());
        }
        let committed = async {
            let mut second = second.commit();
            while settle(second).await.is_err() {
                second = channel.store.acknowledge(&mut channel.store.state.lock(), Vec::new());
            }
        };
        timeout(PATIENCE, committed).await.expect("committed in time");
        drop(channel);
        let channel = open(&disk.kill(), &options()).unwrap();
        assert_eq!(drain(&channel).await, numbers(8..10), "{call:?}");
    }
}

#[tokio::test]
async fn without_fsync_per_transaction_a_put_is_done_once_it_is_written() {
    let disk = FakeDisk::new();
    let channel = open(&disk, &FileOptions { durability: Durability::Lazy, ..options() }).unwrap();
    let syncs = disk.syncs();
    store(&channel, read(0..5)).await;
    assert_eq!(disk.syncs(), syncs);
    drop(channel);
    let channel = open(&disk.kill(), &options()).unwrap();
    assert_eq!(drain(&channel).await, numbers(0..5));
}

#[tokio::test]
async fn a_clean_stop_leaves_nothing_to_replay() {
    let disk = FakeDisk::new();
    let channel = open(&disk, &options()).unwrap();
    store(&channel, read(0..50)).await;
    close(&channel).await;
    let segments = files(&disk, "log").len();
    for _ in 0..3 {
        let channel = open(&disk, &options()).unwrap();
        assert!(!channel.store.state.lock().dirty);
        close(&channel).await;
        assert_eq!(files(&disk, "log").len(), segments, "and nothing new where nothing was put");
        close(&channel).await;
    }
    assert_eq!(drain(&open(&disk, &options()).unwrap()).await, numbers(0..50));
}

#[tokio::test]
async fn a_backlog_is_kept_beyond_a_capacity_that_was_lowered() {
    let disk = FakeDisk::new();
    let channel = open(&disk, &options()).unwrap();
    store(&channel, read(0..50)).await;
    close(&channel).await;
    let lower = FileOptions { capacity_events: 10, keep_alive: Duration::from_millis(1), ..options() };
    let channel = open(&disk, &lower).unwrap();
    assert!(matches!(channel.reserve(1, 1).await, Err(Error::ChannelFull { queued_events: 50, .. })));
    assert_eq!(drain(&channel).await, numbers(0..50));
    store(&channel, read(50..60)).await;
}

#[tokio::test]
async fn waiting_bytes_are_those_of_the_bodies_that_wait() {
    let disk = FakeDisk::new();
    let channel = open(&disk, &FileOptions { segment_bytes: 600, ..options() }).unwrap();
    for _ in 0..10 {
        store(&channel, Batch::from_bodies(["x".repeat(50), "y".repeat(50)])).await;
    }
    assert_eq!(channel.totals().waiting_bytes, 1_000);
    settle(take(&channel, 5).await.commit()).await.unwrap();
    assert_eq!(channel.totals().waiting_bytes, 750);
    drop(channel);
    assert_eq!(open(&disk.kill(), &options()).unwrap().totals().waiting_bytes, 750);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_delivers_each_event_once() {
    const PUTS: usize = 400;
    let disk = FakeDisk::new();
    let small = FileOptions { segment_bytes: 5_000, ..options() };
    // Now and then the memory is full, so that some of it is read back.
    let channel = Arc::new(FileChannel::open(Arc::new(disk.clone()), &"c1".into(), &small, None, 2_000).unwrap());
    let putters = (0..3).map(|putter| {
        let channel = Arc::clone(&channel);
        tokio::spawn(async move {
            for number in 0..PUTS {
                let ticket = put(&channel, Batch::from_bodies([format!("{putter}.{number}"), "x".repeat(90)])).await;
                if number % 7 == 0 {
                    settle(ticket).await.unwrap();
                }
            }
        })
    });
    let putters: Vec<_> = putters.collect();
    let takers = (0..3).map(|taker| {
        let channel = Arc::clone(&channel);
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for round in 0.. {
                // Once all is put and taken, whoever still waits is told so.
                let Ok(take) = channel.take(Limit { events: 1 + round % 9, bytes: u64::MAX }).await else { break };
                if round % 5 == taker {
                    continue;
                }
                mine.extend(texts(&take));
                drop(take.commit());
            }
            mine
        })
    });
    let takers: Vec<_> = takers.collect();
    for putter in putters {
        timeout(PATIENCE, putter).await.expect("put in time").unwrap();
    }
    let emptied = async {
        while channel.totals().put_events < 6 * PUTS as u64 || channel.totals().waiting_events() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, emptied).await.expect("delivered in time");
    close(&channel).await;
    let mut all = Vec::new();
    for taker in takers {
        all.extend(timeout(PATIENCE, taker).await.expect("ended").unwrap());
    }
    assert_eq!(all.len(), 6 * PUTS);
    all.retain(|text| !text.starts_with('x'));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 3 * PUTS);
}

#[tokio::test]
async fn what_is_put_after_a_first_start_that_was_killed_at_any_call_survives_a_power_cut() {
    for (calls, seed) in (0..60).flat_map(|calls| (0..6).map(move |seed| (calls, seed))) {
        let disk = FakeDisk::new();
        disk.end_after(calls);
        drop(open(&disk, &options()));
        let disk = disk.kill();
        let channel = open(&disk, &options()).unwrap();
        store(&channel, read(0..5)).await;
        let disk = disk.power_cut(seed);
        drop(channel);
        let channel = open(&disk, &options()).unwrap();
        assert_eq!(drain(&channel).await, numbers(0..5), "killed after {calls} calls, seed {seed}");
    }
}
