//! How elements move: pushed, one at a time, through fused closures. Nothing is allocated per element.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::dstream::event::Event;
use crate::dstream::fused::Step;
use crate::stage::{Run, StageId};

/// A stretch of operators without a boundary between them: pushes the elements of one partition.
pub(crate) trait Pipe<T>: Send + Sync {
    /// How many partitions this batch has here.
    fn partitions(&self, run: &Run<'_>) -> usize;

    /// Pushes every element of `partition`, in order.
    fn push(&self, run: &Run<'_>, partition: usize, out: &mut dyn FnMut(T));
}

/// The events of one input stream; a partition is a chunk.
pub(crate) struct InputPipe {
    pub(crate) stream: usize,
}

impl Pipe<Event> for InputPipe {
    fn partitions(&self, run: &Run<'_>) -> usize {
        run.chunks(self.stream).len()
    }

    fn push(&self, run: &Run<'_>, partition: usize, out: &mut dyn FnMut(Event)) {
        let chunk = &run.chunks(self.stream)[partition];
        for index in 0..chunk.len() {
            out(Event::new(Arc::clone(chunk), index));
        }
    }
}

/// Steps on single elements, fused into one loop.
pub(crate) struct StepPipe<T, S> {
    pub(crate) upstream: Arc<dyn Pipe<T>>,
    pub(crate) step: Arc<S>,
}

impl<T, S: Step<T>> Pipe<S::Out> for StepPipe<T, S> {
    fn partitions(&self, run: &Run<'_>) -> usize {
        self.upstream.partitions(run)
    }

    fn push(&self, run: &Run<'_>, partition: usize, out: &mut dyn FnMut(S::Out)) {
        let mut out = |element| out(element);
        self.upstream.push(run, partition, &mut |element| self.step.run(element, &mut out));
    }
}

/// The materialised result of a stage; a partition is one of its hash partitions.
pub(crate) struct StagePipe<T> {
    pub(crate) stage: StageId,
    pub(crate) element: PhantomData<fn() -> T>,
}

impl<T: Clone + Send + Sync + 'static> Pipe<T> for StagePipe<T> {
    fn partitions(&self, run: &Run<'_>) -> usize {
        run.result::<Vec<Vec<T>>>(self.stage).len()
    }

    fn push(&self, run: &Run<'_>, partition: usize, out: &mut dyn FnMut(T)) {
        for element in &run.result::<Vec<Vec<T>>>(self.stage)[partition] {
            out(element.clone());
        }
    }
}
