//! The event of Flume and of Spark's sink, which have the same bytes: a map of headers, then the body.
//!
//! # Layout
//! | Part | Encoding |
//! |---|---|
//! | array of events | blocks: count (negative: its size in bytes follows), so many events; ends with count 0 |
//! | headers | map of string: blocks of key, value; ends with count 0 |
//! | body | bytes |

use bytes::{BufMut, Bytes};
use millstream_core::{Batch, EventRef, SlabBuilder};

use crate::error::WireError;
use crate::reader::Reader;
use crate::writer;

/// What one received batch may hold. The tables of a batch cost 12 bytes for each event and 16 for each header beside the
/// received bytes, and an empty event takes only 2 of those, hence a bound of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// Most events. Default 1,048,576: a thousand times the usual batch.
    pub max_events: u64,
    /// Most headers over all events. Default 4,194,304.
    pub max_headers: u64,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { max_events: 1 << 20, max_headers: 1 << 22 }
    }
}

// === decoding ===

/// Reads an array of events from `reader`, which must read `payload`. The batch shares the payload.
pub(crate) fn decode_events(
    reader: &mut Reader<'_>,
    payload: &Bytes,
    limits: &EventLimits,
) -> Result<Batch, WireError> {
    check_payload(payload)?;
    let mut table: Option<Table> = None;
    while let Some(count) = reader.block("events", LEAST_EVENT_BYTES)? {
        let table = table.get_or_insert_with(|| {
            // Room for what was claimed, as far as the bytes at hand make it likely.
            let likely = count.min(limits.max_events).min((reader.remaining() / LIKELY_EVENT_BYTES) as u64);
            Table::new(payload, likely as usize)
        });
        for _ in 0..count {
            table.read_event(reader, limits)?;
        }
    }
    Ok(table.map_or_else(Batch::empty, |table| table.builder.finish()))
}

/// Reads one event as a batch of one.
pub(crate) fn decode_event(reader: &mut Reader<'_>, payload: &Bytes, limits: &EventLimits) -> Result<Batch, WireError> {
    check_payload(payload)?;
    let mut table = Table::new(payload, 1);
    table.read_event(reader, limits)?;
    Ok(table.builder.finish())
}

/// Counts what goes into the builder.
struct Table {
    builder: SlabBuilder,
    events: u64,
    headers: u64,
}

impl Table {
    fn new(payload: &Bytes, rows: usize) -> Self {
        Self { builder: SlabBuilder::with_capacity(payload.clone(), rows), events: 0, headers: 0 }
    }

    fn read_event(&mut self, reader: &mut Reader<'_>, limits: &EventLimits) -> Result<(), WireError> {
        self.events += 1;
        check_limit("events", reader, self.events, limits.max_events)?;
        while let Some(count) = reader.block("event headers", LEAST_HEADER_BYTES)? {
            self.headers = self.headers.saturating_add(count);
            check_limit("event headers", reader, self.headers, limits.max_headers)?;
            for _ in 0..count {
                let key = reader.span("event header key")?;
                self.builder.header(key, reader.span("event header value")?);
            }
        }
        self.builder.row(reader.span("event body")?);
        Ok(())
    }
}

fn check_limit(structure: &'static str, reader: &Reader<'_>, claimed: u64, limit: u64) -> Result<(), WireError> {
    if claimed <= limit {
        return Ok(());
    }
    Err(WireError::TooLarge { structure, offset: reader.position(), claimed, limit })
}

/// Spans of a batch are 32 bits wide.
fn check_payload(payload: &Bytes) -> Result<(), WireError> {
    let (claimed, limit) = (payload.len() as u64, u64::from(u32::MAX));
    if claimed <= limit {
        return Ok(());
    }
    Err(WireError::TooLarge { structure: "payload", offset: 0, claimed, limit })
}

// === encoding ===

/// Bytes that [`encode_events`] writes.
pub(crate) fn events_len(batches: &[Batch]) -> usize {
    let count: usize = batches.iter().map(Batch::len).sum();
    let events: usize = batches.iter().flat_map(|batch| batch.iter().map(event_len)).sum();
    if count == 0 { 1 } else { writer::long_len(count as i64) + events + 1 }
}

/// Writes the events of all batches as an array of one block, in order.
pub(crate) fn encode_events(out: &mut impl BufMut, batches: &[Batch]) {
    let count: usize = batches.iter().map(Batch::len).sum();
    if count > 0 {
        writer::long(out, count as i64);
        for batch in batches {
            batch.iter().for_each(|event| encode_event(out, event));
        }
    }
    writer::long(out, 0);
}

/// Bytes that [`encode_event`] writes.
pub(crate) fn event_len(event: EventRef<'_>) -> usize {
    let (mut count, mut entries) = (0, 0);
    for (key, value) in event.headers() {
        count += 1;
        entries += writer::bytes_len(key.len()) + writer::bytes_len(value.len());
    }
    let headers = if count == 0 { 1 } else { writer::long_len(count) + entries + 1 };
    headers + writer::bytes_len(event.body().len())
}

/// Writes one event.
pub(crate) fn encode_event(out: &mut impl BufMut, event: EventRef<'_>) {
    let count = event.headers().count();
    if count > 0 {
        writer::long(out, count as i64);
        for (key, value) in event.headers() {
            writer::bytes(out, key);
            writer::bytes(out, value);
        }
    }
    writer::long(out, 0);
    writer::bytes(out, event.body());
}

/// No headers and no body: two zeros.
const LEAST_EVENT_BYTES: u64 = 2;
/// An empty key and an empty value.
const LEAST_HEADER_BYTES: u64 = 2;
/// Room is reserved as if events were at least so large; smaller ones let the table grow.
const LIKELY_EVENT_BYTES: usize = 16;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Headers and body of each event.
    pub(crate) type Plain = Vec<(Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>)>;

    pub(crate) fn plain(batch: &Batch) -> Plain {
        let headers = |event: EventRef<'_>| event.headers().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        batch.iter().map(|event| (headers(event), event.body().to_vec())).collect()
    }

    pub(crate) fn batch_of(events: &Plain) -> Batch {
        let mut buffer = Vec::new();
        let mut add = |bytes: &[u8]| {
            buffer.extend_from_slice(bytes);
            buffer.len() - bytes.len()..buffer.len()
        };
        let spans: Vec<_> = events
            .iter()
            .map(|(headers, body)| (headers.iter().map(|(k, v)| (add(k), add(v))).collect::<Vec<_>>(), add(body)))
            .collect();
        let mut builder = SlabBuilder::with_capacity(buffer.into(), events.len());
        for (headers, body) in spans {
            headers.into_iter().for_each(|(key, value)| builder.header(key, value));
            builder.row(body);
        }
        builder.finish()
    }

    pub(crate) fn any_events() -> impl Strategy<Value = Plain> {
        let headers = prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..3);
        prop::collection::vec((headers, any::<Vec<u8>>()), 0..12)
    }

    fn encoded(batches: &[Batch]) -> Bytes {
        let mut out = Vec::new();
        encode_events(&mut out, batches);
        assert_eq!(out.len(), events_len(batches));
        out.into()
    }

    fn decoded(payload: &Bytes) -> Result<Batch, WireError> {
        let mut reader = Reader::new(payload);
        let batch = decode_events(&mut reader, payload, &EventLimits::default())?;
        reader.finish("events")?;
        Ok(batch)
    }

    proptest! {
        #[test]
        fn events_survive_the_round_trip(first in any_events(), second in any_events()) {
            let payload = encoded(&[batch_of(&first), batch_of(&second)]);
            let batch = decoded(&payload).unwrap();
            prop_assert_eq!(plain(&batch), [first, second].concat());
            prop_assert_eq!(encoded(&[batch]), payload);
        }

        #[test]
        fn events_cut_anywhere_are_refused(events in any_events()) {
            let payload = encoded(&[batch_of(&events)]);
            for end in 0..payload.len() {
                prop_assert!(decoded(&payload.slice(..end)).is_err(), "cut at {}", end);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decoded(&bytes.into());
        }
    }

    #[test]
    fn bodies_lie_in_the_received_payload() {
        let payload = encoded(&[Batch::from_bodies(["one", "two"])]);
        let batch = decoded(&payload).unwrap();
        assert!(batch.iter().all(|event| payload.as_ptr_range().contains(&event.body().as_ptr())));
    }

    #[test]
    fn several_blocks_with_sizes_are_one_array() {
        let payload = Bytes::from_static(&[1, 6, 0, 2, b'a', 2, 1, 8, 2, b'k', 2, b'v', 0, 2, b'b', 0]);
        let key = (b"k".to_vec(), b"v".to_vec());
        assert_eq!(plain(&decoded(&payload).unwrap()), [(vec![], b"a".to_vec()), (vec![key], b"b".to_vec())]);
    }

    #[test]
    fn claimed_counts_are_refused() {
        for count in [1i64 << 31, -(1 << 31), i64::MAX, i64::MIN] {
            let mut events = Vec::new();
            writer::long(&mut events, count);
            events.extend([0; 64]);
            assert!(decoded(&events.clone().into()).is_err(), "events {count}");
            events.splice(0..0, [2]);
            assert!(decoded(&events.into()).is_err(), "headers {count}");
        }
    }

    #[test]
    fn the_tables_are_bounded() {
        let payload = encoded(&[Batch::from_bodies(vec![""; 100])]);
        let limits = EventLimits { max_events: 99, max_headers: 9 };
        let error = decode_events(&mut Reader::new(&payload), &payload, &limits).unwrap_err();
        assert!(matches!(error, WireError::TooLarge { structure: "events", claimed: 100, limit: 99, .. }));
        let many = vec![(b"k".to_vec(), b"v".to_vec()); 10];
        let payload = encoded(&[batch_of(&vec![(many, vec![])])]);
        let error = decode_events(&mut Reader::new(&payload), &payload, &limits).unwrap_err();
        assert!(matches!(error, WireError::TooLarge { structure: "event headers", claimed: 10, limit: 9, .. }));
    }
}
