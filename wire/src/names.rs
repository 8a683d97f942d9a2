//! Our own call metadata: the names of the events that a call or an answer carries, and who the peer is.
//!
//! Flume and Spark ignore metadata in both directions, so events stay as they are on the wire. A reply carries names only
//! when the request announced that its sender understands them.
//!
//! | Key | In | Value |
//! |---|---|---|
//! | `millstream.accept` | request | `names` |
//! | `millstream.peer` | request, reply | version as UTF-8, then ` pipelined` if it takes several calls at once |
//! | `millstream.names` | whichever carries the events | below |
//!
//! # Layout
//! All numbers are unsigned LEB128, incarnations 16 bytes big endian.
//!
//! | Field | Encoding |
//! |---|---|
//! | format version | 1 byte, 1 |
//! | number of incarnations | LEB128 |
//! | each incarnation | 16 bytes, then the low-water mark plus one, or 0 for none |
//! | number of runs | LEB128 |
//! | each run, in the order of the events | index of the incarnation from 0, first sequence, count of 1 or more |

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_core::{Batch, NameRun};

use crate::avro_rpc::Metadata;
use crate::error::WireError;
use crate::reader::Reader;
use crate::writer;

/// What the events of a call are called, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Runs of (incarnation, first sequence, count), in the order of the events.
    pub runs: Vec<(u128, u64, u64)>,
    /// (incarnation, sequence), each incarnation once: names below it will not be sent again, so a receiver may forget
    /// which of them it has.
    pub low_water: Vec<(u128, u64)>,
}

/// Who speaks, for Millstream's own peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Version, such as `millstream/0.1.0`; without spaces.
    pub version: String,
    /// Whether it takes several calls at once on a connection and answers each when ready.
    pub pipelined: bool,
}

// === impl Names ===

impl Names {
    /// The names of all events of `batches`; `None` if any event has none.
    pub fn of(batches: &[Batch]) -> Option<Self> {
        let mut runs: Vec<(u128, u64, u64)> = Vec::new();
        for batch in batches {
            let mut named = 0;
            for (incarnation, range) in batch.name_ranges() {
                let count = range.end.checked_sub(range.start)?;
                named += count;
                match runs.last_mut() {
                    Some((last, first, length))
                        if *last == incarnation && first.checked_add(*length) == Some(range.start) =>
                    {
                        *length += count;
                    }
                    _ => runs.push((incarnation, range.start, count)),
                }
            }
            // A batch whose first event has a name has names to its end; one whose first has none yields no ranges.
            if named != batch.len() as u64 {
                return None;
            }
        }
        Some(Self { runs, low_water: Vec::new() })
    }

    /// Events named.
    pub fn count(&self) -> u64 {
        self.runs.iter().fold(0, |sum, (_, _, count)| sum.saturating_add(*count))
    }

    /// Gives the names to the events of `batch`, in order.
    ///
    /// # Errors
    /// `Invalid` if they are not as many as the events.
    pub fn name(&self, batch: Batch) -> Result<Batch, WireError> {
        if self.count() != batch.len() as u64 {
            let (structure, seen) = ("names", i64::try_from(self.count()).unwrap_or(i64::MAX));
            return Err(WireError::Invalid { structure, offset: 0, seen, wanted: "as many names as events" });
        }
        let mut first_row = 0u32;
        let mut runs = Vec::with_capacity(self.runs.len());
        for &(incarnation, first, count) in &self.runs {
            runs.push(NameRun { first_row, incarnation, first });
            first_row += count as u32; // The sum is the number of events, which is below 2^32.
        }
        Ok(batch.with_names(runs))
    }

    /// Encodes the value of [`NAMES`].
    pub fn encode(&self) -> Bytes {
        let mut table: Vec<(u128, Option<u64>)> = Vec::new();
        let mut index_of: HashMap<u128, usize> = HashMap::new();
        let named = self.runs.iter().map(|(incarnation, _, _)| (*incarnation, None));
        let marked = self.low_water.iter().map(|(incarnation, mark)| (*incarnation, Some(*mark)));
        for (incarnation, mark) in marked.chain(named) {
            index_of.entry(incarnation).or_insert_with(|| {
                table.push((incarnation, mark));
                table.len() - 1
            });
        }
        let mut out = BytesMut::with_capacity(16 + table.len() * 26 + self.runs.len() * 8);
        out.put_u8(VERSION);
        writer::unsigned(&mut out, table.len() as u64);
        for (incarnation, mark) in &table {
            out.put_u128(*incarnation);
            // A mark of 2^64 - 1 cannot be said; one less is only more careful.
            writer::unsigned(&mut out, mark.map_or(0, |mark| mark.saturating_add(1)));
        }
        writer::unsigned(&mut out, self.runs.len() as u64);
        for (incarnation, first, count) in &self.runs {
            let index = index_of.get(incarnation).copied().expect("every run's incarnation was entered above");
            writer::unsigned(&mut out, index as u64);
            writer::unsigned(&mut out, *first);
            writer::unsigned(&mut out, *count);
        }
        out.freeze()
    }

    /// Decodes the value of [`NAMES`]. `None` for a format version that we do not know: treat the events as unnamed.
    ///
    /// # Errors
    /// What [`Reader`] reports; `TooLarge` above 65,536 incarnations or 1,048,576 runs; `Invalid` for an empty run, a run
    /// beyond 2^64 or an index without incarnation; `Trailing`.
    pub fn decode(value: &[u8]) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(value);
        if reader.fixed::<1>("names version")? != [VERSION] {
            return Ok(None);
        }
        let count = table_len(&mut reader, "names: incarnations", MAX_INCARNATIONS, LEAST_INCARNATION_BYTES)?;
        let mut incarnations = Vec::with_capacity(count);
        let mut low_water = Vec::new();
        for _ in 0..count {
            let incarnation = u128::from_be_bytes(reader.fixed("names: incarnation")?);
            incarnations.push(incarnation);
            if let Some(mark) = reader.unsigned("names: low-water mark")?.checked_sub(1) {
                low_water.push((incarnation, mark));
            }
        }
        let count = table_len(&mut reader, "names: runs", MAX_RUNS, LEAST_RUN_BYTES)?;
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            runs.push(decode_run(&mut reader, &incarnations)?);
        }
        reader.finish("names")?;
        Ok(Some(Self { runs, low_water }))
    }

    /// Adds the names to call metadata.
    pub fn insert_into(&self, meta: &mut Metadata) {
        meta.insert(NAMES, self.encode());
    }

    /// The names in call metadata, if there are any that we understand.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn from_meta(meta: &Metadata) -> Result<Option<Self>, WireError> {
        meta.value(NAMES).map_or(Ok(None), |value| Self::decode(value))
    }
}

// === impl Peer ===

impl Peer {
    /// Adds who we are to call metadata, and for a request that names are understood in the reply.
    pub fn insert_into(&self, meta: &mut Metadata, accept_names: bool) {
        let flag = if self.pipelined { PIPELINED } else { "" };
        meta.insert(PEER, format!("{}{flag}", self.version));
        if accept_names {
            meta.insert(ACCEPT, ACCEPT_NAMES);
        }
    }

    /// The peer that call metadata speaks of; `None` for a foreign one. Flags that we do not know are ignored.
    pub fn from_meta(meta: &Metadata) -> Option<Self> {
        let text = std::str::from_utf8(meta.value(PEER)?).ok()?;
        let mut words = text.split(' ');
        let version = words.next().unwrap_or_default().to_owned();
        Some(Self { version, pipelined: words.any(|flag| flag == PIPELINED.trim_start()) })
    }
}

/// Whether the sender of a request understands names in the reply.
pub fn accepts_names(meta: &Metadata) -> bool {
    meta.value(ACCEPT).is_some_and(|value| value.split(|byte| *byte == b' ').any(|word| word == ACCEPT_NAMES))
}

// === helpers ===

fn decode_run(reader: &mut Reader<'_>, incarnations: &[u128]) -> Result<(u128, u64, u64), WireError> {
    let structure = "names: run";
    let offset = reader.position();
    let invalid = |value: u64, wanted| {
        let seen = i64::try_from(value).unwrap_or(i64::MAX);
        WireError::Invalid { structure, offset, seen, wanted }
    };
    let index = reader.unsigned(structure)?;
    let incarnation = usize::try_from(index).ok().and_then(|index| incarnations.get(index));
    let incarnation = *incarnation.ok_or_else(|| invalid(index, "the index of an incarnation"))?;
    let first = reader.unsigned(structure)?;
    let count = reader.unsigned(structure)?;
    if count == 0 || first.checked_add(count).is_none() {
        return Err(invalid(count, "1 or more, ending below 2^64"));
    }
    Ok((incarnation, first, count))
}

/// Reads a number of entries and holds it against the limit and the bytes left.
fn table_len(reader: &mut Reader<'_>, structure: &'static str, limit: u64, least: u64) -> Result<usize, WireError> {
    let offset = reader.position();
    let claimed = reader.unsigned(structure)?;
    if claimed > limit {
        return Err(WireError::TooLarge { structure, offset, claimed, limit });
    }
    let (wanted, left) = (claimed * least, reader.remaining() as u64);
    if wanted > left {
        return Err(WireError::Truncated { structure, offset, wanted, left });
    }
    Ok(claimed as usize)
}

/// Metadata key of a request: what its sender understands in the reply, words apart by spaces.
pub const ACCEPT: &str = "millstream.accept";
/// The word for names.
pub const ACCEPT_NAMES: &[u8] = b"names";
/// Metadata key: who speaks.
pub const PEER: &str = "millstream.peer";
/// Metadata key: the names of the events carried.
pub const NAMES: &str = "millstream.names";
const PIPELINED: &str = " pipelined";
const VERSION: u8 = 1;
/// Far above what one batch can have passed through.
const MAX_INCARNATIONS: u64 = 1 << 16;
/// As many as a batch may have events.
const MAX_RUNS: u64 = 1 << 20;
const LEAST_INCARNATION_BYTES: u64 = 17;
const LEAST_RUN_BYTES: u64 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_names() -> impl Strategy<Value = Names> {
        let run = (0u128..4, 0..u64::MAX / 2, 1..u64::MAX / 2);
        let marks = prop::collection::btree_map(0u128..6, 0..u64::MAX - 1, 0..6);
        (prop::collection::vec(run, 0..20), marks)
            .prop_map(|(runs, marks)| Names { runs, low_water: marks.into_iter().collect() })
    }

    proptest! {
        #[test]
        fn names_survive_the_round_trip(names in any_names()) {
            let value = names.encode();
            prop_assert_eq!(Names::decode(&value), Ok(Some(names)));
            for end in 0..value.len() {
                prop_assert!(Names::decode(&value[..end]).is_err(), "cut at {}", end);
            }
        }

        #[test]
        fn peers_survive_the_round_trip(version in "[!-~]{1,20}", pipelined: bool, accept_names: bool) {
            let (peer, mut meta) = (Peer { version, pipelined }, Metadata::new());
            peer.insert_into(&mut meta, accept_names);
            prop_assert_eq!((Peer::from_meta(&meta), accepts_names(&meta)), (Some(peer), accept_names));
        }

        #[test]
        fn names_given_to_events_are_read_from_them_again(
            runs in prop::collection::vec((0u128..4, 0..1000u64, 1..20u64), 0..20),
        ) {
            let each = |names: &Names| -> Vec<(u128, u64)> {
                names.runs.iter().flat_map(|&(incarnation, first, count)| (0..count).map(move |k| (incarnation, first + k))).collect()
            };
            let names = Names { runs, low_water: Vec::new() };
            let batch = Batch::from_bodies(vec![""; names.count() as usize]);
            let read = Names::of(&[names.name(batch).unwrap()]).unwrap();
            prop_assert_eq!(each(&read), each(&names));
        }

        #[test]
        fn random_bytes_never_panic(mut bytes: Vec<u8>) {
            let _ = Names::decode(&bytes);
            bytes.insert(0, VERSION);
            let _ = Names::decode(&bytes);
        }
    }

    #[test]
    fn names_of_batches_join_and_return_to_the_same_events() {
        let batch = Batch::from_bodies(["a", "b", "c", "d"]).named(7, 100);
        let names = Names::of(&[batch.slice(0..2), batch.slice(2..3)]).unwrap();
        assert_eq!(names.runs, [(7, 100, 3)]);
        let holes = batch.filter(|index| index != 1);
        let names = Names::of(std::slice::from_ref(&holes)).unwrap();
        assert_eq!(names.runs, [(7, 100, 1), (7, 102, 2)]);
        let renamed = names.name(Batch::from_bodies(["a", "c", "d"])).unwrap();
        assert_eq!(renamed.names(), holes.names());
        assert!(names.name(Batch::from_bodies(["a"])).is_err(), "one event, three names");
        assert_eq!(Names::of(&[batch, Batch::from_bodies(["x"])]), None);
    }

    #[test]
    fn an_incarnation_costs_its_16_bytes_once() {
        let runs: Vec<_> = (0..100u64).map(|k| (u128::MAX, k * 2, 1)).collect();
        assert!(Names { runs, low_water: vec![(u128::MAX, 9)] }.encode().len() < 450);
    }

    #[test]
    fn claimed_tables_and_impossible_runs_are_refused() {
        let huge = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
        assert!(Names::decode(&[&[1][..], &huge].concat()).is_err());
        assert!(Names::decode(&[&[1, 0][..], &huge].concat()).is_err());
        assert!(Names::decode(&[1, 0, 1, 0, 1, 1]).is_err(), "no such incarnation");
        let table = [&[1, 1][..], &[9; 16], &[0, 1, 0]].concat();
        assert!(Names::decode(&[&table[..], &[5, 0]].concat()).is_err(), "an empty run");
        let end = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert!(Names::decode(&[&table[..], &end, &[1]].concat()).is_err(), "a run beyond 2^64");
    }

    #[test]
    fn a_later_format_is_taken_for_no_names() {
        assert_eq!(Names::decode(&[2, 99, 99]), Ok(None));
        assert_eq!(Names::from_meta(&Metadata::new()), Ok(None));
    }

    #[test]
    fn a_peer_says_who_it_is_and_what_it_understands() {
        for pipelined in [false, true] {
            let peer = Peer { version: "millstream/0.1.0".to_owned(), pipelined };
            let mut meta = Metadata::new();
            peer.insert_into(&mut meta, pipelined);
            assert_eq!(Peer::from_meta(&meta), Some(peer));
            assert_eq!(accepts_names(&meta), pipelined);
        }
        assert_eq!(Peer::from_meta(&Metadata::new()), None);
    }
}
