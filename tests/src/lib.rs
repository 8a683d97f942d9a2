//! Whole-program tests: the built `millstream` as a process, and what watches it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "for tests only")]

pub mod beside;
mod binary;
pub mod calls;
pub mod config;
pub mod demo;
pub mod held;
pub mod memory;
pub mod monitoring;
pub mod overheard;
pub mod peers;
pub mod points;
mod process;
mod trace;
mod waiting;
pub mod written;

pub use binary::{example, millstream, released_helper, released_millstream};
pub use demo::Demo;
pub use process::{Ended, Process};
pub use trace::Trace;
pub use waiting::{comes_true, until_true};

/// A number of Avro's, or of Thrift's compact encoding.
pub fn varint(mut left: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}
