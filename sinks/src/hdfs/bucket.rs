//! One path and name of files: the file under way there, and when the next one begins.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_core::{Error, EventRef, Result};

use super::files::{FileSystem, OutputFile};
use super::settings::Settings;
use crate::file_counts::{FileCounts, OpenCount};
use crate::serializer::EventSerializer;

/// A file under way.
#[derive(Debug)]
pub(super) struct OpenFile {
    out: Box<dyn OutputFile>,
    serializer: Box<dyn EventSerializer>,
    name: FileName,
    /// Bytes of whole transactions.
    committed: u64,
    events: u64,
    /// Of the bodies, before compression: what `rollSize` counts.
    body_bytes: u64,
    /// On the monotonic clock.
    opened: Duration,
    flushed: Duration,
    /// What the transaction under way adds.
    pending: Pending,
    count: OpenCount,
}

/// Bytes, events and bytes of bodies.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    events: u64,
    body_bytes: u64,
}

/// How a file is called while it is written and afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileName {
    pub(super) in_use: String,
    pub(super) complete: String,
}

/// Gives the files of one path and name their numbers.
#[derive(Debug)]
pub(super) struct Numbers(u64);

/// A file without further events, which is closed and gets its last name, again and again if need be.
#[derive(Debug)]
pub(super) struct Completing {
    out: Box<dyn OutputFile>,
    name: FileName,
    closed: bool,
    attempts: u64,
    _count: OpenCount,
}

// === impl Numbers ===

impl Numbers {
    /// The first number is one more than `now_ms`.
    pub(super) fn new(now_ms: u64) -> Self {
        Self(now_ms)
    }

    /// Begins the next file of `path`, the directory and the beginning of the name; numbers of files that exist are
    /// passed over.
    pub(super) fn create(
        &mut self,
        path: &str,
        settings: &Settings,
        files: &dyn FileSystem,
        counts: &FileCounts,
    ) -> Result<OpenFile> {
        let ((out, name), count) = counts.created(self.next(path, settings, files))?;
        Ok(OpenFile::new(out, name, settings, count))
    }

    fn next(
        &mut self,
        path: &str,
        settings: &Settings,
        files: &dyn FileSystem,
    ) -> Result<(Box<dyn OutputFile>, FileName)> {
        loop {
            self.0 += 1;
            let name = FileName::new(path, self.0, settings);
            if files.exists(&name.complete)? {
                continue;
            }
            match files.create(&name.in_use) {
                Ok(out) => return Ok((out, name)),
                Err(Error::Io { error, .. }) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

// === impl FileName ===

impl FileName {
    fn new(path: &str, number: u64, settings: &Settings) -> Self {
        let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
        let Settings { in_use_prefix, in_use_suffix, suffix, .. } = settings;
        Self {
            in_use: format!("{dir}/{in_use_prefix}{name}.{number}{suffix}{in_use_suffix}"),
            complete: format!("{dir}/{name}.{number}{suffix}"),
        }
    }
}

// === impl OpenFile ===

impl OpenFile {
    fn new(out: Box<dyn OutputFile>, name: FileName, settings: &Settings, count: OpenCount) -> Self {
        let (now, mut serializer) = (settings.clock.monotonic(), settings.serializer());
        let mut pending = Pending::default();
        serializer.begin(&mut pending.bytes);
        Self {
            out,
            serializer,
            name,
            committed: 0,
            events: 0,
            body_bytes: 0,
            opened: now,
            flushed: now,
            pending,
            count,
        }
    }

    /// Adds an event to the transaction under way.
    pub(super) fn add(&mut self, event: EventRef<'_>) -> Result<()> {
        self.serializer.append(event, &mut self.pending.bytes)?;
        self.pending.events += 1;
        self.pending.body_bytes += event.body().len() as u64;
        Ok(())
    }

    /// Whether it has as many events or bytes as a file may have, the transaction under way included.
    pub(super) fn is_full(&self, settings: &Settings) -> bool {
        let reached = |most: u64, value: u64| most > 0 && value >= most;
        reached(settings.roll_events, self.events + self.pending.events)
            || reached(settings.roll_bytes, self.body_bytes + self.pending.body_bytes)
    }

    /// When it is complete for its age, or since nothing comes, on the monotonic clock.
    pub(super) fn due(&self, settings: &Settings) -> Option<Duration> {
        let old = settings.roll_interval.map(|interval| self.opened + interval);
        let idle = settings.idle_timeout.map(|timeout| self.flushed + timeout);
        old.into_iter().chain(idle).min()
    }

    /// Writes the transaction, so that it survives; gives how long the file is then.
    pub(super) fn write(&mut self) -> Result<u64> {
        self.serializer.end_transaction(&mut self.pending.bytes)?;
        let bytes = Bytes::from(std::mem::take(&mut self.pending.bytes));
        let len = self.committed + bytes.len() as u64;
        self.out.append(bytes)?;
        Ok(len)
    }

    /// The transaction stands; `len` is how long the file is now.
    pub(super) fn commit(&mut self, len: u64, now: Duration) {
        let Pending { events, body_bytes, .. } = std::mem::take(&mut self.pending);
        self.committed = len;
        self.events += events;
        self.body_bytes += body_bytes;
        self.flushed = now;
    }

    /// Whether no transaction wrote to it.
    pub(super) fn is_new(&self) -> bool {
        self.committed == 0
    }

    /// Undoes the transaction under way, of which nothing is written yet.
    pub(super) fn abandon(&mut self) {
        self.serializer.abandon_transaction();
        self.pending = Pending::default();
    }

    /// Undoes the transaction under way, of which some may be written. `false`: it cannot be undone, or nobody knows.
    pub(super) fn cut_back(&mut self) -> bool {
        self.abandon();
        let cut = self.out.cut_back(self.committed);
        if let Err(error) = &cut {
            let (path, committed) = (&self.name.in_use, self.committed);
            tracing::warn!(path, %error, committed, "part of a failed transaction stays in the file; its events come again");
        }
        cut.is_ok()
    }

    /// Removes a file that no transaction wrote to.
    pub(super) fn remove(mut self, files: &dyn FileSystem) {
        // Closed or not, nothing of it is wanted.
        let _ = self.out.close();
        if let Err(error) = files.remove(&self.name.in_use) {
            tracing::warn!(path = self.name.in_use, %error, "a file without committed events stays");
        }
    }

    /// Nothing is added any more.
    pub(super) fn complete(self) -> Completing {
        Completing { out: self.out, name: self.name, closed: false, attempts: 0, _count: self.count }
    }
}

// === impl Completing ===

impl Completing {
    /// Closes the file and gives it its last name, as far as that is not done.
    ///
    /// # Errors
    /// It may be tried again.
    pub(super) fn run(&mut self, files: &Arc<dyn FileSystem>) -> Result<()> {
        self.attempts += 1;
        if !self.closed {
            self.out.close()?;
            self.closed = true;
        }
        if self.name.in_use == self.name.complete {
            return Ok(());
        }
        let FileName { in_use, complete } = &self.name;
        let renamed = files.rename(in_use, complete);
        // It may be done and not have said so.
        if renamed.is_err() && files.exists(complete)? && !files.exists(in_use)? {
            return Ok(());
        }
        renamed
    }

    /// Tries so far.
    pub(super) fn attempts(&self) -> u64 {
        self.attempts
    }

    /// What it is called as long as it is not complete.
    pub(super) fn path(&self) -> &str {
        &self.name.in_use
    }
}
