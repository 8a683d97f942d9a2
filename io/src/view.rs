//! A disk that is only looked at: what is changed is kept in memory and noted, and the files stay as they are.
//!
//! Whoever reads a store in this way runs the very code that opens it, repairs included, and nothing has happened. So what
//! a repair would do can be said before it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Error, Result};
use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, SystemDisk};

/// Bytes copied when one of them is changed.
const PAGE: u64 = 4096;

/// The system's disk, on which nothing is changed.
#[derive(Debug, Clone, Default)]
pub struct ViewDisk(Arc<Mutex<View>>);

/// What would have happened on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A file was made.
    Created(PathBuf),
    /// A file got another name.
    Renamed(PathBuf, PathBuf),
    /// A file was removed.
    Removed(PathBuf),
    /// A file was cut from one length to another, in bytes.
    Cut(PathBuf, u64, u64),
    /// Bytes of a file that is on the disk were written over, or appended to it.
    Written(PathBuf, u64),
}

#[derive(Debug, Default)]
struct View {
    /// Files that were opened, made or removed (`None`); others are as on the disk.
    files: BTreeMap<PathBuf, Option<Arc<Mutex<Content>>>>,
    dirs: BTreeSet<PathBuf>,
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Content {
    /// The file on the disk, if there is one.
    under: Option<File>,
    /// How much of it is still seen.
    seen: u64,
    len: u64,
    /// Changed pages, by number.
    pages: BTreeMap<u64, Box<[u8]>>,
}

#[derive(Debug)]
struct ViewFile {
    path: PathBuf,
    content: Arc<Mutex<Content>>,
    view: ViewDisk,
}

// === impl Change ===

impl Change {
    /// The file, under the name that it had.
    pub fn path(&self) -> &Path {
        match self {
            Self::Created(path)
            | Self::Renamed(path, _)
            | Self::Removed(path)
            | Self::Cut(path, ..)
            | Self::Written(path, _) => path,
        }
    }
}

// === impl ViewDisk ===

impl ViewDisk {
    /// What was changed so far, in order.
    pub fn changes(&self) -> Vec<Change> {
        self.0.lock().changes.clone()
    }

    fn find(&self, path: &Path) -> Result<Arc<Mutex<Content>>> {
        let mut view = self.0.lock();
        match view.files.get(path) {
            Some(Some(content)) => return Ok(Arc::clone(content)),
            Some(None) => return Err(Error::io("open", path, std::io::ErrorKind::NotFound.into())),
            None => {}
        }
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let len = file.metadata().map_err(|error| Error::io("stat", path, error))?.len();
        let content = Content { under: Some(file), seen: len, len, pages: BTreeMap::new() };
        let content = Arc::new(Mutex::new(content));
        view.files.insert(path.to_owned(), Some(Arc::clone(&content)));
        Ok(content)
    }

    fn note(&self, change: Change) {
        let mut view = self.0.lock();
        match (view.changes.last_mut(), change) {
            (Some(Change::Written(last, bytes)), Change::Written(path, more)) if *last == path => *bytes += more,
            (_, change) => view.changes.push(change),
        }
    }

    fn file(&self, path: &Path, content: Arc<Mutex<Content>>) -> Box<dyn DiskFile> {
        Box::new(ViewFile { path: path.to_owned(), content, view: self.clone() })
    }
}

impl Disk for ViewDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        if self.find(path).is_ok() {
            return Err(Error::io("create", path, std::io::ErrorKind::AlreadyExists.into()));
        }
        let content = Arc::new(Mutex::new(Content { under: None, seen: 0, len: 0, pages: BTreeMap::new() }));
        self.0.lock().files.insert(path.to_owned(), Some(Arc::clone(&content)));
        self.note(Change::Created(path.to_owned()));
        Ok(self.file(path, content))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        Ok(self.file(path, self.find(path)?))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let on_disk = SystemDisk.list(dir);
        let view = self.0.lock();
        let mut names: BTreeSet<String> = match on_disk {
            Ok(names) => names.into_iter().collect(),
            Err(_) if view.dirs.contains(dir) => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        for (path, content) in view.files.iter().filter(|(path, _)| path.parent() == Some(dir)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match content {
                Some(_) => _ = names.insert(name),
                None => _ = names.remove(&name),
            }
        }
        Ok(names.into_iter().collect())
    }

    fn is_dir(&self, dir: &Path) -> bool {
        dir.is_dir() || self.0.lock().dirs.contains(dir)
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.0.lock().dirs.insert(dir.to_owned());
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let content = self.find(from)?;
        let mut view = self.0.lock();
        view.files.insert(from.to_owned(), None);
        view.files.insert(to.to_owned(), Some(content));
        view.changes.push(Change::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.find(path)?;
        let mut view = self.0.lock();
        view.files.insert(path.to_owned(), None);
        view.changes.push(Change::Removed(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    /// Memory is the bound.
    fn free_bytes(&self, _dir: &Path) -> Result<u64> {
        Ok(u64::MAX)
    }
}

// === impl ViewFile ===

impl DiskFile for ViewFile {
    fn write_at(&mut self, offset: u64, parts: &[Bytes]) -> Result<()> {
        let mut content = self.content.lock();
        let on_disk = content.under.is_some();
        let mut at = offset;
        for part in parts {
            content.write(at, part, &self.path)?;
            at += part.len() as u64;
        }
        drop(content);
        if on_disk {
            self.view.note(Change::Written(self.path.clone(), at - offset));
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.content.lock().read(offset, buffer, &self.path)
    }

    fn sync_data(&mut self) -> Result<()> {
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> Result<()> {
        let mut content = self.content.lock();
        let was = content.len;
        content.set_len(len, &self.path)?;
        let on_disk = content.under.is_some();
        drop(content);
        if on_disk && was != len {
            self.view.note(Change::Cut(self.path.clone(), was, len));
        }
        Ok(())
    }

    fn size(&self) -> Result<u64> {
        Ok(self.content.lock().len)
    }
}

// === impl Content ===

impl Content {
    /// Reads what is under the pages; zeros where there is nothing.
    fn read_under(&self, offset: u64, buffer: &mut [u8], path: &Path) -> Result<()> {
        buffer.fill(0);
        let Some(file) = &self.under else { return Ok(()) };
        let wanted = self.seen.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut read = 0;
        while read < wanted {
            match file.read_at(&mut buffer[read..wanted], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", path, error)),
            }
        }
        Ok(())
    }

    fn read(&self, offset: u64, buffer: &mut [u8], path: &Path) -> Result<usize> {
        let length = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..length];
        self.read_under(offset, buffer, path)?;
        let end = offset + length as u64;
        for (number, page) in self.pages.range(offset / PAGE..end.div_ceil(PAGE)) {
            let (from, to) = ((number * PAGE).max(offset), ((number + 1) * PAGE).min(end));
            let bytes = &page[(from - number * PAGE) as usize..(to - number * PAGE) as usize];
            buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(bytes);
        }
        Ok(length)
    }

    fn page(&mut self, number: u64, path: &Path) -> Result<&mut [u8]> {
        if !self.pages.contains_key(&number) {
            let mut page = vec![0; PAGE as usize].into_boxed_slice();
            self.read_under(number * PAGE, &mut page, path)?;
            self.pages.insert(number, page);
        }
        Ok(self.pages.entry(number).or_default())
    }

    fn write(&mut self, offset: u64, bytes: &[u8], path: &Path) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let length = (PAGE as usize - within).min(bytes.len() - done);
            let page = self.page(at / PAGE, path)?;
            page[within..within + length].copy_from_slice(&bytes[done..done + length]);
            done += length;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn set_len(&mut self, len: u64, path: &Path) -> Result<()> {
        if len < self.len {
            self.seen = self.seen.min(len);
            self.pages.split_off(&len.div_ceil(PAGE));
            if !len.is_multiple_of(PAGE) && self.pages.contains_key(&(len / PAGE)) {
                // What was cut off must not come back, should the file grow again.
                self.page(len / PAGE, path)?[(len % PAGE) as usize..].fill(0);
            }
        }
        self.len = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn content(disk: &ViewDisk, path: &Path) -> Vec<u8> {
        let file = disk.open(path).unwrap();
        let mut bytes = vec![0; file.size().unwrap() as usize + 5];
        let read = file.read_at(0, &mut bytes).unwrap();
        bytes.truncate(read);
        bytes
    }

    #[test]
    fn a_changed_file_is_read_back_changed_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let original: Vec<u8> = (0..10_000_u32).map(|i| i as u8).collect();
        std::fs::write(&path, &original).unwrap();
        let disk = ViewDisk::default();
        let mut file = disk.open(&path).unwrap();
        let mut wanted = original.clone();
        file.write_at(4090, &[Bytes::from_static(b"across a "), Bytes::from_static(b"page")]).unwrap();
        wanted[4090..4103].copy_from_slice(b"across a page");
        assert_eq!(content(&disk, &path), wanted);
        file.set_len(4100).unwrap();
        file.set_len(4200).unwrap();
        wanted.truncate(4100);
        wanted.resize(4200, 0);
        assert_eq!(content(&disk, &path), wanted);
        file.write_at(9000, &[Bytes::from_static(b"end")]).unwrap();
        wanted.resize(9000, 0);
        wanted.extend(b"end");
        assert_eq!(content(&disk, &path), wanted);
        assert_eq!(std::fs::read(&path).unwrap(), original);
        let cut = disk.changes().into_iter().find(|change| matches!(change, Change::Cut(..)));
        assert_eq!(cut, Some(Change::Cut(path, 10_000, 4100)));
    }

    #[test]
    fn names_change_in_the_view_alone() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
        std::fs::write(&a, "a").unwrap();
        std::fs::write(&b, "b").unwrap();
        let disk = ViewDisk::default();
        disk.create(&c).unwrap().write_at(0, &[Bytes::from_static(b"c")]).unwrap();
        assert!(disk.create(&c).is_err());
        disk.rename(&a, &c).unwrap();
        disk.remove(&b).unwrap();
        assert_eq!(disk.list(dir.path()).unwrap(), ["c"]);
        assert_eq!(content(&disk, &c), b"a");
        assert!(disk.open(&a).is_err() && disk.remove(&b).is_err());
        let made = dir.path().join("made");
        assert!(disk.list(&made).is_err());
        disk.create_dir_all(&made).unwrap();
        assert!(disk.list(&made).unwrap().is_empty());
        let mut on_disk = SystemDisk.list(dir.path()).unwrap();
        on_disk.sort();
        assert_eq!(on_disk, ["a", "b"]);
    }
}
