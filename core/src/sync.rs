//! Where threads meet in this crate. `tests/interleavings` compiles the modules that use these with shuttle's in their
//! place, and tries the orders in which threads can run.

pub(crate) use parking_lot::Mutex;
pub(crate) use tokio::sync::oneshot;
