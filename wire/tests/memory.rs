//! What received bytes may cost in memory: in proportion to what came, never to what was claimed.
//!
//! The allocator of this program counts, so it has one test only: another would count along.

#![allow(clippy::unwrap_used, reason = "tests")]

mod recorded;

use bytes::Bytes;
use millstream_wire::names::Names;
use millstream_wire::netty::FrameDecoder;
use millstream_wire::{WireError, writer};
use peak_alloc::PeakAlloc;

use recorded::{Recorded, places, recorded};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What a connection may cost before anything came: the room for the first bytes of a frame, and the protocol's texts.
const FIXED_BYTES: usize = 96 << 10;
/// What a received byte may cost: headers without a byte take two of them each and 16 bytes of a table, which doubles
/// while the old one is still there.
const BYTES_PER_BYTE: usize = 25;

/// Runs `read` over so many received bytes; returns how much more memory was in use at its worst.
fn cost(what: &str, received: usize, read: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    read();
    let peak = ALLOCATOR.peak_usage() - before;
    assert!(peak <= FIXED_BYTES + BYTES_PER_BYTE * received, "{what}: {peak} bytes for {received} received");
    peak
}

fn varint(value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    writer::long(&mut out, value);
    out
}

/// Every number that begins at `at` or is cut there claims `value`.
fn claiming(payload: &[u8], at: usize, value: &[u8]) -> Bytes {
    let rest = &payload[at..];
    let number = rest.iter().position(|byte| *byte < 0x80).map_or(rest.len(), |last| last + 1);
    [&payload[..at], value, &rest[number..]].concat().into()
}

fn claims_in_payloads(frame: &Recorded) {
    let payload = frame.payload();
    let claims = [1 << 20, 1 << 31, 1 << 45, i64::MAX, -1, -(1 << 31), i64::MIN].map(varint);
    for at in places(payload.len()).take(2048) {
        for claim in &claims {
            let claiming = claiming(&payload, at, claim);
            cost(&frame.name, claiming.len(), || drop(frame.decode(claiming.clone())));
        }
    }
}

fn claims_in_frames() {
    for (buffers, length) in
        [(1_u32, 1_u32 << 26), (1 << 16, 1 << 20), (1 << 16, 0), (2, 1 << 31), (u32::MAX, u32::MAX)]
    {
        let head = [&7_u32.to_be_bytes()[..], &buffers.to_be_bytes(), &length.to_be_bytes(), &[1; 9]].concat();
        cost("a frame", head.len(), || {
            let mut decoder = FrameDecoder::default();
            decoder.push(head.clone().into());
            assert!(!matches!(decoder.next_frame(), Ok(Some(_))));
        });
    }
    let empty_buffers = [&7_u32.to_be_bytes()[..], &(1_u32 << 16).to_be_bytes(), &vec![0; 4 << 16]].concat();
    cost("empty buffers", empty_buffers.len(), || {
        let mut decoder = FrameDecoder::default();
        decoder.push(empty_buffers.clone().into());
        assert!(decoder.next_frame().unwrap().unwrap().payload.is_empty());
    });
}

/// As many things as bytes can carry: what honest and hostile peers alike may cost.
fn the_most_that_bytes_can_carry() -> usize {
    let append = recorded().into_iter().find(|frame| frame.name.ends_with("append_batch.request")).unwrap();
    // No metadata, the message's name.
    let head = [&[0][..], &varint(11), b"appendBatch"].concat();
    let mut worst = 0;
    for (count, events) in [
        (1 << 19, vec![0; 1 << 20]),                                   // Neither header nor body.
        (1, [varint(1 << 19), vec![0; 1 << 20], vec![0, 0]].concat()), // Headers without key and value.
        (1 << 18, [2, 0, 0, 0, 0].repeat(1 << 18)),                    // One of those each.
    ] {
        let payload = Bytes::from([&head[..], &varint(count), &events, &[0]].concat());
        let peak = cost("many events", payload.len(), || append.decode(payload.clone()).unwrap());
        worst = worst.max(peak / payload.len());
    }
    worst
}

fn claims_in_names() {
    let unsigned = |value: u64| {
        let mut out = Vec::new();
        writer::unsigned(&mut out, value);
        out
    };
    for count in [1 << 16, 1 << 20, 1 << 40, u64::MAX] {
        for before in [&[1][..], &[1, 0]] {
            let value = [before, &unsigned(count), &[0; 99]].concat();
            let refused = |outcome: Result<_, WireError>| assert!(outcome.is_err(), "{count}");
            cost("names", value.len(), || refused(Names::decode(&value)));
        }
    }
    let runs = Names { runs: (0..10_000).map(|run| (7, run * 2, 1)).collect(), low_water: vec![(7, 0)] }.encode();
    cost("runs of names", runs.len(), || drop(Names::decode(&runs).unwrap()));
}

#[test]
fn memory_is_bounded_by_what_was_received() {
    let frames = recorded();
    // The protocols' texts are parsed once.
    frames.iter().for_each(|frame| frame.receive(frame.bytes.clone()).unwrap());
    claims_in_frames();
    for frame in &frames {
        claims_in_payloads(frame);
        for at in places(frame.bytes.len()) {
            let mut flipped = frame.bytes.to_vec();
            flipped[at] ^= 0x80;
            let flipped = Bytes::from(flipped);
            cost(&frame.name, flipped.len(), || drop(frame.receive(flipped.clone())));
        }
    }
    claims_in_names();
    assert!(the_most_that_bytes_can_carry() >= 5, "the allocator does not count");
}
