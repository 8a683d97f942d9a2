//! Memory that the unfinished messages of all peers of a server share, and how long they may keep it.
//!
//! # Slow peers
//! Whoever holds shared memory has to go on: of a message that holds some, at least [`LEAST_BYTES`] have to come in every
//! [`WINDOW`], which is 16 KiB/s. A byte now and then renews nothing. Of a message that holds none, as it is small, so much
//! has to come within the patience of the server, where it has one. Time in which the server itself does not read does
//! not count.
//!
//! # A memory that is used up
//! Who finds no room does not wait for slow peers: the message that costs most, bytes times the time since it began, is
//! dropped, and its connection with it. That is hardly ever a small one that has just come, so those always get in. Whole
//! messages are never dropped: they wait for a channel, and where they hold half of the memory, everybody waits for
//! them.
//!
//! Nothing here is done per event: a message that fits into what its connection has for itself asks for nothing, and a
//! larger one asks once in a while.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// So much of a message that holds shared memory has to come in every [`WINDOW`].
pub const LEAST_BYTES: usize = 160 << 10;
/// See [`LEAST_BYTES`].
pub const WINDOW: Duration = Duration::from_secs(10);

/// The memory of one server; clones share it.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    state: Mutex<State>,
    /// Something came free, or may be dropped no longer.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By all holders.
    held: usize,
    /// The last number given.
    last: u64,
    /// Those that hold something, by number.
    holders: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    bytes: usize,
    began: Instant,
    is_whole: bool,
    is_dropped: bool,
    told: Arc<Notify>,
}

/// What one connection holds, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    memory: Memory,
    number: u64,
    held: usize,
    is_whole: bool,
    /// For a message that holds nothing.
    patience: Option<Duration>,
    /// It found no room yet.
    waits: bool,
    /// When the message under way began.
    began: Option<Instant>,
    /// Since when less than [`LEAST_BYTES`] have come.
    since: Option<Instant>,
    /// Come since then.
    came: usize,
    told: Arc<Notify>,
}

/// What has to be done for a wish.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Given,
    /// Others are whole, or on their way out.
    Later,
    /// The one that wishes costs most.
    Refused,
}

// === impl Memory ===

impl Memory {
    /// At most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, state: Mutex::default(), changed: Notify::new() }))
    }

    /// What a connection holds of it: nothing yet. With `patience`, messages that hold nothing are waited for so long.
    pub fn share(&self, patience: Option<Duration>) -> Share {
        let number = {
            let mut state = self.0.state.lock();
            state.last += 1;
            state.last
        };
        Share {
            memory: self.clone(),
            number,
            held: 0,
            is_whole: false,
            patience,
            waits: false,
            began: None,
            since: None,
            came: 0,
            told: Arc::new(Notify::new()),
        }
    }
}

// === impl State ===

impl State {
    /// Raises what a holder has, if there is room; else drops whoever costs most.
    fn raise(&mut self, number: u64, wanted: usize, limit: usize, now: Instant) -> Room {
        let missing = match self.holders.get(&number) {
            Some(holder) if holder.is_dropped => return Room::Refused,
            holder => wanted.saturating_sub(holder.map_or(0, |holder| holder.bytes)),
        };
        if self.held + missing <= limit {
            return Room::Given;
        }
        let (mut unfinished, mut leaving, mut costliest) = (missing, 0, None);
        for (holder_number, holder) in self.holders.iter().filter(|(_, holder)| !holder.is_whole) {
            unfinished += holder.bytes;
            if holder.is_dropped {
                leaving += holder.bytes;
                continue;
            }
            let cost = holder.bytes as u128 * (now - holder.began).as_micros();
            if costliest.is_none_or(|(most, _)| cost > most) {
                costliest = Some((cost, *holder_number));
            }
        }
        if self.held - leaving + missing <= limit || unfinished <= limit / 2 {
            return Room::Later;
        }
        match costliest {
            // Alone: it waits for those that are whole or leave.
            None => Room::Later,
            Some((_, costliest)) if costliest == number => {
                let is_alone = self.holders.values().filter(|holder| !holder.is_whole).count() == 1;
                if is_alone { Room::Later } else { Room::Refused }
            }
            Some((_, costliest)) => {
                if let Some(holder) = self.holders.get_mut(&costliest) {
                    holder.is_dropped = true;
                    holder.told.notify_one();
                }
                // There may not be enough yet.
                self.raise(number, wanted, limit, now)
            }
        }
    }
}

// === impl Share ===

impl Share {
    /// A message is under way that needs `bytes` of what is shared. Waits for room; another message may be dropped for it,
    /// or this one for others.
    ///
    /// # Errors
    /// `QuotaExceeded` when this message was dropped: end the connection.
    ///
    /// # Cancel safety
    /// Dropped, nothing has changed, except that others may have been dropped.
    pub async fn hold(&mut self, bytes: usize) -> io::Result<()> {
        if self.is_whole {
            // The next message needs what it needs.
            self.is_whole = false;
            self.lower(bytes);
        }
        self.begin();
        if bytes <= self.held {
            return Ok(());
        }
        let memory = self.memory.clone();
        loop {
            let mut changed = std::pin::pin!(memory.0.changed.notified());
            changed.as_mut().enable();
            match self.raise(bytes) {
                Room::Given => return Ok(()),
                Room::Refused => return Err(dropped()),
                Room::Later => self.waits = true,
            }
            tokio::select! {
                () = changed => {}
                () = self.told.notified() => {}
            }
        }
    }

    /// The same, if there is room, and nothing otherwise.
    pub fn hold_at_once(&mut self, bytes: usize) {
        let wanted = bytes.min(self.memory.0.limit);
        if wanted <= self.held {
            return;
        }
        let memory = self.memory.clone();
        let mut state = memory.0.state.lock();
        if state.held + (wanted - self.held) <= memory.0.limit {
            self.set(&mut state, wanted);
        }
    }

    /// Waits for `reading`, as long as the peer may take; counts nothing as come.
    ///
    /// # Errors
    /// Those of `reading`, `TimedOut` for a peer that is too slow, `QuotaExceeded` when the message was dropped for others.
    ///
    /// # Cancel safety
    /// That of `reading`; the time goes on.
    pub async fn within<T>(&self, reading: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let limit = if self.held > 0 { Some(WINDOW) } else { self.patience };
        let (Some(since), Some(limit)) = (self.since, limit) else { return reading.await };
        tokio::select! {
            biased;
            read = reading => read,
            () = self.is_dropped() => Err(dropped()),
            () = sleep_until(since + limit) => Err(slow(limit)),
        }
    }

    /// So much of the message came.
    pub fn came(&mut self, bytes: usize) {
        self.came += bytes;
        if self.came >= LEAST_BYTES {
            self.restart();
        }
    }

    /// The message is whole, or the server does not read on: what is held is kept until the next [`Self::hold`] or
    /// [`Self::rest`], and is not taken from it.
    pub fn finish(&mut self) {
        (self.began, self.since, self.came) = (None, None, 0);
        if self.is_whole {
            return;
        }
        self.is_whole = true;
        if self.held == 0 {
            return;
        }
        let mut state = self.memory.0.state.lock();
        if let Some(holder) = state.holders.get_mut(&self.number) {
            holder.is_whole = true;
            if std::mem::take(&mut holder.is_dropped) {
                self.memory.0.changed.notify_waiters();
            }
        }
    }

    /// No message is under way: gives back everything.
    pub fn rest(&mut self) {
        (self.began, self.since, self.came) = (None, None, 0);
        self.lower(0);
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.held
    }

    fn begin(&mut self) {
        if self.began.is_none() {
            let now = Instant::now();
            (self.began, self.since, self.came) = (Some(now), Some(now), 0);
        }
    }

    fn restart(&mut self) {
        (self.since, self.came) = (Some(Instant::now()), 0);
    }

    fn raise(&mut self, bytes: usize) -> Room {
        let limit = self.memory.0.limit;
        let memory = self.memory.clone();
        let mut state = memory.0.state.lock();
        let room = state.raise(self.number, bytes.min(limit), limit, Instant::now());
        if room == Room::Given {
            // The peer could not go on while it waited.
            if std::mem::take(&mut self.waits) || self.held == 0 {
                self.restart();
            }
            self.set(&mut state, bytes.min(limit).max(self.held));
        }
        room
    }

    /// Holds at most `bytes`.
    fn lower(&mut self, bytes: usize) {
        if self.held == 0 {
            return;
        }
        let memory = self.memory.clone();
        let mut state = memory.0.state.lock();
        let bytes = bytes.min(self.held);
        self.set(&mut state, bytes);
        if let Some(holder) = state.holders.get_mut(&self.number) {
            (holder.is_whole, holder.began) = (self.is_whole, Instant::now());
        }
        drop(state);
        memory.0.changed.notify_waiters();
    }

    fn set(&mut self, state: &mut State, bytes: usize) {
        state.held = state.held - self.held + bytes;
        self.held = bytes;
        if bytes == 0 {
            state.holders.remove(&self.number);
            return;
        }
        let (is_whole, began, told) = (self.is_whole, self.began, &self.told);
        let holder = state.holders.entry(self.number).or_insert_with(|| Holder {
            bytes,
            began: began.unwrap_or_else(Instant::now),
            is_whole,
            is_dropped: false,
            told: Arc::clone(told),
        });
        holder.bytes = bytes;
    }

    async fn is_dropped(&self) {
        loop {
            self.told.notified().await;
            // It may have been whole a moment later.
            if self.memory.0.state.lock().holders.get(&self.number).is_some_and(|holder| holder.is_dropped) {
                return;
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.lower(0);
    }
}

fn dropped() -> io::Error {
    let text = "all peers together hold too many bytes of unfinished messages, and this one cost most of all";
    io::Error::new(io::ErrorKind::QuotaExceeded, text)
}

fn slow(limit: Duration) -> io::Error {
    let text =
        format!("a message came too slowly, expected {} KiB of it, or its end, within {limit:?}", LEAST_BYTES >> 10);
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::future::{pending, ready};

    use tokio::time::{advance, timeout};

    use super::*;

    const MB: usize = 1 << 20;

    async fn holding(memory: &Memory, bytes: usize) -> Share {
        let mut share = memory.share(None);
        share.hold(bytes).await.unwrap();
        share
    }

    async fn told(share: &Share) -> io::ErrorKind {
        share.within(pending::<io::Result<()>>()).await.unwrap_err().kind()
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_renews_nothing_and_a_steady_peer_goes_on() {
        let memory = Memory::new(10 * MB);
        let (mut trickling, mut steady) = (holding(&memory, MB).await, holding(&memory, MB).await);
        for _ in 0..9 {
            advance(Duration::from_secs(1)).await;
            trickling.came(1);
            steady.came(LEAST_BYTES / 9 + 1);
            trickling.within(ready(Ok(()))).await.unwrap();
        }
        assert_eq!(told(&trickling).await, io::ErrorKind::TimedOut);
        assert!(timeout(WINDOW / 2, told(&steady)).await.is_err(), "it has a new window");
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_message_has_the_patience_of_its_server_and_an_idle_peer_all_time() {
        let memory = Memory::new(MB);
        let mut share = memory.share(Some(Duration::from_secs(60)));
        share.hold(0).await.unwrap();
        assert!(timeout(Duration::from_secs(59), told(&share)).await.is_err());
        assert_eq!(told(&share).await, io::ErrorKind::TimedOut);
        share.rest();
        assert!(timeout(Duration::from_secs(9999), told(&share)).await.is_err());
        share.hold(0).await.unwrap();
        let mut patient = memory.share(None);
        patient.hold(0).await.unwrap();
        assert!(timeout(Duration::from_secs(9999), told(&patient)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_costliest_message_is_dropped_for_a_small_one_and_nobody_else() {
        let memory = Memory::new(10 * MB);
        let (old, large) = (holding(&memory, 3 * MB).await, holding(&memory, 7 * MB).await);
        advance(Duration::from_secs(1)).await;
        let mut small = memory.share(None);
        {
            let mut wish = std::pin::pin!(small.hold(MB));
            assert!(timeout(Duration::ZERO, wish.as_mut()).await.is_err(), "it has to leave first");
            assert_eq!(told(&large).await, io::ErrorKind::QuotaExceeded);
            drop(large);
            wish.await.unwrap();
        }
        assert!(timeout(Duration::from_secs(1), told(&old)).await.is_err());
        let mut greedy = old;
        advance(Duration::from_secs(1)).await;
        assert_eq!(greedy.hold(10 * MB).await.unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn whole_messages_are_waited_for_and_that_time_does_not_count() {
        let memory = Memory::new(10 * MB);
        let mut whole = holding(&memory, 9 * MB).await;
        whole.finish();
        let mut next = holding(&memory, MB).await;
        let mut wish = Box::pin(next.hold(2 * MB));
        assert!(timeout(Duration::from_secs(3600), wish.as_mut()).await.is_err());
        whole.rest();
        wish.await.unwrap();
        assert!(timeout(WINDOW / 2, told(&next)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_ends_just_when_it_is_dropped_is_kept() {
        let memory = Memory::new(10 * MB);
        let (mut lucky, other) = (holding(&memory, 6 * MB).await, holding(&memory, 4 * MB).await);
        advance(Duration::from_secs(1)).await;
        let mut small = memory.share(None);
        let mut wish = Box::pin(small.hold(2 * MB));
        assert!(timeout(Duration::ZERO, wish.as_mut()).await.is_err());
        lucky.finish();
        lucky.hold(6 * MB).await.unwrap();
        assert!(timeout(Duration::ZERO, told(&lucky)).await.is_err());
        drop(other);
        wish.await.unwrap();
    }
}
