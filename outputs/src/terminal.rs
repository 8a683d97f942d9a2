//! The largest rows of each batch on one line, for people who look on.
//!
//! `batch 17, 12:00:01.100 UTC: 532 rows; the 3141, of 926, and 535`
//!
//! # Delivery
//! A line may come twice when the process is killed while it prints: a terminal remembers nothing. One whose reader left
//! (`head`, a closed window) is told once in the log, and the job goes on without it.

use std::cmp::Ordering;
use std::io::{ErrorKind, Write};

use millstream_core::{BatchId, BatchStamp, Error, LogId, Output, Result, Rows, Staged, Value};
use parking_lot::Mutex;

use crate::text::push_value;

/// Prints a line per batch.
pub struct Terminal {
    rows: usize,
    name: &'static str,
    /// `None` once its reader has left.
    writer: Mutex<Option<Box<dyn Write + Send>>>,
}

// === impl Terminal ===

impl Terminal {
    /// Prints up to `rows` rows of each batch on standard output.
    pub fn stdout(rows: usize) -> Self {
        Self::new(rows, "standard output", std::io::stdout())
    }

    /// As [`Self::stdout`], on standard error.
    pub fn stderr(rows: usize) -> Self {
        Self::new(rows, "standard error", std::io::stderr())
    }

    /// Prints to `writer`, which messages call `name`.
    pub fn new(rows: usize, name: &'static str, writer: impl Write + Send + 'static) -> Self {
        Self { rows, name, writer: Mutex::new(Some(Box::new(writer))) }
    }
}

impl Output for Terminal {
    fn stage(&self, _stamp: BatchStamp, rows: &Rows) -> Result<Staged> {
        // Only what is shown goes into the log.
        Ok(Staged { bytes: summary(rows, self.rows).into() })
    }

    fn apply(&self, stamp: BatchStamp, staged: &Staged) -> Result<()> {
        let summary = String::from_utf8_lossy(&staged.bytes);
        let line = format!("batch {}, {} UTC: {summary}\n", stamp.batch, time_of_day(stamp.time_ms));
        let mut writer = self.writer.lock();
        let Some(open) = &mut *writer else { return Ok(()) };
        match open.write_all(line.as_bytes()).and_then(|()| open.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                tracing::warn!(output = self.name, "nobody reads any more, batches are not printed from here on");
                *writer = None;
                Ok(())
            }
            written => written.map_err(|error| Error::io("write", self.name, error)),
        }
    }

    fn last_applied(&self) -> Result<Option<(LogId, BatchId)>> {
        Ok(None)
    }

    fn remembers(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        self.name.to_owned()
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("rows", &self.rows).field("name", &self.name).finish_non_exhaustive()
    }
}

// === helpers ===

/// How many rows there are, and those with the largest value in the last column; equal ones by the columns before it.
fn summary(rows: &Rows, most: usize) -> String {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let by_size = |a: &usize, b: &usize| {
        let Some(last) = rows.width().checked_sub(1) else { return Ordering::Equal };
        let of_column = |column| compare(rows.value(*a, column), rows.value(*b, column));
        of_column(last)
            .reverse()
            .then_with(|| (0..last).map(of_column).find(|found| found.is_ne()).unwrap_or(Ordering::Equal))
    };
    // A batch may have many thousand rows, of which ten are shown.
    if most < order.len() {
        order.select_nth_unstable_by(most, by_size);
        order.truncate(most);
    }
    order.sort_by(by_size);
    let unit = if rows.len() == 1 { "row" } else { "rows" };
    let mut summary = format!("{} {unit}", rows.len());
    for (place, row) in order.into_iter().enumerate() {
        summary.push_str(if place == 0 { "; " } else { ", " });
        for column in 0..rows.width() {
            if column > 0 {
                summary.push(' ');
            }
            push_value(&mut summary, rows.value(row, column));
        }
    }
    summary
}

/// Values of one column.
fn compare(a: Value<'_>, b: Value<'_>) -> Ordering {
    match (a, b) {
        (Value::I64(a), Value::I64(b)) | (Value::Time(a), Value::Time(b)) => a.cmp(&b),
        (Value::F64(a), Value::F64(b)) => a.total_cmp(&b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}

fn time_of_day(time_ms: u64) -> String {
    let (seconds, ms) = (time_ms / 1000, time_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const STAMP: BatchStamp = BatchStamp { log: LogId(1), epoch: 1, batch: 17, time_ms: 43_201_100 };

    fn rows() -> Rows {
        let mut rows = Rows::of::<(String, i64)>();
        for (word, count) in [("b", 2_i64), ("the", 30), ("c", 2), ("a", 2)] {
            rows.push(&(word.to_owned(), count));
        }
        rows
    }

    #[test]
    fn the_largest_rows_are_printed_on_one_line_per_batch() {
        let page = Page::default();
        let terminal = Terminal::new(3, "a page", page.clone());
        let staged = terminal.stage(STAMP, &rows()).unwrap();
        terminal.apply(STAMP, &staged).unwrap();
        let text = String::from_utf8(page.0.lock().clone()).unwrap();
        assert_eq!(text, "batch 17, 12:00:01.100 UTC: 4 rows; the 30, a 2, b 2\n");
        assert!(!terminal.remembers());
    }

    #[test]
    fn a_batch_without_rows_says_so() {
        assert_eq!(summary(&Rows::of::<(String, i64)>(), 3), "0 rows");
    }

    #[test]
    fn a_reader_that_left_does_not_hold_the_job_up() {
        let terminal = Terminal::new(3, "a pipe", Gone);
        let staged = terminal.stage(STAMP, &rows()).unwrap();
        terminal.apply(STAMP, &staged).unwrap();
        terminal.apply(BatchStamp { batch: 18, ..STAMP }, &staged).unwrap();
    }
}
