//! Setting damaged bytes aside: kept for whoever wants to look, never read again.
//!
//! A copy has its name once it is whole and on the disk. So a file of the right name and length is a place that is known, and
//! half a copy is nothing. It is told of right behind the rename, before any other call: a process that is killed here leaves
//! a place that was told of or one that the next start tells of. Power that goes before the name is durable can have it
//! told twice.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream_core::Result;
use millstream_io::{Disk, DiskFile, failpoint};

use crate::segment;

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// A damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Number of the segment.
    pub segment: u64,
    /// First damaged byte.
    pub offset: u64,
    /// Damaged bytes.
    pub length: u64,
    /// Where they were copied to, or the whole segment was renamed to.
    pub file: PathBuf,
    /// The place lies behind all that the segment itself knows to have been synced: perhaps nothing but a write that a
    /// power cut interrupted, and nobody was told that it succeeded. It can also be damage in the very last group.
    pub unconfirmed: bool,
}

/// Where the copy of a damaged place is, or will be.
enum Place {
    Known(PathBuf),
    Free(PathBuf),
}

/// Copies a damaged place to its own file and warns of it, once: a place that has its file already is known.
///
/// A failure to copy is only warned of. The bytes stay where they are, and delivering the rest matters more. Returns the
/// file, and whether the place was set aside now, rather than earlier. Not called by two threads at the same time.
pub(crate) fn set_aside(disk: &dyn Disk, dir: &Path, number: u64, offset: u64, length: u64) -> (PathBuf, bool) {
    let copied = find(disk, dir, number, offset, length).and_then(|place| match place {
        Place::Known(file) => Ok((file, false)),
        Place::Free(file) => copy(disk, dir, number, offset, length, &file).map(|()| (file, true)),
    });
    let (file, now) = copied.unwrap_or_else(|error| {
        tracing::warn!(segment = number, offset, length, %error, "damaged journal bytes could not be copied");
        let [file, _] = segment::bad_names(number, offset, length);
        (dir.join(file), false)
    });
    if now {
        tracing::warn!(
            segment = number, offset, length, file = %file.display(),
            "damaged journal bytes set aside; what could be read around them is delivered"
        );
        let named = failpoint::hit("journal.aside-renamed").and_then(|()| disk.sync_dir(dir));
        if let Err(error) = named.and_then(|()| failpoint::hit("journal.aside-named")) {
            tracing::warn!(file = %file.display(), %error, "the copy of damaged journal bytes is not durable yet");
        }
    }
    (file, now)
}

/// Whether a damaged place was set aside before.
pub(crate) fn is_known(disk: &dyn Disk, dir: &Path, number: u64, offset: u64, length: u64) -> Result<bool> {
    Ok(matches!(find(disk, dir, number, offset, length)?, Place::Known(_)))
}

/// A place is known by its number, its offset, and how many bytes of it there are: a segment that was cut, and brought back
/// later from a copy, can have another one that begins where the first one did.
fn find(disk: &dyn Disk, dir: &Path, number: u64, offset: u64, length: u64) -> Result<Place> {
    // A hole may reach beyond the end of its file.
    let there = disk.open(&dir.join(segment::name(number)))?.size()?.saturating_sub(offset).min(length);
    let names = disk.list(dir)?;
    let candidates = segment::bad_names(number, offset, there);
    for name in candidates.iter().filter(|name| names.contains(*name)) {
        let file = dir.join(name);
        if disk.open(&file)?.size()? == there {
            return Ok(Place::Known(file));
        }
    }
    let [first, other] = candidates;
    Ok(Place::Free(dir.join(if names.contains(&first) { other } else { first })))
}

fn copy(disk: &dyn Disk, dir: &Path, number: u64, offset: u64, length: u64, file: &Path) -> Result<()> {
    let from = disk.open(&dir.join(segment::name(number)))?;
    let temporary = dir.join(segment::aside_name(number, offset));
    // Of an attempt that failed.
    let _ = disk.remove(&temporary);
    let mut to = disk.create(&temporary)?;
    let copied = failpoint::hit("journal.aside-begun")
        .and_then(|()| copy_bytes(from.as_ref(), to.as_mut(), offset, length))
        .and_then(|()| failpoint::hit("journal.aside-written"))
        .and_then(|()| to.sync_data())
        .and_then(|()| failpoint::hit("journal.aside-synced"))
        .and_then(|()| disk.rename(&temporary, file));
    copied.inspect_err(|_| {
        // Removed at the next start at the latest.
        let _ = disk.remove(&temporary);
    })
}

fn copy_bytes(from: &dyn DiskFile, to: &mut dyn DiskFile, offset: u64, length: u64) -> Result<()> {
    let mut done = 0;
    while done < length {
        let mut chunk = vec![0; (length - done).min(CHUNK as u64) as usize];
        let read = from.read_at(offset + done, &mut chunk)?;
        if read == 0 {
            break;
        }
        chunk.truncate(read);
        to.write_at(done, &[Bytes::from(chunk)])?;
        done += read as u64;
    }
    Ok(())
}
