//! Segment files: their names, and making one so that it is whole or not there.

use std::path::Path;

use bytes::Bytes;
use millstream_core::{Error, Result};
use millstream_io::{Disk, DiskFile, failpoint};

use crate::format::{DATA_START, HEADER_LEN, Head, Header, HeaderRead, SNAPSHOT, Seed, VERSION, frame_len, padding};

/// A segment that could not be made.
#[derive(Debug)]
pub(crate) struct NotMade {
    pub(crate) error: Error,
    /// Whether a file with its name may be there after a crash: nothing more may then be written to the one before.
    pub(crate) may_exist: bool,
}

/// Name of a segment's file.
pub(crate) fn name(segment: u64) -> String {
    format!("{segment:010}.log")
}

/// Names for the file of `length` damaged bytes at `offset`: the second one where the first has a file of another length.
pub(crate) fn bad_names(segment: u64, offset: u64, length: u64) -> [String; 2] {
    [format!("{segment:010}.{offset:012}.bad"), format!("{segment:010}.{offset:012}.{length}.bad")]
}

/// Name of such a file while it is being made.
pub(crate) fn aside_name(segment: u64, offset: u64) -> String {
    format!("{segment:010}.{offset:012}.tmp")
}

/// A name that none of `files` has, for a segment in which nothing could be read: there was another one of its number if
/// somebody brought it back from a copy.
pub(crate) fn all_bad_name(segment: u64, files: &[String]) -> String {
    let more = (2..).map(|time: u64| format!("{segment:010}.{time}.bad"));
    let mut names = std::iter::once(format!("{segment:010}.bad")).chain(more);
    names.find(|name| !files.contains(name)).unwrap_or_default()
}

/// The segment number with which the name of any of the journal's files begins, and the extension.
pub(crate) fn parse_name(name: &str) -> Option<(u64, &str)> {
    let (number, rest) = name.split_once('.')?;
    let extension = rest.rsplit('.').next()?;
    Some((number.parse().ok()?, extension))
}

/// Makes the segment that `header` describes, with `snapshot` in it, and gives the file and its end.
///
/// It is made under another name and renamed once it is durable: a file with a segment's name was whole once.
pub(crate) fn create(
    disk: &dyn Disk,
    dir: &Path,
    header: Header,
    snapshot: Bytes,
) -> Result<(Box<dyn DiskFile>, u64), NotMade> {
    let temporary = dir.join(format!("{:010}.tmp", header.segment));
    let path = dir.join(name(header.segment));
    let written = write(disk, &temporary, header, snapshot);
    let synced = written.and_then(|end| failpoint::hit("journal.segment-synced").map(|()| end));
    let renamed = synced.and_then(|end| disk.rename(&temporary, &path).map(|()| end));
    let end = renamed.map_err(|error| {
        // Worth nothing, and removed at the next start at the latest.
        let _ = disk.remove(&temporary);
        NotMade { error, may_exist: false }
    })?;
    // Opened again so that errors name the file as it is called now.
    let synced = failpoint::hit("journal.segment-renamed").and_then(|()| disk.sync_dir(dir));
    let named = synced.and_then(|()| failpoint::hit("journal.segment-named"));
    let opened = named.and_then(|()| disk.open(&path));
    let file = opened.map_err(|error| {
        // Best effort: what remains of it is told by the next segment, which does not name it as its previous one.
        let _ = failpoint::hit("journal.segment-unmade").and_then(|()| disk.remove(&path));
        NotMade { error, may_exist: true }
    })?;
    Ok((file, end))
}

fn write(disk: &dyn Disk, path: &Path, header: Header, snapshot: Bytes) -> Result<u64> {
    let length = snapshot.len() as u64;
    let seed = Seed::new(header.log_id, header.segment);
    let payload_crc = seed.payload_crc(DATA_START, [&snapshot[..]]);
    let head = Head { length: snapshot.len() as u32, kind: 0, flags: SNAPSHOT, durable_to: DATA_START, payload_crc };
    let mut front = Vec::with_capacity(DATA_START as usize + crate::format::HEAD_LEN);
    front.extend_from_slice(&header.encode());
    front.extend_from_slice(&header.encode());
    front.extend_from_slice(&head.encode(seed, DATA_START));
    let mut file = disk.create(path)?;
    file.write_at(0, &[front.into(), snapshot, Bytes::from_static(padding(length))])?;
    failpoint::hit("journal.segment-written")?;
    file.sync_data()?;
    Ok(DATA_START + frame_len(length))
}

/// The header of `file`, and which of its two copies, if any, are damaged.
///
/// # Errors
/// `Mismatch` for a segment of a later version.
pub(crate) fn read_header(file: &dyn DiskFile, path: &Path) -> Result<(Option<Header>, [bool; 2])> {
    let mut bytes = [0; DATA_START as usize];
    let read = file.read_at(0, &mut bytes)?;
    let mut header = None;
    let mut damaged = [false; 2];
    for (copy, damaged) in damaged.iter_mut().enumerate() {
        let from = copy * HEADER_LEN;
        match Header::decode(&bytes[from.min(read)..(from + HEADER_LEN).min(read)]) {
            HeaderRead::Valid(valid) => header = header.or(Some(valid)),
            HeaderRead::Damaged => *damaged = true,
            HeaderRead::Newer(version) => {
                let problem = format!(
                    "is of journal version {version}, this program reads up to {VERSION}; run the program that wrote it"
                );
                return Err(Error::mismatch(path.display(), problem));
            }
        }
    }
    Ok((header, damaged))
}
