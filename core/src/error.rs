//! What can go wrong, what to do about it, and whose fault it is.
//!
//! One `Error` crosses every seam between components. A component only *reports*; the runners obey
//! [`Error::reaction`], so no component loops or sleeps to retry.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Result of every fallible call between components.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Try the same again, not before `after`; runners back off further while it keeps failing.
    Retry {
        /// Least time to wait.
        after: Duration,
    },
    /// The events in hand can never succeed: set them aside (dead letters) and go on with the next.
    Reject,
    /// The component cannot go on: stop it alone and say so; the others run.
    Stop,
}

/// Whose fault it is: who reads the message and acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A configuration or input of the user's.
    User,
    /// The world outside: a peer, a disk, a network.
    External,
    /// Millstream itself: a broken invariant, to be reported as a bug.
    Internal,
}

/// Everything that a component reports. Cheap to clone: a failed group commit tells many waiters.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No room came free within the channel's keep-alive. Nothing of the batch was stored.
    #[error(
        "channel {channel} is full: {queued_events} of {capacity_events} events and {queued_bytes} of {capacity_bytes} bytes are in use; a sink must take events, or raise capacity or byteCapacity"
    )]
    ChannelFull {
        /// Name of the channel.
        channel: Arc<str>,
        /// Events stored or waiting to be.
        queued_events: u64,
        /// The `capacity` option.
        capacity_events: u64,
        /// Bytes retained by those events.
        queued_bytes: u64,
        /// The byte bound in force.
        capacity_bytes: u64,
    },
    /// One batch is larger than the channel can ever take in one transaction.
    #[error(
        "channel {channel}: a batch of {events} events exceeds transactionCapacity {limit}; lower the batch size or raise transactionCapacity"
    )]
    BatchTooLarge {
        /// Name of the channel.
        channel: Arc<str>,
        /// Events in the batch.
        events: u64,
        /// The `transactionCapacity` option.
        limit: u64,
    },
    /// The file system has no room. Committed data stays deliverable; it goes on by itself when room comes.
    #[error("disk full at {}: {}{free_bytes} bytes free; free some space, it goes on by itself", path.display(), wanted(*wanted_bytes))]
    DiskFull {
        /// The directory or file that could not grow.
        path: PathBuf,
        /// Bytes needed, the configured reserve included; 0 where the system does not say.
        wanted_bytes: u64,
        /// Bytes the file system offers.
        free_bytes: u64,
    },
    /// A file call failed.
    #[error("{action} {}: {error}", path.display())]
    Io {
        /// What was tried: "open", "fdatasync", …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: Arc<std::io::Error>,
    },
    /// A socket call failed.
    #[error("{action} {address}: {error}")]
    Net {
        /// What was tried: "bind", "connect", "read", …
        action: &'static str,
        /// `host:port`.
        address: Arc<str>,
        /// What the system said.
        #[source]
        error: Arc<std::io::Error>,
    },
    /// Stored or received bytes are not what they claim to be.
    #[error("{place}: {problem}")]
    Corrupt {
        /// File and offset, or peer and field.
        place: String,
        /// What is wrong, with the value seen and the value wanted.
        problem: String,
    },
    /// A configured value cannot be used.
    #[error("{place}: {problem}")]
    Config {
        /// `file:line: key`, or the key alone for values set by a program.
        place: String,
        /// Value wanted and value seen, then the remedy.
        problem: String,
    },
    /// Something else holds what must be ours alone.
    #[error("{} is in use by {holder}; stop it or choose another directory", path.display())]
    InUse {
        /// The locked file or directory.
        path: PathBuf,
        /// Who holds it, as far as can be seen.
        holder: String,
    },
    /// The data belongs to something else, or to another version of it.
    #[error("{place}: {problem}")]
    Mismatch {
        /// The store, directory or uid.
        place: String,
        /// What was found, what was expected, and the remedy.
        problem: String,
    },
    /// These events can never be delivered.
    #[error("rejected: {reason}")]
    Rejected {
        /// Why no retry can help.
        reason: String,
    },
    /// A closure or a component panicked.
    #[error("panic in {place}: {message}")]
    Panicked {
        /// The operator or component.
        place: String,
        /// The panic's own text.
        message: String,
    },
    /// The component was stopped while this was under way. Nothing was acknowledged.
    #[error("{what} has stopped")]
    Stopped {
        /// Which component.
        what: Arc<str>,
    },
}

impl Error {
    /// Wraps a failed file call; a full disk becomes [`Error::DiskFull`].
    pub fn io(action: &'static str, path: impl AsRef<Path>, error: std::io::Error) -> Self {
        Self::Io { action, path: path.as_ref().to_owned(), error: Arc::new(error) }
    }

    /// Wraps a failed socket call.
    pub fn net(action: &'static str, address: impl ToString, error: std::io::Error) -> Self {
        Self::Net { action, address: address.to_string().into(), error: Arc::new(error) }
    }

    /// A value that cannot be used: `place` is `file:line: key` where known.
    pub fn config(place: impl ToString, problem: impl ToString) -> Self {
        Self::Config { place: place.to_string(), problem: problem.to_string() }
    }

    /// Bytes that are not what they claim to be.
    pub fn corrupt(place: impl ToString, problem: impl ToString) -> Self {
        Self::Corrupt { place: place.to_string(), problem: problem.to_string() }
    }

    /// Data of something else, or of another version.
    pub fn mismatch(place: impl ToString, problem: impl ToString) -> Self {
        Self::Mismatch { place: place.to_string(), problem: problem.to_string() }
    }

    /// The caller's move. Only runners retry, with capped exponential back-off.
    pub fn reaction(&self) -> Reaction {
        match self {
            Self::ChannelFull { .. } => Reaction::Retry { after: Duration::from_millis(1) },
            Self::DiskFull { .. } => Reaction::Retry { after: Duration::from_millis(500) },
            Self::Io { .. } | Self::Net { .. } => Reaction::Retry { after: Duration::from_millis(250) },
            Self::InUse { .. } => Reaction::Stop,
            Self::BatchTooLarge { .. } | Self::Rejected { .. } => Reaction::Reject,
            Self::Corrupt { .. } | Self::Panicked { .. } => Reaction::Retry { after: Duration::from_secs(1) },
            Self::Config { .. } | Self::Mismatch { .. } | Self::Stopped { .. } => Reaction::Stop,
        }
    }

    /// Who acts on it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::BatchTooLarge { .. } | Self::Config { .. } | Self::Mismatch { .. } | Self::Rejected { .. } => {
                Fault::User
            }
            Self::InUse { .. } | Self::Panicked { .. } => Fault::User,
            Self::ChannelFull { .. } | Self::DiskFull { .. } | Self::Io { .. } | Self::Net { .. } => Fault::External,
            Self::Corrupt { .. } => Fault::External,
            Self::Stopped { .. } => Fault::Internal,
        }
    }
}

fn wanted(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!("{bytes} bytes wanted, ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_names_its_place_what_it_has_and_what_is_wanted_where_that_is_known() {
        let text = |wanted_bytes| Error::DiskFull { path: "/d".into(), wanted_bytes, free_bytes: 7 }.to_string();
        assert_eq!(text(9), "disk full at /d: 9 bytes wanted, 7 bytes free; free some space, it goes on by itself");
        assert_eq!(text(0), "disk full at /d: 7 bytes free; free some space, it goes on by itself");
    }

    #[test]
    fn a_full_channel_names_itself_the_fill_and_the_remedy() {
        let error = Error::ChannelFull {
            channel: "c1".into(),
            queued_events: 100,
            capacity_events: 100,
            queued_bytes: 2_000,
            capacity_bytes: 10_000,
        };
        let text = error.to_string();
        for part in ["c1", "100 of 100 events", "2000 of 10000 bytes", "raise capacity"] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
        assert!(matches!(error.reaction(), Reaction::Retry { .. }));
        assert_eq!(error.fault(), Fault::External);
    }
}
