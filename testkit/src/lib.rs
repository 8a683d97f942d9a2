//! What tests share: fakes of the outside world.

mod fake_disk;

pub use fake_disk::{Call, Dice, FakeDisk};
