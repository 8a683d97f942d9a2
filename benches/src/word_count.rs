//! (c) Word count alone: what the DStream API, the state and the commit record cost beside a bare counting loop.
//!
//! Input: 200 MB of the corpus in memory, in blocks of 1000 events; micro-batches of 50 MB, what the rate gives in 100 ms. Unit: ns of CPU per word.
//! Baseline, measured in the same run: as many threads as the job has, each of which splits its part of the same bytes and
//! counts borrowed words in a table of its own. (One thread alone has the whole of a core that two would share.)

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use millstream::component::{Batch, SlabBuilder};
use millstream::{InputQueue, StreamingContext};

use crate::corpus::Corpus;
use crate::measure::{failed, mb, percentile, timed};
use crate::report::Report;

pub const BYTES: usize = 200_000_000;
const BATCH_BYTES: usize = 50_000_000;
const BLOCK_EVENTS: usize = 1000;
const ROUNDS: usize = 5;
/// About what the bodies of a block take.
const BLOCK_BYTES: usize = 130_000;

/// Real text: few words make most of it.
pub fn corpus(report: &mut Report) -> millstream::Result<()> {
    let corpus = Corpus::load();
    report.section("(c) word count alone", &format!("{}, repeated to {} MB", corpus.origin, mb(BYTES)));
    compare(report, "corpus", corpus.repeated(BYTES), 3.0)
}

/// The worst case: no word comes twice.
pub fn distinct(report: &mut Report) -> millstream::Result<()> {
    report.section("(c) word count, only distinct words", &format!("{} MB of distinct words", mb(BYTES / 2)));
    let distinct = (0_u64..)
        .map(|n| format!("{:x}{}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15), if n % 10 == 9 { '\n' } else { ' ' }));
    let mut text = Vec::new();
    for word in distinct {
        text.extend_from_slice(word.as_bytes());
        if text.len() > BYTES / 2 && text.last() == Some(&b'\n') {
            break;
        }
    }
    compare(report, "only distinct words", text, f64::INFINITY)
}

fn compare(report: &mut Report, name: &str, text: Vec<u8>, most: f64) -> millstream::Result<()> {
    let text = Bytes::from(text);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let blocks = blocks(&text);
    let (mut bare, mut ours, mut rates, mut ratios, mut words) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let (counted, _, bare_cpu) = timed(|| bare_loops(&text, threads));
        let (wall, cpu) = count(&blocks)?;
        words = counted;
        let per_word = |time: Duration| time.as_nanos() as f64 / words as f64;
        bare.push(per_word(bare_cpu));
        ours.push(per_word(cpu));
        ratios.push(per_word(cpu) / per_word(bare_cpu));
        rates.push(words as f64 / wall.as_secs_f64() / 1e6);
    }
    let median = |values: &mut Vec<f64>| percentile(values, 50);
    report.row(&format!("{name}: bare loop"), &format!("{:.1} ns CPU per word, {words} words", median(&mut bare)));
    let rate = median(&mut rates);
    report.row(
        &format!("{name}: DStream, state, commit record"),
        &format!(
            "{:.1} ns CPU per word, {rate:.1} M words/s, {:.0} MB/s",
            median(&mut ours),
            rate * 1e6 / words as f64 * mb(text.len())
        ),
    );
    let (median, range) = (median(&mut ratios), format!("{:.2} to {:.2}", ratios[0], ratios[ROUNDS - 1]));
    report.row(&format!("{name}: ratio, {ROUNDS} rounds"), &range);
    report.target(&format!("{name}: ratio, median"), median, most, "times the bare loop");
    Ok(())
}

/// Wall and CPU time of a job over all blocks.
fn count(blocks: &[Batch]) -> millstream::Result<(Duration, Duration)> {
    let dir = tempfile::tempdir().map_err(failed)?;
    let mut ssc = StreamingContext::new("bench", Duration::ZERO);
    ssc.checkpoint(dir.path()).memory_bytes(1 << 30);
    let (queue, lines) = ssc.queue_stream("corpus");
    let counts = lines.flat_map(|event| event.words()).map(|word| (word, 1_i64)).reduce_by_key(|a, b| a + b);
    let totals = counts.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
    totals.for_each_batch(|_, _| Ok(()));
    let job = ssc.start()?;
    let (fed, wall, cpu) = timed(|| feed(&queue, blocks));
    fed?;
    job.stop()?;
    Ok((wall, cpu))
}

/// Feeds the blocks, micro-batch by micro-batch.
pub fn feed(queue: &InputQueue, blocks: &[Batch]) -> millstream::Result<()> {
    let mut at = 0;
    while at < blocks.len() {
        let mut bytes = 0;
        let mut verdicts = Vec::new();
        while at < blocks.len() && bytes < BATCH_BYTES {
            bytes += BLOCK_BYTES;
            verdicts.push(queue.push(blocks[at].clone())?);
            at += 1;
        }
        for verdict in verdicts {
            verdict.blocking_recv().map_err(|_| millstream::Error::Stopped { what: "bench".into() })?;
        }
    }
    Ok(())
}

/// The bare loop on `threads` parts of the text; the number of words.
pub fn bare_loops(text: &Bytes, threads: usize) -> u64 {
    let part = text.len() / threads;
    let cut = |index: usize| match index {
        0 => 0,
        _ if index == threads => text.len(),
        _ => text[index * part..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| index * part + at),
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|index| &text[cut(index)..cut(index + 1)]).collect();
        let counting: Vec<_> = parts.into_iter().map(|part| scope.spawn(|| bare_loop(part))).collect();
        counting.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    })
}

/// The least that counting can cost: no allocation but the table's.
fn bare_loop(text: &[u8]) -> u64 {
    let mut table: HashMap<&[u8], u64, FixedState> = HashMap::with_hasher(FixedState::default());
    for word in text.split(|byte| *byte == b' ' || byte.wrapping_sub(b'\t') < 5).filter(|word| !word.is_empty()) {
        *table.entry(word).or_default() += 1;
    }
    table.values().sum()
}

/// The text as events, one per line; a block's buffer holds its own bytes only, as one that comes from a socket does.
pub fn blocks(text: &Bytes) -> Vec<Batch> {
    let mut start = 0;
    let mut rows = Vec::with_capacity(BLOCK_EVENTS);
    let mut blocks = Vec::new();
    for end in text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at) {
        rows.push(start..end);
        start = end + 1;
        if rows.len() == BLOCK_EVENTS {
            blocks.push(block(text, &rows));
            rows.clear();
        }
    }
    if !rows.is_empty() {
        blocks.push(block(text, &rows));
    }
    blocks
}

fn block(text: &Bytes, rows: &[Range<usize>]) -> Batch {
    let (base, end) = (rows[0].start, rows[rows.len() - 1].end);
    let mut builder = SlabBuilder::new(text.slice(base..end));
    rows.iter().for_each(|row| builder.row(row.start - base..row.end - base));
    builder.finish()
}
