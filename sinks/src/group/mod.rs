//! Sink processors: several sinks that are one to their channel.
//!
//! One file each; a program finds them by name in [`GROUPS`]. A take goes to one member of the group; what that is, and
//! what happens when it fails, is the processor's choice.

pub mod default;
pub mod failover;
pub mod load_balance;
mod members;
pub mod store_on_failure;

use millstream_core::GroupSpec;

/// Every sink processor, in documentation order.
pub static GROUPS: &[&GroupSpec] = &[&default::SPEC, &failover::SPEC, &load_balance::SPEC, &store_on_failure::SPEC];
