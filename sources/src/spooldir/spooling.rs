//! Files of the spool directory, one after the other: read, delivered, completed.
//!
//! Disk calls are made on threads that may block. To go there and back costs more than a small file itself, so what
//! follows upon each other goes together: opening with the first look, completing with forgetting.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Batch, Error, MetricName, Result, SourceContext};
use parking_lot::Mutex;

use super::completing::{Completed, Completing};
use super::following::{Following, Reading, Step};
use super::told::Told;
use super::tracker::{Tracker, is_same};
use crate::blocking::blocking;
use crate::files::{self, Unopened};
use crate::window::{Progress, Window, pause};

/// How often a file that still grows is looked at, at most.
const FOLLOW_DELAY: Duration = Duration::from_millis(100);

/// The running source.
pub(super) struct Spooling {
    pub(super) cx: SourceContext,
    pub(super) window: Window,
    pub(super) told: Told,
    pub(super) reading: Arc<Reading>,
    pub(super) completing: Completing,
    pub(super) tracker: Arc<Mutex<Tracker>>,
}

/// What opening a file came to.
enum Begun {
    /// It is gone, or was told of before.
    Passed,
    /// The system refuses it.
    Refused(PathBuf, Error),
    /// It cannot be the file that was read.
    Bad(PathBuf, Arc<str>, String),
    /// It is read; the first step came to this.
    Following(Box<Following>, Step),
}

// === impl Spooling ===

impl Spooling {
    /// A file that was left half read comes first: the tracker has room for one.
    pub(super) fn put_first_what_was_left(&self, files: &mut [PathBuf]) {
        let left = self.tracker.lock().left().and_then(|left| files.iter().position(|file| is_same(file, left)));
        if let Some(index) = left {
            files[..=index].rotate_right(1);
        }
    }

    /// Reads one file to its end; whether it left the directory.
    pub(super) async fn take_in(&mut self, path: PathBuf) -> Result<bool> {
        let (cx, reading, tracker) = (self.cx.clone(), Arc::clone(&self.reading), Arc::clone(&self.tracker));
        let stuck = std::mem::take(&mut self.told.stuck);
        let begun;
        (self.told.stuck, begun) = blocking(&self.cx, move || {
            let begun = begin(&cx, &reading, &tracker, &stuck, path);
            (stuck, begun)
        })
        .await?;
        match begun {
            Begun::Passed => Ok(false),
            Begun::Refused(path, error) => {
                self.told.refused(&self.cx, path, &error);
                Ok(false)
            }
            Begun::Bad(path, origin, reason) => self.set_aside(path, origin, reason).await,
            Begun::Following(following, found) => self.follow(following, found).await,
        }
    }

    async fn follow(&mut self, mut following: Box<Following>, mut found: Step) -> Result<bool> {
        let (path, origin) = (following.path.clone(), Arc::clone(&following.origin));
        loop {
            match found {
                Step::Read(batches) => {
                    if self.deliver(batches).await? == Progress::Stopped {
                        return Ok(false);
                    }
                }
                Step::Waiting => {
                    if self.window.settle(&self.cx).await? == Progress::Stopped {
                        return Ok(false);
                    }
                    if pause(&self.cx, self.reading.quiet.min(FOLLOW_DELAY)).await == Progress::Stopped {
                        return Ok(false);
                    }
                }
                Step::Ended(batches) => {
                    if self.deliver_all(batches).await? == Progress::Stopped {
                        return Ok(false);
                    }
                    let outcome;
                    (following, outcome) = self.complete(following).await?;
                    match outcome {
                        // It changed after its end was read: go on.
                        None => {}
                        Some(Ok(Completed::Done)) => {
                            self.window.retire(&self.cx, origin).await?;
                            return Ok(true);
                        }
                        Some(Ok(Completed::Taken(name))) => {
                            let reason = format!(
                                "{} exists with another content; all its events were delivered",
                                name.display()
                            );
                            return self.set_aside(path, origin, reason).await;
                        }
                        Some(Err(error)) => {
                            self.told.stuck(&self.cx, origin, &error, "read, but it cannot be completed");
                            return Ok(false);
                        }
                    }
                }
                Step::Spoilt(batches, reason) => {
                    if self.deliver_all(batches).await? == Progress::Stopped {
                        return Ok(false);
                    }
                    return self.set_aside(path, origin, reason).await;
                }
                Step::Gone => {
                    tracing::warn!(file = %path.display(), "taken away while it was read; only its beginning was delivered");
                    if self.window.settle(&self.cx).await? == Progress::Stopped {
                        return Ok(false);
                    }
                    return self.retire(path, origin).await;
                }
            }
            (following, found) = self.step(following).await?;
        }
    }

    async fn step(&self, mut following: Box<Following>) -> Result<(Box<Following>, Step)> {
        let (reading, tracker) = (Arc::clone(&self.reading), Arc::clone(&self.tracker));
        let settled = self.window.settled().unwrap_or(following.covered());
        blocking(&self.cx, move || {
            track(&tracker, &mut following, settled);
            let found = following.step(&reading);
            (following, found)
        })
        .await
    }

    /// Completes a file that was read to its end, and lets the tracker forget it; `None` if it changed since.
    async fn complete(&self, mut following: Box<Following>) -> Result<(Box<Following>, Option<Result<Completed>>)> {
        let (completing, tracker) = (self.completing.clone(), Arc::clone(&self.tracker));
        blocking(&self.cx, move || {
            let unchanged = following.is_unchanged();
            let settled = following.covered();
            track(&tracker, &mut following, settled);
            let outcome = unchanged.then(|| completing.complete(&following.path));
            if matches!(outcome, Some(Ok(Completed::Done))) {
                tracker.lock().finish(&following.path);
            }
            (following, outcome)
        })
        .await
    }

    async fn deliver(&mut self, batches: Vec<Batch>) -> Result<Progress> {
        for batch in batches {
            if self.window.deliver(&self.cx, batch).await? == Progress::Stopped {
                return Ok(Progress::Stopped);
            }
        }
        Ok(Progress::Done)
    }

    async fn deliver_all(&mut self, batches: Vec<Batch>) -> Result<Progress> {
        match self.deliver(batches).await? {
            Progress::Done => self.window.settle(&self.cx).await,
            Progress::Stopped => Ok(Progress::Stopped),
        }
    }

    /// Gives a bad file a name under which it is not read again.
    async fn set_aside(&mut self, path: PathBuf, origin: Arc<str>, reason: String) -> Result<bool> {
        let error = Error::corrupt(path.display(), reason);
        self.cx.status.count(MetricName::EventReadFail, 1);
        self.cx.status.failed(&error);
        let (completing, at) = (self.completing.clone(), path.clone());
        match blocking(&self.cx, move || completing.set_aside(&at)).await? {
            Ok(name) => {
                let remedy = "put what is missing, and only that, back under another name";
                tracing::warn!(%error, renamed_to = %name.display(), remedy, "file set aside");
                self.retire(path, origin).await
            }
            Err(refused) => {
                tracing::warn!(%error, "file cannot be read");
                self.told.stuck(&self.cx, origin, &refused, "bad, but it cannot be set aside");
                Ok(false)
            }
        }
    }

    /// Lets the tracker and the channels forget a file that is done with, as its name and identity may come again.
    async fn retire(&mut self, path: PathBuf, origin: Arc<str>) -> Result<bool> {
        let tracker = Arc::clone(&self.tracker);
        blocking(&self.cx, move || tracker.lock().finish(&path)).await?;
        self.window.retire(&self.cx, origin).await?;
        Ok(true)
    }
}

/// Opens a file and takes the first look at it. Blocks.
fn begin(
    cx: &SourceContext,
    reading: &Reading,
    tracker: &Mutex<Tracker>,
    stuck: &HashSet<Arc<str>>,
    path: PathBuf,
) -> Begun {
    let opened = match files::open(&path) {
        Ok(opened) => opened,
        Err(Unopened::Gone) => return Begun::Passed,
        Err(Unopened::Refused(error)) => return Begun::Refused(path, error),
    };
    let origin = reading.format.origin(opened.1);
    if stuck.contains(&origin) {
        return Begun::Passed;
    }
    let tracked = tracker.lock().offset(&path, &origin);
    match Following::new(reading, path.clone(), opened, Arc::clone(&origin), cx.resume(&origin), tracked) {
        Ok(mut following) => {
            let settled = following.covered();
            track(tracker, &mut following, settled);
            let found = following.step(reading);
            Begun::Following(Box::new(following), found)
        }
        Err(reason) => Begun::Bad(path, origin, reason),
    }
}

/// Writes Flume's tracker when everything before `settled` is stored.
fn track(tracker: &Mutex<Tracker>, following: &mut Following, settled: u64) {
    let offset = following.offset(settled);
    if offset > 0 {
        tracker.lock().store(&following.path, &following.origin, offset);
    }
}
