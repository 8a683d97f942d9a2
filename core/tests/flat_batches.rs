//! The flat form of batches: everything comes back, and bytes that are none are refused or read, never a panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use millstream_core::{Batch, CommonHeader, Coverage, EventRef, NameRun, SlabBuilder};
use proptest::prelude::*;
use proptest::sample::Index;

/// Headers and body of each event.
type Plain = Vec<(Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>)>;

fn any_events() -> impl Strategy<Value = Plain> {
    let headers = prop::collection::vec((short(), short()), 0..3);
    prop::collection::vec((headers, short()), 0..12)
}

fn short() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..20)
}

/// The events in one buffer; the position of each is beyond the one before by as much as `gaps` says.
fn plain_batch(events: &Plain, gaps: Option<u32>) -> Batch {
    let mut buffer = b"before".to_vec();
    let mut add = |bytes: &[u8]| {
        buffer.extend_from_slice(bytes);
        buffer.len() - bytes.len()..buffer.len()
    };
    let mut spans = Vec::new();
    for (index, (headers, body)) in events.iter().enumerate() {
        // Half of the bodies lie before their headers.
        let early = (index % 2 == 0).then(|| add(body));
        let headers: Vec<_> = headers.iter().map(|(key, value)| (add(key), add(value))).collect();
        spans.push((headers, early.unwrap_or_else(|| add(body))));
    }
    buffer.extend_from_slice(b"after");
    let mut builder = SlabBuilder::new(buffer.into());
    for (index, (headers, body)) in spans.into_iter().enumerate() {
        headers.into_iter().for_each(|(key, value)| builder.header(key, value));
        match gaps {
            Some(gap) => builder.row_ending_at(body, (index as u64 + 1) * (u64::from(gap) + 1)),
            None => builder.row(body),
        }
    }
    builder.finish()
}

/// Names of all events: consecutive ones, or anew at every third.
fn named(batch: Batch, incarnation: u128, first: u64, broken: bool) -> Batch {
    if !broken || batch.is_empty() {
        return batch.named(incarnation, first);
    }
    let run = |first_row: u32| NameRun { first_row, incarnation: incarnation ^ u128::from(first_row), first };
    let runs = (0..batch.len() as u32).step_by(3).map(run).collect();
    batch.with_names(runs)
}

prop_compose! {
    fn any_coverage()(
        origin in ".{0,12}", start: u64, end: u64, retire: bool,
        dropped in prop::collection::vec((".{0,6}", any::<u64>()), 0..3),
    ) -> Coverage {
        let dropped = dropped.into_iter().map(|(rule, events)| (rule.into(), events)).collect();
        Coverage { origin: origin.into(), start, end, dropped, retire }
    }
}

prop_compose! {
    fn any_batch()(
        events in any_events(),
        gaps: Option<u32>,
        names in prop::option::of((any::<u128>(), 0..u64::MAX - 100, any::<bool>())),
        common in prop::collection::vec((short(), short(), any::<bool>()), 0..3),
        coverage in prop::option::of(any_coverage()),
        holes in prop::option::of(any::<u16>()),
        ends in any::<(Index, Index)>(),
    ) -> Batch {
        let mut batch = plain_batch(&events, gaps);
        if let Some((incarnation, first, broken)) = names {
            batch = named(batch, incarnation, first, broken);
        }
        for (key, value, keep_existing) in common {
            batch = batch.with_common_header(CommonHeader { key: key.into(), value: value.into(), keep_existing });
        }
        if let Some(holes) = holes {
            batch = batch.filter(|index| holes >> (index % 16) & 1 == 0);
            let (one, other) = (ends.0.index(batch.len() + 1), ends.1.index(batch.len() + 1));
            batch = batch.slice(one.min(other)..one.max(other));
        }
        match coverage {
            Some(coverage) => batch.with_coverage(coverage),
            None => batch,
        }
    }
}

fn record(batch: &Batch) -> Bytes {
    let (meta, bytes) = batch.flatten();
    [meta, bytes].concat().into()
}

fn headers(event: EventRef<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    event.headers().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// Does what channels and receivers do with a batch that was read.
fn use_up(batch: &Batch) {
    for event in batch.iter() {
        let _ = (event.body().len(), headers(event), event.name(), event.end());
    }
    let _ = (batch.name_ranges(), batch.body_bytes(), batch.retained_bytes(), batch.coverage());
    let half = batch.slice(batch.len() / 2..batch.len());
    for batch in [batch.compact(), batch.without_covered(5), half.dense(), half, batch.filter(|index| index % 2 == 1)] {
        let _ = (record(&batch), batch.names());
    }
}

proptest! {
    #[test]
    fn everything_survives_the_round_trip(batch in any_batch()) {
        let record = record(&batch);
        let back = Batch::unflatten(&record).unwrap();
        prop_assert_eq!(back.len(), batch.len());
        for (ours, theirs) in back.iter().zip(batch.iter()) {
            prop_assert_eq!(ours.body(), theirs.body());
            prop_assert_eq!(headers(ours), headers(theirs));
            prop_assert_eq!((ours.name(), ours.end()), (theirs.name(), theirs.end()));
        }
        prop_assert_eq!(back.common_headers(), batch.common_headers());
        prop_assert_eq!(back.coverage(), batch.coverage());
        prop_assert_eq!(back.name_ranges(), batch.name_ranges());
        prop_assert_eq!(self::record(&back), record, "and the same bytes again");
    }

    #[test]
    fn everything_survives_a_rewrite_of_some_of_it(batch in any_batch(), odd: bool) {
        let mut rewriter = batch.rewriter();
        for index in 0..batch.len() {
            match (index % 2 == 0) == odd {
                true => rewriter.keep(),
                false => rewriter.set_body(b"other"),
            }
        }
        let new = rewriter.finish().unwrap();
        prop_assert_eq!(new.len(), batch.len());
        for (index, (ours, theirs)) in new.iter().zip(batch.iter()).enumerate() {
            let changed = (index % 2 == 0) != odd;
            prop_assert_eq!(ours.body(), if changed { b"other" } else { theirs.body() });
            prop_assert_eq!(headers(ours), headers(theirs));
            prop_assert_eq!((ours.name(), ours.end()), (theirs.name(), theirs.end()));
        }
        prop_assert_eq!(new.coverage(), batch.coverage());
        prop_assert_eq!(new.name_ranges(), batch.name_ranges());
        use_up(&new);
    }

    #[test]
    fn a_record_cut_anywhere_is_refused_or_read(batch in any_batch()) {
        let record = record(&batch);
        let (meta, _) = batch.flatten();
        for cut in 0..record.len() {
            let read = Batch::unflatten(&record.slice(..cut));
            prop_assert!(cut >= meta.len() || read.is_err(), "cut at {} of {} bytes of meta", cut, meta.len());
            if let Ok(read) = read {
                use_up(&read);
            }
        }
    }

    #[test]
    fn a_record_with_a_flipped_bit_is_refused_or_read(batch in any_batch()) {
        let record = record(&batch);
        for bit in 0..record.len() * 8 {
            let mut flipped = record.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = Batch::unflatten(&flipped.into()) {
                use_up(&read);
            }
        }
    }

    #[test]
    fn random_bytes_are_refused_or_read(bytes: Vec<u8>, flags in 0..4_u8) {
        for bytes in [bytes.clone(), [&[1, flags][..], &bytes].concat()] {
            if let Ok(read) = Batch::unflatten(&bytes.into()) {
                use_up(&read);
            }
        }
    }
}

/// Version 1, no flags, two rows without body and headers; then `runs`, no common headers.
fn nameless_rows_with(runs: &[(u8, u64)]) -> Bytes {
    let mut record = vec![1, 0, 2, 0, 0, 0, 0, 0, 0, runs.len() as u8];
    for (first_row, first) in runs {
        record.push(*first_row);
        record.extend([9; 16]);
        let mut rest = *first;
        while rest >= 0x80 {
            record.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        record.push(rest as u8);
    }
    record.push(0);
    record.into()
}

#[test]
fn names_that_are_not_those_of_the_rows_are_refused() {
    for fine in [&[][..], &[(0, 5)], &[(0, 5), (1, 3)], &[(0, u64::MAX - 2)]] {
        use_up(&Batch::unflatten(&nameless_rows_with(fine)).unwrap());
    }
    for (runs, reason) in [
        (&[(1, 5)][..], "the first row has none"),
        (&[(0, 5), (0, 9)], "a run of nothing"),
        (&[(0, 5), (2, 9)], "beyond the last row"),
        (&[(0, 5), (1, 9), (0, 3)], "not ascending"),
        (&[(0, u64::MAX - 1)], "beyond 2^64"),
    ] {
        assert!(Batch::unflatten(&nameless_rows_with(runs)).is_err(), "{reason}");
    }
}

#[test]
fn claimed_counts_are_refused_before_anything_is_reserved() {
    let huge = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    for before in [&[1, 0][..], &[1, 0, 1, 0, 0], &[1, 0, 0], &[1, 0, 0, 0], &[1, 2, 0, 0, 0]] {
        let claimed = [before, &huge, &[0; 8]].concat();
        assert!(Batch::unflatten(&claimed.into()).is_err(), "{before:?}");
    }
}
