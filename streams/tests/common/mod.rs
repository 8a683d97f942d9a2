//! What the tests of the engine share: an output that can be held up, and a word count over a queue.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "shared by several test programs; tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_core::{Batch, BatchId, BatchStamp, Error, LogId, Output, Result, Rows, Staged, Value};
use millstream_streams::{DStream, Event, InputQueue, Job, StateStream, StreamingContext};
use parking_lot::Mutex;

const PATIENCE: Duration = Duration::from_secs(20);

/// One row per key, in memory; survives the job as a table would.
#[derive(Debug, Clone, Default)]
pub struct Table(Arc<Mutex<TableState>>);

#[derive(Debug, Clone, Default)]
struct TableState {
    rows: BTreeMap<String, i64>,
    cursor: Option<(LogId, BatchId)>,
    epoch: u64,
    locked: bool,
    attempts: u64,
}

impl Table {
    pub fn rows(&self) -> BTreeMap<String, i64> {
        self.0.lock().rows.clone()
    }

    pub fn cursor(&self) -> BatchId {
        self.0.lock().cursor.map_or(0, |(_, batch)| batch)
    }

    /// As a backup of the file.
    pub fn copied(&self) -> Self {
        let state = self.0.lock().clone();
        Self(Arc::new(Mutex::new(state)))
    }

    /// As another process that holds the lock of a database.
    pub fn lock(&self, locked: bool) {
        self.0.lock().locked = locked;
    }

    pub fn attempts(&self) -> u64 {
        self.0.lock().attempts
    }

    /// As a user who deletes the file.
    pub fn delete(&self) {
        *self.0.lock() = TableState::default();
    }
}

impl Output for Table {
    fn apply(&self, stamp: BatchStamp, staged: &Staged) -> Result<()> {
        let rows = Rows::decode(staged.bytes.clone())?;
        let mut state = self.0.lock();
        state.attempts += 1;
        if state.locked {
            return Err(Error::io("lock", "table", std::io::Error::other("locked by another")));
        }
        if stamp.epoch < state.epoch {
            return Err(Error::mismatch("table", "an older driver"));
        }
        if state.cursor.is_some_and(|(log, batch)| log == stamp.log && batch >= stamp.batch) {
            return Ok(());
        }
        for row in 0..rows.len() {
            let (Value::Text(key), Value::I64(count)) = (rows.value(row, 0), rows.value(row, 1)) else { panic!() };
            state.rows.insert(key.to_owned(), count);
        }
        state.cursor = Some((stamp.log, stamp.batch));
        state.epoch = stamp.epoch;
        Ok(())
    }

    fn last_applied(&self) -> Result<Option<(LogId, BatchId)>> {
        Ok(self.0.lock().cursor)
    }

    fn describe(&self) -> String {
        "table".into()
    }
}

/// `words → totals`.
pub fn totals(lines: &DStream<Event>) -> StateStream<millstream_core::Word, i64> {
    let ones = lines.flat_map(|event| event.words()).map(|word| (word, 1_i64));
    ones.reduce_by_key(|a, b| a + b)
        .update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new.iter().sum::<i64>()))
}

/// A job that runs whenever something arrives.
pub fn context(dir: &Path) -> StreamingContext {
    let mut ssc = StreamingContext::new("word-count", Duration::ZERO);
    ssc.checkpoint(dir).threads(2).stop_timeout(Duration::from_secs(2));
    ssc
}

pub fn word_count(dir: &Path, table: &Table) -> (InputQueue, Job) {
    let ssc = context(dir);
    let (queue, lines) = ssc.queue_stream("lines");
    totals(&lines).save("table", table.clone());
    (queue, ssc.start().unwrap())
}

pub fn named(lines: &[&str], first: u64) -> Batch {
    Batch::from_bodies(lines).named(7 << 64 | 1, first)
}

pub fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

pub fn counts(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}
