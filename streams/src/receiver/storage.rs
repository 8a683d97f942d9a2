//! When a receiver may answer its peer: Spark's storage levels, and ours beside them.

/// When events are answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ack {
    /// `Commit` with a peer of ours, which keeps many batches open meanwhile; `Stored` with a foreign one, which waits for
    /// every answer and would send one batch per interval.
    #[default]
    Auto,
    /// Once the batch that holds them is in the commit log: the sender's channel is the store.
    Commit,
    /// Once they are at the storage level.
    Stored,
}

/// Where received events are kept until they are committed; the names are Spark's. What is kept is always bytes, so the
/// serialised levels are the same as the others. Levels with two copies are not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageLevel {
    name: &'static str,
    use_disk: bool,
}

// === impl StorageLevel ===

impl StorageLevel {
    /// In memory: what was answered for and is not committed is lost with the process.
    pub const MEMORY_ONLY: Self = Self { name: "MEMORY_ONLY", use_disk: false };
    /// As [`Self::MEMORY_ONLY`].
    pub const MEMORY_ONLY_SER: Self = Self { name: "MEMORY_ONLY_SER", use_disk: false };
    /// In memory and, before it is answered for, in the receiver's log: nothing is lost.
    pub const MEMORY_AND_DISK: Self = Self { name: "MEMORY_AND_DISK", use_disk: true };
    /// As [`Self::MEMORY_AND_DISK`].
    pub const MEMORY_AND_DISK_SER: Self = Self { name: "MEMORY_AND_DISK_SER", use_disk: true };
    /// As [`Self::MEMORY_AND_DISK`]: what waits for its batch is in memory in any case.
    pub const DISK_ONLY: Self = Self { name: "DISK_ONLY", use_disk: true };

    /// Spark's name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether it survives the process.
    pub fn use_disk(self) -> bool {
        self.use_disk
    }
}

impl Default for StorageLevel {
    /// Spark's default for receivers, with one copy.
    fn default() -> Self {
        Self::MEMORY_AND_DISK_SER
    }
}
