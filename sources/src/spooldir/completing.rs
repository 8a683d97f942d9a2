//! What becomes of a file that was read.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use millstream_core::{Error, Result};
use millstream_io::failpoint;
use millstream_io::{Disk, SystemDisk};

use super::listing::REJECTED_SUFFIX;

/// How files are completed.
#[derive(Debug, Clone)]
pub(super) struct Completing {
    pub(super) way: Way,
    pub(super) suffix: String,
}

/// What tells that a file is done with.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// It is gone: Flume's `deletePolicy = immediate`.
    Delete,
    /// Its name: Flume's `trackingPolicy = rename`.
    Rename,
    /// An empty file beside the tracker, which has its name: Flume's `trackingPolicy = tracker_dir`.
    Mark(Markers),
}

/// Marks of files, which stay as they are.
#[derive(Debug, Clone)]
pub(super) struct Markers {
    pub(super) spool_dir: PathBuf,
    pub(super) tracker_dir: PathBuf,
}

/// What completing came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Completed {
    /// Renamed or deleted, durably.
    Done,
    /// The new name is taken by a file of another content.
    Taken(PathBuf),
}

// === impl Completing ===

impl Completing {
    /// Renames, deletes or marks `path` and makes that durable. A completed file of the same name and content is that file: one
    /// is enough.
    ///
    /// # Errors
    /// Those of the file system; the file is still there then.
    pub(super) fn complete(&self, path: &Path) -> Result<Completed> {
        let target = with_suffix(path, &self.suffix);
        failpoint::hit("spooldir.stored")?;
        if let Way::Mark(markers) = &self.way {
            markers.mark(path, &self.suffix)?;
            failpoint::hit("spooldir.completed")?;
            return Ok(Completed::Done);
        }
        if matches!(self.way, Way::Delete) {
            SystemDisk.remove(path)?;
        } else if target.symlink_metadata().is_err() {
            SystemDisk.rename(path, &target)?;
        } else if same_content(path, &target)? {
            tracing::warn!(file = %path.display(), "completed before with the same content; the copy is removed");
            SystemDisk.remove(path)?;
        } else {
            return Ok(Completed::Taken(target));
        }
        sync_parent(path)?;
        failpoint::hit("spooldir.completed")?;
        Ok(Completed::Done)
    }

    /// Renames `path` so that it is not read again, or marks it; returns the new name.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn set_aside(&self, path: &Path) -> Result<PathBuf> {
        match &self.way {
            Way::Mark(markers) => markers.mark(path, REJECTED_SUFFIX),
            Way::Delete | Way::Rename => set_aside(path),
        }
    }
}

// === impl Markers ===

impl Markers {
    /// Whether the file was done with before.
    pub(super) fn is_marked(&self, path: &Path, suffix: &str) -> bool {
        [suffix, REJECTED_SUFFIX].iter().any(|suffix| self.marker(path, suffix).symlink_metadata().is_ok())
    }

    fn mark(&self, path: &Path, suffix: &str) -> Result<PathBuf> {
        let marker = self.marker(path, suffix);
        let dir = marker.parent().unwrap_or(&self.tracker_dir);
        SystemDisk.create_dir_all(dir)?;
        let made = OpenOptions::new().write(true).create(true).truncate(false).open(&marker);
        made.and_then(|marker| marker.sync_all()).map_err(|error| Error::io("create", &marker, error))?;
        SystemDisk.sync_dir(dir)?;
        Ok(marker)
    }

    /// Where the marker of `path` is: its place below the spool directory, below the tracker's.
    fn marker(&self, path: &Path, suffix: &str) -> PathBuf {
        let below = path.strip_prefix(&self.spool_dir).unwrap_or(path);
        with_suffix(&self.tracker_dir.join(below), suffix)
    }
}

fn set_aside(path: &Path) -> Result<PathBuf> {
    let numbered = (1..).map(|number| with_suffix(path, &format!(".{number}{REJECTED_SUFFIX}")));
    let mut names = std::iter::once(with_suffix(path, REJECTED_SUFFIX)).chain(numbered);
    let target = names.find(|name| name.symlink_metadata().is_err()).expect("the numbers do not end");
    SystemDisk.rename(path, &target)?;
    sync_parent(path)?;
    Ok(target)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_parent(path: &Path) -> Result<()> {
    SystemDisk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

fn same_content(a: &Path, b: &Path) -> Result<bool> {
    let open = |path: &Path| File::open(path).map_err(|error| Error::io("open", path, error));
    let is_file = std::fs::metadata(b).is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Ok(false);
    }
    let (x, y) = (open(a)?, open(b)?);
    let len =
        |file: &File, path: &Path| file.metadata().map(|m| m.len()).map_err(|error| Error::io("stat", path, error));
    if len(&x, a)? != len(&y, b)? {
        return Ok(false);
    }
    let (mut x, mut y) = (BufReader::new(x), BufReader::new(y));
    let (mut left, mut right) = ([0; 8192], [0; 8192]);
    loop {
        let got = x.read(&mut left).map_err(|error| Error::io("read", a, error))?;
        if got == 0 {
            return Ok(true);
        }
        let matched = y.read_exact(&mut right[..got]).is_ok() && left[..got] == right[..got];
        if !matched {
            return Ok(false);
        }
    }
}
