//! Where the threads of room and ticket meet. `tests/interleavings` compiles these two with shuttle's in place of what
//! is named here, and tries many orders in which their threads can run.

pub(crate) use parking_lot::Mutex;
pub(crate) use tokio::sync::oneshot;
