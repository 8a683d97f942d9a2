//! Selectors: they choose the channels of each event.
//!
//! One file each; a program finds them by name in [`SELECTORS`].

mod channel_set;
pub mod load_balancing;
pub mod multiplexing;
pub mod replicating;

use millstream_core::SelectorSpec;

/// Every selector of this crate, in documentation order.
pub static SELECTORS: &[&SelectorSpec] = &[&replicating::SPEC, &multiplexing::SPEC, &load_balancing::SPEC];
