//! The running source: looks, reads, delivers, writes positions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Batch, Error, MetricName, Result, SourceContext};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::TailDir;
use super::positions::{Positions, Standing};
use super::tail::Due;
use super::tails::{Look, Tails};
use crate::blocking::blocking;
use crate::window::{Progress, Window, pause};

/// The running source.
pub(super) struct Tailing {
    cx: SourceContext,
    window: Window,
    /// Locked for as long as one call on the files takes, by one thread at a time.
    tails: Arc<Mutex<Tails>>,
    skip_to_end: bool,
    most_batches: usize,
    write_interval: Duration,
    write_due: Instant,
    poll_delay: Duration,
}

// === impl Tailing ===

impl Tailing {
    pub(super) async fn open(source: TailDir, cx: SourceContext) -> Result<Self> {
        let TailDir { groups, reading, position_file, .. } = source;
        let positions = blocking(&cx, move || Positions::open(position_file)).await??;
        if positions.standing == Standing::Foreign && !positions.entries.is_empty() {
            tracing::info!(files = positions.entries.len(), "position file of another agent, used where it is ahead");
        }
        Ok(Self {
            window: Window::new(source.max_backoff),
            cx,
            tails: Arc::new(Mutex::new(Tails::new(groups, reading, positions))),
            skip_to_end: source.skip_to_end,
            most_batches: source.most_batches,
            write_interval: source.write_interval,
            write_due: Instant::now() + source.write_interval,
            poll_delay: source.poll_delay,
        })
    }

    pub(super) async fn run(&mut self) -> Result<()> {
        self.cx.status.ready();
        while !self.cx.stop.is_stopped() {
            let Some(was_busy) = self.turn().await? else { break };
            if !was_busy && pause(&self.cx, self.poll_delay).await == Progress::Stopped {
                break;
            }
        }
        self.write().await.map(drop)
    }

    /// Looks at all files and reads what there is to read, each as far as it went at the look; whether there was something.
    /// `None` when the source was asked to stop.
    async fn turn(&mut self) -> Result<Option<bool>> {
        let mut look = self.on_tails(Tails::look).await?;
        look.refused.iter().for_each(|error| self.refused(error));
        if !look.fresh.is_empty() {
            let adopted = self.adopt(look).await?;
            return Ok((adopted == Progress::Done).then_some(true));
        }
        let mut was_busy = false;
        for (index, due) in look.due.drain(..) {
            was_busy |= matches!(due, Due::Lines(_) | Due::Rewritten { .. });
            let progress = match due {
                Due::Lines(until) => self.read(index, until, false).await?,
                Due::Close => self.close(index).await?,
                Due::Rewritten { reason, unread } => self.begin_anew(index, &reason, unread).await?,
                Due::Failed(error) => self.failed(index, &error),
            };
            if progress == Progress::Stopped {
                return Ok(None);
            }
        }
        let written = self.write_if_due().await?;
        Ok((written == Progress::Done).then_some(was_busy))
    }

    /// Takes in files that are new.
    async fn adopt(&mut self, look: Look) -> Result<Progress> {
        let Look { mut fresh, is_first, .. } = look;
        for file in &mut fresh {
            file.covered = self.cx.resume(&file.origin);
        }
        let to_end = self.skip_to_end && is_first;
        let begun = self.on_tails(move |tails| tails.begin(fresh, to_end)).await?;
        let mut skipped = Vec::new();
        for outcome in begun {
            let begun = match outcome {
                Ok(begun) => begun,
                Err(error) => {
                    self.refused(&error);
                    continue;
                }
            };
            if let Some((reason, unread)) = begun.rewritten {
                self.rewritten(&begun.path, &reason, unread);
            }
            if let Some(origin) = begun.retire
                && self.window.retire(&self.cx, origin).await? == Progress::Stopped
            {
                return Ok(Progress::Stopped);
            }
            skipped.extend(begun.skipped);
        }
        // Before the first put: what a channel will know of a file means this content.
        self.record().await?;
        for batch in skipped {
            if self.window.deliver(&self.cx, batch).await? == Progress::Stopped {
                return Ok(Progress::Stopped);
            }
        }
        Ok(Progress::Done)
    }

    /// Reads a file up to `until`, or as many batches as one turn has.
    async fn read(&mut self, index: usize, until: u64, at_end: bool) -> Result<Progress> {
        let mut left = self.most_batches;
        while left > 0 && self.tails().tails[index].position() < until {
            let stepped = self.on_tails(move |tails| tails.step(index, until, at_end, left)).await?;
            let batches = match stepped {
                Ok(batches) if batches.is_empty() => break,
                Ok(batches) => batches,
                Err(error) => return Ok(self.failed(index, &error)),
            };
            left = left.saturating_sub(batches.len());
            if self.deliver(index, batches).await? == Progress::Stopped
                || self.write_if_due().await? == Progress::Stopped
            {
                return Ok(Progress::Stopped);
            }
        }
        Ok(Progress::Done)
    }

    async fn deliver(&mut self, index: usize, batches: Vec<Batch>) -> Result<Progress> {
        for batch in batches {
            let end = batch.coverage().map(|coverage| coverage.end);
            if self.window.deliver(&self.cx, batch).await? == Progress::Stopped {
                return Ok(Progress::Stopped);
            }
            let tail = &mut self.tails().tails[index];
            tail.delivered = end.unwrap_or(tail.delivered);
        }
        Ok(Progress::Done)
    }

    /// Ends the last line of an idle file and closes it; lets it go if it is leaving.
    async fn close(&mut self, index: usize) -> Result<Progress> {
        let until = self.tails().tails[index].len();
        if self.read(index, until, true).await? == Progress::Stopped {
            return Ok(Progress::Stopped);
        }
        let (path, origin, unread) = {
            let mut tails = self.tails();
            let tail = &mut tails.tails[index];
            let unread = until.saturating_sub(tail.position());
            if unread > 0 && tail.is_open() {
                // It changed meanwhile, or a turn has too few batches for it: the next look tells.
                return Ok(Progress::Done);
            }
            if !tail.leaving {
                tail.close();
                return Ok(Progress::Done);
            }
            (tail.path.clone(), Arc::clone(&tail.origin), unread)
        };
        if unread > 0 {
            self.lost(&path, "it is gone", unread);
        }
        tracing::info!(file = %path.display(), "read to its end and let go");
        if self.window.retire(&self.cx, origin).await? == Progress::Stopped {
            return Ok(Progress::Stopped);
        }
        self.tails().let_go(index);
        self.record().await?;
        Ok(Progress::Done)
    }

    /// Another content under the same identity: what the channels know of is over.
    async fn begin_anew(&mut self, index: usize, reason: &str, unread: u64) -> Result<Progress> {
        let (path, origin) = {
            let tails = self.tails();
            (tails.tails[index].path.clone(), Arc::clone(&tails.tails[index].origin))
        };
        self.rewritten(&path, reason, unread);
        if self.window.retire(&self.cx, origin).await? == Progress::Stopped {
            return Ok(Progress::Stopped);
        }
        self.tails().tails[index].restart();
        self.record().await?;
        Ok(Progress::Done)
    }

    fn rewritten(&self, path: &Path, reason: &str, unread: u64) {
        match unread {
            0 => tracing::info!(file = %path.display(), reason, "truncated, read from its start"),
            _ => self.lost(path, reason, unread),
        }
    }

    fn lost(&self, path: &Path, reason: &str, unread: u64) {
        let error = Error::corrupt(path.display(), format!("{reason}; {unread} bytes are lost that were not read yet"));
        tracing::warn!(%error, "the end of a file is lost");
        self.cx.status.count(MetricName::EventReadFail, 1);
        self.cx.status.failed(&error);
    }

    fn failed(&self, index: usize, error: &Error) -> Progress {
        if self.tails().tell(index) {
            self.refused(error);
        }
        Progress::Done
    }

    fn refused(&self, error: &Error) {
        tracing::warn!(%error, "file cannot be read; permit it, it is tried again at every look");
        self.cx.status.count(MetricName::EventReadFail, 1);
        self.cx.status.failed(error);
    }

    async fn write_if_due(&mut self) -> Result<Progress> {
        if Instant::now() < self.write_due {
            return Ok(Progress::Done);
        }
        let progress = self.write().await?;
        self.write_due = Instant::now() + self.write_interval;
        Ok(progress)
    }

    /// Writes how far the channels have everything, once they have what is under way.
    async fn write(&mut self) -> Result<Progress> {
        if self.window.settle(&self.cx).await? == Progress::Stopped {
            return Ok(Progress::Stopped);
        }
        let written = self.on_tails(|tails| tails.write(true)).await?;
        self.written(written);
        Ok(Progress::Done)
    }

    /// Writes which files there are and what they look like.
    async fn record(&mut self) -> Result<()> {
        let written = self.on_tails(|tails| tails.write(false)).await?;
        self.written(written);
        Ok(())
    }

    /// The next write tries again what failed: the channels know the positions.
    fn written(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            tracing::warn!(%error, "positions are not written, it is tried again");
            self.cx.status.failed(&error);
        }
    }

    fn tails(&self) -> MutexGuard<'_, Tails> {
        self.tails.lock()
    }

    /// Runs `work` where it may block.
    async fn on_tails<T: Send + 'static>(&self, work: impl FnOnce(&mut Tails) -> T + Send + 'static) -> Result<T> {
        let tails = Arc::clone(&self.tails);
        blocking(&self.cx, move || work(&mut tails.lock())).await
    }
}
