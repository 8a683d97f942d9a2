//! From events to what the commit record holds: stages in order, then the rows of every output, then their staging.

use bytes::Bytes;
use millstream_core::{BatchStamp, Error, Result, Rows, StageInfo};
use millstream_io::failpoint;

use crate::engine::input::Input;
use crate::graph::OutputNode;
use crate::pool::Pool;
use crate::stage::{Run, Stage};

/// A computed batch; nothing outside of it has changed.
pub(crate) struct Computed<'a> {
    pub(crate) run: Run<'a>,
    pub(crate) stages: Vec<StageInfo>,
    /// Per state, its delta in parts.
    pub(crate) deltas: Vec<Vec<Bytes>>,
    /// Per output; `None` when there is nothing for it.
    pub(crate) staged: Vec<Option<Bytes>>,
}

/// Computes `input`.
///
/// # Errors
/// `Panicked` when a closure panicked; others of states that cannot be encoded and of outputs that cannot stage.
pub(crate) fn compute<'a>(
    stages: &[Box<dyn Stage>],
    outputs: &[OutputNode],
    pool: Pool,
    input: &'a Input,
    stamp: BatchStamp,
) -> Result<Computed<'a>> {
    let run = Run::new(&input.0, stages.len(), pool);
    let mut infos = Vec::with_capacity(stages.len());
    for (id, stage) in stages.iter().enumerate() {
        let outcome = stage.run(&run)?;
        let (records_in, records_out) = (outcome.records_in, outcome.records_out);
        infos.push(StageInfo { operator: stage.operator(), records_in, records_out });
        run.set_result(id, outcome.result);
    }
    // All rows before the first staging: a closure that panics leaves no temporary file behind.
    let mut rows = Vec::with_capacity(outputs.len());
    for node in outputs {
        // On this thread, under the pool's guard against panics.
        let made: Vec<Option<Rows>> = pool.fold(1, || None, |made, _| *made = Some(node.rows.rows(&run)))?;
        rows.push(made.into_iter().flatten().next());
    }
    let deltas = stages.iter().filter_map(|stage| stage.state()).map(|state| state.delta(&run)).collect();
    failpoint::hit("batch.computed")?;
    let mut staged = Vec::with_capacity(outputs.len());
    for (node, rows) in outputs.iter().zip(rows) {
        staged.push(match rows.filter(|rows| !rows.is_empty()) {
            Some(rows) => Some(node.output.stage(stamp, &rows)?.bytes),
            None => None,
        });
    }
    failpoint::hit("batch.staged")?;
    Ok(Computed { run, stages: infos, deltas, staged })
}

impl Computed<'_> {
    /// Whether there is nothing to commit but the names of its input.
    pub(crate) fn is_empty(&self) -> bool {
        self.staged.iter().all(Option::is_none) && self.deltas.iter().all(Vec::is_empty)
    }
}

/// Whether an error was the program's own doing, so that some event may be at fault.
pub(crate) fn is_the_programs(error: &Error) -> bool {
    matches!(error, Error::Panicked { .. })
}
