//! Many orders of the same threads.

use millstream_testkit::Schedules;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Orders tried for one seed, by each way of choosing.
const ORDERS: usize = 250;
/// Enough for a recovery.
const STACK_BYTES: usize = 256 << 10;
/// The longest order that ends by itself takes a tenth of it.
const STEPS: usize = 20_000;
/// How often PCT lets another thread overtake; most races need one or two.
const OVERTAKINGS: usize = 3;

/// Runs `test` in `seeds` x 500 orders: half of them chosen at random step by step, half by priorities that change
/// seldom (PCT). It fails where `test` panics, where all threads wait, or where one never ends. The seed of a failure is
/// printed: `<NAME>_SEED=n` runs it alone.
pub fn explore(name: &'static str, seeds: u64, test: impl Fn() + Send + Sync + Clone + 'static) {
    let schedules = Schedules { name, count: seeds, regressions: &[] };
    schedules.run(|seed| {
        let mut config = Config::new();
        config.stack_size = STACK_BYTES;
        config.max_steps = MaxSteps::FailAfter(STEPS);
        Runner::new(RandomScheduler::new_from_seed(seed, ORDERS), config.clone()).run(test.clone());
        Runner::new(PctScheduler::new_from_seed(seed, OVERTAKINGS, ORDERS), config).run(test.clone());
    });
}
