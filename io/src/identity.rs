//! Which file it is, whatever it is called.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

/// Identity of a file: survives renames, differs for a file that gets a freed inode. Shown as `device:inode:birth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Device number.
    pub device: u64,
    /// Inode number; file systems give freed ones out again at once.
    pub inode: u64,
    /// Nanoseconds since 1970 at which the inode was made; `None` where the file system does not say.
    pub birth_nanos: Option<u128>,
}

impl FileIdentity {
    /// The identity of the file that `metadata` describes.
    pub fn of(metadata: &Metadata) -> Self {
        let birth = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self { device: metadata.dev(), inode: metadata.ino(), birth_nanos: birth.map(|since| since.as_nanos()) }
    }
}

impl fmt::Display for FileIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.device, self.inode)?;
        self.birth_nanos.map_or(Ok(()), |nanos| write!(f, "{nanos}"))
    }
}
