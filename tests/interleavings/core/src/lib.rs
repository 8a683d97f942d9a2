//! The modules of the words in which threads meet, compiled once more with shuttle's locks, threads and waits.
//!
//! These are the sources themselves, by path. `crate::sync` is what they find here; the rest of the words is the real
//! crate's. So nothing in them knows of shuttle, and nothing else is built a second time. The packages beside this one do
//! the same for journal and channels, which find this one, and each other, under the names of the real crates.
//!
//! `tests/` lets [`explore`] choose the order in which threads run, thousands of times.

// The sources' own tests are for the real crate.
#![cfg(not(test))]

extern crate millstream_core as words;
extern crate self as millstream_core;

mod disk;
mod explore;
pub mod sync;

pub use disk::Slow;
pub use explore::explore;

pub use words::*;

pub use channel::{Channel, ChannelRef, ChannelTotals, Fut, Limit, OpenChannel, OpenTake, Reconfigure, Take};
pub use room::{Asked, Room, RoomKeeper};
pub use ticket::{Resolver, Ticket, ticket};

/// As in the words, but its channels are those of this crate.
pub type ChannelSpec = Spec<fn(&Options, &ChannelContext) -> Result<OpenChannel>>;

#[path = "../../../../core/src/channel.rs"]
pub mod channel;
#[path = "../../../../core/src/room.rs"]
pub mod room;
#[path = "../../../../core/src/ticket.rs"]
pub mod ticket;
