//! The modules in which threads meet, compiled once more with shuttle's locks, threads and waits.
//!
//! These are the sources themselves, by path. `crate::sync` and `millstream_core` are what they find here: the rest of
//! the words is the real crate's. So nothing in them knows of shuttle, and nothing else is built a second time.
//!
//! `tests/` lets [`explore`] choose the order in which threads run, thousands of times.

// The sources' own tests are for the real crates.
#![cfg(not(test))]

extern crate millstream_core as words;
extern crate self as millstream_core;

mod disk;
mod explore;
mod sync;

pub use disk::Slow;
pub use explore::explore;
pub use sync::{FOREVER, point, timeout};

pub use words::*;

pub use channel::{Channel, ChannelRef, ChannelTotals, Fut, Limit, OpenChannel, OpenTake, Reconfigure, Take};
pub use room::{Asked, Room, RoomKeeper};
pub use ticket::{Resolver, Ticket, ticket};

/// As in the words, but its channels are those of this crate.
pub type ChannelSpec = Spec<fn(&Options, &ChannelContext) -> Result<OpenChannel>>;

// === core ===

#[path = "../../../core/src/channel.rs"]
pub mod channel;
#[path = "../../../core/src/room.rs"]
pub mod room;
#[path = "../../../core/src/ticket.rs"]
pub mod ticket;

// === journal ===

#[allow(hidden_glob_reexports, reason = "these are the journal's, not those of the words")]
#[path = "../../../journal/src/counters.rs"]
mod counters;
#[path = "../../../journal/src/format.rs"]
mod format;
#[path = "../../../journal/src/journal.rs"]
pub mod journal;
#[path = "../../../journal/src/quarantine.rs"]
mod quarantine;
#[path = "../../../journal/src/reader.rs"]
pub mod reader;
#[allow(dead_code, reason = "what other modules use of it is not here")]
#[path = "../../../journal/src/recovery.rs"]
pub mod recovery;
#[path = "../../../journal/src/scan.rs"]
mod scan;
#[path = "../../../journal/src/segment.rs"]
mod segment;
#[path = "../../../journal/src/shared.rs"]
mod shared;
#[path = "../../../journal/src/writer.rs"]
mod writer;

// === channels ===

#[path = "../../../channels/src/gate.rs"]
mod gate;
#[allow(dead_code, reason = "what other modules use of it is not here")]
#[path = "../../../channels/src/memory.rs"]
pub mod memory;
#[allow(dead_code, reason = "what other modules use of it is not here")]
#[path = "../../../channels/src/names.rs"]
mod names;
#[allow(dead_code, reason = "what other modules use of it is not here")]
#[path = "../../../channels/src/queue.rs"]
mod queue;
#[path = "../../../channels/src/random.rs"]
mod random;
