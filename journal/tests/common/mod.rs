//! What the journal's tests share.
#![allow(dead_code, clippy::unwrap_used, reason = "tests; not every test uses all of it")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Result, Ticket, ticket};
use millstream_io::Disk;
use millstream_journal::{Appended, Durability, Journal, Location, Options, Recovered};
use millstream_testkit::FakeDisk;
use parking_lot::Mutex;

/// Two copies of the header.
pub const DATA_START: u64 = 128;

pub fn dir() -> PathBuf {
    PathBuf::from("/data/log")
}

pub fn options() -> Options {
    Options { name: "test".into(), segment_bytes: 1 << 20, reserve_bytes: 0, max_record_bytes: 1 << 20 }
}

pub fn open(disk: &FakeDisk) -> (Journal, Recovered) {
    open_in(disk, &dir()).unwrap()
}

pub fn open_in(disk: &FakeDisk, dir: &Path) -> Result<(Journal, Recovered)> {
    Journal::open(Arc::new(disk.clone()), dir, options(), Bytes::from_static(b"first"))
}

pub fn append(journal: &Journal, text: &str, durability: Durability) -> Result<(Appended, Ticket)> {
    let (resolver, done) = ticket();
    let payload = Bytes::copy_from_slice(text.as_bytes());
    let appended = journal.append(7, vec![payload], durability, Box::new(|outcome| resolver.resolve(outcome)))?;
    Ok((appended, done))
}

/// Appends behind appends that failed: refused until the last of them was told, a moment after its ticket resolved.
pub fn append_when_told(journal: &Journal, text: &str, durability: Durability) -> (Appended, Ticket) {
    loop {
        if let Ok(appended) = append(journal, text, durability) {
            return appended;
        }
        std::thread::yield_now();
    }
}

/// Appends and waits until it is on the disk.
pub fn store(journal: &Journal, text: &str) -> Location {
    let (appended, done) = append(journal, text, Durability::Synced).unwrap();
    done.wait().unwrap();
    appended.location
}

pub fn texts(recovered: &Recovered) -> Vec<String> {
    recovered.records.iter().map(|record| text(&record.payload)).collect()
}

pub fn read_all(journal: &Journal, from: Location) -> Vec<(Location, String)> {
    let mut reader = journal.reader(from);
    let mut all = Vec::new();
    while let Some((location, _, payload)) = reader.next().unwrap() {
        all.push((location, text(&payload)));
    }
    all
}

pub fn text(payload: &[u8]) -> String {
    String::from_utf8(payload.to_vec()).unwrap()
}

/// What `run` gives, and the lines that it logged with `part` in them.
pub fn logged<T>(part: &str, run: impl FnOnce() -> T) -> (T, Vec<String>) {
    let written = Written::default();
    let kept = written.clone();
    let here = tracing_subscriber::fmt().with_ansi(false).with_writer(move || kept.clone()).finish();
    let outcome = tracing::subscriber::with_default(here, run);
    let text = String::from_utf8(written.0.lock().clone()).unwrap();
    (outcome, text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect())
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A disk with the same files in the journal's directory, but for what `change` makes of one of them.
pub fn with(disk: &FakeDisk, segment: u64, change: impl FnOnce(&mut Vec<u8>)) -> FakeDisk {
    let mut content = disk.content(&file(segment)).unwrap();
    change(&mut content);
    let copy = FakeDisk::new();
    for name in disk.list(&dir()).unwrap() {
        let path = dir().join(name);
        copy.put(&path, &disk.content(&path).unwrap());
    }
    copy.put(&file(segment), &content);
    copy
}

/// The file of a segment.
pub fn file(segment: u64) -> PathBuf {
    dir().join(format!("{segment:010}.log"))
}

pub fn bad_files(disk: &FakeDisk) -> usize {
    aside(disk).len()
}

/// Names and contents of what is set aside, sorted.
pub fn aside(disk: &FakeDisk) -> Vec<(String, Vec<u8>)> {
    let mut names: Vec<String> = disk.list(&dir()).unwrap();
    names.retain(|name| name.ends_with(".bad"));
    names.sort();
    names.into_iter().map(|name| (name.clone(), disk.content(&dir().join(&name)).unwrap())).collect()
}
