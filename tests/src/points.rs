//! Names of the failpoints, by the test in which a process ends at each of them.

/// Between "read" and "applied" of the demo, in the order of travel: `tests/failpoints.rs`.
pub const DEMO: &[&str] = &[
    "channel.put-enqueued",
    "journal.segment-written",
    "journal.segment-renamed",
    "journal.before-write",
    "journal.written",
    "journal.before-sync",
    "journal.synced",
    "channel.put-durable",
    "spooldir.stored",
    "spooldir.completed",
    "channel.taken",
    "receiver.block-received",
    "batch.drained",
    "batch.computed",
    "files.staged",
    "batch.staged",
    "commit.prepared-appended",
    "batch.committed",
    "batch.state-applied",
    "batch.acknowledged",
    "channel.commit-enqueued",
    "channel.commit-written",
    "output.before-apply",
    "sqlite.rows-written",
    "sqlite.committed",
    "files.renamed",
    "disk.file-written",
    "disk.file-synced",
    "disk.file-renamed",
    "files.applied",
    "output.applied",
    "output.noted",
];

/// Of an agent with a file channel at work, segments being made and removed: `tests/torture/points.rs`, as the ones below.
pub const AT_WORK: &[&str] = &[
    "channel.put-enqueued",
    "journal.before-write",
    "journal.written",
    "journal.before-sync",
    "journal.synced",
    "channel.put-durable",
    "journal.segment-written",
    "journal.segment-synced",
    "journal.segment-renamed",
    "journal.segment-named",
    "channel.taken",
    "channel.commit-enqueued",
    "channel.commit-written",
    "journal.before-delete",
    "journal.deleted",
    "journal.deletion-synced",
];

/// Passed at a first start.
pub const FIRST_START: &[&str] = &["disk.directory-made"];

/// Passed when a call fails, and the failure that leads there.
pub const AFTER_FAILURES: &[(&str, &str)] = &[
    ("journal.before-undo", "journal.written=full@9"),
    ("journal.undone", "journal.written=full@9"),
    ("journal.poisoned", "journal.before-sync=error@9"),
    ("journal.poisoned-cut", "journal.before-sync=error@9"),
    ("journal.segment-unmade", "journal.segment-renamed=error@9"),
];

/// Passed by a start that finds a flipped bit, a hole that was never synced, the end of a write, and half a segment.
pub const RECOVERY: &[&str] = &[
    "journal.temporary-removed",
    "journal.aside-begun",
    "journal.aside-written",
    "journal.aside-synced",
    "journal.aside-renamed",
    "journal.aside-named",
    "journal.tail-cut",
    "journal.rewritten",
    "journal.voided",
    "journal.recovery-synced",
    "journal.recovered",
];

/// Passed by a start that cannot read the newest segment.
pub const UNREADABLE: &[&str] = &["journal.given-up", "journal.given-up-named"];

/// Passed by a start that finds a segment of which the making failed.
pub const UNMADE: &[&str] = &["journal.unmade-removed"];

/// Passed by `millstream channel repair` beside those of a start.
pub const REPAIR: &[&str] = &["channel.swept"];

/// Passed by `millstream channel drain --to-file` beside those of a channel.
pub const DRAIN: &[&str] = &["export.file-synced", "export.file-renamed", "export.file-named"];

/// Of dead letters: `tests/deadletter.rs` for those of a job, `tests/poison.rs` for those of a channel.
pub const LETTERS: &[&str] = &["letters.before-mark", "channel.letter-kept", "channel.before-mark"];
