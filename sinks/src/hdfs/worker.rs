//! The part of the sink that writes: it has the files, and knows when something is due.
//!
//! A transaction is first made up in memory, file by file; then each file gets its part in one piece. Only when all
//! have theirs, files that are full are completed. One that fails is cut off everywhere, so that each event is in one
//! file once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Batch, Result};

use super::bucket::{Completing, Numbers, OpenFile};
use super::files::FileSystem;
use super::settings::Settings;
use super::template::Filler;
use crate::file_counts::FileCounts;

/// Writes, rolls and completes files.
#[derive(Debug)]
pub(super) struct Worker {
    settings: Settings,
    files: Arc<dyn FileSystem>,
    filler: Filler,
    /// By directory and beginning of the name.
    buckets: HashMap<String, Bucket>,
    /// Counts transactions, so that it is known which file was used last.
    turn: u64,
    /// Files that could not be completed, and when it is tried again.
    completing: Vec<(Duration, Completing)>,
    counts: FileCounts,
}

#[derive(Debug)]
struct Bucket {
    numbers: Numbers,
    file: Option<OpenFile>,
    last_used: u64,
}

/// Files of a transaction, each with its bucket's key; of one bucket, the last one goes on.
type Parts = Vec<(Arc<str>, OpenFile)>;

// === impl Worker ===

impl Worker {
    pub(super) fn new(settings: Settings, files: Arc<dyn FileSystem>, filler: Filler) -> Self {
        let counts = FileCounts::default();
        Self { settings, files, filler, buckets: HashMap::new(), turn: 0, completing: Vec::new(), counts }
    }

    /// Where its files are counted.
    pub(super) fn counts(&self) -> FileCounts {
        self.counts.clone()
    }

    /// Writes one transaction, all of it or nothing.
    pub(super) fn deliver(&mut self, batches: &[Batch]) -> Result<()> {
        self.turn += 1;
        let (without_time, tamed) = (self.filler.without_time, self.filler.tamed);
        let mut parts = Parts::new();
        let made_up = self.make_up(batches, &mut parts);
        self.tell(without_time, tamed);
        if let Err(error) = made_up {
            self.undo(parts, 0, false);
            return Err(error);
        }
        let mut lengths = Vec::with_capacity(parts.len());
        for index in 0..parts.len() {
            match parts[index].1.write() {
                Ok(len) => lengths.push(len),
                Err(error) => {
                    self.undo(parts, index, true);
                    return Err(error);
                }
            }
        }
        self.commit(parts, &lengths);
        self.close_least_used();
        Ok(())
    }

    /// Undoes a transaction. The parts before `written` were written; that one failed, if `failed`.
    fn undo(&mut self, parts: Parts, written: usize, failed: bool) {
        for (index, (key, mut file)) in parts.into_iter().enumerate() {
            if file.is_new() {
                file.remove(&*self.files);
                continue;
            }
            let failed_here = failed && index == written;
            let undone = match index < written || failed_here {
                true => file.cut_back(),
                false => {
                    file.abandon();
                    true
                }
            };
            // After a failed sync nobody knows what a file holds: it gets no more events.
            match undone && !failed_here {
                true => self.buckets.get_mut(&*key).expect("every part has its bucket").file = Some(file),
                false => self.complete(file.complete()),
            }
        }
    }

    /// Gives each event to its file, in memory. Files that take part are in `parts`, also when it fails.
    fn make_up(&mut self, batches: &[Batch], parts: &mut Parts) -> Result<()> {
        let now_ms = self.settings.clock.now_ms() as i64;
        let mut path = String::new();
        // Index into `parts` of the file that a path's events go to now.
        let mut at: HashMap<Arc<str>, usize> = HashMap::new();
        for event in batches.iter().flat_map(Batch::iter) {
            let Settings { dir, prefix, .. } = &self.settings;
            self.filler.fill(dir, prefix, event, now_ms, &mut path);
            let index = match at.get(path.as_str()) {
                Some(&index) if !parts[index].1.is_full(&self.settings) => index,
                found => {
                    let key = found.map_or_else(|| Arc::from(path.as_str()), |&index| Arc::clone(&parts[index].0));
                    let file = self.file_for(&key, now_ms as u64)?;
                    parts.push((Arc::clone(&key), file));
                    at.insert(key, parts.len() - 1);
                    parts.len() - 1
                }
            };
            parts[index].1.add(event)?;
        }
        Ok(())
    }

    /// The open file of a path, or a new one.
    fn file_for(&mut self, key: &str, now_ms: u64) -> Result<OpenFile> {
        if !self.buckets.contains_key(key) {
            let bucket = Bucket { numbers: Numbers::new(now_ms), file: None, last_used: self.turn };
            self.buckets.insert(key.to_owned(), bucket);
        }
        let Self { settings, files, buckets, turn, counts, .. } = self;
        let bucket = buckets.get_mut(key).expect("put there just now");
        bucket.last_used = *turn;
        match bucket.file.take() {
            Some(file) => Ok(file),
            None => bucket.numbers.create(key, settings, &**files, counts),
        }
    }

    fn commit(&mut self, parts: Parts, lengths: &[u64]) {
        let now = self.settings.clock.monotonic();
        let mut full = Vec::new();
        for ((key, mut file), &len) in parts.into_iter().zip(lengths) {
            file.commit(len, now);
            let bucket = self.buckets.get_mut(&*key).expect("every part has its bucket");
            match file.is_full(&self.settings) {
                true => full.push(file.complete()),
                false => bucket.file = Some(file),
            }
        }
        full.into_iter().for_each(|file| self.complete(file));
    }

    /// Completes what is due, and tries again what failed.
    pub(super) fn run_due(&mut self) {
        let now = self.settings.clock.monotonic();
        let mut due = Vec::new();
        for bucket in self.buckets.values_mut() {
            due.extend(bucket.file.take_if(|file| file.due(&self.settings).is_some_and(|at| at <= now)));
        }
        due.into_iter().for_each(|file| self.complete(file.complete()));
        self.forget_unused();
        for (at, file) in std::mem::take(&mut self.completing) {
            match at <= now {
                true => self.complete(file),
                false => self.completing.push((at, file)),
            }
        }
    }

    /// When [`Self::run_due`] has something to do, on the monotonic clock.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let files = self.buckets.values().filter_map(|bucket| bucket.file.as_ref()?.due(&self.settings));
        files.chain(self.completing.iter().map(|(at, _)| *at)).min()
    }

    /// Completes every file; the sink ends.
    pub(super) fn close(&mut self) {
        let files: Vec<OpenFile> = self.buckets.drain().filter_map(|(_, bucket)| bucket.file).collect();
        files.into_iter().for_each(|file| self.complete(file.complete()));
        for (_, mut file) in std::mem::take(&mut self.completing) {
            if let Err(error) = file.run(&self.files) {
                let path = file.path();
                tracing::error!(path, %error, "file keeps the name of one in use, its events are in it");
            }
        }
    }

    fn complete(&mut self, mut file: Completing) {
        let Err(error) = file.run(&self.files) else { return };
        self.counts.failed();
        let (path, attempt) = (file.path(), file.attempts());
        if self.settings.close_tries.is_some_and(|most| attempt >= most) {
            tracing::error!(path, %error, attempt, "file keeps the name of one in use, its events are in it");
            return;
        }
        let wait = self.settings.retry_interval;
        tracing::warn!(path, %error, attempt, wait_s = wait.as_secs(), "file could not be completed, trying again");
        self.completing.push((self.settings.clock.monotonic() + wait, file));
    }

    /// Completes the files that were used longest ago, when more are open than may be.
    fn close_least_used(&mut self) {
        let mut open: Vec<(u64, String)> = Vec::new();
        let count = self.buckets.values().filter(|bucket| bucket.file.is_some()).count();
        if count > self.settings.most_open {
            let with_file = self.buckets.iter().filter(|(_, bucket)| bucket.file.is_some());
            open.extend(with_file.map(|(key, bucket)| (bucket.last_used, key.clone())));
            open.sort_unstable();
        }
        for (_, key) in open.into_iter().take(count.saturating_sub(self.settings.most_open)) {
            let file = self.buckets.remove(&key).and_then(|bucket| bucket.file);
            file.into_iter().for_each(|file| self.complete(file.complete()));
        }
        self.forget_unused();
    }

    /// Paths without an open file come and go with the hours. Their next file looks for a free number anew.
    fn forget_unused(&mut self) {
        if self.buckets.len() > 2 * self.settings.most_open {
            self.buckets.retain(|_, bucket| bucket.file.is_some());
        }
    }

    fn tell(&self, without_time: u64, tamed: u64) {
        let passed = |before: u64, now: u64| now.checked_ilog2() > before.checked_ilog2();
        let Filler { without_time: now, tamed: now_tamed, .. } = self.filler;
        if passed(without_time, now) {
            tracing::warn!(
                events = now,
                "events without the header timestamp were written under the time of writing; add a timestamp interceptor or set hdfs.useLocalTimeStamp"
            );
        }
        if passed(tamed, now_tamed) {
            tracing::warn!(
                values = now_tamed,
                "values of headers were no names of files and were written in another way"
            );
        }
    }
}

#[cfg(test)]
mod tests;
