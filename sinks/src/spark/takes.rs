//! The batches that are handed out and not answered for.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_core::{ComponentStatus, MetricName, Take, Ticket};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Open takes by sequence number. Dropped, all of them go back to the channel.
pub(super) struct Takes {
    open: Mutex<HashMap<String, Open>>,
    /// Random for each start, so that a late ack for an earlier one means nothing here.
    prefix: String,
    handed_out: AtomicU64,
    commits: mpsc::UnboundedSender<Commit>,
}

struct Open {
    take: Take,
    /// The connection that got it.
    owner: u64,
    /// Dropped with the rest: tells whoever watches the time.
    _answered: oneshot::Sender<()>,
}

/// A commit under way.
struct Commit {
    sequence_number: String,
    events: u64,
    ticket: Ticket,
}

/// The takes of one connection: dropped, they go back to the channel.
pub(super) struct Owner<'a> {
    pub(super) takes: &'a Takes,
    pub(super) connection: u64,
}

// === impl Takes ===

impl Takes {
    /// No take, and what must run for as long as this lives: it counts the commits and logs those that fail.
    pub(super) fn new(status: Arc<ComponentStatus>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (commits, queue) = mpsc::unbounded_channel();
        let takes = Self { open: Mutex::default(), prefix: random_prefix(), handed_out: AtomicU64::new(0), commits };
        (takes, watch_commits(queue, status))
    }

    /// A sequence number that was never used: as Spark's, 8 random characters and a counter from 1.
    pub(super) fn next_sequence_number(&self) -> String {
        format!("{}{}", self.prefix, self.handed_out.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Keeps a take until it is answered for. The receiver resolves, with an error, once it is here no longer.
    ///
    /// The events themselves are let go: a job that holds many of them uncommitted must not cost the agent the same memory.
    pub(super) fn insert(&self, sequence_number: String, mut take: Take, connection: u64) -> oneshot::Receiver<()> {
        take.release();
        let (answered, left) = oneshot::channel();
        self.open.lock().insert(sequence_number, Open { take, owner: connection, _answered: answered });
        left
    }

    /// The batch is safe. Whether there was one of this number.
    pub(super) fn commit(&self, sequence_number: &str) -> bool {
        let Some((sequence_number, open)) = self.open.lock().remove_entry(sequence_number) else { return false };
        let events = open.take.events() as u64;
        let ticket = open.take.commit();
        // Fails only when the watcher is gone, with the sink: the commit itself was enqueued.
        let _ = self.commits.send(Commit { sequence_number, events, ticket });
        true
    }

    /// The batch goes back to the channel. Whether there was one of this number.
    pub(super) fn roll_back(&self, sequence_number: &str) -> bool {
        // In two steps: the channel's work is done outside our lock.
        let open = self.open.lock().remove(sequence_number);
        open.is_some()
    }

    /// Whether `connection` still holds a batch.
    pub(super) fn holds(&self, connection: u64) -> bool {
        self.open.lock().values().any(|open| open.owner == connection)
    }
}

impl Drop for Owner<'_> {
    fn drop(&mut self) {
        let mine: Vec<(String, Open)> =
            self.takes.open.lock().extract_if(|_, open| open.owner == self.connection).collect();
        if !mine.is_empty() {
            let events: usize = mine.iter().map(|(_, open)| open.take.events()).sum();
            tracing::info!(batches = mine.len(), events, "connection ended, its batches go back to the channel");
        }
    }
}

// === helpers ===

async fn watch_commits(mut queue: mpsc::UnboundedReceiver<Commit>, status: Arc<ComponentStatus>) {
    while let Some(Commit { sequence_number, events, ticket }) = queue.recv().await {
        match ticket.await {
            Ok(()) => status.count(MetricName::EventDrainSuccessCount, events),
            Err(error) => {
                tracing::error!(%error, sequence_number, events, "commit failed, the events may be delivered again");
                status.failed(&error);
            }
        }
    }
}

fn random_prefix() -> String {
    let mut number = RandomState::new().hash_one(std::process::id());
    let mut prefix = String::with_capacity(PREFIX_LEN);
    for _ in 0..PREFIX_LEN {
        let index = (number % ALPHABET.len() as u64) as usize;
        prefix.push(char::from(ALPHABET[index]));
        number /= ALPHABET.len() as u64;
    }
    prefix
}

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const PREFIX_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_a_random_prefix_and_a_counter_from_one() {
        let status = ComponentStatus::new("sink", "k1".into(), "spark".into());
        let (first, _) = Takes::new(Arc::clone(&status));
        let (second, _) = Takes::new(status);
        let number = first.next_sequence_number();
        assert_eq!(&number[8..], "1");
        assert!(number.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(&first.next_sequence_number()[8..], "2");
        assert_ne!(first.prefix, second.prefix, "a restarted sink must not know old numbers");
    }
}
