//! Where a batch is materialised: shuffles and state. Everything between two stages is one fused pipe.

pub(crate) mod combine;
pub(crate) mod count;
pub(crate) mod state;

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use millstream_core::{Batch, Result};

use crate::pool::Pool;

/// Place of a stage in its graph, in order of creation, which is a topological order.
pub(crate) type StageId = usize;

/// One batch on its way through the graph.
pub(crate) struct Run<'a> {
    /// Per input stream, its chunks.
    inputs: &'a [Vec<Arc<Batch>>],
    /// Per stage, its result.
    results: Vec<OnceLock<Arc<dyn Any + Send + Sync>>>,
    pub(crate) pool: Pool,
}

/// A materialising operator.
pub(crate) trait Stage: Send + Sync {
    /// The operator's name, for reports.
    fn operator(&self) -> &'static str;

    /// Computes the result of this batch. Nothing outside the run changes.
    fn run(&self, run: &Run<'_>) -> Result<StageOutcome>;

    /// The state behind it, if it has one.
    fn state(&self) -> Option<&dyn StateStage> {
        None
    }
}

/// What a stage computed.
pub(crate) struct StageOutcome {
    pub(crate) result: Arc<dyn Any + Send + Sync>,
    /// Elements that came in.
    pub(crate) records_in: u64,
    /// Elements that go out.
    pub(crate) records_out: u64,
}

/// What a state is, as kept beside it: another one is refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct StateIdentity {
    /// Given by the program; never changes.
    pub(crate) uid: String,
    /// Rust names of key and state type.
    pub(crate) types: String,
    /// The state type's `VERSION`.
    pub(crate) version: u32,
}

/// The state of a stage: an overlay per batch over groups of keys.
pub(crate) trait StateStage: Send + Sync {
    fn identity(&self) -> StateIdentity;
    /// The changes that `run` computed, in parts that make one delta; empty when nothing changed.
    fn delta(&self, run: &Run<'_>) -> Vec<Bytes>;
    /// Makes the changes of `run` the state.
    fn apply(&self, run: &Run<'_>);
    /// Applies a delta read from the log.
    fn restore_delta(&self, delta: &[u8]) -> Result<()>;
    /// All of key group `group`.
    fn write_group(&self, group: u8) -> Bytes;
    /// Replaces key group `group`.
    fn restore_group(&self, group: u8, bytes: &[u8]) -> Result<()>;
}

// === impl Run ===

impl<'a> Run<'a> {
    pub(crate) fn new(inputs: &'a [Vec<Arc<Batch>>], stages: usize, pool: Pool) -> Self {
        Self { inputs, results: (0..stages).map(|_| OnceLock::new()).collect(), pool }
    }

    pub(crate) fn chunks(&self, stream: usize) -> &[Arc<Batch>] {
        self.inputs.get(stream).map_or(&[], Vec::as_slice)
    }

    /// The result of a stage that ran before; stages run in the order in which they were created.
    pub(crate) fn result<R: Send + Sync + 'static>(&self, stage: StageId) -> &R {
        let result = self.results[stage].get().expect("stages run in topological order");
        result.downcast_ref().expect("a stage's pipe knows its result's type")
    }

    pub(crate) fn set_result(&self, stage: StageId, result: Arc<dyn Any + Send + Sync>) {
        // Each stage runs once per run.
        let _ = self.results[stage].set(result);
    }
}
