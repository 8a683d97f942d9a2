#![allow(clippy::unwrap_used, reason = "tests")]

mod behaviour;
mod damage;
mod directories;
mod letters;
mod model;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream_core::ChannelRef;
use millstream_journal::Durability;
use millstream_testkit::contract::channel::{DurableHome, Home, Shape};
use millstream_testkit::{FakeDisk, channel_contract, durable_channel_contract};
use parking_lot::Mutex;

use super::options::FileOptions;
use super::*;

/// Options for a store of which nothing depends on the machine.
fn options() -> FileOptions {
    FileOptions {
        checkpoint_dir: PathBuf::from("/checkpoint"),
        data_dirs: vec![PathBuf::from("/data")],
        capacity_events: 1_000_000,
        transaction_events: 10_000,
        keep_alive: Duration::from_secs(600),
        segment_bytes: 1 << 20,
        reserve_bytes: 0,
        durability: Durability::Synced,
        roll_on_close: true,
    }
}

fn open(disk: &FakeDisk, options: &FileOptions) -> Result<FileChannel> {
    FileChannel::open(Arc::new(disk.clone()), &"c1".into(), options, None, MEMORY_BYTES)
}

/// A disk in memory. Small segments, so that the cases cross them.
struct InMemory {
    disk: Mutex<FakeDisk>,
    memory_bytes: u64,
}

impl InMemory {
    fn new() -> Self {
        Self { disk: Mutex::new(FakeDisk::new()), memory_bytes: MEMORY_BYTES }
    }

    /// Keeps next to nothing in memory.
    fn forgetful() -> Self {
        Self { memory_bytes: 1, ..Self::new() }
    }
}

impl Home for InMemory {
    fn open(&self, shape: Shape) -> ChannelRef {
        let Shape { capacity_events, transaction_events, keep_alive } = shape;
        let options = FileOptions { capacity_events, transaction_events, keep_alive, segment_bytes: 300, ..options() };
        let disk = Arc::new(self.disk.lock().clone());
        Arc::new(FileChannel::open(disk, &"c1".into(), &options, None, self.memory_bytes).unwrap())
    }
}

impl DurableHome for InMemory {
    fn kill(&self) {
        let mut disk = self.disk.lock();
        *disk = disk.kill();
    }
}

channel_contract!(InMemory::new());
durable_channel_contract!(InMemory::new());

mod reading_back {
    use super::*;

    durable_channel_contract!(InMemory::forgetful());
}
