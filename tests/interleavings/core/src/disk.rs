//! A disk on which others can overtake.

use std::path::Path;

use bytes::Bytes;
use millstream_io::{Disk, DiskFile};
use millstream_testkit::FakeDisk;

use crate::Result;
use crate::sync::point;

/// The fake disk, with a point before and after every call that changes it.
#[derive(Debug, Clone)]
pub struct Slow(pub FakeDisk);

#[derive(Debug)]
struct SlowFile(Box<dyn DiskFile>);

fn slowly<T>(call: impl FnOnce() -> T) -> T {
    point();
    let outcome = call();
    point();
    outcome
}

// === impl Slow ===

impl Disk for Slow {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        slowly(|| Ok(Box::new(SlowFile(self.0.create(path)?)) as Box<dyn DiskFile>))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile(self.0.open(path)?)))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.0.list(dir)
    }

    fn is_dir(&self, dir: &Path) -> bool {
        self.0.is_dir(dir)
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.0.create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        slowly(|| self.0.rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        slowly(|| self.0.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        slowly(|| self.0.sync_dir(dir))
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64> {
        self.0.free_bytes(dir)
    }
}

// === impl SlowFile ===

impl DiskFile for SlowFile {
    fn write_at(&mut self, offset: u64, parts: &[Bytes]) -> Result<()> {
        slowly(|| self.0.write_at(offset, parts))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn sync_data(&mut self) -> Result<()> {
        slowly(|| self.0.sync_data())
    }

    fn set_len(&mut self, len: u64) -> Result<()> {
        slowly(|| self.0.set_len(len))
    }

    fn size(&self) -> Result<u64> {
        self.0.size()
    }
}
