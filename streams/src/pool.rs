//! The compute pool: threads that count, apart from those that talk, so that counting never starves acknowledgements.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_core::{Error, Result};

use crate::place::Place;

/// How many threads compute a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pool {
    threads: usize,
}

impl Pool {
    /// `threads` of them, at least one.
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads: threads.max(1) }
    }

    /// How many results [`Self::fold`] can return at most.
    pub(crate) fn threads(self) -> usize {
        self.threads
    }

    /// Runs `step` for every part in `0..parts`, each worker on an accumulator of its own; returns the accumulators. The
    /// caller's thread is one of the workers, so a small batch starts no thread at all.
    ///
    /// # Errors
    /// [`Error::Panicked`] with the operator's place when a closure panicked.
    pub(crate) fn fold<A: Send>(
        self,
        parts: usize,
        init: impl Fn() -> A + Sync,
        step: impl Fn(&mut A, usize) + Sync,
    ) -> Result<Vec<A>> {
        let next = AtomicUsize::new(0);
        let work = || {
            catch_unwind(AssertUnwindSafe(|| {
                let mut accumulator = init();
                loop {
                    let part = next.fetch_add(1, Ordering::Relaxed);
                    if part >= parts {
                        return accumulator;
                    }
                    step(&mut accumulator, part);
                }
            }))
            .map_err(|panic| Error::Panicked { place: Place::of_panic(), message: panic_text(panic.as_ref()) })
        };
        let helpers = self.threads.min(parts).saturating_sub(1);
        if helpers == 0 {
            return Ok(vec![work()?]);
        }
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
            let mine = work();
            let theirs = handles.into_iter().map(|handle| handle.join().expect("the worker catches every panic"));
            theirs.chain([mine]).collect()
        })
    }

    /// Maps every item, in parallel, in any order of work and the given order of results.
    pub(crate) fn map<T: Send, R: Send>(self, items: Vec<T>, f: impl Fn(T) -> R + Sync) -> Result<Vec<R>> {
        let slots: Vec<_> = items.into_iter().map(|item| parking_lot::Mutex::new((Some(item), None))).collect();
        self.fold(
            slots.len(),
            || (),
            |(), part| {
                let mut slot = slots[part].lock();
                if let Some(item) = slot.0.take() {
                    slot.1 = Some(f(item));
                }
            },
        )?;
        Ok(slots.into_iter().filter_map(|slot| slot.into_inner().1).collect())
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_owned())
}
