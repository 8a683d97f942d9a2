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
        lock(&mut file, libc::F_WRLCK as libc::c_short, dir)?;
        // For the message above alone: a full disk, on which this fails, must not keep the holder from starting.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        debug_assert!(file.as_raw_fd() >= 0, "an open file has a descriptor");
        Ok(Self { _file: file, path: dir.to_owned() })
    }

    /// Keeps `dir` from being changed while it is read: whoever would hold it is refused. Several may read at once. Nothing
    /// is written; a directory in which there is no lock file was never held, and is not.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub fn share(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(LOCK_FILE);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        lock(&mut file, libc::F_RDLCK as libc::c_short, dir)?;
        Ok(Some(Self { _file: file, path: dir.to_owned() }))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes a lock of that kind on the whole file, without waiting.
fn lock(file: &mut File, kind: libc::c_short, dir: &Path) -> Result<()> {
    let request =
        libc::flock { l_type: kind, l_whence: libc::SEEK_SET as libc::c_short, l_start: 0, l_len: 0, l_pid: 0 };
    let Err(errno) = fcntl(&*file, FcntlArg::F_OFD_SETLK(&request)) else { return Ok(()) };
    if !matches!(errno, Errno::EAGAIN | Errno::EACCES) {
        // A file system without locks, say: nobody holds it.
        return Err(Error::io("lock", dir.join(LOCK_FILE), errno.into()));
    }
    let mut holder = String::new();
    // What the holder wrote is a hint; the lock itself is the truth.
    let _ = file.read_to_string(&mut holder);
    let holder = match holder.trim() {
        "" => "another process".to_owned(),
        pid => format!("process {pid}"),
    };
    Err(Error::InUse { path: dir.to_owned(), holder })
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
    #[test]
    fn readers_share_a_directory_and_keep_its_holder_out() {
        let dir = tempfile::tempdir().unwrap();
        assert!(DirLock::share(dir.path()).unwrap().is_none());
        assert!(!dir.path().join(LOCK_FILE).exists(), "reading makes no file");
        let holder = DirLock::acquire(dir.path()).unwrap();
        let error = DirLock::share(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(holder);
        let (one, other) = (DirLock::share(dir.path()).unwrap(), DirLock::share(dir.path()).unwrap());
        drop(one);
        assert!(matches!(DirLock::acquire(dir.path()), Err(Error::InUse { .. })));
        drop(other);
        DirLock::acquire(dir.path()).unwrap();
    }
}
