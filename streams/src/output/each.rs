//! `for_each_batch`: the user's own function as an output.

use std::panic::{AssertUnwindSafe, catch_unwind};

use millstream_core::{BatchId, BatchStamp, Error, LogId, Output, Result, Rows, Staged};

/// Calls a function for every committed batch.
pub(crate) struct ForEachBatch<F>(F);

impl<F> ForEachBatch<F> {
    pub(crate) fn new(f: F) -> Self {
        Self(f)
    }
}

impl<F: Fn(BatchStamp, &Rows) -> Result<()> + Send + Sync> Output for ForEachBatch<F> {
    fn apply(&self, stamp: BatchStamp, staged: &Staged) -> Result<()> {
        let rows = Rows::decode(staged.bytes.clone())?;
        catch_unwind(AssertUnwindSafe(|| (self.0)(stamp, &rows))).unwrap_or_else(|_| {
            let message = "the function panicked; its text is above".to_owned();
            Err(Error::Panicked { place: format!("for_each_batch, batch {}", stamp.batch), message })
        })
    }

    fn last_applied(&self) -> Result<Option<(LogId, BatchId)>> {
        Ok(None)
    }

    fn remembers(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "for_each_batch".into()
    }
}
