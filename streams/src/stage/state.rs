//! `update_state_by_key`: keyed state that survives.
//!
//! The state lies in 256 key groups; group = low byte of CRC-32C over the key's MessagePack form, which is specified and
//! the same everywhere. A batch computes an overlay (the touched keys only); the overlay's bytes go into the commit
//! record, and only then does it become the state. The log rewrites one group after another, so it never needs a pause
//! to be shortened.
//!
//! # Layout
//! A delta is entries `group u8, 1, key, state` or `group u8, 0, key` for a removed key; a group is `key, state` pairs.
//! Keys and states are MessagePack with field names.

use std::hash::Hash;
use std::io::Cursor;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use millstream_core::{Error, Result};
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dstream::pipe::Pipe;
use crate::place::Place;
use crate::stage::{Run, Stage, StageId, StageOutcome, StateIdentity, StateStage};
use crate::state::State;

const GROUPS: usize = 256;
const HASHER: FixedState = FixedState::with_seed(0x7374_6174);

type Groups<K, S> = Vec<HashMap<K, S, FixedState>>;

/// State of one uid, read by the batch that runs and changed when it is committed.
pub(crate) struct KeyedState<K, S> {
    groups: RwLock<Groups<K, S>>,
}

/// What a batch makes of the state: per partition, in any order.
pub(crate) struct Overlay<K, S> {
    parts: Vec<OverlayPart<K, S>>,
    /// The delta of each part, as it goes into the commit record.
    deltas: Vec<Bytes>,
}

struct OverlayPart<K, S> {
    set: Vec<(K, S)>,
    /// Group of `set[i]`.
    set_groups: Vec<u8>,
    removed: Vec<(u8, K)>,
    delta: Vec<u8>,
}

/// `update_state_by_key(uid, f)` over combined values `C` of which `values` gives the slice.
pub(crate) struct UpdateState<K, V, C, S, F> {
    pub(crate) id: StageId,
    pub(crate) uid: String,
    pub(crate) upstream: Arc<dyn Pipe<(K, C)>>,
    pub(crate) values: fn(&C) -> &[V],
    pub(crate) update: F,
    pub(crate) place: Place,
    pub(crate) state: Arc<KeyedState<K, S>>,
}

/// The updated keys and their states as elements; removed keys are not among them.
pub(crate) struct StatePipe<K, S> {
    pub(crate) stage: StageId,
    pub(crate) element: PhantomData<fn() -> (K, S)>,
}

// === impl KeyedState ===

impl<K, S> KeyedState<K, S> {
    pub(crate) fn new() -> Arc<Self> {
        let groups = (0..GROUPS).map(|_| HashMap::with_hasher(HASHER)).collect();
        Arc::new(Self { groups: RwLock::new(groups) })
    }

    /// Visits every key and its state: for filling a deleted output again.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&K, &S)) {
        self.groups.read().iter().flatten().for_each(|(key, state)| visit(key, state));
    }
}

// === impl UpdateState ===

impl<K, V, C, S, F> Stage for UpdateState<K, V, C, S, F>
where
    K: Hash + Eq + Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
    V: 'static,
    C: 'static,
    S: State,
    F: Fn(&[V], Option<S>) -> Option<S> + Send + Sync,
{
    fn operator(&self) -> &'static str {
        "update_state_by_key"
    }

    fn run(&self, run: &Run<'_>) -> Result<StageOutcome> {
        let groups = self.state.groups.read();
        let parts = run.pool.fold(
            self.upstream.partitions(run),
            || (OverlayPart { set: Vec::new(), set_groups: Vec::new(), removed: Vec::new(), delta: Vec::new() }, None),
            |(part, failed), partition| {
                self.upstream.push(run, partition, &mut |(key, values)| {
                    if let Err(error) = self.update_key(&groups, part, key, &values) {
                        *failed = Some(error);
                    }
                });
            },
        )?;
        let mut overlay = Overlay { parts: Vec::with_capacity(parts.len()), deltas: Vec::with_capacity(parts.len()) };
        for (mut part, failed) in parts {
            if let Some(error) = failed {
                return Err(error);
            }
            overlay.deltas.push(std::mem::take(&mut part.delta).into());
            overlay.parts.push(part);
        }
        let records_out = overlay.parts.iter().map(|part| part.set.len() as u64).sum();
        let removed: usize = overlay.parts.iter().map(|part| part.removed.len()).sum();
        Ok(StageOutcome { result: Arc::new(overlay), records_in: records_out + removed as u64, records_out })
    }

    fn state(&self) -> Option<&dyn StateStage> {
        Some(self)
    }
}

impl<K, V, C, S, F> UpdateState<K, V, C, S, F>
where
    K: Hash + Eq + Clone + Serialize,
    S: State,
    F: Fn(&[V], Option<S>) -> Option<S>,
{
    fn update_key(&self, groups: &Groups<K, S>, part: &mut OverlayPart<K, S>, key: K, values: &C) -> Result<()> {
        let start = part.delta.len();
        part.delta.extend_from_slice(&[0, 1]);
        encode(&mut part.delta, &key, &self.uid)?;
        let group = group_of(&part.delta[start + 2..]);
        part.delta[start] = group;
        let before = groups[usize::from(group)].get(&key).cloned();
        match self.place.call(|| (self.update)((self.values)(values), before)) {
            Some(after) => {
                encode(&mut part.delta, &after, &self.uid)?;
                part.set_groups.push(group);
                part.set.push((key, after));
            }
            None => {
                part.delta[start + 1] = 0;
                part.removed.push((group, key));
            }
        }
        Ok(())
    }
}

impl<K, V, C, S, F> StateStage for UpdateState<K, V, C, S, F>
where
    K: Hash + Eq + Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
    V: 'static,
    C: 'static,
    S: State,
    F: Fn(&[V], Option<S>) -> Option<S> + Send + Sync,
{
    fn identity(&self) -> StateIdentity {
        let types = format!("{} -> {}", std::any::type_name::<K>(), std::any::type_name::<S>());
        StateIdentity { uid: self.uid.clone(), types, version: S::VERSION }
    }

    fn delta(&self, run: &Run<'_>) -> Vec<Bytes> {
        let overlay: &Overlay<K, S> = run.result(self.id);
        overlay.deltas.iter().filter(|delta| !delta.is_empty()).cloned().collect()
    }

    fn apply(&self, run: &Run<'_>) {
        let overlay: &Overlay<K, S> = run.result(self.id);
        let mut groups = self.state.groups.write();
        for part in &overlay.parts {
            for ((key, state), &group) in part.set.iter().zip(&part.set_groups) {
                groups[usize::from(group)].insert(key.clone(), state.clone());
            }
            for (group, key) in &part.removed {
                groups[usize::from(*group)].remove(key);
            }
        }
    }

    fn restore_delta(&self, delta: &[u8]) -> Result<()> {
        let mut groups = self.state.groups.write();
        let mut from = Cursor::new(delta);
        while let Some(&[group, set]) = delta.get(from.position() as usize..).and_then(|rest| rest.first_chunk::<2>()) {
            from.set_position(from.position() + 2);
            let key: K = decode(&mut from, &self.uid)?;
            let table = &mut groups[usize::from(group)];
            if set == 1 {
                table.insert(key, decode(&mut from, &self.uid)?);
            } else {
                table.remove(&key);
            }
        }
        Ok(())
    }

    fn write_group(&self, group: u8) -> Bytes {
        let groups = self.state.groups.read();
        let mut out = Vec::new();
        for (key, state) in &groups[usize::from(group)] {
            // What was encoded into a delta once can be encoded again.
            let written = encode(&mut out, key, &self.uid).and_then(|()| encode(&mut out, state, &self.uid));
            debug_assert!(written.is_ok(), "a state encodes as it did in its delta");
        }
        out.into()
    }

    fn restore_group(&self, group: u8, bytes: &[u8]) -> Result<()> {
        let mut table = HashMap::with_hasher(HASHER);
        let mut from = Cursor::new(bytes);
        while (from.position() as usize) < bytes.len() {
            let key: K = decode(&mut from, &self.uid)?;
            table.insert(key, decode(&mut from, &self.uid)?);
        }
        self.state.groups.write()[usize::from(group)] = table;
        Ok(())
    }
}

// === impl StatePipe ===

impl<K, S> Pipe<(K, S)> for StatePipe<K, S>
where
    K: Clone + Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    fn partitions(&self, run: &Run<'_>) -> usize {
        run.result::<Overlay<K, S>>(self.stage).parts.len()
    }

    fn push(&self, run: &Run<'_>, partition: usize, out: &mut dyn FnMut((K, S))) {
        for element in &run.result::<Overlay<K, S>>(self.stage).parts[partition].set {
            out(element.clone());
        }
    }
}

fn group_of(encoded_key: &[u8]) -> u8 {
    crc32c::crc32c(encoded_key) as u8
}

fn encode<T: Serialize>(out: &mut Vec<u8>, value: &T, uid: &str) -> Result<()> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value
        .serialize(&mut serializer)
        .map_err(|error| Error::mismatch(format_args!("state {uid:?}"), format_args!("cannot be encoded: {error}")))
}

fn decode<T: DeserializeOwned>(from: &mut Cursor<&[u8]>, uid: &str) -> Result<T> {
    rmp_serde::decode::from_read(from).map_err(|error| {
        Error::mismatch(
            format_args!("state {uid:?}"),
            format_args!(
                "stored bytes are not of type {}: {error}; raise the type's VERSION and give the state a new uid, or restore the program that wrote it",
                std::any::type_name::<T>()
            ),
        )
    })
}
