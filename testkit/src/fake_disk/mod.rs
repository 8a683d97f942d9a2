//! A disk in memory that tears, fills, fails and forgets, as real ones do.
//!
//! Every file has what programs read and what a power cut leaves; only a sync carries the one to the other, and names
//! become durable only with a sync of their directory. That holds for directories as well: one that was made and is not
//! durable is gone after a power cut, with everything in it. A handle belongs to one life of a process: after
//! [`FakeDisk::kill`] or [`FakeDisk::power_cut`] all older handles and files fail, so that threads of the old life
//! change nothing any more.

mod machine;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Error, Result};
use millstream_io::{Disk, DiskFile};
use parking_lot::{Mutex, MutexGuard};

use crate::Dice;
use machine::{Change, Fault, Inode, Machine, Name, apply};

/// A handle on the disk, for one life of a process. Clones belong to the same life.
#[derive(Debug, Clone)]
pub struct FakeDisk {
    machine: Arc<Mutex<Machine>>,
    life: u64,
}

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Making a file.
    Create,
    /// Making a directory.
    CreateDir,
    /// Opening a file.
    Open,
    /// Writing: nothing is written.
    Write,
    /// Writing: half is written.
    TornWrite,
    /// Reading.
    Read,
    /// `fdatasync`. What was not durable before never becomes so by a later sync, as with Linux.
    Sync,
    /// Making names durable.
    SyncDir,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Cutting or extending a file.
    SetLen,
}

#[derive(Debug)]
struct FakeFile {
    disk: FakeDisk,
    path: PathBuf,
    inode: u64,
}

// === impl FakeDisk ===

impl Default for FakeDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeDisk {
    /// Makes an empty disk of unlimited size.
    pub fn new() -> Self {
        Self { machine: Arc::default(), life: 0 }
    }

    /// The process ends: what was written stays. Gives the handle of the next life.
    #[must_use = "this handle is dead from now on"]
    pub fn kill(&self) -> Self {
        let mut machine = self.machine.lock();
        machine.life += 1;
        machine.faults.clear();
        machine.calls_left = None;
        Self { machine: Arc::clone(&self.machine), life: machine.life }
    }

    /// The power goes: of what was not synced, `seed` chooses what is kept: a prefix, cut at any byte, or sectors at
    /// random; and of the changes of names a prefix. Gives the handle of the next life.
    #[must_use = "this handle is dead from now on"]
    pub fn power_cut(&self, seed: u64) -> Self {
        let next = self.kill();
        let mut dice = Dice::new(seed);
        let mut machine = self.machine.lock();
        let kept = dice.below(machine.name_changes.len() as u64 + 1) as usize;
        let changes = std::mem::take(&mut machine.name_changes);
        for (path, name) in changes.into_iter().take(kept) {
            machine.name_is_durable(path, name);
        }
        machine.lose_names();
        let mut numbers: Vec<u64> = machine.inodes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(inode) = machine.inodes.get_mut(&number) else { continue };
            inode.lose_power(&mut dice);
        }
        drop(machine);
        next
    }

    /// Lets a call fail `times` times, after it succeeded `skip` times.
    pub fn fail(&self, call: Call, skip: u32, times: u32) {
        self.machine.lock().faults.insert(call, Fault { skip, times });
    }

    /// The process ends by itself after so many more calls: all later ones fail, and change nothing.
    pub fn end_after(&self, calls: u64) {
        self.machine.lock().calls_left = Some(calls);
    }

    /// Whether it ended so.
    pub fn has_ended(&self) -> bool {
        self.machine.lock().life != self.life
    }

    /// Takes back all [`Self::fail`].
    pub fn heal(&self) {
        self.machine.lock().faults.clear();
    }

    /// Bounds the bytes of all files together; `None` for no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.machine.lock().capacity = bytes;
    }

    /// Bytes of all files together.
    pub fn used(&self) -> u64 {
        self.machine.lock().used()
    }

    /// Successful calls of `fdatasync` so far.
    pub fn syncs(&self) -> u64 {
        self.machine.lock().syncs
    }

    /// Calls failed so far because [`Self::fail`] asked for it.
    pub fn strikes(&self) -> u64 {
        self.machine.lock().strikes
    }

    /// The content of a file; `None` when there is no such file.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let machine = self.machine.lock();
        machine.names.get(path).and_then(|inode| machine.inodes.get(inode)).map(|inode| inode.now.clone())
    }

    /// Puts a durable file there, as another program or a failing disk would.
    pub fn put(&self, path: &Path, content: &[u8]) {
        let mut machine = self.machine.lock();
        let number = machine.new_inode();
        let inode = Inode { now: content.to_vec(), durable: content.to_vec(), changes: Vec::new() };
        machine.inodes.insert(number, inode);
        machine.names.insert(path.to_owned(), number);
        machine.durable_names.insert(path.to_owned(), number);
        for dir in path.ancestors().skip(1) {
            machine.dirs.insert(dir.to_owned());
            machine.durable_dirs.insert(dir.to_owned());
        }
    }

    fn alive(&self, action: &'static str, path: &Path) -> Result<MutexGuard<'_, Machine>> {
        let mut machine = self.machine.lock();
        if machine.life == self.life && machine.calls_left == Some(0) {
            machine.life += 1;
        }
        if machine.life == self.life {
            machine.calls_left = machine.calls_left.map(|calls| calls - 1);
            return Ok(machine);
        }
        Err(Error::io(action, path, io::Error::other("this process has ended")))
    }
}

impl Disk for FakeDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let mut machine = self.alive("create", path)?;
        machine.strike(Call::Create, "create", path)?;
        if machine.names.contains_key(path) {
            return Err(Error::io("create", path, io::ErrorKind::AlreadyExists.into()));
        }
        if !path.parent().is_some_and(|dir| machine.has_dir(dir)) {
            return Err(Error::io("create", path, io::ErrorKind::NotFound.into()));
        }
        let inode = machine.new_inode();
        machine.change_name(path, Name::File(inode));
        Ok(Box::new(FakeFile { disk: self.clone(), path: path.to_owned(), inode }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let mut machine = self.alive("open", path)?;
        machine.strike(Call::Open, "open", path)?;
        let Some(inode) = machine.names.get(path).copied() else {
            return Err(Error::io("open", path, io::ErrorKind::NotFound.into()));
        };
        Ok(Box::new(FakeFile { disk: self.clone(), path: path.to_owned(), inode }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let machine = self.alive("list", dir)?;
        let inside = machine.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn is_dir(&self, dir: &Path) -> bool {
        self.alive("stat", dir).is_ok_and(|machine| machine.has_dir(dir))
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        let mut machine = self.alive("create directory", dir)?;
        machine.strike(Call::CreateDir, "create directory", dir)?;
        if machine.has_dir(dir) {
            return Ok(());
        }
        if !dir.parent().is_some_and(|above| machine.has_dir(above)) {
            return Err(Error::io("create directory", dir, io::ErrorKind::NotFound.into()));
        }
        machine.change_name(dir, Name::Dir);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut machine = self.alive("rename", from)?;
        machine.strike(Call::Rename, "rename", from)?;
        let Some(inode) = machine.names.get(from).copied() else {
            return Err(Error::io("rename", from, io::ErrorKind::NotFound.into()));
        };
        // The new name comes first: one change of the two may survive a power cut, and never neither name.
        machine.change_name(to, Name::File(inode));
        machine.change_name(from, Name::Nothing);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut machine = self.alive("remove", path)?;
        machine.strike(Call::Remove, "remove", path)?;
        if !machine.names.contains_key(path) {
            return Err(Error::io("remove", path, io::ErrorKind::NotFound.into()));
        }
        machine.change_name(path, Name::Nothing);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let mut machine = self.alive("fsync directory", dir)?;
        machine.strike(Call::SyncDir, "fsync directory", dir)?;
        let changes = std::mem::take(&mut machine.name_changes);
        // What has no name above it lies in the directory that the process is in.
        let dir = if dir == Path::new(".") { Path::new("") } else { dir };
        for (path, name) in changes {
            if path.parent() == Some(dir) {
                machine.name_is_durable(path, name);
            } else {
                machine.name_changes.push((path, name));
            }
        }
        Ok(())
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64> {
        let machine = self.alive("statvfs", dir)?;
        Ok(machine.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(machine.used())))
    }
}

// === impl FakeFile ===

impl DiskFile for FakeFile {
    fn write_at(&mut self, offset: u64, parts: &[Bytes]) -> Result<()> {
        let mut machine = self.disk.alive("write", &self.path)?;
        let mut content = parts.concat();
        machine.strike(Call::Write, "write", &self.path)?;
        let torn = machine.strike(Call::TornWrite, "write", &self.path);
        if torn.is_err() {
            content.truncate(content.len() / 2);
        }
        let size = machine.inodes.get(&self.inode).map_or(0, |inode| inode.now.len());
        let growth = (offset as usize + content.len()).saturating_sub(size) as u64;
        let free = machine.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(machine.used()));
        let full = growth > free;
        if full {
            content.truncate(content.len() - (growth - free) as usize);
        }
        if let Some(inode) = machine.inodes.get_mut(&self.inode) {
            inode.change(Change::Write { offset: offset as usize, content });
        }
        if full {
            return Err(Error::DiskFull { path: self.path.clone(), wanted_bytes: 0, free_bytes: free });
        }
        torn
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut machine = self.disk.alive("read", &self.path)?;
        machine.strike(Call::Read, "read", &self.path)?;
        let content = machine.inodes.get(&self.inode).map_or(&[][..], |inode| &inode.now);
        let from = content.get(offset as usize..).unwrap_or_default();
        let length = from.len().min(buffer.len());
        buffer[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn sync_data(&mut self) -> Result<()> {
        let mut machine = self.disk.alive("fdatasync", &self.path)?;
        let struck = machine.strike(Call::Sync, "fdatasync", &self.path);
        machine.syncs += u64::from(struck.is_ok());
        if let Some(inode) = machine.inodes.get_mut(&self.inode) {
            let changes = std::mem::take(&mut inode.changes);
            if struck.is_ok() {
                changes.into_iter().for_each(|change| apply(&mut inode.durable, &change));
            }
        }
        struck
    }

    fn set_len(&mut self, len: u64) -> Result<()> {
        let mut machine = self.disk.alive("truncate", &self.path)?;
        machine.strike(Call::SetLen, "truncate", &self.path)?;
        if let Some(inode) = machine.inodes.get_mut(&self.inode) {
            inode.change(Change::SetLen(len as usize));
        }
        Ok(())
    }

    fn size(&self) -> Result<u64> {
        let machine = self.disk.alive("stat", &self.path)?;
        Ok(machine.inodes.get(&self.inode).map_or(0, |inode| inode.now.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
        for seed in 0..50 {
            let disk = FakeDisk::new();
            let dir = Path::new("/d");
            disk.create_dir_all(dir).unwrap();
            let mut kept = disk.create(&dir.join("kept")).unwrap();
            kept.write_at(0, &[Bytes::from_static(b"durable")]).unwrap();
            kept.sync_data().unwrap();
            disk.sync_dir(dir).unwrap();
            kept.write_at(7, &[Bytes::from_static(b"lost?")]).unwrap();
            let next = disk.power_cut(seed);
            let content = next.content(&dir.join("kept")).unwrap();
            assert!(b"durablelost?".starts_with(&content), "seed {seed}");
            assert!(content.starts_with(b"durable"), "seed {seed}");
            assert!(kept.write_at(0, &[Bytes::from_static(b"x")]).is_err(), "the old life is over");
        }
    }

    #[test]
    fn a_name_that_was_not_synced_can_be_lost() {
        let lost = (0..50).filter(|seed| {
            let disk = FakeDisk::new();
            disk.create_dir_all(Path::new("/d")).unwrap();
            let mut file = disk.create(Path::new("/d/f")).unwrap();
            file.sync_data().unwrap();
            disk.power_cut(*seed).list(Path::new("/d")).unwrap().is_empty()
        });
        assert!((1..50).contains(&lost.count()));
    }

    #[test]
    fn a_directory_that_was_not_synced_can_be_lost_with_what_is_durable_in_it() {
        let lost = (0..50).filter(|seed| {
            let disk = FakeDisk::new();
            disk.create_dir(Path::new("/d")).unwrap();
            assert!(disk.is_dir(Path::new("/d")));
            let mut file = disk.create(Path::new("/d/f")).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            let next = disk.power_cut(*seed);
            assert_eq!(next.content(Path::new("/d/f")).is_none(), next.create(Path::new("/d/g")).is_err());
            next.content(Path::new("/d/f")).is_none()
        });
        assert!((1..50).contains(&lost.count()));
    }

    #[test]
    fn directories_made_with_those_above_them_survive_a_power_cut_also_after_a_kill_half_way() {
        let dir = Path::new("/a/b/c");
        for (calls, seed) in (0..12).flat_map(|calls| (0..16).map(move |seed| (calls, seed))) {
            let mut disk = FakeDisk::new();
            // Each life comes a step further, or not.
            for calls in [calls, calls / 2] {
                disk.end_after(calls);
                let made = disk.create_dir_all(dir);
                assert_eq!(made.is_err(), disk.has_ended());
                disk = disk.kill();
            }
            disk.create_dir_all(dir).unwrap();
            disk.create(&dir.join("f")).unwrap();
            disk.sync_dir(dir).unwrap();
            assert!(disk.power_cut(seed).content(&dir.join("f")).is_some(), "killed after {calls} calls, seed {seed}");
        }
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_the_next() {
        let disk = FakeDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let mut file = disk.create(Path::new("/d/f")).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(0, &[Bytes::from_static(b"gone")]).unwrap();
        disk.fail(Call::Sync, 0, 1);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(disk.content(Path::new("/d/f")).unwrap(), b"gone");
        assert_eq!(disk.power_cut(1).content(Path::new("/d/f")).unwrap(), b"");
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_says_so() {
        let disk = FakeDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let mut file = disk.create(Path::new("/d/f")).unwrap();
        disk.set_capacity(Some(3));
        let error = file.write_at(0, &[Bytes::from_static(b"abcdef")]).unwrap_err();
        assert!(matches!(error, Error::DiskFull { free_bytes: 3, .. }), "{error}");
        assert_eq!(disk.content(Path::new("/d/f")).unwrap(), b"abc");
    }
}
