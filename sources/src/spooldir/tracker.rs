//! Flume's own record of how far the file under way was read: `.flumespool-main.meta` in the tracker directory.
//!
//! # Layout
//! An Avro container file of records with one field, `offset`: the byte from which reading goes on. The last record counts;
//! every store appends a block of one. The metadata key `file` names the file by its path, built from `spoolDir`;
//! `millstream.origin` is its identity, where we wrote it: Flume drops that key, and never minds it.
//!
//! # Source
//! `org.apache.flume.serialization.DurablePositionTracker` (Flume 1.11).

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use apache_avro::schema::RecordField;
use millstream_core::{Error, Result};
use millstream_io::{Disk, SystemDisk};
use millstream_wire::reader::Reader;
use millstream_wire::{WireError, writer};

/// What a tracker said when the source started.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tracked {
    file: PathBuf,
    /// Identity of the file, if we wrote it.
    origin: Option<String>,
    offset: u64,
}

/// The tracker of a running source.
#[derive(Debug)]
pub(super) struct Tracker {
    meta: PathBuf,
    found: Option<Tracked>,
    open: Option<Open>,
    /// That it cannot be written is told once.
    told: bool,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    meta: File,
    sync: [u8; SYNC_BYTES],
    offset: u64,
}

// === impl Tracked ===

impl Tracked {
    /// Reads what stands in `bytes`, up to a torn end.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::new(bytes);
        let (mut tracked, sync) = Self::header(bytes, &mut reader)?;
        while let Ok(Some(offset)) = offset_of_block(bytes, &mut reader, &sync) {
            tracked.offset = offset;
        }
        Ok(tracked)
    }

    /// What the header says, and the sync marker.
    fn header(bytes: &[u8], reader: &mut Reader<'_>) -> Result<(Self, [u8; SYNC_BYTES]), String> {
        let cut = |error: WireError| error.to_string();
        if reader.fixed(HEADER).map_err(cut)? != *MAGIC {
            return Err("it is no Avro container file".into());
        }
        let (mut file, mut origin, mut schema) = (None, None, None);
        while let Some(entries) = reader.block(HEADER, 2).map_err(cut)? {
            for _ in 0..entries {
                let key = reader.span(HEADER).map_err(cut)?;
                let value = &bytes[reader.span(HEADER).map_err(cut)?];
                let text = || String::from_utf8_lossy(value).into_owned();
                match &bytes[key] {
                    b"file" => file = Some(text()),
                    b"avro.schema" => schema = Some(text()),
                    b"avro.codec" if value != b"null" => return Err(format!("codec: expected null, got {:?}", text())),
                    key if key == ORIGIN_KEY.as_bytes() => origin = Some(text()),
                    _ => {}
                }
            }
        }
        let sync = reader.fixed(HEADER).map_err(cut)?;
        let schema =
            Schema::parse_str(&schema.ok_or("it has no schema")?).map_err(|error| format!("schema: {error}"))?;
        let has_offset = |field: &RecordField| field.name == "offset" && field.schema == Schema::Long;
        if !matches!(&schema, Schema::Record(record) if matches!(&*record.fields, [field] if has_offset(field))) {
            return Err("schema: expected a record with one field, offset, of type long".into());
        }
        let file = file.ok_or("it names no file")?.into();
        Ok((Self { file, origin, offset: 0 }, sync))
    }
}

// === impl Tracker ===

impl Tracker {
    /// Makes the directory if it is not there, and reads what was left in it. What cannot be understood is told and
    /// passed over: the channels may know better.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        SystemDisk.create_dir_all(dir)?;
        let meta = dir.join(META);
        let found = match std::fs::read(&meta) {
            // Flume removes an empty one too.
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Tracked::parse(&bytes)
                .inspect_err(|problem| tracing::warn!(tracker = %meta.display(), problem, "tracker passed over"))
                .ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", &meta, error)),
        };
        Ok(Self { meta, found, open: None, told: false })
    }

    /// The file that someone left half read.
    pub(super) fn left(&self) -> Option<&Path> {
        self.found.as_ref().map(|tracked| &*tracked.file)
    }

    /// The offset at which the file at `path` was left, if it can be that file.
    pub(super) fn offset(&self, path: &Path, origin: &str) -> Option<u64> {
        let found = self.found.as_ref().filter(|found| is_same(&found.file, path))?;
        let is_it = found.origin.as_ref().is_none_or(|known| known == origin);
        is_it.then_some(found.offset)
    }

    /// Says that everything before `offset` is stored. It may fail: the channels know, and it is told once.
    pub(super) fn store(&mut self, path: &Path, origin: &str, offset: u64) {
        if self.offset(path, origin).is_some_and(|found| found >= offset) {
            return;
        }
        let stored = match &mut self.open {
            Some(open) if open.path == path => open.append(offset),
            _ => self.create(path, origin, offset),
        };
        match stored {
            // What it had of another file is still known here.
            Ok(()) => drop(self.found.take_if(|found| is_same(&found.file, path))),
            Err(error) if !std::mem::replace(&mut self.told, true) => {
                let remedy = "permit it; until then only the channels know how far files were read";
                tracing::warn!(tracker = %self.meta.display(), %error, remedy, "tracker cannot be written");
            }
            Err(_) => {}
        }
    }

    /// Removes it when the file at `path` is read no more.
    pub(super) fn finish(&mut self, path: &Path) {
        let is_open = self.open.take_if(|open| open.path == path).is_some();
        let was_found = self.found.take_if(|found| is_same(&found.file, path)).is_some();
        if (is_open || was_found)
            && let Err(error) = std::fs::remove_file(&self.meta)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(tracker = %self.meta.display(), %error, "tracker cannot be removed");
        }
    }

    fn create(&mut self, path: &Path, origin: &str, offset: u64) -> std::io::Result<()> {
        let mut sync = [0; SYNC_BYTES];
        getrandom::fill(&mut sync).map_err(|error| std::io::Error::other(error.to_string()))?;
        let name = normal(path);
        let metadata = [("file", &*name.to_string_lossy()), (ORIGIN_KEY, origin), ("avro.schema", SCHEMA)];
        let mut bytes = MAGIC.to_vec();
        writer::long(&mut bytes, metadata.len() as i64);
        for (key, value) in metadata {
            writer::bytes(&mut bytes, key.as_bytes());
            writer::bytes(&mut bytes, value.as_bytes());
        }
        writer::long(&mut bytes, 0);
        bytes.extend_from_slice(&sync);
        bytes.extend_from_slice(&block(offset, &sync));
        let mut meta = File::create(&self.meta)?;
        meta.write_all(&bytes)?;
        self.open = Some(Open { path: path.to_owned(), meta, sync, offset });
        Ok(())
    }
}

// === impl Open ===

impl Open {
    fn append(&mut self, offset: u64) -> std::io::Result<()> {
        if offset > self.offset {
            self.meta.write_all(&block(offset, &self.sync))?;
            self.offset = offset;
        }
        Ok(())
    }
}

/// A block of one record.
fn block(offset: u64, sync: &[u8]) -> Vec<u8> {
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    let mut bytes = Vec::with_capacity(28);
    writer::long(&mut bytes, 1);
    writer::long(&mut bytes, writer::long_len(offset) as i64);
    writer::long(&mut bytes, offset);
    bytes.extend_from_slice(sync);
    bytes
}

/// The last offset of the next block, which must be whole.
fn offset_of_block(bytes: &[u8], reader: &mut Reader<'_>, sync: &[u8; SYNC_BYTES]) -> Result<Option<u64>, WireError> {
    reader.long(BLOCK)?;
    let mut records = Reader::new(&bytes[reader.span(BLOCK)?]);
    if reader.fixed(BLOCK)? != *sync {
        return Ok(None);
    }
    let mut last = None;
    while records.remaining() > 0 {
        last = u64::try_from(records.long(BLOCK)?).ok();
    }
    Ok(last)
}

/// Java writes no slash twice and none at the end.
fn normal(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Whether both name the same file, whatever slashes they have.
pub(super) fn is_same(a: &Path, b: &Path) -> bool {
    normal(a) == normal(b)
}

const MAGIC: &[u8; 4] = b"Obj\x01";
const SYNC_BYTES: usize = 16;
/// Structures, as errors call them.
const HEADER: &str = "tracker header";
const BLOCK: &str = "tracker block";
const META: &str = ".flumespool-main.meta";
const ORIGIN_KEY: &str = "millstream.origin";
const SCHEMA: &str = r#"{"type":"record","name":"TransferStateFileMeta","namespace":"org.apache.flume.serialization","fields":[{"name":"offset","type":"long"}]}"#;

#[cfg(test)]
mod tests {
    use millstream_testkit::hostile;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn opened(dir: &Path) -> Tracker {
        Tracker::open(dir).expect("opened")
    }

    #[test]
    fn what_was_stored_last_is_found_again_by_path_and_identity() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = Path::new("/spool//a");
        let mut tracker = opened(dir.path());
        assert_eq!(tracker.left(), None);
        for offset in [10, 5, 300] {
            tracker.store(path, "one", offset);
        }
        let mut again = opened(dir.path());
        assert_eq!(again.left(), Some(Path::new("/spool/a")), "as Java writes it");
        assert_eq!(again.offset(path, "one"), Some(300));
        assert_eq!(again.offset(path, "two"), None, "another file has the name now");
        assert_eq!(again.offset(Path::new("/spool/b"), "one"), None);
        again.store(path, "one", 200);
        assert_eq!(opened(dir.path()).offset(path, "one"), Some(300), "it never goes back");
        again.finish(Path::new("/spool/b"));
        assert!(dir.path().join(META).exists(), "it is of another file");
        again.finish(path);
        assert!(!dir.path().join(META).exists());
    }

    #[test]
    fn a_torn_empty_or_alien_tracker_gives_what_it_has() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, meta) = (Path::new("/spool/a"), dir.path().join(META));
        let mut tracker = opened(dir.path());
        tracker.store(path, "one", 10);
        tracker.store(path, "one", 1 << 40);
        let whole = std::fs::read(&meta).expect("read");
        for (kept, wanted) in [(whole.len(), Some(1 << 40)), (whole.len() - 1, Some(10)), (20, None), (0, None)] {
            std::fs::write(&meta, &whole[..kept]).expect("written");
            assert_eq!(opened(dir.path()).offset(path, "one"), wanted, "{kept} bytes");
        }
        std::fs::write(&meta, "no container").expect("written");
        assert_eq!(opened(dir.path()).left(), None);
    }

    /// A tracker with this schema and codec, and these blocks.
    fn container(schema: &str, codec: &str, blocks: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        writer::long(&mut bytes, 3);
        for (key, value) in [("file", "/spool/a"), ("avro.schema", schema), ("avro.codec", codec)] {
            writer::bytes(&mut bytes, key.as_bytes());
            writer::bytes(&mut bytes, value.as_bytes());
        }
        writer::long(&mut bytes, 0);
        bytes.extend_from_slice(&[7; SYNC_BYTES]);
        bytes.extend_from_slice(blocks);
        bytes
    }

    fn problem(bytes: &[u8]) -> String {
        Tracked::parse(bytes).err().unwrap_or_default()
    }

    #[test]
    fn hostile_trackers_are_told_or_give_what_is_whole_of_them() {
        for input in hostile() {
            let _ = Tracked::parse(&input.bytes);
            assert_eq!(problem(&container(SCHEMA, "null", &input.bytes)), "", "{}", input.name);
        }
        let endless = r#"{"type":"record","name":"a","fields":[{"name":"offset","type":"a"}]}"#;
        let one = block(5, &[7; SYNC_BYTES]);
        assert_eq!(Tracked::parse(&container(SCHEMA, "null", &one)).map(|tracked| tracked.offset), Ok(5));
        for (bytes, wanted) in [
            (container(endless, "null", &one), "schema: expected a record with one field, offset"),
            (container(&"[".repeat(100_000), "null", &one), "schema: "),
            (container(SCHEMA, "bzip2", &one), "codec: expected null, got \"bzip2\""),
            (b"Obj\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec(), "tracker header"),
            (MAGIC.to_vec(), "tracker header"),
            (b"No!\x01".to_vec(), "it is no Avro container file"),
        ] {
            assert!(problem(&bytes).contains(wanted), "{}", problem(&bytes));
        }
        // So many records of nothing, and so many bytes, as nobody has.
        for claim in [i64::MAX, i64::MIN, -1] {
            let mut blocks = one.clone();
            writer::long(&mut blocks, claim);
            writer::long(&mut blocks, claim);
            let parsed = Tracked::parse(&container(SCHEMA, "null", &blocks));
            assert_eq!(parsed.map(|tracked| tracked.offset), Ok(5), "{claim}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_tracker_or_told(
            bytes in prop::collection::vec(any::<u8>(), 0..300), whole in 0..4_usize, at: Index, byte: u8,
        ) {
            let blocks: Vec<u8> = (0..whole).flat_map(|n| block(10 * n as u64, &[7; SYNC_BYTES])).collect();
            let _ = Tracked::parse(&bytes);
            // What is whole before it counts.
            let mut file = container(SCHEMA, "null", &blocks);
            let len = file.len();
            file.extend_from_slice(&bytes);
            let parsed = Tracked::parse(&file).map(|tracked| tracked.offset);
            prop_assert_eq!(parsed, Ok(10 * whole.saturating_sub(1) as u64));
            file[at.index(len)] = byte;
            let _ = Tracked::parse(&file);
        }
    }
}
