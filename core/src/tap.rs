//! A look at the events that pass a component, while somebody looks.
//!
//! # Cost
//! Nobody looks: one relaxed load per batch. Somebody looks: the first [`MOST_EVENTS`] events of a batch are copied, of each
//! body the first [`MOST_BODY_BYTES`]. Whoever reads too slowly misses batches and is told so; events never wait for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::batch::Batch;

/// Events of one batch that are shown; the rest is counted.
pub const MOST_EVENTS: usize = 64;
/// Bytes of a body that are shown.
pub const MOST_BODY_BYTES: usize = 4 << 10;
/// Batches kept for who reads slowly.
const MOST_BATCHES: usize = 16;

/// What a component shows its events with.
#[derive(Debug, Default)]
pub struct Tap {
    listeners: Arc<AtomicUsize>,
    seen: OnceLock<broadcast::Sender<Seen>>,
}

/// Events that passed together.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The first of them.
    pub events: Arc<[SeenEvent]>,
    /// How many followed them in the same batch.
    pub more: u64,
}

/// A copy of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenEvent {
    /// Keys and values, in their order.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// At most [`MOST_BODY_BYTES`] of the body.
    pub body: Vec<u8>,
    /// The length of the whole body.
    pub body_bytes: usize,
}

/// One look.
#[derive(Debug)]
pub struct Listener {
    listeners: Arc<AtomicUsize>,
    seen: broadcast::Receiver<Seen>,
}

/// What a look shows next.
#[derive(Debug)]
pub enum Sight {
    /// Events passed.
    Seen(Seen),
    /// This many batches passed while the last ones were not yet read.
    Missed(u64),
}

// === impl Tap ===

impl Tap {
    /// Shows the batch to those who look.
    pub fn see(&self, batch: &Batch) {
        if self.listeners.load(Ordering::Relaxed) == 0 || batch.is_empty() {
            return;
        }
        if let Some(seen) = self.seen.get() {
            // The last listener may just have left.
            let _ = seen.send(Seen::of(batch));
        }
    }

    /// Shows every batch from now on.
    pub fn listen(&self) -> Listener {
        let seen = self.seen.get_or_init(|| broadcast::channel(MOST_BATCHES).0).subscribe();
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Listener { listeners: Arc::clone(&self.listeners), seen }
    }
}

// === impl Seen ===

impl Seen {
    fn of(batch: &Batch) -> Self {
        let events = batch.iter().take(MOST_EVENTS).map(|event| SeenEvent {
            headers: event.headers().map(|(key, value)| (key.to_vec(), value.to_vec())).collect(),
            body: event.body()[..event.body().len().min(MOST_BODY_BYTES)].to_vec(),
            body_bytes: event.body().len(),
        });
        Self { events: events.collect(), more: batch.len().saturating_sub(MOST_EVENTS) as u64 }
    }
}

// === impl Listener ===

impl Listener {
    /// Waits for what passes next; `None` once the component is gone: stopped, or replaced by a reload.
    pub async fn next(&mut self) -> Option<Sight> {
        match self.seen.recv().await {
            Ok(seen) => Some(Sight::Seen(seen)),
            Err(RecvError::Lagged(batches)) => Some(Sight::Missed(batches)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn seen(listener: &mut Listener) -> Seen {
        match listener.next().await {
            Some(Sight::Seen(seen)) => seen,
            other => panic!("expected events, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn who_looks_sees_what_passes_from_then_on() {
        let tap = Tap::default();
        tap.see(&Batch::from_bodies(["before"]));
        let mut first = tap.listen();
        tap.see(&Batch::from_bodies(["a", "b"]));
        let mut second = tap.listen();
        tap.see(&Batch::empty());
        tap.see(&Batch::from_bodies(["c"]));
        let bodies = |seen: Seen| seen.events.iter().map(|event| event.body.clone()).collect::<Vec<_>>();
        assert_eq!(bodies(seen(&mut first).await), [b"a", b"b"]);
        assert_eq!(bodies(seen(&mut first).await), [b"c"]);
        assert_eq!(bodies(seen(&mut second).await), [b"c"]);
        drop((first, second));
        assert_eq!(tap.listeners.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn large_batches_and_bodies_are_cut_and_counted() {
        let tap = Tap::default();
        let mut listener = tap.listen();
        tap.see(&Batch::from_bodies(vec!["x".repeat(MOST_BODY_BYTES + 1); MOST_EVENTS + 3]));
        let seen = seen(&mut listener).await;
        assert_eq!((seen.events.len(), seen.more), (MOST_EVENTS, 3));
        assert_eq!((seen.events[0].body.len(), seen.events[0].body_bytes), (MOST_BODY_BYTES, MOST_BODY_BYTES + 1));
    }

    #[tokio::test]
    async fn who_is_slow_is_told_what_it_missed_and_the_end_is_told() {
        let tap = Tap::default();
        let mut listener = tap.listen();
        (0..MOST_BATCHES + 5).for_each(|number| tap.see(&Batch::from_bodies([number.to_string()])));
        assert!(matches!(listener.next().await, Some(Sight::Missed(5))));
        assert_eq!(seen(&mut listener).await.events[0].body, b"5");
        drop(tap);
        for _ in 1..MOST_BATCHES {
            seen(&mut listener).await;
        }
        assert!(listener.next().await.is_none());
    }
}
