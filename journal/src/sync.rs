//! Where threads meet in this crate. `tests/interleavings` compiles it with shuttle's in place of these, and tries the
//! orders in which threads can run.

pub(crate) use std::thread::{self, JoinHandle};
pub(crate) use std::time::Instant;

pub(crate) use parking_lot::{Condvar, Mutex};
