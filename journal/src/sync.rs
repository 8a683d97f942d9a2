//! Where the threads of a journal meet. `tests/interleavings` compiles this crate with shuttle's in place of what is named
//! here, and tries many orders in which its threads can run.

pub(crate) use std::thread::{self, JoinHandle};
pub(crate) use std::time::Instant;

pub(crate) use parking_lot::{Condvar, Mutex};
