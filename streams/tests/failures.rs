//! What goes wrong is told, costs only what it must, and passes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Table, context, counts, named, totals, until};
use millstream_core::{Batch, Fut, State};
use millstream_io::ManualClock;
use millstream_streams::receiver::{Receiver, ReceiverContext};
use millstream_streams::{Job, StreamingContext};
use millstream_testkit::FakeDisk;
use parking_lot::Mutex;

#[test]
fn a_closure_that_panics_on_one_event_costs_that_event() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::default();
    let infos = Arc::new(Mutex::new(Vec::new()));
    let mut ssc = context(dir.path());
    let seen = Arc::clone(&infos);
    ssc.add_streaming_listener(move |info: &millstream_core::BatchInfo| seen.lock().push(info.clone()));
    let (queue, lines) = ssc.queue_stream("lines");
    let checked = lines.filter(|event| {
        assert!(!event.text().contains("poison"), "cannot read this");
        true
    });
    totals(&checked).save("table", table.clone());
    let job = ssc.start().unwrap();
    let lines: Vec<String> =
        (0..100).map(|i| if i == 37 { "poison".into() } else { format!("w{} all", i % 3) }).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    queue.push(named(&lines, 0)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(table.rows().get("all"), Some(&99));
    let committed = job.committed(&[]);
    assert_eq!((committed.dead_lettered, committed.counted.values().sum::<u64>()), (1, 100));
    let error = job.status().components().iter().find_map(|component| component.last_error()).unwrap();
    assert!(error.contains("filter at ") && error.contains("failures.rs"), "{error}");
    let infos = infos.lock();
    let info = infos.iter().find(|info| info.num_records == 100).unwrap();
    assert_eq!((info.dead_letters, info.records_into("reduce_by_key")), (1, 198));
}

#[test]
fn a_closure_that_panics_on_every_event_sets_all_of_them_aside() {
    let dir = tempfile::tempdir().unwrap();
    let ssc = context(dir.path());
    let (queue, lines) = ssc.queue_stream("lines");
    let none = lines.map(|_| -> i64 { panic!("never") });
    none.save("none", Table::default());
    let job = ssc.start().unwrap();
    queue.push(named(&["a"; 20], 0)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(job.committed(&[]).dead_lettered, 20);
}

#[test]
fn events_set_aside_are_kept_even_where_the_program_fails_on_a_batch_without_events() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::default();
    let start = || {
        let ssc = context(dir.path());
        let (queue, lines) = ssc.queue_stream("lines");
        let checked = lines.filter(|event| {
            assert!(!event.text().contains("poison"), "cannot read this");
            true
        });
        checked.count().map(|events| 100 / events).for_each_batch(|_, _| Ok(()));
        totals(&checked).save("table", table.clone());
        (queue, ssc.start().unwrap())
    };
    let dead_lettered = |job: &Job| {
        let committed = job.committed(&[]);
        (committed.dead_lettered, committed.counted.values().sum::<u64>())
    };
    let (queue, job) = start();
    queue.push(named(&["poison"], 0)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(dead_lettered(&job), (1, 1));
    drop(job);
    let (queue, job) = start();
    queue.push(named(&["poison", "a"], 0)).unwrap().blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(dead_lettered(&job), (1, 2), "known after a restart");
    assert_eq!(table.rows(), counts(&[("a", 1)]));
}

#[test]
fn an_output_that_is_locked_for_a_minute_holds_up_nobody_else_and_gets_everything() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(1_000_000);
    let (locked, free) = (Table::default(), Table::default());
    let mut ssc = StreamingContext::new("word-count", Duration::from_millis(100));
    ssc.checkpoint(dir.path()).clock(clock.clone());
    let (queue, lines) = ssc.queue_stream("lines");
    let totals = totals(&lines);
    totals.save("locked", locked.clone());
    totals.save("free", free.clone());
    let job = ssc.start().unwrap();
    locked.lock(true);
    for second in 0..60_u64 {
        let verdict = queue.push(named(&["a"], second)).unwrap();
        clock.advance(Duration::from_secs(1));
        verdict.blocking_recv().unwrap();
        until("the free one has it", || free.rows().get("a") == Some(&(second as i64 + 1)));
    }
    assert!(locked.rows().is_empty() && locked.attempts() > 1);
    let output = job.status().components().into_iter().find(|component| &*component.name == "locked").unwrap();
    assert_eq!(output.state(), State::Retrying);
    assert!(output.last_error().unwrap().contains("locked by another"));
    locked.lock(false);
    until("the locked one has it", || {
        clock.advance(Duration::from_secs(1));
        locked.rows() == counts(&[("a", 60)])
    });
    job.stop().unwrap();
    assert!(output.last_error().is_some());
}

#[test]
fn a_full_disk_holds_the_batch_back_and_it_is_committed_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FakeDisk::new();
    let table = Table::default();
    let mut ssc = context(dir.path());
    ssc.disk(Arc::new(disk.clone()));
    let (queue, lines) = ssc.queue_stream("lines");
    totals(&lines).save("table", table.clone());
    let job = ssc.start().unwrap();
    disk.set_capacity(Some(disk.used()));
    let verdict = queue.push(named(&["a b"], 0)).unwrap();
    let driver = job.status().components().into_iter().find(|component| component.kind == "job").unwrap();
    let told = || driver.last_error().is_some_and(|error| error.contains("disk full"));
    until("told", told);
    assert!(table.rows().is_empty());
    disk.set_capacity(None);
    verdict.blocking_recv().unwrap();
    job.stop().unwrap();
    assert_eq!(table.rows(), counts(&[("a", 1), ("b", 1)]));
}

/// Brings one batch once the disk is full, and stays until it has its verdict.
struct Once {
    batch: Option<Batch>,
    disk: FakeDisk,
    committed: Arc<Mutex<Option<bool>>>,
}

impl Receiver for Once {
    fn run(&mut self, cx: ReceiverContext) -> Fut<'_, millstream_core::Result<()>> {
        Box::pin(async move {
            if let Some(batch) = self.batch.take() {
                let room = cx.inbox.reserve(100).await;
                self.disk.set_capacity(Some(self.disk.used()));
                let committed = cx.inbox.push(vec![batch], &[], room).await;
                *self.committed.lock() = Some(committed.is_ok());
            }
            cx.stop.clone().stopped().await;
            Ok(())
        })
    }
}

#[test]
fn a_stop_while_the_disk_is_full_ends_in_its_time_and_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, committed) = (FakeDisk::new(), Arc::new(Mutex::new(None)));
    let mut ssc = context(dir.path());
    ssc.disk(Arc::new(disk.clone())).stop_timeout(Duration::from_millis(100));
    let once = Once { batch: Some(named(&["a b"], 0)), disk, committed: Arc::clone(&committed) };
    totals(&ssc.receiver_stream("lines", once)).save("table", Table::default());
    let job = ssc.start().unwrap();
    let driver = job.status().components().into_iter().find(|component| component.kind == "job").unwrap();
    until("told", || driver.last_error().is_some_and(|error| error.contains("disk full")));
    assert_eq!(*committed.lock(), None);
    let error = job.stop().unwrap_err().to_string();
    assert!(error.contains("disk full"), "{error}");
    assert_eq!(*committed.lock(), Some(false));
}

#[test]
fn a_wall_clock_that_jumps_back_an_hour_stops_nothing_and_batch_times_still_rise() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(10_000_000);
    let times = Arc::new(Mutex::new(Vec::new()));
    let mut ssc = StreamingContext::new("times", Duration::from_secs(1));
    ssc.checkpoint(dir.path()).clock(clock.clone());
    let (queue, lines) = ssc.queue_stream("lines");
    let seen = Arc::clone(&times);
    lines.count().for_each_batch(move |stamp, _| {
        seen.lock().push(stamp.time_ms);
        Ok(())
    });
    let job = ssc.start().unwrap();
    for jump in [0, 3_600_000, 0] {
        clock.set_wall(10_000_000 - jump);
        let before = times.lock().len();
        drop(queue.push(Batch::from_bodies(["a"])).unwrap());
        clock.advance(Duration::from_secs(1));
        until("a batch", || times.lock().len() > before);
    }
    job.stop().unwrap();
    let times = times.lock();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
}

#[test]
fn a_job_without_checkpoint_input_or_output_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let ssc = StreamingContext::new("job", Duration::from_secs(1));
    let error = ssc.start().unwrap_err().to_string();
    assert!(error.contains("call checkpoint(…) before start()"), "{error}");
    let mut ssc = StreamingContext::new("job", Duration::from_secs(1));
    ssc.checkpoint(dir.path());
    let (_queue, _lines) = ssc.queue_stream("lines");
    let error = ssc.start().unwrap_err().to_string();
    assert!(error.contains("has no output"), "{error}");
}
