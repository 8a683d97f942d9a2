//! The options of the file channel, typed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_core::options::joined;
use millstream_core::{ChannelContext, Error, Kind, OptionSpec, Options, Result, family, optional, unset};
use millstream_journal::Durability;

pub(super) const OPTIONS: &[OptionSpec] = &joined::<{ BOUNDS.len() + SHARED.len() }>(&[BOUNDS, SHARED]);

const BOUNDS: &[OptionSpec] = &[
    optional("capacity", Kind::Int(1, i64::MAX), "1000000", "Most events that may wait."),
    optional("keep-alive", Kind::Seconds, "3", "Longest wait for room, and for events."),
];

/// Those of every channel that keeps events in such files.
pub(crate) const SHARED: &[OptionSpec] = &[
    unset(
        "checkpointDir",
        Kind::Path,
        "Locked, as Flume does, and otherwise not used; ~/.flume/file-channel/checkpoint if not given.",
    ),
    unset(
        "dataDirs",
        Kind::Text,
        "Directories, separated by commas: all are locked, the first is used; ~/.flume/file-channel/data if not given.",
    ),
    optional("transactionCapacity", Kind::Int(1, i64::MAX), "10000", "Most events of one batch; at most capacity."),
    optional(
        "maxFileSize",
        Kind::Int(1, i64::MAX),
        "1623195647",
        "Bytes after which a new file is begun; never more than 32 MiB, so that a start stays cheap.",
    ),
    optional(
        "minimumRequiredSpace",
        Kind::Bytes,
        "524288000",
        "Bytes that stay free: puts that would take them are refused. Less than 1048576 counts as that.",
    ),
    optional(
        "fsyncPerTransaction",
        Kind::Bool,
        "true",
        "false: a put is done once it is written, and a power cut may take the last second of them.",
    ),
    optional("fsyncInterval", Kind::Seconds, "5", "No effect: what was not synced at once is within a second."),
    optional("checkpointOnClose", Kind::Bool, "true", "Begins a new file at a clean stop, so that a start reads less."),
    optional("checkpointInterval", Kind::Millis, "30000", "No effect: there are no checkpoints."),
    optional("useDualCheckpoints", Kind::Bool, "false", "No effect: there are no checkpoints."),
    unset("backupCheckpointDir", Kind::Path, "No effect: there are no checkpoints."),
    optional("compressBackupCheckpoint", Kind::Bool, "false", "No effect: there are no checkpoints."),
    optional("use-log-replay-v1", Kind::Bool, "false", "No effect: a start reads the last file alone."),
    optional("use-fast-replay", Kind::Bool, "false", "No effect: a start reads the last file alone."),
    unset("encryption.activeKey", Kind::Text, ENCRYPTION),
    unset("encryption.cipherProvider", Kind::Text, ENCRYPTION),
    unset("encryption.keyProvider", Kind::Text, ENCRYPTION),
    unset("encryption.keyProvider.keyStoreFile", Kind::Path, ENCRYPTION),
    unset("encryption.keyProvider.keyStorePasswordFile", Kind::Path, ENCRYPTION),
    unset("encryption.keyProvider.keys", Kind::List, ENCRYPTION),
    family("encryption.keyProvider.keys.*", Kind::Text, ENCRYPTION),
];

/// Directory of the store in the first data directory.
pub(super) const STORE: &str = "millstream";
const ENCRYPTION: &str = "Refused: encryption is not built in; use an encrypted file system.";
const NO_ENCRYPTION: &str = "encryption is not built in; use an encrypted file system instead";
/// A start reads one segment into memory.
pub(super) const MAX_SEGMENT_BYTES: u64 = 32 << 20;
/// Flume's lower bound.
const MIN_RESERVE_BYTES: u64 = 1 << 20;

/// What a channel is opened with.
#[derive(Debug, Clone)]
pub(crate) struct FileOptions {
    pub(crate) checkpoint_dir: PathBuf,
    /// All are locked, the first is used; never empty.
    pub(crate) data_dirs: Vec<PathBuf>,
    pub(crate) capacity_events: u64,
    pub(crate) transaction_events: u64,
    pub(crate) keep_alive: Duration,
    pub(crate) segment_bytes: u64,
    pub(crate) reserve_bytes: u64,
    pub(crate) durability: Durability,
    pub(crate) roll_on_close: bool,
}

/// How much may be in a channel, and how long one waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) capacity_events: u64,
    pub(crate) transaction_events: u64,
    pub(crate) keep_alive: Duration,
}

impl FileOptions {
    pub(super) fn parse(options: &Options, cx: &ChannelContext) -> Result<Self> {
        let (capacity, transaction) = (options.int::<u64>("capacity")?, options.int::<u64>("transactionCapacity")?);
        if transaction > capacity {
            let problem = format!("expected at most capacity, {capacity}, got {transaction}");
            return Err(options.refuse("transactionCapacity", problem));
        }
        let keep_alive = options.seconds("keep-alive")?;
        let bounds = Bounds { capacity_events: capacity, transaction_events: transaction, keep_alive };
        Self::within(bounds, options, cx)
    }

    /// [`SHARED`] alone are read, and the bounds are given.
    pub(crate) fn within(bounds: Bounds, options: &Options, cx: &ChannelContext) -> Result<Self> {
        let encryption = OPTIONS.iter().map(|spec| spec.key).filter(|key| key.starts_with("encryption."));
        if let Some(key) = encryption.into_iter().find(|key| options.find(key).is_some()) {
            return Err(options.refuse(key, NO_ENCRYPTION));
        }
        if let Some(setting) = options.under("encryption.keyProvider.keys.").next() {
            return Err(Error::config(&setting.place, NO_ENCRYPTION));
        }
        let channel_dir = cx.home.join("file-channel");
        let or_default = |key, name: &str| options.find(key).map_or_else(|| channel_dir.join(name), PathBuf::from);
        let data_dirs = match options.find("dataDirs") {
            None => vec![or_default("dataDirs", "data")],
            Some(dirs) => dirs.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from).collect(),
        };
        if data_dirs.is_empty() {
            return Err(options.refuse("dataDirs", "expected at least one directory, got none"));
        }
        Ok(Self {
            checkpoint_dir: or_default("checkpointDir", "checkpoint"),
            data_dirs,
            capacity_events: bounds.capacity_events,
            transaction_events: bounds.transaction_events,
            keep_alive: bounds.keep_alive,
            segment_bytes: options.int::<u64>("maxFileSize")?.min(MAX_SEGMENT_BYTES),
            reserve_bytes: options.int::<u64>("minimumRequiredSpace")?.max(MIN_RESERVE_BYTES),
            durability: if options.bool("fsyncPerTransaction")? { Durability::Synced } else { Durability::Lazy },
            roll_on_close: options.bool("checkpointOnClose")?,
        })
    }

    /// Where the data lies.
    pub(super) fn store_dir(&self) -> PathBuf {
        let first = self.data_dirs.first().map_or(Path::new("."), PathBuf::as_path);
        first.join(STORE)
    }
}
