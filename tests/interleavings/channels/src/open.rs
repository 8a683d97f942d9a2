//! Channels on a fake disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{ChannelContext, ChannelRef, Options, Result, Setting, Slow};
use millstream_journal::Durability;
use millstream_testkit::FakeDisk;

use crate::file::FileChannel;
use crate::file::options::FileOptions;
use crate::spillablememory::{Bounds, SpillableMemoryChannel};

/// How a channel is opened.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Events that may wait.
    pub capacity: u64,
    /// Events of a put or a take.
    pub transaction: u64,
    /// How long one waits for room or for events.
    pub keep_alive: Duration,
}

/// Segments hold a few puts.
const SEGMENT_BYTES: u64 = 300;
const NAME: &str = "c1";

/// A memory channel.
///
/// # Errors
/// As of the channel.
pub fn memory(shape: Shape) -> Result<ChannelRef> {
    let set = |key: &str, value: u64| Setting { key: key.into(), value: value.to_string(), place: "f:1".into() };
    let Shape { capacity, transaction, keep_alive } = shape;
    let settings =
        [set("capacity", capacity), set("transactionCapacity", transaction), set("keep-alive", keep_alive.as_secs())];
    let spec = &crate::memory::SPEC;
    let options = Options::parse("a1.channels.c1", spec.options, &[], settings)?.0;
    (spec.build)(&options, &ChannelContext { name: NAME.into(), home: "/".into() })?()
}

/// A file channel that keeps `memory_bytes` of what is stored in memory.
///
/// # Errors
/// As of the channel.
pub fn file(disk: &FakeDisk, shape: Shape, memory_bytes: u64) -> Result<ChannelRef> {
    Ok(Arc::new(on_disk(disk, shape, memory_bytes)?))
}

/// A spillable memory channel: `shape` is of its memory; on disk nearly nothing is kept in memory.
///
/// # Errors
/// As of the channel.
pub fn spillable(disk: &FakeDisk, shape: Shape) -> Result<ChannelRef> {
    let bounds = Bounds {
        memory_events: shape.capacity,
        disk_events: LARGE,
        transaction_events: shape.transaction,
        memory_bytes: u64::MAX,
        keep_alive: shape.keep_alive,
        threshold_percent: 50,
    };
    let disk = on_disk(disk, Shape { capacity: LARGE, ..shape }, 1)?;
    Ok(Arc::new(SpillableMemoryChannel::open(NAME.into(), &bounds, Some(disk))?))
}

/// Events that a disk never refuses.
const LARGE: u64 = 1_000;

fn on_disk(disk: &FakeDisk, shape: Shape, memory_bytes: u64) -> Result<FileChannel> {
    let options = FileOptions {
        checkpoint_dir: PathBuf::from("/checkpoint"),
        data_dirs: vec![PathBuf::from("/data")],
        capacity_events: shape.capacity,
        transaction_events: shape.transaction,
        keep_alive: shape.keep_alive,
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 0,
        durability: Durability::Synced,
        roll_on_close: true,
    };
    FileChannel::open(Arc::new(Slow(disk.clone())), &NAME.into(), &options, None, memory_bytes)
}
