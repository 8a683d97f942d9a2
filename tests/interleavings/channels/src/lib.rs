//! The channels, compiled once more with shuttle's locks, threads and waits: see the package of the words.

// The sources' own tests are for the real crate.
#![cfg(not(test))]

#[allow(dead_code, unused_imports, reason = "it opens the directories of this machine; here the disk is a fake one")]
#[path = "../../../../channels/src/file/mod.rs"]
mod file;
#[path = "../../../../channels/src/gate.rs"]
mod gate;
#[path = "../../../../channels/src/memory.rs"]
mod memory;
#[path = "../../../../channels/src/names.rs"]
mod names;
mod open;
#[path = "../../../../channels/src/queue.rs"]
mod queue;
#[path = "../../../../channels/src/random.rs"]
mod random;
#[path = "../../../../channels/src/received.rs"]
mod received;
#[allow(dead_code, reason = "as the file channel")]
#[path = "../../../../channels/src/spillablememory/mod.rs"]
mod spillablememory;

mod sync {
    pub(crate) use millstream_core::sync::{Mutex, Notify, spawn_blocking, thread, timeout};
}

pub use open::{Shape, file, memory, spillable};
