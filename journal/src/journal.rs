//! The handle: enqueueing, and asking what is there.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Error, Result, Ticket, ticket};
use millstream_io::Disk;

use crate::counters::{Counters, Stats};
use crate::format::{DATA_START, SNAPSHOT, Seed, frame_len};
use crate::reader::Reader;
use crate::recovery::{self, Opened, Recovered};
use crate::scan::{Found, Scanner};
use crate::segment;
use crate::shared::{Append, Command, Queue, Shared, State};
use crate::sync::{Condvar, JoinHandle, Mutex, thread};
use crate::writer::Writer;

/// What a journal is told at opening.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name for errors, logs and the writing thread.
    pub name: Arc<str>,
    /// Bytes after which an append asks for a new segment.
    pub segment_bytes: u64,
    /// Bytes that the file system keeps free: appends that would take them are refused as [`Error::DiskFull`].
    pub reserve_bytes: u64,
    /// Longest record in bytes, its head not counted. Snapshots are not bound by it.
    pub max_record_bytes: u32,
}

/// Place of a record. Later records have greater places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Number of the segment.
    pub segment: u64,
    /// Byte in the segment's file; 0 stands for the first record.
    pub offset: u64,
}

/// When an append counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on the disk.
    Synced,
    /// Once it is written: it survives the end of the process. A power cut can take it until the next sync, which comes
    /// with the next synced append, at the latest one second later, before segments are deleted, and at close. If that
    /// sync fails it is gone from the log, and lives on in the snapshot of the roll that has to follow.
    Lazy,
}

/// Told the outcome of an append, on the writing thread and in the order of the appends. It must not block for long:
/// nothing is written meanwhile. A panic in it is caught and logged.
pub type Done = Box<dyn FnOnce(Result<()>) + Send>;

/// What an append gives back at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where the record will be, if its `done` says well.
    pub location: Location,
    /// The segment is full, or the last roll failed: the user should call [`Journal::roll`].
    pub wants_roll: bool,
}

/// An open log. All calls but [`Self::close`] return without waiting for the disk or for a `done`, so they may be made
/// under the lock that the user's `done` takes.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

// === impl Journal ===

impl Journal {
    /// Opens the log in `dir`, or makes one whose first segment begins with `first_snapshot`.
    ///
    /// Reads the headers of all segments, but the records of the newest only (and of older ones where its snapshot is
    /// damaged). The caller holds the directory's lock: two journals on one directory destroy each other.
    ///
    /// # Errors
    /// `Mismatch` when segments of different logs are mixed or of a later version; `Io` and `DiskFull` of the file calls.
    /// Damage is not an error: see [`Recovered::quarantined`].
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: Options, first_snapshot: Bytes) -> Result<(Self, Recovered)> {
        if u32::try_from(first_snapshot.len()).is_err() {
            return Err(too_long(&options.name, first_snapshot.len() as u64, u32::MAX));
        }
        let counters = Counters::default();
        let opened = recovery::open(disk.as_ref(), dir, &options, first_snapshot, &counters)?;
        let Opened { file, end, segments, next_segment, recovered } = opened;
        let current = segments.keys().next_back().copied().unwrap_or_default();
        let queue = Queue {
            commands: Vec::new(),
            cursor: Location { segment: current, offset: end },
            next_segment,
            state: State::Open,
            telling: None,
            roll_failed: None,
            refuse_delete: false,
            close_failed: None,
        };
        let shared = Arc::new(Shared {
            disk,
            dir: dir.to_owned(),
            options,
            log_id: recovered.log_id,
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            segments: Mutex::new(segments),
            aside: Mutex::new(()),
            counters,
        });
        let writer = Writer::new(Arc::clone(&shared), file, current, end);
        let spawned = thread::Builder::new().name(thread_name(&shared.options.name)).spawn(move || writer.run());
        let writer = spawned.map_err(|error| Error::io("start the writing thread for", dir, error))?;
        Ok((Self { shared, writer: Mutex::new(Some(writer)) }, recovered))
    }

    /// Enqueues one record, the concatenation of `parts`, which are written without being copied.
    ///
    /// # Errors
    /// Nothing was enqueued and `done` is dropped: `Rejected` for a record longer than allowed; `Stopped` after
    /// [`Self::close`]; and after a failure that failure again, until [`Self::roll`] was called, or until the appends that
    /// failed with it are all told: nothing is stored behind them of which the caller does not know yet. Bounding what
    /// is enqueued is the caller's business.
    pub fn append(&self, kind: u8, parts: Vec<Bytes>, durability: Durability, done: Done) -> Result<Appended> {
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let options = &self.shared.options;
        let Some(length) = u32::try_from(length).ok().filter(|length| *length <= options.max_record_bytes) else {
            return Err(too_long(&options.name, length, options.max_record_bytes));
        };
        let mut queue = self.shared.queue.lock();
        match &queue.state {
            State::Open => {}
            State::Failed(error) => return Err(error.clone()),
            State::Closed => return Err(self.shared.stopped()),
        }
        if let Some(error) = &queue.telling {
            return Err(error.clone());
        }
        let location = queue.cursor;
        queue.cursor.offset += frame_len(u64::from(length));
        let wants_roll = queue.cursor.offset >= options.segment_bytes || queue.roll_failed.is_some();
        queue.commands.push(Command::Append(Append { kind, parts, length, durability, done }));
        drop(queue);
        self.shared.wake.notify_one();
        Ok(Appended { location, wants_roll })
    }

    /// Begins a new segment with `snapshot`, which must hold the effect of every append so far that was not reported as
    /// failed. What was appended before is synced first.
    ///
    /// Returns once enqueued. If it fails later, what was enqueued behind it fails with it, and appends go on in the old
    /// segment, asking for a roll, or are refused where that one is unusable too.
    ///
    /// # Errors
    /// `Stopped` after close. While the appends of a failed group are still being told, that group's error: `snapshot`
    /// may not know of them yet, so the caller comes again, with a new one.
    pub fn roll(&self, snapshot: Bytes) -> Result<()> {
        let Ok(length) = u32::try_from(snapshot.len()) else {
            return Err(too_long(&self.shared.options.name, snapshot.len() as u64, u32::MAX));
        };
        let mut queue = self.shared.queue.lock();
        if let Some(error) = &queue.telling {
            return Err(error.clone());
        }
        match &queue.state {
            State::Open => {}
            // The writer knows by itself that the old segment is not to be written.
            State::Failed(_) => queue.state = State::Open,
            State::Closed => return Err(self.shared.stopped()),
        }
        let segment = queue.next_segment;
        queue.next_segment += 1;
        queue.cursor = Location { segment, offset: DATA_START + frame_len(u64::from(length)) };
        queue.commands.push(Command::Roll { segment, snapshot });
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Says whether nothing can be appended before a [`Self::roll`], or the last roll failed.
    pub fn needs_roll(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.roll_failed.is_some() || matches!(queue.state, State::Failed(_))
    }

    /// Reads records from `from` on, which is the place of a record or has offset 0.
    pub fn reader(&self, from: Location) -> Reader {
        Reader::new(Arc::clone(&self.shared), from)
    }

    /// Numbers of the segments that exist, ascending. One whose roll is still enqueued is not among them.
    pub fn segments(&self) -> Vec<u64> {
        self.shared.segments.lock().keys().copied().collect()
    }

    /// Reads the snapshot with which a segment begins; `None` when the segment is gone or its snapshot is damaged.
    ///
    /// # Errors
    /// A failed read.
    pub fn snapshot_of(&self, number: u64) -> Result<Option<Bytes>> {
        let Some(end) = self.shared.segments.lock().get(&number).copied() else { return Ok(None) };
        let file = self.shared.disk.open(&self.shared.dir.join(segment::name(number)))?;
        let mut scanner = Scanner::new(file, Seed::new(self.shared.log_id, number), DATA_START);
        match scanner.next(end)? {
            Found::Frame { head, payload, .. } if head.flags == SNAPSHOT => Ok(Some(payload)),
            _ => Ok(None),
        }
    }

    /// Removes the segments below `number`, never the newest. Done in turn, after what was enqueued before is synced.
    ///
    /// Segments that cannot be removed are counted and stay until the next call.
    ///
    /// # Errors
    /// Nothing was enqueued: a roll failed since the last call, so that the caller may have counted on a snapshot that is
    /// not there (told once: a full disk must not keep segments from being deleted that no snapshot needs); or a write
    /// failed and a roll is due; or the journal is closed.
    pub fn delete_before(&self, number: u64) -> Result<()> {
        let mut queue = self.shared.queue.lock();
        match &queue.state {
            State::Open => {}
            State::Failed(error) => return Err(error.clone()),
            State::Closed => return Err(self.shared.stopped()),
        }
        let refused = std::mem::take(&mut queue.refuse_delete);
        if refused && let Some(error) = &queue.roll_failed {
            return Err(error.clone());
        }
        queue.commands.push(Command::Delete { before: number });
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Makes durable what was appended so far, lazily too. Resolves once it is.
    pub fn sync(&self) -> Ticket {
        let mut queue = self.shared.queue.lock();
        match &queue.state {
            State::Open => {}
            State::Failed(error) => return Ticket::ready(Err(error.clone())),
            State::Closed => return Ticket::ready(Err(self.shared.stopped())),
        }
        let (resolver, synced) = ticket();
        queue.commands.push(Command::Sync(resolver));
        drop(queue);
        self.shared.wake.notify_one();
        synced
    }

    /// Writes and syncs what is enqueued, then ends the writing thread and waits for it. The caller holds no lock that a
    /// `done` takes. Also done when the journal is dropped.
    ///
    /// # Errors
    /// The failure after which no roll came, or of the last writes. What was not stored was told so.
    pub fn close(&self) -> Result<()> {
        let Some(writer) = self.writer.lock().take() else { return Ok(()) };
        let mut queue = self.shared.queue.lock();
        let failed = match std::mem::replace(&mut queue.state, State::Closed) {
            State::Failed(error) => Some(error),
            State::Open | State::Closed => None,
        };
        queue.commands.push(Command::Close);
        drop(queue);
        self.shared.wake.notify_one();
        // A `done` that drops the last handle runs on the writing thread, which then ends by itself.
        if writer.thread().id() != thread::current().id() && writer.join().is_err() {
            return Err(Error::Panicked {
                place: self.shared.options.name.to_string(),
                message: "the writing thread ended".to_owned(),
            });
        }
        failed.or_else(|| self.shared.queue.lock().close_failed.clone()).map_or(Ok(()), Err)
    }

    /// The log's identity.
    pub fn log_id(&self) -> u128 {
        self.shared.log_id
    }

    /// Counts since opening.
    pub fn stats(&self) -> Stats {
        self.shared.counters.stats()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(journal = %self.shared.options.name, %error, "journal closed after a failure");
        }
    }
}

/// A name with a zero byte in it would panic.
fn thread_name(journal: &str) -> String {
    journal.chars().filter(|c| *c != '\0').collect()
}

fn too_long(name: &str, length: u64, limit: u32) -> Error {
    Error::Rejected { reason: format!("journal {name}: a record of {length} bytes, at most {limit} are stored") }
}
