//! Where the threads of channels meet. `tests/interleavings` compiles this crate with shuttle's in place of what is named
//! here, and tries many orders in which their threads can run.

pub(crate) use std::thread;

pub(crate) use parking_lot::Mutex;
pub(crate) use tokio::sync::Notify;
pub(crate) use tokio::task::spawn_blocking;
pub(crate) use tokio::time::timeout;
