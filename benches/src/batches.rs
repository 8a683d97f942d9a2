//! (d) What an empty batch costs, and whether a 10 ms interval is held for a minute.
//!
//! The job has an input, a state and an output, and nothing arrives. Baseline for scale: an empty batch of Spark 3.5 takes
//! 32 to 40 ms.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use millstream::{BatchInfo, StreamingContext};

use crate::measure::{failed, percentile};
use crate::report::Report;

const INTERVAL: Duration = Duration::from_millis(10);
const TIME: Duration = Duration::from_secs(60);

/// Measures it.
pub fn run(report: &mut Report) -> millstream::Result<()> {
    report.section("(d) empty batches", "none; a batch every 10 ms for a minute");
    let dir = tempfile::tempdir().map_err(failed)?;
    let infos: Arc<Mutex<Vec<BatchInfo>>> = Arc::default();
    let mut ssc = StreamingContext::new("bench", INTERVAL);
    let seen = Arc::clone(&infos);
    ssc.checkpoint(dir.path()).add_streaming_listener(move |info: &BatchInfo| {
        seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(info.clone());
    });
    let (_queue, lines) = ssc.queue_stream("nothing");
    let counts = lines.flat_map(|event| event.words()).map(|word| (word, 1_i64)).reduce_by_key(|a, b| a + b);
    let totals = counts.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
    totals.for_each_batch(|_, _| Ok(()));
    let job = ssc.start()?;
    std::thread::sleep(TIME);
    job.stop()?;
    let infos = infos.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let millis =
        |of: fn(&BatchInfo) -> Duration| infos.iter().map(|info| of(info).as_secs_f64() * 1e3).collect::<Vec<_>>();
    let (mut processing, mut late) = (millis(|info| info.processing_delay), millis(|info| info.scheduling_delay));
    let held = infos.len() as f64 / (TIME.as_secs_f64() / INTERVAL.as_secs_f64());
    report.target_at_least("batches that were due and ran", held, 0.99, "of them");
    report.target("processing of an empty batch, p50", percentile(&mut processing, 50), 1.0, "ms");
    report.target("processing of an empty batch, p99", percentile(&mut processing, 99), 5.0, "ms");
    report.row(
        "begun after it was due, p50 / p99",
        &format!("{:.2} / {:.2} ms", percentile(&mut late, 50), percentile(&mut late, 99)),
    );
    Ok(())
}
