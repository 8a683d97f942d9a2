//! One file, read from where the channels stand until it has been quiet for long enough.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use millstream_core::{Batch, CommonHeader, Coverage, Result, SlabBuilder};
use millstream_io::FileIdentity;

use crate::charset::Decoder;
use crate::files::{Seen, read_range, sliced};
use crate::line::{Line, split};

/// Bytes read at once: large enough that the call costs nothing, small enough to be bounded memory.
const CHUNK_BYTES: usize = 1 << 20;
/// So many bytes before the position are compared whenever the file changed: a rewritten file is not the one we read.
const TAIL_BYTES: usize = 4096;

/// How files are read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) batch_events: usize,
    pub(super) most_units: usize,
    pub(super) decoder: Decoder,
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
    /// Offset of the next byte to read.
    position: u64,
    /// Bytes before `position` that are no complete line yet.
    carry: Vec<u8>,
    /// Where the next coverage begins: the end of the last one.
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
    /// Goes on at `resume`, where the channels stand; `None` is the start.
    ///
    /// # Errors
    /// The reason, when the file cannot be the one that was read up to there.
    pub(super) fn new(
        reading: &Reading,
        path: PathBuf,
        (file, identity): (File, FileIdentity),
        origin: Arc<str>,
        resume: Option<u64>,
    ) -> Result<Self, String> {
        let headers = headers(reading, &path);
        let seen = Seen::of(&file).map_err(|error| error.to_string())?;
        let covered = resume.unwrap_or(0);
        if covered > seen.len + 1 {
            return Err(format!("{} bytes of it were read before, but it has only {} now", covered - 1, seen.len));
        }
        let mut position = covered.min(seen.len);
        if position == covered && grew_behind_its_end(&file, covered, reading.most_units) {
            position = covered - 1;
        }
        let tail = read_range(&file, position.saturating_sub(TAIL_BYTES as u64), position);
        let tail = tail.map_err(|error| format!("read: {error}"))?;
        let carry = Vec::new();
        Ok(Self {
            path,
            origin,
            identity,
            file,
            headers,
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
        Step::Spoilt(batches, format!("{problem}; its first {} bytes were delivered", self.covered))
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
        let lines = split(&bytes, ended, reading.most_units);
        let consumed = lines.last().map_or(0, |line| line.next);
        self.carry = bytes[consumed..].to_vec();
        let (mut batches, problem) = self.batches(reading, &bytes, base, &lines);
        if let Some(problem) = problem {
            return Ok(Step::Spoilt(batches, problem));
        }
        if !ended {
            return Ok(Step::Read(batches));
        }
        // The end counts one beyond the last byte.
        let end = now.len + 1;
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
        self.carry.reserve_exact(wanted);
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

    /// Batches over `lines`, and what is wrong with the first line that cannot be decoded.
    fn batches(&mut self, reading: &Reading, bytes: &Bytes, base: u64, lines: &[Line]) -> (Vec<Batch>, Option<String>) {
        let consumed = lines.last().map_or(0, |line| line.next);
        let passes = reading.decoder.passes(&bytes[..consumed]);
        let mut batches = Vec::with_capacity(lines.len().div_ceil(reading.batch_events));
        for group in lines.chunks(reading.batch_events) {
            let (batch, problem) = match passes {
                true => (sliced(bytes, base, group), None),
                false => decoded(reading.decoder, bytes, base, group),
            };
            let end = (0..batch.len()).next_back().and_then(|last| batch.event(last).end());
            if let Some(end) = end {
                let batch = self.headers.iter().cloned().fold(batch, Batch::with_common_header);
                batches.push(self.cover(batch, end));
            }
            if problem.is_some() {
                return (batches, problem);
            }
        }
        (batches, None)
    }

    fn cover(&mut self, batch: Batch, end: u64) -> Batch {
        let start = std::mem::replace(&mut self.covered, end).min(end);
        batch.with_coverage(Coverage::new(Arc::clone(&self.origin), start, end))
    }
}

/// A batch of `lines` decoded into a buffer of its own, up to the first that cannot be.
fn decoded(decoder: Decoder, bytes: &Bytes, base: u64, lines: &[Line]) -> (Batch, Option<String>) {
    let mut buffer = Vec::with_capacity(lines.iter().map(|line| line.end - line.start).sum());
    let mut rows = Vec::with_capacity(lines.len());
    let mut problem = None;
    for line in lines {
        let start = buffer.len();
        if let Err(bad) = decoder.decode(&bytes[line.start..line.end], &mut buffer) {
            let at = base + (line.start + bad.at) as u64;
            problem = Some(format!("byte {:#04x} at offset {at} is not valid in inputCharset", bad.byte));
            break;
        }
        rows.push((start..buffer.len(), base + line.next as u64));
    }
    let mut builder = SlabBuilder::with_capacity(buffer.into(), rows.len());
    rows.into_iter().for_each(|(body, end)| builder.row_ending_at(body, end));
    (builder.finish(), problem)
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

/// Whether `covered` counts the end of a file that has grown since: a place where no line begins and none was cut. The
/// byte before it was not read then.
fn grew_behind_its_end(file: &File, covered: u64, most_units: usize) -> bool {
    let Some(last) = covered.checked_sub(1) else { return false };
    let before = read_range(file, covered.saturating_sub(most_units as u64), covered).unwrap_or_default();
    match before.split_last() {
        Some((b'\n', _)) | None => false,
        // A cut leaves at least so many bytes without a newline, less one for a character of two units.
        Some((_, line)) => last < most_units as u64 - 1 || line.contains(&b'\n'),
    }
}
