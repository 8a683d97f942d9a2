//! What tests share: fakes of the outside world, and contracts.

pub mod contract;
mod fake_disk;

pub use fake_disk::{Call, Dice, FakeDisk};
