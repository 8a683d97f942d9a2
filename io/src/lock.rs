//! One process per directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use millstream_core::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Flume's lock file, so that a Java agent on the same directory is refused too.
const LOCK_FILE: &str = "in_use.lock";

/// Holds a directory until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct DirLock {
    // Held for its open file description, which owns the lock.
    _file: File,
    path: PathBuf,
}

impl DirLock {
    /// Locks `dir`, which must exist.
    ///
    /// The lock is an open file description lock (`F_OFD_SETLK`): Java's `FileChannel.lock` sees it (a `flock` it would
    /// not see), and another handle of the same process does not release it.
    ///
    /// # Errors
    /// [`Error::InUse`] with the holder's process id, when another has it; `Io` where the file system cannot lock.
    pub fn acquire(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCK_FILE);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| Error::io("open", &path, error))?;
        let request = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        if let Err(errno) = fcntl(&file, FcntlArg::F_OFD_SETLK(&request)) {
            if !matches!(errno, Errno::EAGAIN | Errno::EACCES) {
                // A file system without locks, say: nobody holds it.
                return Err(Error::io("lock", &path, errno.into()));
            }
            let mut holder = String::new();
            // What the holder wrote is a hint; the lock itself is the truth.
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            return Err(Error::InUse { path: dir.to_owned(), holder });
        }
        // For the message above alone: a full disk, on which this fails, must not keep the holder from starting.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        debug_assert!(file.as_raw_fd() >= 0, "an open file has a descriptor");
        Ok(Self { _file: file, path: dir.to_owned() })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        let error = DirLock::acquire(dir.path()).unwrap_err();
        let expected = format!("is in use by process {}", std::process::id());
        assert!(error.to_string().contains(&expected), "{error}");
        drop(lock);
        DirLock::acquire(dir.path()).unwrap();
    }
}
