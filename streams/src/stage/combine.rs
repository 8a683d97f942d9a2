//! Keyed aggregation: each thread combines into a table of its own, the tables are split by hash, each part is merged.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::hash_map::{Entry, HashMap};
use millstream_core::Result;

use crate::dstream::pipe::Pipe;
use crate::place::Place;
use crate::stage::{Run, Stage, StageOutcome};

/// Hashes keys within a batch. Fixed, so that the same input always gives the same partitions.
const HASHER: FixedState = FixedState::with_seed(0x6d69_6c6c);

type Table<K, C> = HashMap<K, C, FixedState>;

/// How values of one key become one.
pub(crate) trait Combiner<V, C>: Send + Sync {
    /// The first value of a key.
    fn create(&self, value: V) -> C;
    /// A further value.
    fn add(&self, combined: &mut C, value: V);
    /// What another thread combined.
    fn merge(&self, combined: &mut C, other: C);
}

/// `reduce_by_key(f)`.
pub(crate) struct ReduceWith<F>(pub(crate) F);

impl<V: Clone, F: Fn(V, V) -> V + Send + Sync> Combiner<V, V> for ReduceWith<F> {
    #[inline]
    fn create(&self, value: V) -> V {
        value
    }

    #[inline]
    fn add(&self, combined: &mut V, value: V) {
        *combined = (self.0)(combined.clone(), value);
    }

    #[inline]
    fn merge(&self, combined: &mut V, other: V) {
        self.add(combined, other);
    }
}

/// All values of a key, in order within a partition.
pub(crate) struct Gather;

impl<V> Combiner<V, Vec<V>> for Gather {
    fn create(&self, value: V) -> Vec<V> {
        vec![value]
    }

    fn add(&self, combined: &mut Vec<V>, value: V) {
        combined.push(value);
    }

    fn merge(&self, combined: &mut Vec<V>, mut other: Vec<V>) {
        combined.append(&mut other);
    }
}

pub(crate) struct Combine<K, V, B> {
    pub(crate) upstream: Arc<dyn Pipe<(K, V)>>,
    pub(crate) combiner: B,
    pub(crate) place: Place,
    pub(crate) operator: &'static str,
}

/// Ties a [`Combine`] to what it makes of the values.
pub(crate) struct CombineStage<K, V, C, B> {
    pub(crate) combine: Combine<K, V, B>,
    pub(crate) combined: std::marker::PhantomData<fn() -> C>,
}

impl<K, V, C, B> Stage for CombineStage<K, V, C, B>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    C: Send + Sync + 'static,
    B: Combiner<V, C>,
{
    fn operator(&self) -> &'static str {
        self.combine.operator
    }

    fn run(&self, run: &Run<'_>) -> Result<StageOutcome> {
        let Combine { upstream, combiner, place, .. } = &self.combine;
        let locals = run.pool.fold(
            upstream.partitions(run),
            || (0_u64, Table::<K, C>::with_hasher(HASHER)),
            |(records, table), partition| {
                upstream.push(run, partition, &mut |(key, value)| {
                    *records += 1;
                    match table.entry(key) {
                        Entry::Occupied(mut slot) => place.call(|| combiner.add(slot.get_mut(), value)),
                        Entry::Vacant(slot) => drop(slot.insert(combiner.create(value))),
                    }
                });
            },
        )?;
        let records_in = locals.iter().map(|(records, _)| records).sum();
        let tables: Vec<_> = locals.into_iter().map(|(_, table)| table).filter(|table| !table.is_empty()).collect();
        let merged = self.merge(run, tables)?;
        let records_out = merged.iter().map(|share| share.len() as u64).sum();
        Ok(StageOutcome { result: Arc::new(merged), records_in, records_out })
    }
}

impl<K, V, C, B> CombineStage<K, V, C, B>
where
    K: Hash + Eq + Send,
    C: Send,
    B: Combiner<V, C>,
{
    fn merge(&self, run: &Run<'_>, mut tables: Vec<Table<K, C>>) -> Result<Vec<Vec<(K, C)>>> {
        if tables.len() <= 1 {
            return Ok(tables.pop().map_or_else(Vec::new, |table| vec![table.into_iter().collect()]));
        }
        let shares = tables.len();
        let split = run.pool.map(tables, |table| {
            let mut parts: Vec<Vec<(K, C)>> =
                (0..shares).map(|_| Vec::with_capacity(table.len() / shares + 1)).collect();
            for (key, combined) in table {
                // High bits choose the share: the table's own index uses the low ones first.
                let share = (HASHER.hash_one(&key) >> 48) as usize % shares;
                parts[share].push((key, combined));
            }
            parts
        })?;
        let mut by_share: Vec<Vec<Vec<(K, C)>>> = (0..shares).map(|_| Vec::with_capacity(shares)).collect();
        for parts in split {
            by_share.iter_mut().zip(parts).for_each(|(share, part)| share.push(part));
        }
        run.pool.map(by_share, |parts| {
            let mut table = Table::with_capacity_and_hasher(parts.iter().map(Vec::len).max().unwrap_or(0), HASHER);
            for (key, combined) in parts.into_iter().flatten() {
                match table.entry(key) {
                    Entry::Occupied(mut slot) => {
                        self.combine.place.call(|| self.combine.combiner.merge(slot.get_mut(), combined));
                    }
                    Entry::Vacant(slot) => drop(slot.insert(combined)),
                }
            }
            table.into_iter().collect()
        })
    }
}
