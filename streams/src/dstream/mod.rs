//! `DStream<T>`: a stream of micro-batches, with Spark's operator names.

pub(crate) mod event;
pub(crate) mod fused;
pub(crate) mod pipe;

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use millstream_core::{IntoRow, Output, Rows};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::graph::{Graph, OutputNode, RowSource};
use crate::output::{ForEachBatch, Print};
use crate::place::Place;
use crate::stage::combine::{CombineStage, Combiner, Gather, ReduceWith};
use crate::stage::count::Count;
use crate::stage::state::{KeyedState, StatePipe, UpdateState};
use crate::state::State;
use pipe::{Pipe, StagePipe};

/// A description of what to compute on every batch. Operators are fused until the next shuffle; nothing runs before
/// `StreamingContext::start`.
///
/// A closure that panics fails the batch, not the process: the batch is tried three times, then the events that cause it
/// are found and set aside as dead letters, and the rest is counted.
pub struct DStream<T> {
    graph: Graph,
    pipe: Arc<dyn Pipe<T>>,
}

/// A stream of keyed state: the keys that the batch touched, with their new states.
pub struct StateStream<K, S> {
    stream: DStream<(K, S)>,
    state: Arc<KeyedState<K, S>>,
}

/// Each key once per batch, with everything combined to `C`.
pub struct Combined<K, C> {
    stream: DStream<(K, C)>,
}

impl<T: 'static> DStream<T> {
    pub(crate) fn new(graph: Graph, pipe: Arc<dyn Pipe<T>>) -> Self {
        Self { graph, pipe }
    }

    /// How many elements the batch has: one number, 0 for an empty batch.
    pub fn count(&self) -> DStream<i64> {
        let upstream = Arc::clone(&self.pipe);
        let stage = self.graph.add_stage(|_| Box::new(Count { upstream }));
        DStream::new(self.graph.clone(), Arc::new(StagePipe { stage, element: PhantomData }))
    }
}

impl<T: IntoRow + 'static> DStream<T> {
    /// Prints the first ten elements of every batch, as Spark does.
    pub fn print(&self) {
        self.print_first(10);
    }

    /// Prints the first `elements` of every batch, as Spark does.
    pub fn print_first(&self, elements: usize) {
        let name = format!("print-{}", self.graph.outputs());
        self.add_output(&name, Print::to_stdout(elements), None);
    }

    /// Calls `f` with the stamp and the rows of every committed batch, from the commit log: a batch whose call was cut off
    /// by a crash comes again. An `Err` or a panic is tried again later.
    pub fn for_each_batch(
        &self,
        f: impl Fn(millstream_core::BatchStamp, &Rows) -> millstream_core::Result<()> + Send + Sync + 'static,
    ) {
        let name = format!("for_each_batch-{}", self.graph.outputs());
        self.add_output(&name, ForEachBatch::new(f), None);
    }

    /// Sends the rows of every batch to `output`. `name` is the output's identity within the job and never changes.
    pub fn save(&self, name: &str, output: impl Output + 'static) {
        self.add_output(name, output, None);
    }

    fn add_output(
        &self,
        name: &str,
        output: impl Output + 'static,
        refill: Option<Box<dyn Fn() -> Rows + Send + Sync>>,
    ) {
        let rows: Box<dyn RowSource> = Box::new(PipeRows { pipe: Arc::clone(&self.pipe) });
        self.graph.add_output(OutputNode { name: name.to_owned(), output: Arc::new(output), rows, refill });
    }
}

/// The elements of a pipe as rows.
struct PipeRows<T> {
    pipe: Arc<dyn Pipe<T>>,
}

impl<T: IntoRow> RowSource for PipeRows<T> {
    fn rows(&self, run: &crate::stage::Run<'_>) -> Rows {
        let mut rows = Rows::of::<T>();
        for partition in 0..self.pipe.partitions(run) {
            self.pipe.push(run, partition, &mut |element| rows.push(&element));
        }
        rows
    }
}

impl<K, V> DStream<(K, V)>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Combines all values of a key with `f`, which must be associative and commutative.
    #[track_caller]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> Combined<K, V> {
        self.combined(Place::here("reduce_by_key"), "reduce_by_key", ReduceWith(f))
    }

    /// Keeps a state per key: `f` gets the key's values in this batch and the state so far, and gives the new one; `None`
    /// removes the key. It runs for the keys that the batch touches (Spark: for every key). `uid` names the state for
    /// ever.
    #[track_caller]
    pub fn update_state_by_key<S: State>(
        &self,
        uid: &str,
        f: impl Fn(&[V], Option<S>) -> Option<S> + Send + Sync + 'static,
    ) -> StateStream<K, S>
    where
        K: Serialize + DeserializeOwned,
    {
        let place = Place::here("update_state_by_key");
        let gathered: Combined<K, Vec<V>> = self.combined(place, "group_by_key", Gather);
        gathered.stateful(place, uid, |values| values.as_slice(), f)
    }

    fn combined<C, B>(&self, place: Place, operator: &'static str, combiner: B) -> Combined<K, C>
    where
        C: Clone + Send + Sync + 'static,
        B: Combiner<V, C> + 'static,
    {
        let upstream = Arc::clone(&self.pipe);
        let stage = self.graph.add_stage(|_| Box::new(CombineStage::new(upstream, combiner, place, operator)));
        let pipe = Arc::new(StagePipe { stage, element: PhantomData });
        Combined { stream: DStream::new(self.graph.clone(), pipe) }
    }
}

impl<K, V> Combined<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// As [`DStream::update_state_by_key`]; `f` gets exactly one value, the combined one.
    #[track_caller]
    pub fn update_state_by_key<S: State>(
        &self,
        uid: &str,
        f: impl Fn(&[V], Option<S>) -> Option<S> + Send + Sync + 'static,
    ) -> StateStream<K, S> {
        self.stateful(Place::here("update_state_by_key"), uid, std::slice::from_ref, f)
    }
}

impl<K, C> Combined<K, C>
where
    K: Hash + Eq + Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
    C: Clone + Send + Sync + 'static,
{
    fn stateful<V: 'static, S: State>(
        &self,
        place: Place,
        uid: &str,
        values: fn(&C) -> &[V],
        update: impl Fn(&[V], Option<S>) -> Option<S> + Send + Sync + 'static,
    ) -> StateStream<K, S> {
        let state = KeyedState::new();
        let upstream = Arc::clone(&self.stream.pipe);
        let (uid, kept) = (uid.to_owned(), Arc::clone(&state));
        let graph = &self.stream.graph;
        let id = graph.add_stage(|id| Box::new(UpdateState { id, uid, upstream, values, update, place, state: kept }));
        let pipe = Arc::new(StatePipe { stage: id, element: PhantomData });
        StateStream { stream: DStream::new(graph.clone(), pipe), state }
    }
}

impl<K, S> StateStream<K, S>
where
    K: Clone + Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
    (K, S): IntoRow,
{
    /// Sends the touched keys and their states to `output`, which keeps one row per key. An output that was deleted is
    /// filled again from the whole state. `name` is the output's identity within the job and never changes.
    pub fn save(&self, name: &str, output: impl Output + 'static) {
        let state = Arc::clone(&self.state);
        let refill = move || {
            let mut rows = Rows::of::<(K, S)>();
            state.for_each(|key, state| rows.push(&(key.clone(), state.clone())));
            rows
        };
        self.stream.add_output(name, output, Some(Box::new(refill)));
    }
}

impl<K, C> std::ops::Deref for Combined<K, C> {
    type Target = DStream<(K, C)>;

    fn deref(&self) -> &DStream<(K, C)> {
        &self.stream
    }
}

impl<K, S> std::ops::Deref for StateStream<K, S> {
    type Target = DStream<(K, S)>;

    fn deref(&self) -> &DStream<(K, S)> {
        &self.stream
    }
}

impl<T> Clone for DStream<T> {
    fn clone(&self) -> Self {
        Self { graph: self.graph.clone(), pipe: Arc::clone(&self.pipe) }
    }
}

impl<T> Debug for DStream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DStream").field("element", &std::any::type_name::<T>()).finish_non_exhaustive()
    }
}
