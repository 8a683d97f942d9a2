//! Keeps events on disk.
//!
//! Two journals, side by side: `log` holds what was put, `acks` what of it was delivered; a third one, `deadletters`, what a
//! sink rejected for good. The bytes are described in
//! `docs/formats/file-channel.md`. Recent events stay in memory, so a sink that keeps up never reads the disk; a backlog
//! is read back in order. Memory does not grow with it.
//!
//! # Delivery
//! A put that was reported well survives a power cut. A commit that was reported well survives the end of the process,
//! however it ends; a power cut may take the commits of the last second, and those events are delivered again, under the
//! names that they had. Positions of origins are stored with the events: a batch that comes again is trimmed.
//!
//! # Errors
//! A full disk refuses puts (`DiskFull`) and passes by itself; what is stored stays deliverable. Damaged records are set
//! aside by the journal, and the rest is delivered: the directory never needs to be deleted. After a put that failed,
//! later ones of its origin fail too, until it comes again.
//!
//! # Source
//! `org.apache.flume.channel.file.FileChannel` (Flume 1.11), for the options and the locks; not for the files. A directory
//! in which Flume left logs is refused.

mod acks;
mod backlog;
mod closing;
mod format;
mod letters;
pub(crate) mod lock;
pub mod offline;
pub(crate) mod options;
mod origins;
mod recovery;
pub(crate) mod store;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use millstream_core::{
    Batch, Channel, ChannelSpec, ChannelTotals, Error, Fut, Limit, Result, Room, Take, Ticket, ticket,
};
use millstream_io::{Disk, SystemDisk};

use backlog::Next;
use lock::Locks;
use options::{FileOptions, OPTIONS};
use store::{MEMORY_BYTES, Store};

use crate::sync::{Mutex, spawn_blocking, thread, timeout};

/// The declaration.
pub static SPEC: ChannelSpec = ChannelSpec {
    name: "file",
    aliases: &["org.apache.flume.channel.file.FileChannel"],
    summary: "Keeps events on disk: what was stored survives a power cut.",
    options: OPTIONS,
    build: |options, cx| {
        let (options, name) = (FileOptions::parse(options, cx)?, Arc::clone(&cx.name));
        Ok(Box::new(move || Ok(Arc::new(FileChannel::locked(&options, &name)?))))
    },
};

/// A queue on disk.
#[derive(Debug)]
pub(crate) struct FileChannel {
    pub(crate) store: Arc<Store>,
    roll_on_close: bool,
    /// Held until the store is closed. Dropped after it.
    locks: Mutex<Option<Locks>>,
}

// === impl FileChannel ===

impl FileChannel {
    pub(crate) fn locked(options: &FileOptions, name: &Arc<str>) -> Result<Self> {
        let locks = Locks::acquire(&options.checkpoint_dir, &options.data_dirs)?;
        Self::open(Arc::new(SystemDisk), name, options, Some(locks), MEMORY_BYTES)
    }

    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        name: &Arc<str>,
        options: &FileOptions,
        locks: Option<Locks>,
        memory_bytes: u64,
    ) -> Result<Self> {
        let store = Store::open(disk, &options.store_dir(), name, options, memory_bytes)?;
        Ok(Self { store, roll_on_close: options.roll_on_close, locks: Mutex::new(locks) })
    }

    /// Waits without an end until there is something to take.
    pub(crate) async fn next(&self, limit: Limit) -> Result<Take> {
        let _turn = self.store.gate.turn().await;
        loop {
            match self.store.take(limit)? {
                Next::Deliver(take) => return Ok(take),
                Next::Wait => self.store.gate.arrival().await,
                Next::Read => {
                    let store = Arc::clone(&self.store);
                    spawn_blocking(move || store.read_back()).await.map_err(|error| Error::Panicked {
                        place: format!("channel {}", self.store.gate.channel),
                        message: error.to_string(),
                    })??;
                }
            }
        }
    }
}

impl Channel for FileChannel {
    fn name(&self) -> &Arc<str> {
        &self.store.gate.channel
    }

    fn reserve(&self, events: u64, bytes: u64) -> Fut<'_, Result<Room>> {
        Box::pin(self.store.gate.reserve(events, bytes))
    }

    fn put(&self, batch: Batch, room: Room) -> Ticket {
        self.store.put(batch, room)
    }

    fn take(&self, limit: Limit) -> Fut<'_, Result<Take>> {
        Box::pin(async move {
            let taken = timeout(self.store.gate.keep_alive(), self.next(limit)).await;
            taken.unwrap_or_else(|_| Ok(Take::empty()))
        })
    }

    fn covered(&self, origin: &str) -> Option<u64> {
        self.store.state.lock().origins.covered(origin)
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn transaction_capacity(&self) -> u64 {
        self.store.gate.transaction_capacity()
    }

    fn totals(&self) -> ChannelTotals {
        self.store.totals()
    }

    fn waiting_names(&self) -> Vec<(u128, Range<u64>)> {
        let state = self.store.state.lock();
        state.names.waiting(&state.acked, 0..state.stored)
    }

    fn set_aside(&self, event: Batch, sink: &str, reason: &str) -> Option<Ticket> {
        Some(self.store.letters.set_aside(event, sink, reason))
    }

    fn close(&self) -> Ticket {
        let (resolver, closed) = ticket();
        let (store, roll, locks) = (Arc::clone(&self.store), self.roll_on_close, self.locks.lock().take());
        if !store.refuse() {
            return Ticket::ready(Ok(()));
        }
        let close = move || {
            let outcome = store.close(roll);
            // Not before the last byte is written.
            drop(locks);
            resolver.resolve(outcome);
        };
        // Closing waits for the disk, which the caller must not.
        let spawned = thread::Builder::new().name(format!("{}-close", self.store.gate.channel)).spawn(close);
        match spawned {
            Ok(_) => closed,
            Err(error) => {
                Ticket::ready(Err(Error::io("start the closing thread for", &*self.store.gate.channel, error)))
            }
        }
    }
}
