//! The one durable log: segments, checksummed frames, group commit, recovery, quarantine.
//!
//! The bytes are described in `docs/formats/journal.md`. One thread per journal writes; callers only enqueue, and learn
//! the place of their record at once. Everything that changes the files goes through the same queue, in call order:
//! appends, rolls, deletions, syncs. So nothing here ever waits while the caller holds a lock of its own, except
//! [`Journal::close`].
//!
//! # Delivery
//! A record whose [`Durability::Synced`] append was reported well is delivered by every later opening, in order, once.
//!
//! What each step relies on of the disk, and at which failpoints tests end the process, stands in `docs/formats/journal.md` under
//! "Step by step".
//!
//! # Failure
//! - A full disk refuses appends with [`millstream_core::Error::DiskFull`] and goes on by itself.
//! - After any other failed write, and after every failed sync, appends are refused until the user calls
//!   [`Journal::roll`] with a snapshot of what it knows to be stored.

mod counters;
mod format;
mod journal;
mod quarantine;
mod reader;
mod recovery;
mod scan;
mod segment;
mod shared;
mod survey;
mod sync;
mod writer;

pub use counters::Stats;
pub use journal::{Appended, Done, Durability, Journal, Location, Options};
pub use quarantine::Quarantined;
pub use reader::Reader;
pub use recovery::{Record, Recovered};
pub use survey::{Damage, DamageKind, Finding, survey};
