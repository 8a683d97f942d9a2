//! What the journal's tests share.
#![allow(dead_code, clippy::unwrap_used, reason = "tests; not every test uses all of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Result, Ticket, ticket};
use millstream_journal::{Appended, Durability, Journal, Location, Options, Recovered};
use millstream_testkit::FakeDisk;

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

/// The file of a segment.
pub fn file(segment: u64) -> PathBuf {
    dir().join(format!("{segment:010}.log"))
}

pub fn bad_files(disk: &FakeDisk) -> usize {
    use millstream_io::Disk;
    disk.list(&dir()).unwrap().iter().filter(|name| name.ends_with(".bad")).count()
}
