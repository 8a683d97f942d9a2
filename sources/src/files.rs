//! Files that grow while they are read.

use std::fs::{File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use millstream_core::{Batch, Error, Result, SlabBuilder};
use millstream_io::FileIdentity;

use crate::line::Line;

/// What tells that a file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) len: u64,
    pub(crate) modified: Option<SystemTime>,
}

/// Why a file is not read.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// It is gone, or no regular file any more.
    Gone,
    /// The system refuses it.
    Refused(Error),
}

/// The path's file, opened without ever waiting for a peer (a FIFO put in its place does not block).
pub(crate) fn open(path: &Path) -> Result<(File, FileIdentity), Unopened> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Unopened::Gone,
        _ => Unopened::Refused(Error::io("open", path, error)),
    })?;
    let metadata = file.metadata().map_err(|error| Unopened::Refused(Error::io("stat", path, error)))?;
    if !metadata.is_file() {
        return Err(Unopened::Gone);
    }
    let identity = FileIdentity::of(&metadata);
    Ok((file, identity))
}

// === impl Seen ===

impl Seen {
    pub(crate) fn of(file: &File) -> std::io::Result<Self> {
        file.metadata().map(|metadata| Self::by(&metadata))
    }

    pub(crate) fn by(metadata: &Metadata) -> Self {
        Self { len: metadata.len(), modified: metadata.modified().ok() }
    }
}

/// A batch that shows `lines` where they were read, no byte copied.
pub(crate) fn sliced(bytes: &Bytes, base: u64, lines: &[Line]) -> Batch {
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Batch::empty() };
    let mut builder = SlabBuilder::with_capacity(bytes.slice(first.start..last.next), lines.len());
    for line in lines {
        builder.row_ending_at(line.start - first.start..line.end - first.start, base + line.next as u64);
    }
    builder.finish()
}

/// The bytes `start..end` of `file`.
///
/// # Errors
/// Those of the file system, and when it is shorter.
pub(crate) fn read_range(file: &File, start: u64, end: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; end.saturating_sub(start) as usize];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}
