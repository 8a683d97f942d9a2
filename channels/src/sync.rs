//! Where threads meet in this crate. `tests/interleavings` compiles the modules that use these with shuttle's in their
//! place, and tries the orders in which threads can run.

pub(crate) use std::thread;

pub(crate) use parking_lot::Mutex;
pub(crate) use tokio::sync::Notify;
pub(crate) use tokio::task::spawn_blocking;
pub(crate) use tokio::time::timeout;
