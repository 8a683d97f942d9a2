//! Files, as durable stores need them.
//!
//! # Errors
//! Every call names the action and the path. "No space left" becomes [`Error::DiskFull`], which passes by itself.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream_core::{Error, Result};

use crate::failpoint;

/// A file system, or a test's picture of one.
pub trait Disk: Send + Sync + Debug {
    /// Makes a new file for writing; fails when it exists.
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// File names in a directory, in no order.
    fn list(&self, dir: &Path) -> Result<Vec<String>>;
    /// Whether there is a directory of this name.
    fn is_dir(&self, dir: &Path) -> bool;
    /// Makes a directory in one that is there, unless it is there already. Durable after [`Self::sync_dir`] of the one above it.
    fn create_dir(&self, dir: &Path) -> Result<()>;
    /// Makes a directory, and those that are missing above it, so that they survive a power cut.
    ///
    /// A directory lives in the one above it, which is synced before anything is made inside. So a process that is killed
    /// here leaves its last one unsynced at most, below which there is nothing: the next call, which cannot know, makes that
    /// good by syncing above the last one that is there.
    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        make_durable(self, dir).map_err(|error| match error {
            // Whoever asked knows this directory.
            Error::Io { action, path, error } if path != dir => {
                let above = format!("{}: {error}", path.display());
                Error::io(action, dir, std::io::Error::new(error.kind(), above))
            }
            other => other,
        })
    }
    /// Renames a file over whatever has the new name; durable after [`Self::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file; durable after [`Self::sync_dir`].
    fn remove(&self, path: &Path) -> Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    /// Bytes that the file system of `dir` still takes.
    fn free_bytes(&self, dir: &Path) -> Result<u64>;
}

/// An open file.
pub trait DiskFile: Send + Sync + Debug {
    /// Writes `parts` one after another at `offset`; all or an error, after which any prefix may be there.
    fn write_at(&mut self, offset: u64, parts: &[Bytes]) -> Result<()>;
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;
    /// Makes what was written durable (`fdatasync`). Fails for a file that was deleted meanwhile: nobody would find it.
    fn sync_data(&mut self) -> Result<()>;
    /// Cuts or extends the file.
    fn set_len(&mut self, len: u64) -> Result<()>;
    /// Bytes in the file.
    fn size(&self) -> Result<u64>;
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

#[derive(Debug)]
struct SystemFile {
    file: File,
    path: PathBuf,
    /// Where the next sequential write begins.
    at: u64,
}

/// Writes a whole file so that after a crash either the old or the new content is there: temporary file, fsync, rename,
/// fsync of the directory. The one place that owns this order.
pub fn atomic_write(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.tmp"));
    // One left behind by a crash is worth nothing.
    let _ = disk.remove(&temporary);
    let mut file = disk.create(&temporary)?;
    file.write_at(0, &[Bytes::copy_from_slice(content)])?;
    failpoint::hit("disk.file-written")?;
    file.sync_data()?;
    failpoint::hit("disk.file-synced")?;
    disk.rename(&temporary, path)?;
    failpoint::hit("disk.file-renamed")?;
    disk.sync_dir(dir)
}

fn make_durable<D: Disk + ?Sized>(disk: &D, dir: &Path) -> Result<()> {
    let Some(above) = dir.parent() else { return Ok(()) };
    let is_new = !disk.is_dir(dir);
    if is_new {
        make_durable(disk, above)?;
        disk.create_dir(dir)?;
        failpoint::hit("disk.directory-made")?;
    }
    match disk.sync_dir(if above.as_os_str().is_empty() { Path::new(".") } else { above }) {
        // It may be entered and not read, so it cannot be opened for that. The next best: file systems with a journal carry
        // the name along with the directory. One that was given is its maker's business.
        Err(Error::Io { error, .. }) if error.kind() == ErrorKind::PermissionDenied => {
            if is_new {
                disk.sync_dir(dir)
            } else {
                Ok(())
            }
        }
        synced => synced,
    }
}

// === impl SystemDisk ===

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|error| failed("create", path, error))?;
        Ok(Box::new(SystemFile { file, path: path.to_owned(), at: 0 }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| failed("open", path, error))?;
        Ok(Box::new(SystemFile { file, path: path.to_owned(), at: 0 }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(dir).map_err(|error| failed("list", dir, error))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", dir, error))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn is_dir(&self, dir: &Path) -> bool {
        dir.is_dir()
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        match std::fs::create_dir(dir) {
            Err(_) if dir.is_dir() => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(failed("create directory", dir, ErrorKind::NotADirectory.into()))
            }
            made => made.map_err(|error| failed("create directory", dir, error)),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "this is the method that callers are sent to")]
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to).map_err(|error| failed("rename", from, error))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        std::fs::remove_file(path).map_err(|error| failed("remove", path, error))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let synced = File::open(dir).and_then(|handle| handle.sync_all());
        synced.map_err(|error| failed("fsync directory", dir, error))
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64> {
        let stat = nix::sys::statvfs::statvfs(dir).map_err(|error| failed("statvfs", dir, error.into()))?;
        Ok(stat.blocks_available() * stat.fragment_size())
    }
}

// === impl SystemFile ===

impl DiskFile for SystemFile {
    fn write_at(&mut self, offset: u64, parts: &[Bytes]) -> Result<()> {
        if self.at != offset {
            let sought = std::io::Seek::seek(&mut self.file, std::io::SeekFrom::Start(offset));
            sought.map_err(|error| failed("seek", &self.path, error))?;
            self.at = offset;
        }
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest: &mut [IoSlice<'_>] = &mut slices;
        while !rest.is_empty() {
            // The kernel takes at most 1024 slices per call; the standard library cuts there.
            match self.file.write_vectored(rest) {
                Ok(0) if rest.iter().all(|slice| slice.is_empty()) => break,
                Ok(0) => return Err(failed("write", &self.path, ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.at += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let wanted = rest.iter().map(|slice| slice.len() as u64).sum();
                    return Err(not_written(&self.path, error, wanted));
                }
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &self.path, error)),
            }
        }
        Ok(read)
    }

    fn sync_data(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|error| failed("fdatasync", &self.path, error))?;
        let metadata = self.file.metadata().map_err(|error| failed("stat", &self.path, error))?;
        if metadata.nlink() == 0 {
            // Safe on a disk where nobody will ever find it.
            return Err(failed(
                "fdatasync",
                &self.path,
                std::io::Error::other("the file was deleted while it was in use"),
            ));
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(|error| failed("truncate", &self.path, error))
    }

    fn size(&self) -> Result<u64> {
        let metadata = self.file.metadata().map_err(|error| failed("stat", &self.path, error))?;
        Ok(metadata.len())
    }
}

/// A write of which `wanted` bytes are left.
fn not_written(path: &Path, error: std::io::Error, wanted: u64) -> Error {
    match failed("write", path, error) {
        Error::DiskFull { path, free_bytes, .. } => Error::DiskFull { path, wanted_bytes: wanted, free_bytes },
        other => other,
    }
}

fn failed(action: &'static str, path: &Path, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::StorageFull || error.kind() == ErrorKind::QuotaExceeded {
        let free = nix::sys::statvfs::statvfs(path.parent().unwrap_or(path));
        let free_bytes = free.map_or(0, |stat| stat.blocks_available() * stat.fragment_size());
        return Error::DiskFull { path: path.to_owned(), wanted_bytes: 0, free_bytes };
    }
    Error::io(action, path, error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_was_written_in_parts_is_read_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = SystemDisk.create(&path).unwrap();
        let parts: Vec<Bytes> = (0..3000_u32).map(|i| Bytes::from(i.to_string())).collect();
        let whole: Vec<u8> = parts.concat();
        file.write_at(0, &parts).unwrap();
        file.write_at(whole.len() as u64, &[Bytes::from_static(b"end")]).unwrap();
        let mut back = vec![0; whole.len() + 10];
        assert_eq!(file.read_at(0, &mut back).unwrap(), whole.len() + 3);
        assert_eq!(&back[..whole.len()], whole);
        assert!(matches!(SystemDisk.create(&path), Err(Error::Io { action: "create", .. })));
    }

    #[test]
    fn a_file_that_was_deleted_cannot_be_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = SystemDisk.create(&path).unwrap();
        file.write_at(0, &[Bytes::from_static(b"kept")]).unwrap();
        file.sync_data().unwrap();
        SystemDisk.remove(&path).unwrap();
        let told = file.sync_data().unwrap_err().to_string();
        assert!(told.contains("f: the file was deleted"), "{told}");
    }

    #[test]
    fn a_directory_is_made_with_those_above_it_unless_a_file_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("a/b/c");
        SystemDisk.create_dir_all(&made).unwrap();
        SystemDisk.create_dir_all(&made).unwrap();
        assert!(made.is_dir());
        std::fs::write(made.join("f"), "").unwrap();
        let told = SystemDisk.create_dir_all(&made.join("f")).unwrap_err().to_string();
        assert!(told.starts_with("create directory") && told.ends_with("c/f: not a directory"), "{told}");
        let below = SystemDisk.create_dir_all(&made.join("f/d")).unwrap_err().to_string();
        assert!(below.contains("c/f/d: ") && below.ends_with("c/f: not a directory"), "{below}");
        // What has none above it is there.
        SystemDisk.create_dir_all(Path::new("/")).unwrap();
        SystemDisk.create_dir_all(Path::new("")).unwrap();
    }

    /// The system's disk, on which this process may not read some directories.
    #[derive(Debug)]
    struct Closed([PathBuf; 2]);

    impl Disk for Closed {
        fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
            SystemDisk.create(path)
        }

        fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
            SystemDisk.open(path)
        }

        fn list(&self, dir: &Path) -> Result<Vec<String>> {
            SystemDisk.list(dir)
        }

        fn is_dir(&self, dir: &Path) -> bool {
            SystemDisk.is_dir(dir)
        }

        fn create_dir(&self, dir: &Path) -> Result<()> {
            SystemDisk.create_dir(dir)
        }

        fn rename(&self, from: &Path, to: &Path) -> Result<()> {
            SystemDisk.rename(from, to)
        }

        fn remove(&self, path: &Path) -> Result<()> {
            SystemDisk.remove(path)
        }

        fn sync_dir(&self, dir: &Path) -> Result<()> {
            if self.0.iter().any(|closed| dir == closed) {
                return Err(Error::io("fsync directory", dir, ErrorKind::PermissionDenied.into()));
            }
            SystemDisk.sync_dir(dir)
        }

        fn free_bytes(&self, dir: &Path) -> Result<u64> {
            SystemDisk.free_bytes(dir)
        }
    }

    #[test]
    fn a_directory_serves_below_one_that_must_not_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let (given, new) = (dir.path().join("given"), dir.path().join("new"));
        std::fs::create_dir(&given).unwrap();
        let disk = Closed([dir.path().to_owned(), given.clone()]);
        for below in [given.join("below"), new.join("below")] {
            disk.create_dir_all(&below).unwrap();
            assert!(below.is_dir());
        }
    }

    #[test]
    fn an_atomic_write_replaces_the_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        atomic_write(&SystemDisk, &path, b"a long first content").unwrap();
        atomic_write(&SystemDisk, &path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(SystemDisk.list(dir.path()).unwrap(), ["f"]);
    }
}
