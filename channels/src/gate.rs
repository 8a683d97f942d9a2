//! The doors of a channel: who waits for room on the way in, and who waits for events on the way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream_core::{Error, Result, Room, RoomKeeper};
use tokio::sync::{Mutex, MutexGuard};

use crate::sync::{Notify, timeout};

/// What both channels ask before a put and wait at in a take.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) channel: Arc<str>,
    /// Most events of one transaction.
    transaction_capacity: AtomicU64,
    /// Longest wait, for room or for events, in ms.
    keep_alive_ms: AtomicU64,
    pub(crate) room: Arc<RoomKeeper>,
    /// Takers get their turn in the order in which they came; whoever has it waits for events.
    turn: Mutex<()>,
    arrived: Notify,
}

// === impl Gate ===

impl Gate {
    pub(crate) fn new(
        channel: Arc<str>,
        transaction_capacity: u64,
        keep_alive: Duration,
        room: Arc<RoomKeeper>,
    ) -> Self {
        let (transaction_capacity, keep_alive_ms) = (AtomicU64::new(transaction_capacity), AtomicU64::new(0));
        let gate =
            Self { channel, transaction_capacity, keep_alive_ms, room, turn: Mutex::new(()), arrived: Notify::new() };
        gate.set_keep_alive(keep_alive);
        gate
    }

    pub(crate) fn transaction_capacity(&self) -> u64 {
        self.transaction_capacity.load(Ordering::Relaxed)
    }

    pub(crate) fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms.load(Ordering::Relaxed))
    }

    /// Puts other limits into force, for whoever comes from now on.
    pub(crate) fn set(&self, transaction_capacity: u64, keep_alive: Duration) {
        self.transaction_capacity.store(transaction_capacity, Ordering::Relaxed);
        self.set_keep_alive(keep_alive);
    }

    fn set_keep_alive(&self, keep_alive: Duration) {
        let ms = u64::try_from(keep_alive.as_millis()).unwrap_or(u64::MAX);
        self.keep_alive_ms.store(ms, Ordering::Relaxed);
    }

    /// See [`millstream_core::Channel::reserve`].
    pub(crate) async fn reserve(&self, events: u64, bytes: u64) -> Result<Room> {
        let limit = self.transaction_capacity();
        if events > limit {
            let channel = Arc::clone(&self.channel);
            return Err(Error::BatchTooLarge { channel, events, limit });
        }
        let mut asked = self.room.ask(events, bytes);
        // Without a timer where there is room.
        if let Some(room) = asked.granted() {
            return Ok(room);
        }
        if let Ok(room) = timeout(self.keep_alive(), asked).await {
            return Ok(room);
        }
        let (queued_events, queued_bytes) = self.room.used();
        let (capacity_events, capacity_bytes) = self.room.capacity();
        let channel = Arc::clone(&self.channel);
        Err(Error::ChannelFull { channel, queued_events, capacity_events, queued_bytes, capacity_bytes })
    }

    /// Waits until all who came earlier have theirs.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Waits for [`Self::wake`], or returns at once when it was called since the last wait.
    pub(crate) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// There are events to take, or there never will be.
    pub(crate) fn wake(&self) {
        self.arrived.notify_one();
    }
}
