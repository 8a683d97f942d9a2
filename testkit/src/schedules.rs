//! Random schedules: one test, run once for each of many seeds.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;

/// A test that a seed makes different each time.
///
/// `<NAME>_SEED=n` runs one seed alone, in the thread of the test; `<NAME>_SEEDS=n` runs that many. Otherwise the
/// regressions run first, and then seeds from 0 on, shared over threads; with `SCHEDULES_FROM=n` those from n on, which nobody
/// has tried. The seed of a failure is printed.
#[derive(Debug, Clone, Copy)]
pub struct Schedules {
    /// Begins the names of the variables.
    pub name: &'static str,
    /// How many seeds, regressions apart.
    pub count: u64,
    /// Seeds that failed once. They never leave this list.
    pub regressions: &'static [u64],
}

// === impl Schedules ===

impl Schedules {
    /// Runs them all. A failure ends it once the seeds that are under way have ended.
    pub fn run(&self, run: impl Fn(u64) + Sync) {
        if let Some(seed) = number(&format!("{}_SEED", self.name)) {
            return run(seed);
        }
        let count = number(&format!("{}_SEEDS", self.name)).unwrap_or(self.count);
        let first = number("SCHEDULES_FROM").unwrap_or(0);
        let seeds: Vec<u64> = self.regressions.iter().copied().chain(first..first + count).collect();
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let began = Instant::now();
        // Schedules wait for threads of their own much of the time.
        let threads = 2 * thread::available_parallelism().map_or(1, usize::from);
        let work = || {
            while failed.lock().is_none()
                && let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(*seed))) {
                    let name = self.name;
                    eprintln!(
                        "seed {seed} failed; run it alone with {name}_SEED={seed}, and add it to the regressions"
                    );
                    failed.lock().get_or_insert(panic);
                }
            }
        };
        thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
        if let Some(panic) = failed.into_inner() {
            resume_unwind(panic);
        }
        println!("{}: {} schedules in {:.1} s", self.name, seeds.len(), began.elapsed().as_secs_f64());
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regressions_run_too_and_every_seed_runs_once() {
        let ran = Mutex::new(Vec::new());
        let schedules = Schedules { name: "TESTKIT_ALL", count: 100, regressions: &[4711, 815] };
        schedules.run(|seed| ran.lock().push(seed));
        let mut ran = ran.into_inner();
        ran.sort_unstable();
        assert_eq!(ran, (0..100).chain([815, 4711]).collect::<Vec<_>>());
    }

    #[test]
    fn a_failure_fails_the_test_and_no_further_seed_begins() {
        let ran = AtomicUsize::new(0);
        let schedules = Schedules { name: "TESTKIT_FAILS", count: 1_000_000, regressions: &[77] };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            schedules.run(|seed| {
                ran.fetch_add(1, Ordering::Relaxed);
                assert_ne!(seed, 77, "it fails");
            })
        }));
        assert!(outcome.is_err());
        assert!(ran.load(Ordering::Relaxed) < 1_000_000);
    }
}
