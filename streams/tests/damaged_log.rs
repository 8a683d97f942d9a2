//! A commit log with a flipped bit: the totals go on exactly, or the job is refused with the place and the remedy.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Table, context, named, totals, until};
use millstream_io::Disk;
use millstream_streams::{InputQueue, Job};
use millstream_testkit::FakeDisk;
use tempfile::TempDir;

/// Small, so that the state is rewritten several times and old files are deleted.
const SEGMENT_BYTES: u64 = 16 << 10;
const KEYS: u64 = 57;
/// Not every byte: an odd number meets all fields of the records in turn.
const STEP: usize = 101;

/// What a life leaves behind.
struct Past {
    /// For the lock.
    dir: TempDir,
    /// The log's, oldest first.
    files: Vec<(PathBuf, Vec<u8>)>,
    table: Table,
    events: u64,
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Killed,
}

fn start(dir: &Path, disk: &FakeDisk, table: &Table) -> Result<(InputQueue, Job), String> {
    let mut ssc = context(dir);
    ssc.disk(Arc::new(disk.clone())).commit_log_segment_bytes(SEGMENT_BYTES);
    let (queue, lines) = ssc.queue_stream("lines");
    totals(&lines).save("table", table.clone());
    let job = ssc.start().map_err(|error| error.to_string())?;
    Ok((queue, job))
}

fn every_key() -> String {
    (0..KEYS).map(|key| format!("w{key} ")).collect()
}

// === impl Past ===

impl Past {
    fn of(end: End) -> Self {
        let (dir, mut disk, table) = (tempfile::tempdir().unwrap(), FakeDisk::new(), Table::default());
        let events = 2_000;
        let (queue, job) = start(dir.path(), &disk, &table).unwrap();
        for batch in 0..events {
            // Most keys are touched once, long ago: only the rewritten state has them.
            let line = if batch == 0 { every_key() } else { format!("w{} w{}", batch % 5, batch % 7) };
            queue.push(named(&[line.as_str()], batch)).unwrap().blocking_recv().unwrap();
        }
        until("applied", || job.is_idle());
        match end {
            End::Stopped => job.stop().unwrap(),
            End::Killed => disk = disk.kill(),
        }
        drop(job);
        let log = dir.path().join("commit");
        let mut paths: Vec<PathBuf> = disk.list(&log).unwrap().iter().map(|name| log.join(name)).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        paths.sort();
        let files = paths.into_iter().map(|path| (path.clone(), disk.content(&path).unwrap())).collect();
        Self { dir, files, table, events }
    }

    /// The error with which a log with one damaged byte is refused; `None` when it goes on.
    fn damaged(&self, file: usize, at: usize) -> Option<String> {
        let mut files = self.files.clone();
        files[file].1[at] ^= 1 << (at % 8);
        self.goes_on_with(&files, &format!("byte {at} of file {file} of {}", files.len()))
    }

    /// Opens a log of these files and counts every key once more; the error, if that is refused.
    fn goes_on_with(&self, files: &[(PathBuf, Vec<u8>)], what: &str) -> Option<String> {
        let (disk, table) = (FakeDisk::new(), self.table.copied());
        disk.create_dir_all(&self.dir.path().join("commit")).unwrap();
        files.iter().for_each(|(path, content)| disk.put(path, content));
        let (queue, job) = match start(self.dir.path(), &disk, &table) {
            Ok(started) => started,
            Err(error) => return Some(error),
        };
        queue.push(named(&[every_key().as_str()], self.events)).unwrap().blocking_recv().unwrap();
        job.stop().unwrap();
        let more: BTreeMap<String, i64> =
            self.table.rows().into_iter().map(|(word, count)| (word, count + 1)).collect();
        assert_eq!(table.rows(), more, "{what}");
        None
    }

    /// Damages byte after byte; returns at how many places the job went on, and at how many it was refused.
    fn damaged_everywhere(&self) -> (usize, usize) {
        let (mut exact, mut refused) = (0, 0);
        for (file, (_, content)) in self.files.iter().enumerate() {
            for at in (0..content.len()).step_by(STEP) {
                let Some(error) = self.damaged(file, at) else {
                    exact += 1;
                    continue;
                };
                refused += 1;
                assert_tells_the_remedy(&error);
            }
        }
        (exact, refused)
    }
}

#[track_caller]
fn assert_tells_the_remedy(error: &str) {
    for part in ["/commit", "restore", "begin anew"] {
        assert!(error.contains(part) || error.contains("table"), "lacks {part}: {error}");
    }
}

#[test]
fn a_flipped_bit_in_the_log_never_gives_a_wrong_total() {
    for end in [End::Stopped, End::Killed] {
        let past = Past::of(end);
        assert!(past.files.len() > 1, "{}", past.files.len());
        let (exact, refused) = past.damaged_everywhere();
        println!("{end:?}: {} files, {exact} exact, {refused} refused", past.files.len());
        assert!(exact > 0 && refused > 0);
    }
}

#[test]
fn a_damaged_last_snapshot_is_made_up_from_what_is_before_it() {
    // Behind the two copies of the header and the head of the first record.
    const IN_THE_SNAPSHOT: usize = 2 * 64 + 24 + 8;
    for end in [End::Stopped, End::Killed] {
        let past = Past::of(end);
        assert_eq!(past.damaged(past.files.len() - 1, IN_THE_SNAPSHOT), None, "{end:?}");
    }
}

#[test]
fn a_log_whose_oldest_files_are_gone_is_refused_where_the_state_was_in_them() {
    let past = Past::of(End::Killed);
    let mut refused = 0;
    for gone in 1..past.files.len() {
        let outcome = past.goes_on_with(&past.files[gone..], &format!("{gone} of {} files gone", past.files.len()));
        if let Some(error) = outcome {
            assert_tells_the_remedy(&error);
            refused += 1;
        }
    }
    assert!(refused > 0, "the newest file alone cannot have everything");
}
