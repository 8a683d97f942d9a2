//! What a file's content looked like, so that another content under the same identity is found out.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use crate::files::read_range;

/// Bytes that each of the two sums covers at most.
const SAMPLE_BYTES: u64 = 4096;

/// A sum over some bytes: how many, and their CRC-32C.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    bytes: u64,
    crc: u32,
}

/// Sums over the first bytes of a file and over the last ones before a position. A file that is only appended to keeps
/// both, however it is called; one that was truncated and written again, or that got a freed inode, does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    head: Sum,
    tail: Sum,
    /// Where `tail` ends.
    position: u64,
}

// === impl Fingerprint ===

impl Fingerprint {
    /// The fingerprint of `file`, which has `len` bytes, at `position`.
    ///
    /// # Errors
    /// Those of the file system, and when the file is shorter by now.
    pub(super) fn of(file: &File, len: u64, position: u64) -> io::Result<Self> {
        let head = Sum::of(file, 0, len.min(SAMPLE_BYTES))?;
        Self { head, ..Self::default() }.moved(file, position)
    }

    /// The same file at another position.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(super) fn moved(self, file: &File, position: u64) -> io::Result<Self> {
        let head = match self.head.bytes < SAMPLE_BYTES.min(position) {
            true => Sum::of(file, 0, position.min(SAMPLE_BYTES))?,
            false => self.head,
        };
        let tail = Sum::of(file, position.saturating_sub(SAMPLE_BYTES), position)?;
        Ok(Self { head, tail, position })
    }

    /// Whether `file` still has the content that this was taken of.
    pub(super) fn matches(&self, file: &File) -> bool {
        let tail = self.position.saturating_sub(SAMPLE_BYTES);
        let is = |sum: Sum, start| Sum::of(file, start, start + sum.bytes).is_ok_and(|now| now == sum);
        is(self.head, 0) && is(self.tail, tail)
    }
}

impl Sum {
    fn of(file: &File, start: u64, end: u64) -> io::Result<Self> {
        let bytes = read_range(file, start, end)?;
        Ok(Self { bytes: bytes.len() as u64, crc: crc32c::crc32c(&bytes) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs::write;

    #[test]
    fn an_appended_file_matches_and_a_rewritten_or_shorter_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let content = "0123456789".repeat(2000);
        for position in [0, 10, 5_000, 20_000] {
            write(&path, &content).unwrap();
            let print = Fingerprint::of(&File::open(&path).unwrap(), 20_000, position).unwrap();
            write(&path, content.clone() + "more").unwrap();
            assert!(print.matches(&File::open(&path).unwrap()), "{position}");
            write(&path, content.replacen('0', "x", 1)).unwrap();
            assert!(!print.matches(&File::open(&path).unwrap()), "{position}");
            write(&path, &content[..4000]).unwrap();
            assert!(!print.matches(&File::open(&path).unwrap()), "{position}");
        }
    }

    #[test]
    fn what_was_read_last_counts_as_well_as_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let same = "a".repeat(5_000);
        write(&path, format!("{same}one{same}")).unwrap();
        let file = File::open(&path).unwrap();
        let print = Fingerprint::of(&file, 10, 0).unwrap().moved(&file, 5_003).unwrap();
        write(&path, format!("{same}two{same}")).unwrap();
        assert!(!print.matches(&File::open(&path).unwrap()));
    }
}
