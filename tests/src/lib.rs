//! Whole-program tests: the built `millstream` as a process, and what watches it.
#![allow(clippy::unwrap_used, reason = "for tests only")]

mod binary;
mod process;

pub use binary::millstream;
pub use process::{Ended, Process};
