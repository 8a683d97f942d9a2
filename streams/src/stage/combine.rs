//! Keyed aggregation: each thread combines into tables of its own, one per share of the hashes; then the tables of a share
//! are merged, shares side by side.

use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use millstream_core::Result;

use crate::dstream::pipe::Pipe;
use crate::place::Place;
use crate::stage::{Run, Stage, StageOutcome};

/// Hashes keys within a batch. Fixed, so that the same input always gives the same partitions.
const HASHER: FixedState = FixedState::with_seed(0x6d69_6c6c);

/// A key and what its values were combined to.
type Table<K, C> = HashTable<(K, C)>;

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
    /// Keys per table in the batch before: tables of that size do not have to grow.
    keys_before: AtomicUsize,
}

/// Ties a [`Combine`] to what it makes of the values.
pub(crate) struct CombineStage<K, V, C, B> {
    combine: Combine<K, V, B>,
    combined: PhantomData<fn() -> C>,
}

/// What one thread combined.
struct Local<K, C> {
    records: u64,
    /// By share.
    tables: Vec<Table<K, C>>,
}

// === impl CombineStage ===

impl<K, V, C, B> CombineStage<K, V, C, B> {
    pub(crate) fn new(upstream: Arc<dyn Pipe<(K, V)>>, combiner: B, place: Place, operator: &'static str) -> Self {
        let combine = Combine { upstream, combiner, place, operator, keys_before: AtomicUsize::new(0) };
        Self { combine, combined: PhantomData }
    }
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
        let Combine { upstream, combiner, place, keys_before, .. } = &self.combine;
        let partitions = upstream.partitions(run);
        let shares = run.pool.threads().min(partitions).max(1);
        let capacity = keys_before.load(Ordering::Relaxed);
        let locals = run.pool.fold(
            partitions,
            || Local { records: 0, tables: (0..shares).map(|_| Table::with_capacity(capacity)).collect() },
            |local: &mut Local<K, C>, partition| {
                let (tables, mut records) = (local.tables.as_mut_slice(), 0);
                // The pair stays where it was pushed: taking it apart first would copy every key once more.
                upstream.push(run, partition, &mut |pair: (K, V)| {
                    records += 1;
                    let hash = HASHER.hash_one(&pair.0);
                    let table = &mut tables[share_of(hash, shares)];
                    match table.find_mut(hash, |(known, _)| *known == pair.0) {
                        Some((_, combined)) => place.call(|| combiner.add(combined, pair.1)),
                        None => {
                            let first = (pair.0, combiner.create(pair.1));
                            table.insert_unique(hash, first, |(key, _)| HASHER.hash_one(key));
                        }
                    }
                });
                local.records += records;
            },
        )?;
        let records_in = locals.iter().map(|local| local.records).sum();
        let tables = locals.iter().flat_map(|local| &local.tables);
        keys_before.store(tables.map(Table::len).max().unwrap_or(0), Ordering::Relaxed);
        let merged = self.merge(run, locals, shares)?;
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
    /// Per share, its keys.
    fn merge(&self, run: &Run<'_>, locals: Vec<Local<K, C>>, shares: usize) -> Result<Vec<Vec<(K, C)>>> {
        let mut by_share: Vec<Vec<Table<K, C>>> = (0..shares).map(|_| Vec::with_capacity(locals.len())).collect();
        for local in locals {
            by_share.iter_mut().zip(local.tables).for_each(|(share, table)| share.push(table));
        }
        run.pool.map(by_share, |mut tables| {
            // The largest stays as it is.
            tables.sort_by_key(Table::len);
            let mut merged = tables.pop().unwrap_or_default();
            for (key, combined) in tables.into_iter().flatten() {
                let hash = HASHER.hash_one(&key);
                match merged.find_mut(hash, |(known, _)| *known == key) {
                    Some((_, mine)) => self.combine.place.call(|| self.combine.combiner.merge(mine, combined)),
                    None => drop(merged.insert_unique(hash, (key, combined), |(key, _)| HASHER.hash_one(key))),
                }
            }
            merged.into_iter().collect()
        })
    }
}

/// Which share a hash belongs to. By the middle bits: a table's own index uses the lowest, its tags the highest.
#[inline]
fn share_of(hash: u64, shares: usize) -> usize {
    ((((hash >> 16) & 0xffff_ffff) * shares as u64) >> 32) as usize
}
