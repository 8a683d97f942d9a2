//! Channels: where events wait, between the sources that put and the sinks that take.
//!
//! A program finds them by name in [`CHANNELS`].

pub mod file;
mod gate;
pub mod memory;
mod names;
mod queue;
mod random;
mod received;
pub mod spillablememory;
mod sync;

use millstream_core::ChannelSpec;

/// Every channel of this crate, in documentation order.
pub static CHANNELS: &[&ChannelSpec] = &[&memory::SPEC, &file::SPEC, &spillablememory::SPEC];
