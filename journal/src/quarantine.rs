//! Setting damaged bytes aside: kept for whoever wants to look, never read again.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream_core::Result;
use millstream_io::{Disk, DiskFile};

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

/// Copies a damaged place to its own file and warns of it, once: a place that has its file already is known.
///
/// A failure to copy is only warned of. The bytes stay where they are, and delivering the rest matters more. Returns the
/// file, and whether the place was set aside now, rather than earlier.
pub(crate) fn set_aside(disk: &dyn Disk, dir: &Path, number: u64, offset: u64, length: u64) -> (PathBuf, bool) {
    let file = dir.join(segment::bad_name(number, offset));
    let copied = copy(disk, dir, number, offset, length, &file);
    match &copied {
        Ok(true) => tracing::warn!(
            segment = number, offset, length, file = %file.display(),
            "damaged journal bytes set aside; what could be read around them is delivered"
        ),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(segment = number, offset, length, %error, "damaged journal bytes could not be copied")
        }
    }
    (file, matches!(copied, Ok(true)))
}

/// Whether it was copied now, rather than earlier.
fn copy(disk: &dyn Disk, dir: &Path, number: u64, offset: u64, length: u64, file: &Path) -> Result<bool> {
    let name = segment::bad_name(number, offset);
    if disk.list(dir)?.contains(&name) {
        return Ok(false);
    }
    let from = disk.open(&dir.join(segment::name(number)))?;
    let mut to = disk.create(file)?;
    let copied = copy_bytes(from.as_ref(), to.as_mut(), offset, length).and_then(|()| to.sync_data());
    if let Err(error) = copied {
        // Half a copy would pass for a known place at the next start.
        let _ = disk.remove(file);
        return Err(error);
    }
    Ok(true)
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
