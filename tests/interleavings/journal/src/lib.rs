//! The journal, compiled once more with shuttle's locks, threads and waits: see the package of the words.

// The sources' own tests are for the real crate.
#![cfg(not(test))]

#[path = "../../../../journal/src/counters.rs"]
mod counters;
#[path = "../../../../journal/src/format.rs"]
mod format;
#[path = "../../../../journal/src/journal.rs"]
mod journal;
#[path = "../../../../journal/src/quarantine.rs"]
mod quarantine;
#[path = "../../../../journal/src/reader.rs"]
mod reader;
#[path = "../../../../journal/src/recovery.rs"]
mod recovery;
#[path = "../../../../journal/src/scan.rs"]
mod scan;
#[path = "../../../../journal/src/segment.rs"]
mod segment;
#[path = "../../../../journal/src/shared.rs"]
mod shared;
#[path = "../../../../journal/src/survey.rs"]
mod survey;
#[path = "../../../../journal/src/writer.rs"]
mod writer;

mod sync {
    pub(crate) use millstream_core::sync::{Condvar, Instant, JoinHandle, Mutex, thread};
}

pub use counters::Stats;
pub use journal::{Appended, Done, Durability, Journal, Location, Options};
pub use quarantine::Quarantined;
pub use reader::Reader;
pub use recovery::{Record, Recovered};
pub use survey::{Damage, DamageKind, Finding, survey};
