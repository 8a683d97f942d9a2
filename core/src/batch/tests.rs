use super::*;

fn sample() -> Batch {
    let buffer = Bytes::from_static(b"keyvalalphabetagamma");
    let mut builder = SlabBuilder::new(buffer);
    builder.header(0..3, 3..6);
    builder.row_ending_at(6..11, 100);
    builder.row_ending_at(11..15, 200);
    builder.row_ending_at(15..20, 300);
    builder.finish()
}

fn bodies(batch: &Batch) -> Vec<&str> {
    batch.iter().map(|event| std::str::from_utf8(event.body()).expect("text")).collect()
}

#[test]
fn slices_and_filters_share_the_slab_and_keep_names() {
    let batch = sample().named(7, 1000);
    let tail = batch.slice(1..3);
    assert_eq!(bodies(&tail), ["beta", "gamma"]);
    assert_eq!(tail.event(0).name(), Some(Name { incarnation: 7, sequence: 1001 }));
    let odd = batch.filter(|index| index != 1);
    assert_eq!(bodies(&odd), ["alpha", "gamma"]);
    assert_eq!(odd.name_ranges(), [(7, 1000..1001), (7, 1002..1003)]);
    assert_eq!(odd.slice(1..2).names(), [NameRun { first_row: 0, incarnation: 7, first: 1002 }]);
    assert_eq!(odd.retained_bytes(), batch.retained_bytes(), "a selection pins the whole slab");
}

#[test]
fn a_slice_may_be_named_anew() {
    let batch = sample().slice(1..3).named(9, 5);
    assert_eq!(batch.name_ranges(), [(9, 5..7)]);
    let foreign = sample().filter(|index| index > 0).with_names(vec![
        NameRun { first_row: 0, incarnation: 1, first: 50 },
        NameRun { first_row: 1, incarnation: 2, first: 8 },
    ]);
    assert_eq!(foreign.name_ranges(), [(1, 50..51), (2, 8..9)]);
    assert_eq!(foreign.slice(1..2).name_ranges(), [(2, 8..9)]);
}

#[test]
fn common_headers_respect_those_of_the_event() {
    let header = |key, value, keep_existing| CommonHeader {
        key: Bytes::from_static(key),
        value: Bytes::from_static(value),
        keep_existing,
    };
    let batch =
        sample().with_common_header(header(b"key", b"new", true)).with_common_header(header(b"host", b"h", false));
    assert_eq!(batch.event(0).header("key"), Some(&b"val"[..]));
    assert_eq!(batch.event(1).header("key"), Some(&b"new"[..]));
    let replaced = batch.with_common_header(header(b"key", b"won", false));
    assert_eq!(replaced.event(0).header("key"), Some(&b"won"[..]));
    assert_eq!(replaced.event(0).headers().count(), 2);
    let kept = replaced.with_common_header(header(b"key", b"late", true)).with_common_header(header(b"x", b"1", true));
    assert_eq!(kept.event(1).header("key"), Some(&b"won"[..]));
    assert_eq!(kept.event(1).headers().count(), 3, "no key comes twice");
}

#[test]
fn flat_form_gives_back_everything_for_whole_sliced_filtered_and_empty_batches() {
    let mut coverage = Coverage::new("1:2:3".into(), 0, 301);
    coverage.drop_by("filter", 4);
    let whole = sample().named(3, u64::MAX - 10).with_coverage(coverage.clone()).with_common_header(CommonHeader {
        key: Bytes::from_static(b"file"),
        value: Bytes::from_static(b"/a"),
        keep_existing: false,
    });
    let cases = [
        whole.clone(),
        whole.slice(1..2),
        whole.filter(|i| i != 1),
        Batch::empty().with_coverage(Coverage::retired("x".into())),
        Batch::empty(),
    ];
    for batch in cases {
        let (meta, bytes) = batch.flatten();
        let record = Bytes::from([meta, bytes].concat());
        let back = Batch::unflatten(&record).expect("a batch");
        assert_eq!(bodies(&back), bodies(&batch));
        assert_eq!(back.name_ranges(), batch.name_ranges());
        assert_eq!(back.coverage(), batch.coverage());
        for (ours, theirs) in back.iter().zip(batch.iter()) {
            assert_eq!(ours.headers().collect::<Vec<_>>(), theirs.headers().collect::<Vec<_>>());
            assert_eq!(ours.end(), theirs.end());
        }
        // Every cut is an error or, never, a panic.
        for cut in 0..record.len().saturating_sub(1) {
            let _ = Batch::unflatten(&record.slice(..cut));
        }
    }
}

#[test]
fn a_small_survivor_does_not_pin_a_large_frame() {
    let big = vec![b'x'; 1 << 20];
    let batch = Batch::from_bodies([&big[..], b"small"]).named(1, 10).slice(1..2);
    let kept = batch.compact();
    assert!(kept.retained_bytes() < 1024, "{} bytes retained", kept.retained_bytes());
    assert_eq!(bodies(&kept), ["small"]);
    assert_eq!(kept.name_ranges(), [(1, 11..12)]);
}

#[test]
fn covered_events_are_dropped_by_position_and_the_coverage_stays() {
    let batch = sample().with_coverage(Coverage::new("o".into(), 0, 300));
    let rest = batch.without_covered(200);
    assert_eq!(bodies(&rest), ["gamma"]);
    assert_eq!(rest.coverage().map(|c| c.end), Some(300));
    assert!(batch.without_covered(300).is_empty());
}
