//! One file, read as far as it goes, again and again.
//!
//! Nothing of it is held in memory between two looks: an unfinished line stays in the file and is read again once a
//! newline follows.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use millstream_core::{Batch, CommonHeader, Coverage, Error, Result, SlabBuilder};
use millstream_io::FileIdentity;
use nix::unistd::{Whence, lseek};

use super::fingerprint::Fingerprint;
use super::groups::Group;
use super::positions::Known;
use crate::files::{self, Seen, Unopened, sliced};
use crate::line::{Line, split};

/// Bytes read at once: large enough that the call costs nothing, small enough to be bounded memory.
const CHUNK_BYTES: usize = 1 << 20;

/// Zeros behind a hole, at most: the largest block of a file system.
const ZEROS_BYTES: usize = 64 << 10;

/// How files are read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) batch_events: usize,
    pub(super) most_units: usize,
    /// A file is closed, and its last line ended, when nothing changed for so long.
    pub(super) idle: Duration,
    /// Header for the absolute path.
    pub(super) file_header: Option<String>,
    /// Whether each event gets a header with the offset of its line.
    pub(super) offset_header: bool,
}

/// A file being read.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) path: PathBuf,
    /// Index of its file group.
    pub(super) group: usize,
    pub(super) origin: Arc<str>,
    pub(super) identity: FileIdentity,
    /// Its name matches no group any more, or it has none: it is read to its end and let go.
    pub(super) leaving: bool,
    /// It was let go.
    pub(super) has_left: bool,
    /// It begins anew, and was not looked at since.
    is_truncated: bool,
    /// Everything before was handed over to the channels.
    pub(super) delivered: u64,
    /// Closed while it is idle.
    file: Option<File>,
    /// Offset of the first byte that was not read as part of a whole line.
    position: u64,
    /// No newline lies between `position` and here.
    scanned: u64,
    /// Where the next coverage begins: the end of the last one.
    covered: u64,
    print: Fingerprint,
    seen: Seen,
    changed_at: Instant,
}

/// What is to be done with a file.
#[derive(Debug)]
pub(super) enum Due {
    /// There may be lines before this offset.
    Lines(u64),
    /// Nothing changed for so long that its last line is whole: the file is closed.
    Close,
    /// It has another content than what was read: it begins anew.
    Rewritten {
        /// What was seen.
        reason: String,
        /// Bytes that had been seen and were not read.
        unread: u64,
    },
    /// It cannot be looked at.
    Failed(Error),
}

// === impl Tail ===

impl Tail {
    /// A file that is read from `position` on; the channels know it up to `covered`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn new(
        path: PathBuf,
        group: usize,
        origin: Arc<str>,
        (file, identity): (File, FileIdentity),
        (position, covered): (u64, u64),
    ) -> io::Result<Self> {
        let seen = Seen::of(&file)?;
        // An old file is idle at once, as far as it was read.
        let age = seen.modified.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
        let changed_at = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        let print = Fingerprint::of(&file, seen.len, position)?;
        Ok(Self {
            path,
            group,
            origin,
            identity,
            leaving: false,
            has_left: false,
            is_truncated: false,
            delivered: position,
            file: Some(file),
            position,
            scanned: position,
            covered,
            print,
            seen,
            changed_at,
        })
    }

    /// Looks what is to be done; nothing is `None`.
    pub(super) fn look(&mut self, reading: &Reading) -> Option<Due> {
        self.try_look(reading).unwrap_or_else(|error| Some(Due::Failed(Error::io("read", &self.path, error))))
    }

    fn try_look(&mut self, reading: &Reading) -> io::Result<Option<Due>> {
        let Some(now) = self.seen_now()? else { return Ok(self.leaving.then_some(Due::Close)) };
        if now != self.seen {
            let position = self.position;
            let print = self.print;
            let Some(file) = self.opened()? else { return Ok(None) };
            let reason = match () {
                () if now.len < position => Some(format!("it has {} bytes, {position} were read", now.len)),
                () if !print.matches(file) => Some(format!("the bytes before {position} are not those that were read")),
                () => None,
            };
            if let Some(reason) = reason {
                return Ok(Some(Due::Rewritten { reason, unread: self.seen.len.saturating_sub(position) }));
            }
            if self.is_truncated && now.len > 0 {
                self.pass_over_hole()?;
            }
            (self.seen, self.changed_at) = (now, Instant::now());
        }
        if self.seen.len > self.scanned {
            return Ok(Some(Due::Lines(self.seen.len)));
        }
        let is_idle = self.changed_at.elapsed() >= reading.idle;
        Ok((is_idle && (self.file.is_some() || self.leaving)).then_some(Due::Close))
    }

    /// A writer that goes on at its old offset leaves a hole before it, where nothing was written.
    fn pass_over_hole(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let start = hole_end(file);
        (self.print, self.is_truncated) = (self.print.moved(file, start)?, false);
        (self.position, self.scanned) = (start, start);
        Ok(())
    }

    /// What tells of a change: by the open file, else by the path; `None` when the path leads elsewhere.
    fn seen_now(&self) -> io::Result<Option<Seen>> {
        let metadata = match &self.file {
            Some(file) => file.metadata()?,
            None => match std::fs::metadata(&self.path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        Ok((FileIdentity::of(&metadata) == self.identity).then(|| Seen::by(&metadata)))
    }

    /// The open file, opened again if need be; `None` when the path leads elsewhere.
    fn opened(&mut self) -> io::Result<Option<&File>> {
        if self.file.is_none() {
            match files::open(&self.path) {
                Ok((file, identity)) if identity == self.identity => self.file = Some(file),
                Ok(_) | Err(Unopened::Gone) => return Ok(None),
                Err(Unopened::Refused(error)) => return Err(io::Error::other(error)),
            }
        }
        Ok(self.file.as_ref())
    }

    /// Reads at most one chunk before `until`, as at most `most_batches`; none when no line ends there. With `at_end` an
    /// unfinished line is ended too.
    ///
    /// # Errors
    /// Those of the file system; nothing is passed over.
    pub(super) fn step(
        &mut self,
        reading: &Reading,
        group: &Group,
        until: u64,
        at_end: bool,
        most_batches: usize,
    ) -> Result<Vec<Batch>> {
        let place = self.path.clone();
        let stepped = self.try_step(reading, group, until, at_end, most_batches);
        stepped.map_err(|error| Error::io("read", place, error))
    }

    fn try_step(
        &mut self,
        reading: &Reading,
        group: &Group,
        until: u64,
        at_end: bool,
        most_batches: usize,
    ) -> io::Result<Vec<Batch>> {
        let (position, scanned, print) = (self.position, self.scanned, self.print);
        let Some(file) = self.opened()? else { return Ok(Vec::new()) };
        if !at_end && !has_line(file, position, scanned, until, reading.most_units)? {
            self.scanned = until;
            return Ok(Vec::new());
        }
        let (bytes, mut lines) = read_lines(file, position, until, at_end, reading.most_units)?;
        lines.truncate(most_batches.saturating_mul(reading.batch_events));
        let Some(last) = lines.last() else {
            self.scanned = position + bytes.len() as u64;
            return Ok(Vec::new());
        };
        let end = position + last.next as u64;
        let print = print.moved(file, end)?;
        lines.iter_mut().for_each(|line| *line = without_return(&bytes, *line));
        (self.position, self.scanned, self.print) = (end, end, print);
        Ok(self.batches(reading, group, &bytes, position, &lines))
    }

    fn batches(&mut self, reading: &Reading, group: &Group, bytes: &Bytes, base: u64, lines: &[Line]) -> Vec<Batch> {
        let file_header = reading.file_header.as_ref().map(|key| CommonHeader {
            key: Bytes::from(key.clone()),
            value: Bytes::from(self.path.to_string_lossy().into_owned()),
            keep_existing: false,
        });
        let headers: Vec<CommonHeader> = group.headers.iter().cloned().chain(file_header).collect();
        let mut batches = Vec::with_capacity(lines.len().div_ceil(reading.batch_events));
        for lines in lines.chunks(reading.batch_events) {
            let batch = match reading.offset_header {
                true => with_offsets(bytes, base, lines),
                false => sliced(bytes, base, lines),
            };
            let batch = headers.iter().cloned().fold(batch, Batch::with_common_header);
            let end = lines.last().map_or(self.covered, |line| base + line.next as u64);
            batches.push(self.cover(batch, end));
        }
        batches
    }

    /// What tells the channels that reading begins at the position, where they do not know it.
    pub(super) fn skipped(&mut self) -> Option<Batch> {
        let end = self.position;
        (self.covered < end).then(|| self.cover(Batch::empty(), end))
    }

    fn cover(&mut self, batch: Batch, end: u64) -> Batch {
        let start = std::mem::replace(&mut self.covered, end).min(end);
        batch.with_coverage(Coverage::new(Arc::clone(&self.origin), start, end))
    }

    /// Begins anew, after the content changed.
    pub(super) fn restart(&mut self) {
        (self.position, self.scanned, self.covered, self.delivered) = (0, 0, 0, 0);
        (self.print, self.seen.len, self.is_truncated) = (Fingerprint::default(), 0, true);
        // Whatever it has now is new.
        self.seen.modified = None;
    }

    /// Its name matches no more. Whoever writes it may do so for a while, however long it was quiet before.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            self.changed_at = Instant::now();
        }
    }

    /// Closes the file, as it is idle.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Whether no directory has it any more: it can never come back.
    pub(super) fn is_deleted(&self) -> bool {
        let links = self.file.as_ref().and_then(|file| file.metadata().ok()).map(|metadata| metadata.nlink());
        links == Some(0)
    }

    /// Whether it can still be read.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// What is recorded of it: how far the channels have it.
    pub(super) fn known(&self) -> Known {
        let print = match &self.file {
            Some(file) if self.delivered != self.position => self.print.moved(file, self.delivered).unwrap_or_default(),
            _ => self.print,
        };
        Known {
            origin: self.origin.to_string(),
            inode: self.identity.inode,
            file: self.path.to_string_lossy().into_owned(),
            pos: self.delivered,
            len: self.seen.len,
            print,
        }
    }

    /// Bytes seen.
    pub(super) fn len(&self) -> u64 {
        self.seen.len
    }

    /// Where reading goes on.
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}

/// Where the zeros end with which a file begins that was truncated under its writer; 0 where there are none.
fn hole_end(file: &File) -> u64 {
    // Most of them take no room on the disk, and no time to pass over.
    let Ok(data) = lseek(file, 0, Whence::SeekData) else { return 0 };
    let block = read_up_to(file, data as u64, ZEROS_BYTES).unwrap_or_default();
    let zeros = block.iter().take_while(|byte| **byte == 0).count();
    data as u64 + zeros as u64
}

/// Whether a line, or a piece of one, ends before `until`; bytes before `scanned` have no newline.
fn has_line(file: &File, position: u64, scanned: u64, until: u64, most_units: usize) -> io::Result<bool> {
    if scanned <= position || until - position >= most_units as u64 {
        return Ok(true);
    }
    let mut at = scanned;
    while at < until {
        let chunk = read_up_to(file, at, (until - at).min(CHUNK_BYTES as u64) as usize)?;
        if chunk.is_empty() || memchr::memchr(b'\n', &chunk).is_some() {
            return Ok(!chunk.is_empty());
        }
        at += chunk.len() as u64;
    }
    Ok(false)
}

/// Reads from `position` on until a line ends, at least one chunk.
fn read_lines(
    file: &File,
    position: u64,
    until: u64,
    at_end: bool,
    most_units: usize,
) -> io::Result<(Bytes, Vec<Line>)> {
    let mut wanted = CHUNK_BYTES;
    loop {
        let left = until.saturating_sub(position);
        let bytes = read_up_to(file, position, left.min(wanted as u64) as usize)?;
        let is_all = bytes.len() as u64 == left || bytes.len() < wanted;
        let lines = split(&bytes, at_end && is_all, most_units);
        if !lines.is_empty() || is_all {
            return Ok((bytes.into(), lines));
        }
        wanted = wanted.saturating_mul(2);
    }
}

/// Up to `wanted` bytes; fewer only at the end of the file.
fn read_up_to(file: &File, at: u64, wanted: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; wanted];
    let mut got = 0;
    while got < wanted {
        match file.read_at(&mut bytes[got..], at + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(got);
    Ok(bytes)
}

/// The line without the `\r` of a `\r\n`.
fn without_return(bytes: &[u8], line: Line) -> Line {
    let ends_with_newline = line.next > line.end;
    let has_return = line.end > line.start && bytes[line.end - 1] == b'\r';
    Line { end: line.end - usize::from(ends_with_newline && has_return), ..line }
}

/// A batch of `lines`, each with the header of its offset.
fn with_offsets(bytes: &Bytes, base: u64, lines: &[Line]) -> Batch {
    let mut buffer = Vec::from(OFFSET_HEADER);
    let mut rows = Vec::with_capacity(lines.len());
    for line in lines {
        let value = buffer.len();
        buffer.extend_from_slice((base + line.start as u64).to_string().as_bytes());
        let body = buffer.len();
        buffer.extend_from_slice(&bytes[line.start..line.end]);
        rows.push((value..body, body..buffer.len(), base + line.next as u64));
    }
    let mut builder = SlabBuilder::with_capacity(buffer.into(), rows.len());
    for (value, body, end) in rows {
        builder.header(0..OFFSET_HEADER.len(), value);
        builder.row_ending_at(body, end);
    }
    builder.finish()
}

/// Name of the header for `byteOffsetHeader`.
const OFFSET_HEADER: &[u8] = b"byteoffset";
