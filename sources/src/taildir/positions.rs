//! The position file, which Flume reads and writes too, and the record beside it.
//!
//! Byte by byte in `docs/formats/taildir.md`. Both are replaced as a whole, the record first: whichever of the two writes a
//! crash prevents, the record tells whether the position file is ours or was changed by someone else, a Flume agent that ran
//! in between.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use millstream_core::{Error, Result};
use millstream_io::{Disk, SystemDisk, atomic_write};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;

/// One file as Flume writes it, the keys in Flume's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) inode: u64,
    pub(super) pos: u64,
    pub(super) file: String,
}

/// One file as the record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) origin: String,
    pub(super) inode: u64,
    pub(super) file: String,
    pub(super) pos: u64,
    pub(super) len: u64,
    pub(super) print: Fingerprint,
}

/// Whose positions the position file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Those that were written here last.
    Ours,
    /// Someone else wrote it since, or before there was a record.
    Foreign,
    /// There is none.
    Missing,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    written: [u32; 2],
    files: Vec<Known>,
    gone: Vec<Known>,
}

/// Both files.
#[derive(Debug)]
pub(super) struct Positions {
    path: PathBuf,
    record_path: PathBuf,
    pub(super) standing: Standing,
    /// What the position file said at the start.
    pub(super) entries: Vec<Entry>,
    /// What the record says of files that are not read now, oldest first.
    pub(super) known: Vec<Known>,
    /// The position file's sum as it is.
    written: u32,
    /// The record as it is.
    record: Vec<u8>,
}

// === impl Positions ===

impl Positions {
    /// Reads both. What cannot be understood is told and passed over: the channels may know better.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let mut record_path = path.clone().into_os_string();
        record_path.push(RECORD_SUFFIX);
        let record_path = PathBuf::from(record_path);
        if let Some(dir) = path.parent() {
            SystemDisk.create_dir_all(dir)?;
        }
        let (content, record) = (read(&path)?, read(&record_path)?);
        let written = content.as_deref().map_or(0, crc32c::crc32c);
        let known = record.as_deref().and_then(|bytes| parse_record(&record_path, bytes));
        let standing = match (&content, &known) {
            (None, _) => Standing::Missing,
            (Some(_), Some(record)) if record.written.contains(&written) => Standing::Ours,
            _ => Standing::Foreign,
        };
        let entries = content.as_deref().map_or_else(Vec::new, |bytes| parse_entries(&path, bytes));
        let known = known.map_or_else(Vec::new, |record| record.gone.into_iter().chain(record.files).collect());
        Ok(Self { path, record_path, standing, entries, known, written, record: record.unwrap_or_default() })
    }

    /// Where the position file says that `path`, with this inode, was read to.
    pub(super) fn entry(&self, inode: u64, path: &Path) -> Option<u64> {
        let path = path.to_string_lossy();
        self.entries.iter().find(|entry| entry.inode == inode && entry.file == path).map(|entry| entry.pos)
    }

    /// Takes what the record says of a file that is read now.
    pub(super) fn take_known(&mut self, is_it: impl Fn(&Known) -> bool) -> Option<Known> {
        let index = self.known.iter().position(is_it)?;
        Some(self.known.remove(index))
    }

    /// Remembers a file that is no longer read.
    pub(super) fn remember(&mut self, known: Known) {
        self.known.push(known);
        let surplus = self.known.len().saturating_sub(MOST_GONE);
        self.known.drain(..surplus);
    }

    /// Writes the record, and with `and_positions` the position file; neither when nothing changed.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn write(&mut self, files: Vec<Known>, matching: &[Entry], and_positions: bool) -> Result<()> {
        let content = match matching {
            // As Flume does.
            [] => Vec::new(),
            entries => json(&self.path, entries)?,
        };
        let next = if and_positions { crc32c::crc32c(&content) } else { self.written };
        let record = Record { version: VERSION, written: [self.written, next], files, gone: self.known.clone() };
        let record = json(&self.record_path, &record)?;
        if record != self.record {
            atomic_write(&SystemDisk, &self.record_path, &record)?;
            self.record = record;
        }
        if and_positions && (next != self.written || self.standing == Standing::Missing) {
            atomic_write(&SystemDisk, &self.path, &content)?;
            (self.written, self.standing) = (next, Standing::Ours);
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

fn json(path: &Path, value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::io("write", path, error.into()))
}

fn parse_record(path: &Path, bytes: &[u8]) -> Option<Record> {
    let parsed = serde_json::from_slice::<Record>(bytes).map_err(|error| error.to_string()).and_then(|record| {
        let is_known = record.version == VERSION;
        is_known.then_some(record).ok_or_else(|| format!("expected version {VERSION}"))
    });
    parsed.inspect_err(|problem| warn(path, problem)).ok()
}

/// The entries up to the first that cannot be understood: Flume leaves half a file behind when it is killed.
fn parse_entries(path: &Path, bytes: &[u8]) -> Vec<Entry> {
    /// Keeps what it has when the rest is broken.
    struct Entries<'a>(&'a mut Vec<Entry>);
    impl<'de> Visitor<'de> for Entries<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of objects with inode, pos and file")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
            while let Some(entry) = array.next_element()? {
                self.0.push(entry);
            }
            Ok(())
        }
    }
    let mut entries = Vec::new();
    // Flume leaves it empty when nothing matches.
    if !bytes.trim_ascii().is_empty()
        && let Err(error) = serde_json::Deserializer::from_slice(bytes).deserialize_seq(Entries(&mut entries))
    {
        warn(path, &error.to_string());
    }
    entries
}

fn warn(path: &Path, problem: &str) {
    let remedy = "files that no channel knows are read from their start; repair it and restart, or let it be replaced";
    tracing::warn!(file = %path.display(), problem, remedy, "positions cannot be understood from there on");
}

const RECORD_SUFFIX: &str = ".millstream";
const VERSION: u32 = 1;
/// Files that left are remembered in case they come back; so many lines of the record are enough.
const MOST_GONE: usize = 1000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::fs::write;

    use millstream_testkit::hostile;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn entry(inode: u64, pos: u64) -> Entry {
        Entry { inode, pos, file: format!("/logs/{inode}") }
    }

    #[test]
    fn the_position_file_is_written_as_flume_writes_it_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/positions.json");
        let mut positions = Positions::open(path.clone()).unwrap();
        assert_eq!(positions.standing, Standing::Missing);
        positions.write(Vec::new(), &[entry(2496, 12), entry(7, 0)], true).unwrap();
        let text = r#"[{"inode":2496,"pos":12,"file":"/logs/2496"},{"inode":7,"pos":0,"file":"/logs/7"}]"#;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let again = Positions::open(path.clone()).unwrap();
        assert_eq!((again.standing, again.entry(2496, Path::new("/logs/2496"))), (Standing::Ours, Some(12)));
        assert_eq!(again.entry(2496, Path::new("/logs/7")), None, "inode and path must match");
        positions.write(Vec::new(), &[], true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"", "as Flume does when nothing matches");
    }

    #[test]
    fn a_position_file_that_someone_else_wrote_is_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions.json");
        let mut positions = Positions::open(path.clone()).unwrap();
        positions.write(Vec::new(), &[entry(1, 2)], true).unwrap();
        let before = std::fs::read(&path).unwrap();
        positions.write(Vec::new(), &[entry(1, 3)], true).unwrap();
        write(&path, before).unwrap();
        assert_eq!(Positions::open(path.clone()).unwrap().standing, Standing::Ours, "a crash between the two writes");
        write(&path, r#"[{"inode":1,"pos":9,"file":"/logs/1"}]"#).unwrap();
        assert_eq!(Positions::open(path.clone()).unwrap().standing, Standing::Foreign);
        std::fs::remove_file(path.with_file_name("positions.json.millstream")).unwrap();
        assert_eq!(Positions::open(path).unwrap().standing, Standing::Foreign, "left by Flume");
    }

    #[test]
    fn what_can_be_understood_of_a_torn_position_file_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions.json");
        let whole = r#"[{"inode":1,"pos":2,"file":"/logs/1"},{"inode":3,"pos":4,"fi"#;
        for (text, entries) in [(whole, 1), ("", 0), ("  \n", 0), ("{}", 0), (r#"[{"inode":1}]"#, 0), ("[nul", 0)] {
            write(&path, text).unwrap();
            assert_eq!(Positions::open(path.clone()).unwrap().entries.len(), entries, "{text}");
        }
    }

    /// What is there of both files, and what is written over them.
    fn opened(dir: &Path, positions: &[u8], record: &[u8]) -> Positions {
        let path = dir.join("positions.json");
        write(&path, positions).unwrap();
        write(dir.join("positions.json.millstream"), record).unwrap();
        let mut opened = Positions::open(path).unwrap();
        assert_eq!(opened.standing == Standing::Ours, opened.written_is_known(record));
        let kept = opened.entries.clone();
        opened.write(Vec::new(), &[entry(1, 2)], true).unwrap();
        let again = Positions::open(dir.join("positions.json")).unwrap();
        assert_eq!((again.standing, again.entries), (Standing::Ours, vec![entry(1, 2)]), "it is replaced");
        Positions { entries: kept, ..opened }
    }

    impl Positions {
        fn written_is_known(&self, record: &[u8]) -> bool {
            serde_json::from_slice::<Record>(record)
                .is_ok_and(|record| record.version == VERSION && record.written.contains(&self.written))
        }
    }

    #[test]
    fn hostile_files_give_what_can_be_understood_and_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for input in hostile() {
            opened(dir.path(), &input.bytes, &input.bytes);
        }
        let good = r#"{"inode":1,"pos":2,"file":"/logs/1"}"#;
        for bad in [
            "[".repeat(100_000),
            r#"{"inode":"#.repeat(100_000),
            r#"{"inode":-1,"pos":2,"file":"/logs/1"}"#.to_owned(),
            r#"{"inode":18446744073709551616,"pos":2,"file":"/logs/1"}"#.to_owned(),
            r#"{"inode":1e400,"pos":2,"file":"/logs/1"}"#.to_owned(),
            r#"{"inode":1,"pos":2,"file":"\ud83d"}"#.to_owned(),
            r#"{"inode":1,"inode":1,"pos":2,"file":"/logs/1"}"#.to_owned(),
        ] {
            let found = opened(dir.path(), format!("[{good},{bad},{good}]").as_bytes(), bad.as_bytes());
            assert_eq!(found.entries.len(), 1, "what stands before it: {}", &bad[..20.min(bad.len())]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_positions_or_passed_over(
            bytes in prop::collection::vec(any::<u8>(), 0..200), entries in 0..4_u64, at: Index, byte: u8,
        ) {
            let path = Path::new("positions.json");
            let whole: Vec<Entry> = (0..entries).map(|inode| entry(inode, u64::MAX)).collect();
            let text = serde_json::to_vec(&whole).unwrap();
            prop_assert_eq!(parse_entries(path, &text), &*whole);
            let cut = at.index(text.len());
            // What is whole before it counts; of the rest nothing is made up.
            let torn = parse_entries(path, &[&text[..cut], &[0xFF], &*bytes].concat());
            prop_assert_eq!(&whole[..torn.len()], torn);
            let mut other = text;
            other[cut] = byte;
            prop_assert!(parse_entries(path, &other).len() <= whole.len());
            parse_entries(path, &bytes);
            parse_record(path, &bytes);
            parse_record(path, &other);
        }
    }
}
