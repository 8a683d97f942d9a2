//! `count`: one number per batch, 0 for an empty one.

use std::sync::Arc;

use millstream_core::Result;

use crate::dstream::pipe::Pipe;
use crate::stage::{Run, Stage, StageOutcome};

pub(crate) struct Count<T> {
    pub(crate) upstream: Arc<dyn Pipe<T>>,
}

impl<T: 'static> Stage for Count<T> {
    fn operator(&self) -> &'static str {
        "count"
    }

    fn run(&self, run: &Run<'_>) -> Result<StageOutcome> {
        let counts = run.pool.fold(
            self.upstream.partitions(run),
            || 0_i64,
            |count, partition| self.upstream.push(run, partition, &mut |_| *count += 1),
        )?;
        let count: i64 = counts.into_iter().sum();
        Ok(StageOutcome { result: Arc::new(vec![vec![count]]), records_in: count as u64, records_out: 1 })
    }
}
