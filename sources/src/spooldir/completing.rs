//! What becomes of a file that was read.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use millstream_core::{Error, Result};
use millstream_io::failpoint;
use millstream_io::{Disk, SystemDisk};

use super::listing::REJECTED_SUFFIX;

/// How files are completed.
#[derive(Debug, Clone)]
pub(super) struct Completing {
    /// Flume's `deletePolicy = immediate`.
    pub(super) delete: bool,
    pub(super) suffix: String,
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
    /// Renames or deletes `path` and makes that durable. A completed file of the same name and content is that file: one
    /// is enough.
    ///
    /// # Errors
    /// Those of the file system; the file is still there then.
    pub(super) fn complete(&self, path: &Path) -> Result<Completed> {
        let target = with_suffix(path, &self.suffix);
        failpoint::hit("spooldir.stored")?;
        if self.delete {
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
}

/// Renames `path` so that it is not read again; returns its new name.
///
/// # Errors
/// Those of the file system.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf> {
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
