//! Operators on single elements, put together by the compiler: `flat_map(…).map(…)` is one loop without a call between.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use crate::dstream::DStream;
use crate::dstream::pipe::StepPipe;
use crate::place::Place;

/// What happens to one element.
pub trait Step<T>: Send + Sync + 'static {
    /// What comes out.
    type Out: 'static;

    /// Hands every element made of `element` to `out`.
    fn run(&self, element: T, out: &mut impl FnMut(Self::Out));
}

/// A stream of what a chain of steps makes; used as the [`DStream`] that it stands for. A further step on it is compiled
/// into the same loop: passing elements between loops would cost as much as counting them.
pub struct Fused<T, S: Step<T>> {
    upstream: DStream<T>,
    step: Arc<S>,
    stream: DStream<S::Out>,
}

/// `map`.
#[derive(Debug)]
pub struct Map<F>(F, Place);
/// `flat_map`.
#[derive(Debug)]
pub struct FlatMap<F>(F, Place);
/// `flat_map_into`.
#[derive(Debug)]
pub struct FlatMapInto<F, U>(F, Place, PhantomData<fn() -> U>);
/// `filter`.
#[derive(Debug)]
pub struct Filter<F>(F, Place);
/// One step and then another.
#[derive(Debug)]
pub struct Then<A, B>(Arc<A>, B);

// === the steps ===

impl<T, U: 'static, F: Fn(T) -> U + Send + Sync + 'static> Step<T> for Map<F> {
    type Out = U;

    #[inline]
    fn run(&self, element: T, out: &mut impl FnMut(U)) {
        self.1.call(|| out((self.0)(element)));
    }
}

impl<T, I, F> Step<T> for FlatMap<F>
where
    I: IntoIterator,
    I::Item: 'static,
    F: Fn(T) -> I + Send + Sync + 'static,
{
    type Out = I::Item;

    #[inline]
    fn run(&self, element: T, out: &mut impl FnMut(I::Item)) {
        self.1.call(|| (self.0)(element).into_iter().for_each(out));
    }
}

impl<T, U: 'static, F: Fn(&T, &mut dyn FnMut(U)) + Send + Sync + 'static> Step<T> for FlatMapInto<F, U> {
    type Out = U;

    #[inline]
    fn run(&self, element: T, out: &mut impl FnMut(U)) {
        self.1.call(|| (self.0)(&element, out));
    }
}

impl<T: 'static, F: Fn(&T) -> bool + Send + Sync + 'static> Step<T> for Filter<F> {
    type Out = T;

    #[inline]
    fn run(&self, element: T, out: &mut impl FnMut(T)) {
        if self.1.call(|| (self.0)(&element)) {
            out(element);
        }
    }
}

impl<T, A: Step<T>, B: Step<A::Out>> Step<T> for Then<A, B> {
    type Out = B::Out;

    #[inline]
    fn run(&self, element: T, out: &mut impl FnMut(B::Out)) {
        self.0.run(element, &mut |between| self.1.run(between, out));
    }
}

// === impl DStream ===

impl<T: 'static> DStream<T> {
    /// Makes one element of each.
    #[track_caller]
    pub fn map<U: 'static, F: Fn(T) -> U + Send + Sync + 'static>(&self, f: F) -> Fused<T, Map<F>> {
        Fused::new(self, Map(f, Place::here("map")))
    }

    /// Makes any number of elements of each.
    #[track_caller]
    pub fn flat_map<I, F>(&self, f: F) -> Fused<T, FlatMap<F>>
    where
        I: IntoIterator,
        I::Item: 'static,
        F: Fn(T) -> I + Send + Sync + 'static,
    {
        Fused::new(self, FlatMap(f, Place::here("flat_map")))
    }

    /// Makes any number of elements of each, from a borrow: for iterators that would borrow their argument.
    #[track_caller]
    pub fn flat_map_into<U, F>(&self, f: F) -> Fused<T, FlatMapInto<F, U>>
    where
        U: 'static,
        F: Fn(&T, &mut dyn FnMut(U)) + Send + Sync + 'static,
    {
        Fused::new(self, FlatMapInto(f, Place::here("flat_map_into"), PhantomData))
    }

    /// Keeps the elements for which `f` holds.
    #[track_caller]
    pub fn filter<F: Fn(&T) -> bool + Send + Sync + 'static>(&self, f: F) -> Fused<T, Filter<F>> {
        Fused::new(self, Filter(f, Place::here("filter")))
    }
}

// === impl Fused ===

impl<T: 'static, S: Step<T>> Fused<T, S> {
    fn new(upstream: &DStream<T>, step: S) -> Self {
        let step = Arc::new(step);
        let pipe = StepPipe { upstream: Arc::clone(&upstream.pipe), step: Arc::clone(&step) };
        let stream = DStream::new(upstream.graph.clone(), Arc::new(pipe));
        Self { upstream: upstream.clone(), step, stream }
    }

    /// As [`DStream::map`].
    #[track_caller]
    pub fn map<U, F>(&self, f: F) -> Fused<T, Then<S, Map<F>>>
    where
        U: 'static,
        F: Fn(S::Out) -> U + Send + Sync + 'static,
    {
        Fused::new(&self.upstream, Then(Arc::clone(&self.step), Map(f, Place::here("map"))))
    }

    /// As [`DStream::flat_map`].
    #[track_caller]
    pub fn flat_map<I, F>(&self, f: F) -> Fused<T, Then<S, FlatMap<F>>>
    where
        I: IntoIterator,
        I::Item: 'static,
        F: Fn(S::Out) -> I + Send + Sync + 'static,
    {
        Fused::new(&self.upstream, Then(Arc::clone(&self.step), FlatMap(f, Place::here("flat_map"))))
    }

    /// As [`DStream::flat_map_into`].
    #[track_caller]
    pub fn flat_map_into<U, F>(&self, f: F) -> Fused<T, Then<S, FlatMapInto<F, U>>>
    where
        U: 'static,
        F: Fn(&S::Out, &mut dyn FnMut(U)) + Send + Sync + 'static,
    {
        let step = FlatMapInto(f, Place::here("flat_map_into"), PhantomData);
        Fused::new(&self.upstream, Then(Arc::clone(&self.step), step))
    }

    /// As [`DStream::filter`].
    #[track_caller]
    pub fn filter<F: Fn(&S::Out) -> bool + Send + Sync + 'static>(&self, f: F) -> Fused<T, Then<S, Filter<F>>> {
        Fused::new(&self.upstream, Then(Arc::clone(&self.step), Filter(f, Place::here("filter"))))
    }
}

impl<T, S: Step<T>> Deref for Fused<T, S> {
    type Target = DStream<S::Out>;

    fn deref(&self) -> &DStream<S::Out> {
        &self.stream
    }
}

impl<T, S: Step<T>> std::fmt::Debug for Fused<T, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.stream.fmt(f)
    }
}
