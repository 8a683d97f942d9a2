//! Where the time of a word count goes: the same path, cut off after each operator. ns of CPU per word.

use std::time::Duration;

use millstream::component::Batch;
use millstream::{DStream, Event, StreamingContext};

use crate::corpus::Corpus;
use crate::measure::{failed, mb, timed};
use crate::report::Report;
use crate::word_count::{BYTES, bare_loops, blocks, feed};

type Describe = fn(&DStream<Event>);

/// Cut-off paths, from short to long.
const PARTS: &[(&str, Describe)] = &[
    ("events, counted", |lines| lines.count().for_each_batch(|_, _| Ok(()))),
    ("words, counted", |lines| lines.flat_map(|event| event.words()).count().for_each_batch(|_, _| Ok(()))),
    ("pairs, counted", |lines| {
        let pairs = lines.flat_map(|event| event.words()).map(|word| (word, 1_i64));
        pairs.count().for_each_batch(|_, _| Ok(()));
    }),
    ("pairs, reduced", |lines| {
        let pairs = lines.flat_map(|event| event.words()).map(|word| (word, 1_i64));
        pairs.reduce_by_key(|a, b| a + b).count().for_each_batch(|_, _| Ok(()));
    }),
    ("totals", |lines| {
        let pairs = lines.flat_map(|event| event.words()).map(|word| (word, 1_i64));
        let counts = pairs.reduce_by_key(|a, b| a + b);
        let totals = counts.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
        totals.count().for_each_batch(|_, _| Ok(()));
    }),
    ("totals, rows to an output", |lines| {
        let pairs = lines.flat_map(|event| event.words()).map(|word| (word, 1_i64));
        let counts = pairs.reduce_by_key(|a, b| a + b);
        let totals = counts.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
        totals.for_each_batch(|_, _| Ok(()));
    }),
];

/// Measures each.
pub fn run(report: &mut Report) -> millstream::Result<()> {
    let corpus = Corpus::load();
    report.section("Where a word count's time goes", &format!("{}, repeated to {} MB", corpus.origin, mb(BYTES)));
    let text = corpus.repeated(BYTES).into();
    let (words, _, bare) = timed(|| bare_loops(&text, 2));
    report.row("bare loop", &format!("{:.1} ns CPU per word", per_word(bare, words)));
    let blocks = blocks(&text);
    for (name, describe) in PARTS {
        report.row(name, &format!("{:.1} ns CPU per word", per_word(measure(&blocks, *describe)?, words)));
    }
    Ok(())
}

fn measure(blocks: &[Batch], describe: Describe) -> millstream::Result<Duration> {
    let dir = tempfile::tempdir().map_err(failed)?;
    let mut ssc = StreamingContext::new("bench", Duration::ZERO);
    ssc.checkpoint(dir.path()).memory_bytes(1 << 30);
    let (queue, lines) = ssc.queue_stream("corpus");
    describe(&lines);
    let job = ssc.start()?;
    let (fed, _, cpu) = timed(|| feed(&queue, blocks));
    fed?;
    job.stop()?;
    Ok(cpu)
}

fn per_word(time: Duration, words: u64) -> f64 {
    time.as_nanos() as f64 / words as f64
}
