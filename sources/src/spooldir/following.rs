//! One file, read from where the channels stand until it has been quiet for long enough.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use millstream_core::{Batch, CommonHeader, Coverage, Result};
use millstream_io::FileIdentity;

use super::format::{Cut, Cutter, Format};
use crate::files::{Seen, read_range};

/// Bytes read at once: large enough that the call costs nothing, small enough to be bounded memory.
const CHUNK_BYTES: usize = 1 << 20;
/// So many bytes before the position are compared whenever the file changed: a rewritten file is not the one we read.
const TAIL_BYTES: usize = 4096;

/// How files are read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) batch_events: usize,
    pub(super) format: Format,
    /// A file is whole when nothing changed for so long.
    pub(super) quiet: Duration,
    /// Header for the absolute path.
    pub(super) file_header: Option<String>,
    /// Header for the file's own name.
    pub(super) basename_header: Option<String>,
}

/// A file being read.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) path: PathBuf,
    pub(super) origin: Arc<str>,
    identity: FileIdentity,
    file: File,
    headers: Vec<CommonHeader>,
    cutter: Cutter,
    /// Offset of the next byte to read.
    position: u64,
    /// Bytes before `position` that are no whole event yet.
    carry: Vec<u8>,
    /// Where the next coverage begins: the end of the last one. Counted as the format does.
    covered: u64,
    /// The last bytes before `position`, at most [`TAIL_BYTES`].
    tail: Vec<u8>,
    seen: Seen,
    seen_at: Instant,
}

/// What one step found.
#[derive(Debug)]
pub(super) enum Step {
    /// Events; more may follow at once.
    Read(Vec<Batch>),
    /// Nothing new, and not quiet for long enough.
    Waiting,
    /// The last events and the end: it is whole.
    Ended(Vec<Batch>),
    /// The last good events; what follows cannot be read.
    Spoilt(Vec<Batch>, String),
    /// Another file, or none, has the path now: someone took it away.
    Gone,
}

// === impl Following ===

impl Following {
    /// Goes on at `resume`, where the channels stand; `None` is the start. Where Flume's tracker has more of the file, at
    /// `tracked`.
    ///
    /// # Errors
    /// The reason, when the file cannot be the one that was read up to there.
    pub(super) fn new(
        reading: &Reading,
        path: PathBuf,
        (file, identity): (File, FileIdentity),
        origin: Arc<str>,
        resume: Option<u64>,
        tracked: Option<u64>,
    ) -> Result<Self, String> {
        let headers = headers(reading, &path);
        let seen = Seen::of(&file).map_err(|error| error.to_string())?;
        let covered = resume.unwrap_or(0);
        let begin = match tracked.map(|offset| reading.format.position_at(&file, seen.len, offset)) {
            Some(Ok(tracked)) if tracked > covered => {
                let remedy = "nothing, if it was delivered: the tracker says so";
                tracing::warn!(file = %path.display(), tracked, channels = covered, remedy, "goes on where the tracker stands, not the channels");
                tracked
            }
            Some(Err(problem)) => {
                tracing::warn!(file = %path.display(), problem, "what the tracker says is of another file, and is passed over");
                covered
            }
            _ => covered,
        };
        let (cutter, position) = reading.format.resume(&file, seen.len, begin)?;
        let tail = read_range(&file, position.saturating_sub(TAIL_BYTES as u64), position);
        let tail = tail.map_err(|error| format!("read: {error}"))?;
        let carry = Vec::new();
        Ok(Self {
            path,
            origin,
            identity,
            file,
            headers,
            cutter,
            position,
            carry,
            covered,
            tail,
            seen,
            seen_at: Instant::now(),
        })
    }

    /// Reads at most one chunk.
    pub(super) fn step(&mut self, reading: &Reading) -> Step {
        let (batches, problem) = match self.try_step(reading) {
            Ok(Step::Spoilt(batches, problem)) => (batches, problem),
            Ok(step) => return step,
            Err(problem) => (Vec::new(), problem),
        };
        let delivered = self.cutter.amount(self.covered);
        Step::Spoilt(batches, format!("{problem}; its first {delivered} were delivered"))
    }

    fn try_step(&mut self, reading: &Reading) -> Result<Step, String> {
        let now = Seen::of(&self.file).map_err(|error| error.to_string())?;
        if !self.is_at_its_path() {
            return Ok(Step::Gone);
        }
        self.verify(now)?;
        let chunk = self.read_chunk(now.len)?;
        let got_all = self.position + chunk as u64 == now.len;
        let ended = got_all && self.is_quiet(now, reading.quiet);
        if chunk == 0 && !ended {
            return Ok(Step::Waiting);
        }
        let bytes = Bytes::from(std::mem::take(&mut self.carry));
        let base = self.position + chunk as u64 - bytes.len() as u64;
        self.keep_tail(&bytes[bytes.len() - chunk..]);
        self.position += chunk as u64;
        let cut = self.cutter.cut(&reading.format, reading.batch_events, (&bytes, base), ended);
        let Cut { batches, consumed, problem } = cut;
        let mut batches: Vec<Batch> = batches.into_iter().map(|batch| self.finished(batch)).collect();
        self.carry = match consumed {
            // Nobody else has them: nothing is copied.
            0 => bytes.into(),
            _ => bytes[consumed..].to_vec(),
        };
        if let Some(problem) = problem {
            return Ok(Step::Spoilt(batches, problem));
        }
        if !ended {
            return Ok(Step::Read(batches));
        }
        let end = self.cutter.end(now.len);
        match batches.pop() {
            Some(last) => {
                let start = last.coverage().map_or(self.covered, |coverage| coverage.start);
                batches.push(last.with_coverage(Coverage::new(Arc::clone(&self.origin), start, end)));
            }
            // The channels know already: it was read whole before a restart.
            None if self.covered == end => {}
            None => batches.push(self.cover(Batch::empty(), end)),
        }
        self.covered = end;
        Ok(Step::Ended(batches))
    }

    /// Whether nothing changed since the step that found the end: only then the file may be completed.
    pub(super) fn is_unchanged(&self) -> bool {
        Seen::of(&self.file).is_ok_and(|now| now == self.seen) && self.is_at_its_path()
    }

    /// Where the coverage of everything that was read ends.
    pub(super) fn covered(&self) -> u64 {
        self.covered
    }

    /// What Flume would track when everything before `settled` is stored.
    pub(super) fn offset(&mut self, settled: u64) -> u64 {
        self.cutter.offset(settled, self.position)
    }

    /// What is kept between two steps.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.carry.capacity() + self.tail.capacity()
    }

    fn is_at_its_path(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| FileIdentity::of(&metadata) == self.identity)
    }

    /// Looks whether what was read is still there, when anything changed.
    fn verify(&mut self, now: Seen) -> Result<(), String> {
        if now == self.seen {
            return Ok(());
        }
        if now.len < self.position {
            return Err(format!("it shrank to {} bytes while {} were read already", now.len, self.position));
        }
        let start = self.position - self.tail.len() as u64;
        let tail = read_range(&self.file, start, self.position).map_err(|error| format!("read: {error}"))?;
        if tail != self.tail {
            return Err(format!("it was rewritten: bytes {start}..{} are not those that were read", self.position));
        }
        (self.seen, self.seen_at) = (now, Instant::now());
        Ok(())
    }

    /// By the file's own time where that can be, so that an old file costs no wait; else by ours.
    fn is_quiet(&self, now: Seen, quiet: Duration) -> bool {
        let age = now.modified.and_then(|at| SystemTime::now().duration_since(at).ok());
        age.is_some_and(|age| age >= quiet) || self.seen_at.elapsed() >= quiet
    }

    /// Appends the next bytes to `carry`; returns how many.
    fn read_chunk(&mut self, len: u64) -> Result<usize, String> {
        let wanted = len.saturating_sub(self.position).min(CHUNK_BYTES as u64) as usize;
        let held = self.carry.len();
        match held < CHUNK_BYTES {
            true => self.carry.reserve_exact(wanted),
            // What grows chunk by chunk is not copied as often.
            false => self.carry.reserve(wanted),
        }
        self.carry.resize(held + wanted, 0);
        let mut got = 0;
        while got < wanted {
            match self.file.read_at(&mut self.carry[held + got..], self.position + got as u64) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.carry.truncate(held);
                    return Err(format!("read at byte {}: {error}", self.position + got as u64));
                }
            }
        }
        self.carry.truncate(held + got);
        Ok(got)
    }

    fn keep_tail(&mut self, read: &[u8]) {
        let fresh = &read[read.len().saturating_sub(TAIL_BYTES)..];
        let old = (self.tail.len() + fresh.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..old);
        self.tail.extend_from_slice(fresh);
    }

    /// A batch of the file with what all of its batches have.
    fn finished(&mut self, batch: Batch) -> Batch {
        let end = (0..batch.len()).next_back().and_then(|last| batch.event(last).end()).unwrap_or(self.covered);
        let batch = self.headers.iter().cloned().fold(batch, Batch::with_common_header);
        self.cover(batch, end)
    }

    fn cover(&mut self, batch: Batch, end: u64) -> Batch {
        let start = std::mem::replace(&mut self.covered, end).min(end);
        batch.with_coverage(Coverage::new(Arc::clone(&self.origin), start, end))
    }
}

fn headers(reading: &Reading, path: &Path) -> Vec<CommonHeader> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let basename = path.file_name().unwrap_or_default();
    let header = |key: &Option<String>, value: &std::ffi::OsStr| {
        let key = Bytes::from(key.clone()?);
        Some(CommonHeader { key, value: Bytes::from(value.to_string_lossy().into_owned()), keep_existing: false })
    };
    let file = header(&reading.file_header, absolute.as_os_str());
    file.into_iter().chain(header(&reading.basename_header, basename)).collect()
}
