//! What every output that remembers how far it has come must do.
//!
//! Call [`crate::output_contract!`] with an expression that gives a fresh [`Subject`].
#![allow(clippy::unwrap_used, reason = "tests")]

use millstream_core::{BatchId, BatchStamp, LogId, Output, Reaction, Rows};

/// An output under test and its place.
pub trait Subject {
    /// Opens what the place holds, as a new process does.
    fn open(&self) -> Box<dyn Output>;
    /// What a reader sees there: rows as `(word,count)`, sorted.
    fn shown(&self) -> Vec<String>;
    /// Deletes everything there.
    fn wipe(&self);
}

const LOG: LogId = LogId(0xA1);

/// Batch `batch` of the log under test.
pub fn stamp(epoch: u64, batch: BatchId) -> BatchStamp {
    BatchStamp { log: LOG, epoch, batch, time_ms: 1_700_000_000_000 + batch }
}

/// Rows of words and counts.
pub fn rows(pairs: &[(&str, i64)]) -> Rows {
    let mut rows = Rows::of::<(String, i64)>();
    pairs.iter().for_each(|(word, count)| rows.push(&((*word).to_owned(), *count)));
    rows
}

fn write(output: &dyn Output, stamp: BatchStamp, pairs: &[(&str, i64)]) {
    let staged = output.stage(stamp, &rows(pairs)).unwrap();
    output.apply(stamp, &staged).unwrap();
}

fn refused(output: &dyn Output, stamp: BatchStamp) {
    let outcome = output.stage(stamp, &rows(&[("x", 9)])).and_then(|staged| output.apply(stamp, &staged));
    let error = outcome.expect_err("refused");
    assert_eq!(error.reaction(), Reaction::Stop, "{error}");
}

/// A crash between `apply` and the log's note of it brings the batch again.
pub fn a_batch_that_comes_again_changes_nothing(subject: &dyn Subject) {
    let output = subject.open();
    let first = output.stage(stamp(1, 1), &rows(&[("a", 1)])).unwrap();
    output.apply(stamp(1, 1), &first).unwrap();
    output.apply(stamp(1, 1), &first).unwrap();
    write(&*output, stamp(1, 2), &[("b", 2)]);
    drop(output);
    let output = subject.open();
    output.apply(stamp(1, 1), &first).unwrap();
    assert_eq!(subject.shown(), ["(a,1)", "(b,2)"]);
    assert_eq!(output.last_applied().unwrap(), Some((LOG, 2)));
}

/// What is staged shows only after `apply`, which may be another process's.
pub fn a_batch_staged_before_a_crash_is_applied_after_it(subject: &dyn Subject) {
    let output = subject.open();
    let staged = output.stage(stamp(1, 1), &rows(&[("a", 1)])).unwrap();
    assert_eq!(subject.shown(), [""; 0]);
    assert_eq!(output.last_applied().unwrap(), None);
    drop(output);
    let output = subject.open();
    assert_eq!(output.last_applied().unwrap(), None);
    output.apply(stamp(1, 1), &staged).unwrap();
    assert_eq!(subject.shown(), ["(a,1)"]);
}

/// A batch that was staged and never committed is computed again under the same number.
pub fn a_batch_staged_twice_is_there_once(subject: &dyn Subject) {
    let output = subject.open();
    output.stage(stamp(1, 1), &rows(&[("a", 1)])).unwrap();
    write(&*output, stamp(1, 1), &[("a", 5)]);
    output.stage(stamp(1, 2), &rows(&[("b", 1)])).unwrap();
    drop(output);
    let output = subject.open();
    write(&*output, stamp(2, 2), &[("b", 7)]);
    drop(output);
    assert_eq!(subject.shown(), ["(a,5)", "(b,7)"]);
}

/// Results of two jobs are never mixed.
pub fn another_log_is_refused_and_changes_nothing(subject: &dyn Subject) {
    let output = subject.open();
    write(&*output, stamp(1, 1), &[("a", 1)]);
    refused(&*output, BatchStamp { log: LogId(0xB2), ..stamp(5, 7) });
    assert_eq!(subject.shown(), ["(a,1)"]);
    assert_eq!(output.last_applied().unwrap(), Some((LOG, 1)));
}

/// A driver that slept through its successor's start does no harm.
pub fn an_older_opening_of_the_log_is_refused(subject: &dyn Subject) {
    let older = subject.open();
    write(&*older, stamp(1, 1), &[("a", 1)]);
    write(&*subject.open(), stamp(2, 2), &[("b", 2)]);
    refused(&*older, stamp(1, 3));
    write(&*subject.open(), stamp(2, 3), &[("c", 3)]);
    assert_eq!(subject.shown(), ["(a,1)", "(b,2)", "(c,3)"]);
}

/// A batch without rows is one that was applied.
pub fn a_batch_without_rows_moves_the_cursor_alone(subject: &dyn Subject) {
    let output = subject.open();
    write(&*output, stamp(1, 1), &[]);
    assert_eq!(subject.shown(), [""; 0]);
    assert_eq!(subject.open().last_applied().unwrap(), Some((LOG, 1)));
}

/// Deleted between two starts, it is empty and takes any batch.
pub fn a_deleted_output_begins_anew(subject: &dyn Subject) {
    let output = subject.open();
    write(&*output, stamp(1, 1), &[("a", 1)]);
    drop(output);
    subject.wipe();
    let output = subject.open();
    assert_eq!(output.last_applied().unwrap(), None);
    write(&*output, stamp(2, 9), &[("b", 2)]);
    assert_eq!(subject.shown(), ["(b,2)"]);
}

/// Makes a test of every claim above; `$subject` gives a fresh [`Subject`] each time.
#[macro_export]
macro_rules! output_contract {
    ($subject:expr) => {
        $crate::output_contract!(@ $subject;
            a_batch_that_comes_again_changes_nothing
            a_batch_staged_before_a_crash_is_applied_after_it
            a_batch_staged_twice_is_there_once
            another_log_is_refused_and_changes_nothing
            an_older_opening_of_the_log_is_refused
            a_batch_without_rows_moves_the_cursor_alone
            a_deleted_output_begins_anew
        );
    };
    (@ $subject:expr; $($claim:ident)*) => {
        $(#[test]
        fn $claim() {
            $crate::contract::output::$claim(&$subject);
        })*
    };
}
