//! Events as one call carries them.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use millstream_core::{Batch, Error, Result, SlabBuilder};
use millstream_rpc::introduce;
use millstream_wire::avro_event::{APPEND, APPEND_BATCH, encode_append, encode_append_batch};
use millstream_wire::avro_rpc::Metadata;
use millstream_wire::names::Names;

use super::Event;
use super::series::Series;

/// A call, encoded for Avro once however often it is made.
#[derive(Debug)]
pub(super) struct Call {
    /// What it carries.
    pub(super) batch: Batch,
    /// One event by itself.
    pub(super) alone: bool,
    /// How the events are called.
    names: Names,
    avro: OnceLock<AvroCall>,
}

/// A call as Avro RPC has it.
#[derive(Debug, Clone)]
pub(super) struct AvroCall {
    pub(super) message: &'static str,
    pub(super) meta: Metadata,
    pub(super) params: Bytes,
}

// === impl Call ===

impl Call {
    /// The call that carries `events`, which all have names; `append` for a single one if `alone`.
    pub(super) fn of(events: &[Event], series: &Series, alone: bool) -> Self {
        Self { batch: batch(events), alone, names: names(events, series), avro: OnceLock::new() }
    }

    pub(super) fn avro(&self) -> AvroCall {
        let encoded = || {
            let (message, params) = match self.alone {
                true => (APPEND, encode_append(self.batch.event(0))),
                false => (APPEND_BATCH, encode_append_batch(std::slice::from_ref(&self.batch))),
            };
            let mut meta = Metadata::new();
            introduce(&mut meta, false);
            self.names.insert_into(&mut meta);
            AvroCall { message, meta, params }
        };
        self.avro.get_or_init(encoded).clone()
    }
}

/// How many of `events` go into the next call.
///
/// # Errors
/// `Rejected` for an event that no call can carry.
pub(super) fn next_len(events: &[Event], batch_size: usize) -> Result<usize> {
    let mut bytes = 0;
    for (index, event) in events.iter().take(batch_size).enumerate() {
        let next = event.bytes();
        if next > MOST_EVENT_BYTES {
            let reason = format!("an event of {next} bytes: a call carries at most {MOST_EVENT_BYTES}; divide it");
            return Err(Error::Rejected { reason });
        }
        if index > 0 && bytes + next > CALL_BYTES {
            return Ok(index);
        }
        bytes += next;
    }
    Ok(events.len().min(batch_size))
}

fn batch(events: &[Event]) -> Batch {
    let mut buffer = BytesMut::with_capacity(events.iter().map(Event::bytes).sum());
    let mut spans = Vec::with_capacity(events.len());
    let mut put = |bytes: &[u8]| {
        let start = buffer.len();
        buffer.extend_from_slice(bytes);
        start..buffer.len()
    };
    for event in events {
        let headers: Vec<_> =
            event.headers().iter().map(|(key, value)| (put(key.as_bytes()), put(value.as_bytes()))).collect();
        spans.push((headers, put(event.body())));
    }
    let mut builder = SlabBuilder::with_capacity(buffer.freeze(), events.len());
    for (headers, body) in spans {
        headers.into_iter().for_each(|(key, value)| builder.header(key, value));
        builder.row(body);
    }
    builder.finish()
}

fn names(events: &[Event], series: &Series) -> Names {
    let mut names = Names { runs: Vec::new(), low_water: vec![series.low_water()] };
    for name in events.iter().filter_map(Event::name) {
        let (incarnation, sequence) = name.parts();
        match names.runs.last_mut() {
            Some((last, first, count)) if *last == incarnation && *first + *count == sequence => *count += 1,
            _ => {
                if !names.low_water.iter().any(|(known, _)| *known == incarnation) {
                    names.low_water.push(name.series().low_water());
                }
                names.runs.push((incarnation, sequence, 1));
            }
        }
    }
    names
}

/// A call is not made longer than this, unless by a single event.
const CALL_BYTES: usize = 32 << 20;
/// A frame's length is counted in 31 bits.
const MOST_EVENT_BYTES: usize = 2_000_000_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_call_ends_at_the_batch_size_and_at_its_bytes() {
        let small: Vec<Event> = (0..10).map(|number| Event::new(number.to_string())).collect();
        assert_eq!(next_len(&small, 4).unwrap(), 4);
        assert_eq!(next_len(&small, 100).unwrap(), 10);
        let large: Vec<Event> = (0..3).map(|_| Event::new(vec![0; CALL_BYTES / 2 + 1])).collect();
        assert_eq!(next_len(&large, 100).unwrap(), 1);
    }

    #[test]
    fn names_of_several_clients_go_into_one_call_with_the_marks_of_each() {
        let (one, other) = (Series::draw().unwrap(), Series::draw().unwrap());
        one.reserve(2);
        other.reserve(2);
        let mut events = vec![Event::from("a"), Event::from("b"), Event::from("c")];
        for (event, (series, sequence)) in events.iter_mut().zip([(&one, 0), (&one, 1), (&other, 1)]) {
            event.name_with(|| series.name(sequence));
        }
        let (first, second) = (one.low_water().0, other.low_water().0);
        let names = names(&events, &other);
        assert_eq!(names.runs, [(first, 0, 2), (second, 1, 1)]);
        assert_eq!(names.low_water, [(second, 0), (first, 0)]);
    }
}
