//! An input in memory: Spark's `queueStream`, for tests, benches and programs that have their events at hand.

use std::sync::Arc;

use millstream_core::{Batch, Error, Result, Room};
use parking_lot::Mutex;

use crate::receiver::{Inbox, Verdict};

/// Where a program puts the events of a `queue_stream`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct InputQueue {
    name: Arc<str>,
    /// Known once the job runs.
    inbox: Arc<Mutex<Option<Arc<Inbox>>>>,
}

impl InputQueue {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), inbox: Arc::default() }
    }

    pub(crate) fn attach(&self, inbox: Arc<Inbox>) {
        *self.inbox.lock() = Some(inbox);
    }

    /// Puts events into the next batch; they count against the job's byte budget, beyond its bound if need be. The
    /// verdict comes once the batch is committed. Events that have names are trimmed when they come again.
    ///
    /// # Errors
    /// `Stopped` while the job does not run.
    pub fn push(&self, batch: Batch) -> Result<Verdict> {
        let inbox = self.inbox.lock().clone();
        let inbox = inbox.ok_or_else(|| Error::Stopped { what: Arc::clone(&self.name) })?;
        let room = inbox.seize(batch.retained_bytes());
        Ok(inbox.push(vec![batch], &[], room))
    }

    /// As [`Self::push`], after waiting for room in the job's budget.
    ///
    /// # Errors
    /// `Stopped` while the job does not run.
    pub async fn push_when_there_is_room(&self, batch: Batch) -> Result<Verdict> {
        let inbox = self.inbox.lock().clone();
        let inbox = inbox.ok_or_else(|| Error::Stopped { what: Arc::clone(&self.name) })?;
        let room: Room = inbox.reserve(batch.retained_bytes()).await;
        Ok(inbox.push(vec![batch], &[], room))
    }
}
