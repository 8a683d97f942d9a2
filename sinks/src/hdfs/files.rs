//! The file system that files are written to: a few calls, which a local disk and a cluster both have.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Error, Result};
use millstream_io::{Disk, DiskFile};
use parking_lot::Mutex;

/// Where files are. Paths are absolute within it, with `/` between names.
pub(super) trait FileSystem: Send + Sync + std::fmt::Debug {
    /// Makes a new file for writing, and the directories above it.
    ///
    /// # Errors
    /// Among others `Io` with `AlreadyExists`, when there is one.
    fn create(&self, path: &str) -> Result<Box<dyn OutputFile>>;

    /// Whether there is a file of that name.
    fn exists(&self, path: &str) -> Result<bool>;

    /// Gives a file another name in the same directory; durable when it returns.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file.
    fn remove(&self, path: &str) -> Result<()>;
}

/// A file that is written.
pub(super) trait OutputFile: Send + std::fmt::Debug {
    /// Writes behind what was written so far, so that readers see it and it survives.
    fn append(&mut self, bytes: Bytes) -> Result<()>;

    /// Takes away what was written beyond `len` bytes.
    ///
    /// # Errors
    /// Also where the file system cannot do that: what is there stays.
    fn cut_back(&mut self, len: u64) -> Result<()>;

    /// Completes the file. May be called again when it failed.
    fn close(&mut self) -> Result<()>;
}

/// The disk of this machine: `file://`.
#[derive(Debug)]
pub(super) struct LocalFiles {
    disk: Arc<dyn Disk>,
    /// Waits for the disk at each transaction.
    fsync: bool,
    /// Directories that are known to be there.
    known: Mutex<BTreeSet<PathBuf>>,
}

#[derive(Debug)]
struct LocalFile {
    file: Box<dyn DiskFile>,
    fsync: bool,
    len: u64,
}

// === impl LocalFiles ===

impl LocalFiles {
    pub(super) fn new(disk: Arc<dyn Disk>, fsync: bool) -> Self {
        Self { disk, fsync, known: Mutex::default() }
    }

    /// Makes `dir` and what is missing above it; so that they survive, unless nothing is to wait for the disk.
    fn make_dir(&self, dir: &Path) -> Result<()> {
        if self.known.lock().contains(dir) {
            return Ok(());
        }
        if self.fsync {
            self.disk.create_dir_all(dir)?;
        } else {
            let above: Vec<&Path> = dir.ancestors().filter(|dir| dir.parent().is_some()).collect();
            above.into_iter().rev().try_for_each(|dir| self.disk.create_dir(dir))?;
        }
        let mut known = self.known.lock();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(dir.to_owned());
        Ok(())
    }

    fn forget(&self, dir: &Path) {
        self.known.lock().remove(dir);
    }
}

impl FileSystem for LocalFiles {
    fn create(&self, path: &str) -> Result<Box<dyn OutputFile>> {
        let path = Path::new(path);
        let dir = path.parent().unwrap_or(Path::new("."));
        self.make_dir(dir)?;
        let file = self.disk.create(path).inspect_err(|_| self.forget(dir))?;
        if self.fsync
            && let Err(error) = self.disk.sync_dir(dir)
        {
            // Nothing is in it; one that stays is an empty file.
            let _ = self.disk.remove(path);
            return Err(error);
        }
        Ok(Box::new(LocalFile { file, fsync: self.fsync, len: 0 }))
    }

    fn exists(&self, path: &str) -> Result<bool> {
        match self.disk.open(Path::new(path)) {
            Ok(_) => Ok(true),
            Err(Error::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.disk.rename(Path::new(from), Path::new(to))?;
        match Path::new(to).parent() {
            Some(dir) if self.fsync => self.disk.sync_dir(dir),
            _ => Ok(()),
        }
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.disk.remove(Path::new(path))
    }
}

// === impl LocalFile ===

impl OutputFile for LocalFile {
    fn append(&mut self, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        self.file.write_at(self.len, &[bytes])?;
        if self.fsync {
            self.file.sync_data()?;
        }
        self.len += len;
        Ok(())
    }

    fn cut_back(&mut self, len: u64) -> Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        if self.fsync { self.file.sync_data() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Names of directories kept; more would only be memory.
const MOST_KNOWN: usize = 10_000;
