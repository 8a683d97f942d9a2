//! The graph that a program describes: inputs, stages in topological order, outputs. Frozen at start.

use std::sync::Arc;

use millstream_core::{Output, Rows};
use parking_lot::Mutex;

use crate::queue::InputQueue;
use crate::receiver::Receiver;
use crate::stage::{Run, Stage, StageId};

/// The graph under construction; every stream of a context shares it.
#[derive(Clone, Default)]
pub(crate) struct Graph(Arc<Mutex<Parts>>);

/// What a graph consists of.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) inputs: Vec<InputNode>,
    pub(crate) stages: Vec<Box<dyn Stage>>,
    pub(crate) outputs: Vec<OutputNode>,
}

/// Where events come in.
pub(crate) struct InputNode {
    pub(crate) name: String,
    pub(crate) feed: Feed,
}

/// Who brings the events of an input.
pub(crate) enum Feed {
    Receiver(Box<dyn Receiver>),
    Queue(InputQueue),
}

/// Where rows go out.
pub(crate) struct OutputNode {
    /// Identity within the job; the key of its cursor.
    pub(crate) name: String,
    pub(crate) output: Arc<dyn Output>,
    pub(crate) rows: Box<dyn RowSource>,
    /// Gives the whole state as rows, where the rows are those of a keyed state.
    pub(crate) refill: Option<Box<dyn Fn() -> Rows + Send + Sync>>,
}

/// Gives the rows of a batch.
pub(crate) trait RowSource: Send + Sync {
    fn rows(&self, run: &Run<'_>) -> Rows;
}

// === impl Feed ===

impl Feed {
    /// See [`Receiver::unreserved_bytes`].
    pub(crate) fn unreserved_bytes(&self) -> u64 {
        match self {
            Self::Receiver(receiver) => receiver.unreserved_bytes(),
            Self::Queue(_) => 0,
        }
    }
}

// === impl Graph ===

impl Graph {
    /// Adds a stage, which learns its id.
    pub(crate) fn add_stage(&self, stage: impl FnOnce(StageId) -> Box<dyn Stage>) -> StageId {
        let mut parts = self.0.lock();
        let id = parts.stages.len();
        let stage = stage(id);
        parts.stages.push(stage);
        id
    }

    /// Adds an input; returns its number.
    pub(crate) fn add_input(&self, input: InputNode) -> usize {
        let mut parts = self.0.lock();
        parts.inputs.push(input);
        parts.inputs.len() - 1
    }

    pub(crate) fn add_output(&self, output: OutputNode) {
        self.0.lock().outputs.push(output);
    }

    /// How many outputs there are.
    pub(crate) fn outputs(&self) -> usize {
        self.0.lock().outputs.len()
    }

    /// Takes the parts out: the graph is frozen.
    pub(crate) fn freeze(&self) -> Parts {
        std::mem::take(&mut *self.0.lock())
    }
}
