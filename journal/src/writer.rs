//! The one thread that writes: group commit, rolls, deletions, and what happens when they fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_core::{Error, Result};
use millstream_io::{DiskFile, failpoint};

use crate::counters::add;
use crate::format::{HEAD_LEN, Head, Header, Seed, frame_len, padding};
use crate::journal::{Done, Durability, Location};
use crate::segment::{self, NotMade};
use crate::shared::{Append, Command, Shared, State};
use crate::sync::Instant;

/// How long a lazy record may wait for its sync.
const LAZY_SYNC: Duration = Duration::from_secs(1);
/// Bytes that may be written between two looks at the free space.
const SPACE_STEP: u64 = 16 << 20;
/// Bytes synced at once: large enough to keep a disk busy, small enough that the first of a long queue need not wait for
/// the last.
const GROUP_BYTES: u64 = 8 << 20;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    file: Box<dyn DiskFile>,
    segment: u64,
    seed: Seed,
    /// Where the next frame goes.
    end: u64,
    /// All before it is on the disk.
    durable: u64,
    /// When the oldest lazy record must be synced.
    lazy_due: Option<Instant>,
    /// Why the current segment must not be written any more.
    poisoned: Option<Error>,
    /// Bytes that may be written before the free space is looked at again.
    allowance: u64,
    closing: bool,
}

// === impl Writer ===

impl Writer {
    /// Continues `segment` at `end`; everything before is durable.
    pub(crate) fn new(shared: Arc<Shared>, file: Box<dyn DiskFile>, segment: u64, end: u64) -> Self {
        let seed = Seed::new(shared.log_id, segment);
        Self {
            shared,
            file,
            segment,
            seed,
            end,
            durable: end,
            lazy_due: None,
            poisoned: None,
            allowance: 0,
            closing: false,
        }
    }

    pub(crate) fn run(mut self) {
        while !self.closing {
            let commands = self.wait();
            self.process(commands);
            if self.lazy_due.is_some_and(|due| due <= Instant::now()) {
                self.sync_or_fail();
            }
        }
        self.sync_or_fail();
    }

    /// Sleeps until there is work or a lazy record is due. Without lazy records nothing wakes it in vain.
    fn wait(&self) -> Vec<Command> {
        let mut queue = self.shared.queue.lock();
        while queue.commands.is_empty() {
            match self.lazy_due {
                None => self.shared.wake.wait(&mut queue),
                Some(due) if self.shared.wake.wait_until(&mut queue, due).timed_out() => break,
                Some(_) => {}
            }
        }
        std::mem::take(&mut queue.commands)
    }

    /// Obeys commands in order. The first failure fails the rest.
    fn process(&mut self, commands: Vec<Command>) {
        let mut commands = commands.into_iter();
        let mut group = Vec::new();
        let mut group_bytes = 0;
        let mut outcome = Ok(());
        // The command before which the flush failed.
        let mut unmet = None;
        for command in commands.by_ref() {
            if let Command::Append(append) = command {
                group_bytes += u64::from(append.length);
                group.push(append);
                if group_bytes < GROUP_BYTES {
                    continue;
                }
                outcome = self.flush(&mut group);
            } else {
                outcome = match self.flush(&mut group) {
                    Ok(()) => self.obey(command),
                    Err(error) => {
                        unmet = Some(command);
                        Err(error)
                    }
                };
            }
            group_bytes = 0;
            if outcome.is_err() {
                break;
            }
        }
        let outcome = outcome.and_then(|()| self.flush(&mut group));
        if let Err(error) = outcome {
            self.fail(error, group, unmet.into_iter().chain(commands).collect());
        }
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Append(_) => Ok(()),
            Command::Roll { segment, snapshot } => self.roll(segment, snapshot),
            Command::Delete { before } => self.delete(before),
            Command::Sync(resolver) => {
                let synced = self.sync();
                resolver.resolve(synced.clone());
                synced
            }
            Command::Close => {
                self.closing = true;
                Ok(())
            }
        }
    }

    /// Writes a group, syncs it if any of it wants that, and tells. On failure the group stays to be told by the caller.
    fn flush(&mut self, group: &mut Vec<Append>) -> Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        if let Some(error) = &self.poisoned {
            return Err(error.clone());
        }
        let bytes: u64 = group.iter().map(|append| frame_len(u64::from(append.length))).sum();
        self.need_space(bytes)?;
        let parts = self.frames(group);
        let written = failpoint::hit("journal.before-write")
            .and_then(|()| self.file.write_at(self.end, &parts))
            .and_then(|()| failpoint::hit("journal.written"));
        if let Err(error) = written {
            return Err(self.write_failed(error, bytes));
        }
        drop(parts);
        self.allowance = self.allowance.saturating_sub(bytes);
        self.end += bytes;
        if group.iter().any(|append| append.durability == Durability::Synced) {
            self.sync()?;
        } else {
            self.lazy_due.get_or_insert_with(|| Instant::now() + LAZY_SYNC);
        }
        add(&self.shared.counters.appends, group.len() as u64);
        add(&self.shared.counters.bytes, bytes);
        self.publish(self.end);
        for append in group.drain(..) {
            tell(append.done, Ok(()));
        }
        Ok(())
    }

    /// The bytes of a group, in parts: heads, the users' own buffers, padding.
    fn frames(&self, group: &[Append]) -> Vec<Bytes> {
        let mut heads = BytesMut::with_capacity(group.len() * HEAD_LEN);
        let mut parts = Vec::with_capacity(group.iter().map(|append| append.parts.len() + 2).sum());
        let mut offset = self.end;
        for append in group {
            let payload_crc = self.seed.payload_crc(offset, append.parts.iter().map(|part| &part[..]));
            let head =
                Head { length: append.length, kind: append.kind, flags: 0, durable_to: self.durable, payload_crc };
            heads.extend_from_slice(&head.encode(self.seed, offset));
            parts.push(heads.split().freeze());
            parts.extend(append.parts.iter().filter(|part| !part.is_empty()).cloned());
            let length = u64::from(append.length);
            let padding = padding(length);
            if !padding.is_empty() {
                parts.push(Bytes::from_static(padding));
            }
            offset += frame_len(length);
        }
        parts
    }

    /// Makes what was written durable.
    fn sync(&mut self) -> Result<()> {
        if let Some(error) = &self.poisoned {
            return Err(error.clone());
        }
        if self.durable < self.end {
            let synced = failpoint::hit("journal.before-sync").and_then(|()| self.file.sync_data());
            if let Err(error) = synced {
                add(&self.shared.counters.sync_errors, 1);
                return Err(self.poison(error));
            }
            add(&self.shared.counters.fsyncs, 1);
            self.durable = self.end;
            // What was synced is stored: an error here would say otherwise.
            let _ = failpoint::hit("journal.synced");
        }
        self.lazy_due = None;
        Ok(())
    }

    fn sync_or_fail(&mut self) {
        // A poisoned segment was told of already.
        if self.poisoned.is_none()
            && let Err(error) = self.sync()
        {
            self.fail(error, Vec::new(), Vec::new());
        }
    }

    /// Holds `bytes` against the free space, without asking the file system each time.
    fn need_space(&mut self, bytes: u64) -> Result<()> {
        if bytes <= self.allowance {
            return Ok(());
        }
        let wanted_bytes = bytes + self.shared.options.reserve_bytes;
        let free_bytes = self.shared.disk.free_bytes(&self.shared.dir)?;
        if free_bytes < wanted_bytes {
            add(&self.shared.counters.disk_full, 1);
            self.allowance = 0;
            return Err(Error::DiskFull { path: self.shared.dir.clone(), wanted_bytes, free_bytes });
        }
        self.allowance = bytes + (free_bytes - wanted_bytes).min(SPACE_STEP);
        Ok(())
    }

    /// After a failed write: a full disk passes by itself if the part that was written can be taken back.
    fn write_failed(&mut self, error: Error, bytes: u64) -> Error {
        self.allowance = 0;
        let Error::DiskFull { path, free_bytes, .. } = error else {
            add(&self.shared.counters.write_errors, 1);
            return self.poison(error);
        };
        add(&self.shared.counters.disk_full, 1);
        let wanted_bytes = bytes + self.shared.options.reserve_bytes;
        let full = Error::DiskFull { path, wanted_bytes, free_bytes };
        let taken_back = failpoint::hit("journal.before-undo").and_then(|()| self.file.set_len(self.end));
        match taken_back.and_then(|()| failpoint::hit("journal.undone")) {
            Ok(()) => full,
            Err(error) => {
                tracing::warn!(journal = %self.shared.options.name, %error, "a partial write could not be taken back");
                self.poison(full)
            }
        }
    }

    /// Gives up the current segment: it ends where it was last known to be on the disk.
    ///
    /// A sync that failed is never tried again: the kernel forgets what it could not write, and the next sync would lie.
    fn poison(&mut self, error: Error) -> Error {
        tracing::warn!(journal = %self.shared.options.name, segment = self.segment, %error, "segment given up");
        self.poisoned = Some(error.clone());
        self.end = self.durable;
        self.lazy_due = None;
        // Best effort: the next segment's header says where this one ends in any case.
        let _ = failpoint::hit("journal.poisoned").and_then(|()| self.file.set_len(self.durable));
        let _ = failpoint::hit("journal.poisoned-cut");
        self.publish(self.durable);
        error
    }

    fn roll(&mut self, segment: u64, snapshot: Bytes) -> Result<()> {
        // The snapshot holds the effect of what is before it, so that must not be lost while the snapshot is not.
        let synced = if self.poisoned.is_none() { self.sync() } else { Ok(()) };
        let bytes = frame_len(snapshot.len() as u64);
        let header = Header { log_id: self.shared.log_id, segment, previous: self.segment, previous_end: self.durable };
        // The reserve is not asked for: it is there so that a full log can still be shortened.
        let made = synced
            .map_err(|error| NotMade { error, may_exist: false })
            .and_then(|()| segment::create(self.shared.disk.as_ref(), &self.shared.dir, header, snapshot));
        match made {
            Ok((file, end)) => {
                self.file = file;
                self.segment = segment;
                self.seed = Seed::new(self.shared.log_id, segment);
                self.end = end;
                self.durable = end;
                self.poisoned = None;
                self.lazy_due = None;
                self.allowance = self.allowance.saturating_sub(bytes);
                self.publish(end);
                self.rolled();
                add(&self.shared.counters.rolls, 1);
                Ok(())
            }
            Err(NotMade { error, may_exist }) => {
                add(&self.shared.counters.roll_errors, 1);
                self.allowance = 0;
                self.shared.queue.lock().roll_has_failed(&error);
                tracing::warn!(journal = %self.shared.options.name, segment, %error, "no new segment");
                Err(if may_exist { self.poison(error) } else { error })
            }
        }
    }

    fn rolled(&self) {
        let mut queue = self.shared.queue.lock();
        queue.roll_failed = None;
        queue.refuse_delete = false;
    }

    fn delete(&mut self, before: u64) -> Result<()> {
        self.sync()?;
        let shared = &self.shared;
        let old: Vec<u64> =
            shared.segments.lock().range(..before.min(self.segment)).map(|(number, _)| *number).collect();
        if old.is_empty() {
            return Ok(());
        }
        // Oldest first: a crash between leaves no gap.
        for number in old {
            let end = shared.segments.lock().remove(&number);
            let removed = failpoint::hit("journal.before-delete")
                .and_then(|()| shared.disk.remove(&shared.dir.join(segment::name(number))));
            if let Err(error) = removed {
                add(&shared.counters.delete_errors, 1);
                tracing::warn!(journal = %shared.options.name, segment = number, %error, "old segment stays");
                shared.segments.lock().extend(end.map(|end| (number, end)));
                break;
            }
            // It is gone, whatever a test asks for here.
            let _ = failpoint::hit("journal.deleted");
        }
        // Segments that come back after a power cut are deleted again: not worth failing appends for.
        let synced = shared.disk.sync_dir(&shared.dir).and_then(|()| failpoint::hit("journal.deletion-synced"));
        if let Err(error) = synced {
            add(&shared.counters.delete_errors, 1);
            tracing::warn!(journal = %shared.options.name, %error, "removal of old segments is not durable yet");
        }
        Ok(())
    }

    /// Fails `group`, `rest` and what was enqueued meanwhile, and sets the cursor back to where the segment ends.
    fn fail(&mut self, error: Error, group: Vec<Append>, rest: Vec<Command>) {
        let mut queue = self.shared.queue.lock();
        let enqueued = std::mem::take(&mut queue.commands);
        queue.cursor = Location { segment: self.segment, offset: self.end };
        let closed = matches!(queue.state, State::Closed);
        if closed {
            queue.close_failed = Some(error.clone());
        } else if self.poisoned.is_some() {
            queue.state = State::Failed(error.clone());
        }
        let lost = |command: &Command| matches!(command, Command::Roll { .. });
        if rest.iter().chain(&enqueued).any(lost) {
            queue.roll_has_failed(&error);
        }
        queue.telling = Some(error.clone());
        drop(queue);
        for append in group {
            tell(append.done, Err(error.clone()));
        }
        for command in rest.into_iter().chain(enqueued) {
            match command {
                Command::Append(append) => tell(append.done, Err(error.clone())),
                Command::Sync(resolver) => resolver.resolve(Err(error.clone())),
                Command::Close => self.closing = true,
                // The caller learns of the roll by the next append; a deletion is asked for again.
                Command::Roll { .. } | Command::Delete { .. } => {}
            }
        }
        self.shared.queue.lock().telling = None;
    }

    fn publish(&self, end: u64) {
        self.shared.segments.lock().insert(self.segment, end);
    }
}

fn tell(done: Done, outcome: Result<()>) {
    // The log goes on for its other users whatever one of them does.
    if catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err() {
        tracing::error!("the receiver of an append's outcome panicked");
    }
}
