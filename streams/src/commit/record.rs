//! The records of the commit log.
//!
//! # Layout
//! | kind | payload |
//! |---|---|
//! | 1 chunk | batch u64 LE, index u32 LE, a piece of a large batch; index 0 begins anew |
//! | 2 prepared | batch u64 LE, number of chunks before it u32 LE, the last piece |
//! | 3 group | state index u16 LE, key group u8, the group's keys and states |
//! | 4 applied | MessagePack [`Applied`] |
//! | 5 opened | MessagePack [`Opened`] |
//!
//! The pieces of a batch together are: u32 LE length of the head, the head (MessagePack [`Head`]), the state deltas and
//! the staged outputs, their lengths in the head. A segment's snapshot is a MessagePack [`Checkpoint`].

use bytes::{BufMut, Bytes, BytesMut};
use millstream_core::{BatchId, Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::receiver::names::{NameRanges, NamesSnapshot};
use crate::stage::StateIdentity;

pub(crate) const CHUNK: u8 = 1;
pub(crate) const PREPARED: u8 = 2;
pub(crate) const GROUP: u8 = 3;
pub(crate) const APPLIED: u8 = 4;
pub(crate) const OPENED: u8 = 5;

/// Version of all of the above.
pub(crate) const VERSION: u32 = 1;
/// Larger batches are written in chunks of this many bytes.
pub(crate) const CHUNK_BYTES: usize = 4 << 20;

/// A batch, committed by being durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prepared {
    pub(crate) head: Head,
    /// Per state, its delta in parts.
    pub(crate) deltas: Vec<Vec<Bytes>>,
    /// Per output, what is staged; `None` when the batch brings it nothing.
    pub(crate) staged: Vec<Option<Bytes>>,
}

/// The small part of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) batch: BatchId,
    pub(crate) epoch: u64,
    pub(crate) time_ms: u64,
    /// Per input stream.
    pub(crate) inputs: Vec<InputRanges>,
    /// Events trimmed since the log began.
    pub(crate) redelivered: u64,
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Bytes of each state's delta, in the order of [`Opened::states`].
    pub(crate) delta_lengths: Vec<u64>,
    /// Bytes staged for each output, in the order of [`Opened::outputs`].
    pub(crate) staged_lengths: Vec<Option<u64>>,
}

/// What a batch took from one input stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InputRanges {
    /// Events with names, dead letters among them.
    pub(crate) names: NameRanges,
    /// Events without names: from peers that give none.
    pub(crate) unnamed: u64,
}

/// An event that no retry could help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadLetter {
    /// Operator and line, and what it said.
    pub(crate) reason: String,
    pub(crate) name: Option<(u128, u64)>,
    /// None in logs of earlier programs.
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// How far an output has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) output: String,
    /// Everything up to this batch is applied.
    pub(crate) batch: BatchId,
    /// The last batch that brought it anything; 0 for none.
    pub(crate) brought: BatchId,
}

/// A program opened the log: what the indexes of the following records mean.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) epoch: u64,
    pub(crate) states: Vec<StateIdentity>,
    pub(crate) outputs: Vec<String>,
    pub(crate) inputs: Vec<String>,
}

/// Everything but the state, as of the beginning of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) version: u32,
    pub(crate) job: String,
    pub(crate) opened: Opened,
    pub(crate) last_batch: BatchId,
    /// When that was due.
    pub(crate) last_time_ms: u64,
    /// Names seen.
    pub(crate) names: NamesSnapshot,
    /// Events without names.
    pub(crate) unnamed: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) cursors: Vec<Applied>,
    /// The segment from which the log gives the whole state.
    pub(crate) base: u64,
}

// === impl Checkpoint ===

impl Checkpoint {
    /// Counts a batch that is in the log.
    pub(crate) fn batch_committed(&mut self, head: &Head) {
        self.last_batch = head.batch;
        self.last_time_ms = head.time_ms;
        self.dead_lettered += head.dead_letters.len() as u64;
        self.unnamed += head.inputs.iter().map(|input| input.unnamed).sum::<u64>();
    }
}

// === impl Prepared ===

impl Prepared {
    /// The batch as the payloads of its records, in order; all but the last are chunks.
    pub(crate) fn payloads(&self) -> Result<Vec<Vec<Bytes>>> {
        let mut head = self.head.clone();
        head.delta_lengths = self.deltas.iter().map(|parts| parts.iter().map(|part| part.len() as u64).sum()).collect();
        head.staged_lengths = self.staged.iter().map(|bytes| bytes.as_ref().map(|bytes| bytes.len() as u64)).collect();
        let encoded = encode(&head)?;
        let length = Bytes::copy_from_slice(&(encoded.len() as u32).to_le_bytes());
        let sections = self.deltas.iter().flatten().chain(self.staged.iter().flatten()).cloned();

        let mut payloads: Vec<Vec<Bytes>> = vec![Vec::new()];
        let mut room = CHUNK_BYTES;
        for mut section in [length, encoded].into_iter().chain(sections) {
            while !section.is_empty() {
                if room == 0 {
                    payloads.push(Vec::new());
                    room = CHUNK_BYTES;
                }
                let piece = section.split_to(section.len().min(room));
                room -= piece.len();
                if let Some(payload) = payloads.last_mut() {
                    payload.push(piece);
                }
            }
        }
        for (index, payload) in payloads.iter_mut().enumerate() {
            let mut prefix = BytesMut::with_capacity(12);
            prefix.put_u64_le(head.batch);
            prefix.put_u32_le(index as u32);
            payload.insert(0, prefix.freeze());
        }
        Ok(payloads)
    }

    /// Reads the pieces of a batch, put together.
    pub(crate) fn decode(mut whole: Bytes) -> Result<Self> {
        let corrupt = || Error::corrupt("commit log", "a record that is not a batch");
        let length =
            whole.get(..4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes).ok_or_else(corrupt)?;
        let _ = whole.split_to(4);
        let mut section = |length: u64| {
            let length = usize::try_from(length).ok().filter(|&length| length <= whole.len()).ok_or_else(corrupt)?;
            Ok(whole.split_to(length))
        };
        let head: Head = decode(&section(length.into())?)?;
        let deltas = head.delta_lengths.iter().map(|&length| Ok(vec![section(length)?])).collect::<Result<_>>()?;
        let staged = head.staged_lengths.iter().map(|length| length.map(&mut section).transpose());
        let staged = staged.collect::<Result<_>>()?;
        Ok(Self { head, deltas, staged })
    }
}

/// Puts the chunks of a large batch together.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    batch: BatchId,
    pieces: Vec<Bytes>,
}

impl Assembly {
    /// Takes a chunk or the final record; returns the whole batch after the final one. A chunk that begins a batch anew
    /// discards what a failed attempt left.
    pub(crate) fn push(&mut self, kind: u8, payload: &Bytes) -> Result<Option<Prepared>> {
        let corrupt = |problem: &str| Error::corrupt("commit log", problem.to_owned());
        let prefix = payload.first_chunk::<12>().ok_or_else(|| corrupt("a batch record without its prefix"))?;
        let (batch, index) = prefix.split_at(8);
        let batch = batch.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let index = index.try_into().map(u32::from_le_bytes).unwrap_or_default();
        if index == 0 {
            *self = Self { batch, pieces: Vec::new() };
        }
        if self.batch != batch || self.pieces.len() != index as usize {
            return Err(corrupt("a piece of a batch is missing"));
        }
        self.pieces.push(payload.slice(12..));
        if kind == CHUNK {
            return Ok(None);
        }
        let pieces = std::mem::take(&mut self.pieces);
        let whole = if let [one] = pieces.as_slice() { one.clone() } else { pieces.concat().into() };
        Prepared::decode(whole).map(Some)
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes> {
    let encoded = rmp_serde::to_vec_named(value);
    encoded.map(Bytes::from).map_err(|error| Error::corrupt("commit log", format_args!("cannot encode: {error}")))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(|error| Error::corrupt("commit log", format_args!("cannot decode: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_batch_comes_back_from_its_chunks_and_a_failed_attempt_is_forgotten() {
        let names = vec![(u128::MAX - 5, 3..9)];
        let head = Head { batch: 7, inputs: vec![InputRanges { names, unnamed: 1 }], ..Head::default() };
        let big = Bytes::from(vec![5_u8; CHUNK_BYTES * 2 + 17]);
        let prepared =
            Prepared { head, deltas: vec![vec![big.clone()], vec![]], staged: vec![None, Some(big.clone())] };
        let payloads = prepared.payloads().expect("encodes");
        assert!(payloads.len() > 4);
        let mut assembly = Assembly::default();
        // A first attempt that stopped after two chunks.
        for payload in &payloads[..2] {
            assert!(assembly.push(CHUNK, &payload.concat().into()).expect("chunk").is_none());
        }
        let mut whole = None;
        for (index, payload) in payloads.iter().enumerate() {
            let kind = if index + 1 == payloads.len() { PREPARED } else { CHUNK };
            whole = assembly.push(kind, &payload.concat().into()).expect("piece");
        }
        let back = whole.expect("the final piece gives the batch");
        assert_eq!(back.head.inputs, prepared.head.inputs);
        assert_eq!(back.deltas[0].concat(), big);
        assert_eq!(back.staged[1].as_ref(), Some(&big));
        assert!(back.staged[0].is_none());
    }
}
