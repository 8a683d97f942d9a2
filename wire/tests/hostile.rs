//! Bytes that nobody vouches for: cut, flipped, replaced, split and random ones. Nothing panics; what is cut is refused.

#![allow(clippy::unwrap_used, reason = "tests")]

mod recorded;

use bytes::Bytes;
use millstream_testkit::hostile;
use millstream_wire::EventLimits;
use millstream_wire::netty::{FrameDecoder, FrameLimits, encode_frame};
use millstream_wire::thrift::{Encoding, decode_answer, decode_call};
use proptest::prelude::*;
use proptest::sample::Index;

use recorded::{places, recorded};

#[test]
fn every_recorded_frame_is_read_as_it_is() {
    for frame in recorded() {
        assert_eq!(frame.receive(frame.bytes.clone()), Ok(()), "{}", frame.name);
    }
}

#[test]
fn every_recorded_frame_split_anywhere_is_the_same_frame() {
    for frame in recorded() {
        let whole = [frame.payload()];
        let read = |chunks: &mut dyn Iterator<Item = Bytes>| {
            let (mut decoder, mut seen) = (FrameDecoder::default(), Vec::new());
            for chunk in chunks {
                decoder.push(chunk);
                seen.extend(std::iter::from_fn(|| decoder.next_frame().unwrap()).map(|frame| frame.payload));
            }
            assert!(decoder.is_between_frames());
            seen
        };
        for at in places(frame.bytes.len()) {
            let mut halves = [frame.bytes.slice(..at), frame.bytes.slice(at..)].into_iter();
            assert_eq!(read(&mut halves), whole, "{} split at {at}", frame.name);
        }
        for len in [1, 2, 3, 7] {
            let mut chunks = frame.bytes.chunks(len).map(Bytes::copy_from_slice);
            assert_eq!(read(&mut chunks), whole, "{} in chunks of {len}", frame.name);
        }
    }
}

#[test]
fn every_recorded_payload_cut_anywhere_is_refused() {
    for frame in recorded() {
        let payload = frame.payload();
        for end in places(payload.len()) {
            assert!(frame.decode(payload.slice(..end)).is_err(), "{} cut at {end}", frame.name);
        }
    }
}

#[test]
fn every_recorded_frame_cut_anywhere_waits_for_the_rest() {
    for frame in recorded() {
        for end in places(frame.bytes.len()) {
            let mut decoder = FrameDecoder::default();
            decoder.push(frame.bytes.slice(..end));
            assert_eq!(decoder.next_frame(), Ok(None), "{} cut at {end}", frame.name);
            assert_eq!(decoder.is_between_frames(), end == 0, "{} cut at {end}", frame.name);
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_never_panics() {
    let (mut refused, mut read) = (0, 0);
    for frame in recorded() {
        for at in places(frame.bytes.len()) {
            for bit in 0..8 {
                let mut flipped = frame.bytes.to_vec();
                flipped[at] ^= 1 << bit;
                match frame.receive(flipped.into()) {
                    Ok(()) => read += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    // A flip in a body or a serial is not seen, one in a length is.
    assert!(refused > 1000 && read > 1000, "{refused} refused, {read} read");
}

#[test]
fn the_frame_of_another_never_panics() {
    let all = recorded();
    for frame in &all {
        for other in &all {
            let _ = frame.receive(other.bytes.clone());
            let _ = frame.receive([&other.bytes[..], &frame.bytes].concat().into());
        }
    }
}

#[test]
fn hostile_bytes_are_refused_or_understood() {
    let recorded = recorded();
    let limits = EventLimits::default();
    for input in hostile() {
        let bytes = Bytes::from(input.bytes);
        // As it comes from a socket, as a frame's payload, and as a call of Thrift behind its length.
        for frame in &recorded {
            let _ = frame.receive(bytes.clone());
            let _ = frame.decode(bytes.clone());
        }
        for bytes in [bytes.clone(), bytes.slice(bytes.len().min(4)..)] {
            for encoding in [Encoding::Compact, Encoding::Binary] {
                let _ = decode_call(encoding, &bytes, &limits);
                let _ = decode_answer(encoding, &bytes);
            }
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let bytes = Bytes::from(bytes);
        for frame in recorded() {
            let _ = frame.receive(bytes.clone());
            let _ = frame.decode(bytes.clone());
        }
    }

    #[test]
    fn random_small_numbers_never_panic(bytes in prop::collection::vec(0..8_u8, 0..256)) {
        let bytes = Bytes::from(bytes);
        for frame in recorded() {
            let _ = frame.receive(bytes.clone());
            let _ = frame.decode(bytes.clone());
        }
    }

    /// Pieces of a payload replaced by others of other lengths, so that every field moves.
    #[test]
    fn spliced_payloads_never_panic(
        which: Index, splices in prop::collection::vec((any::<Index>(), 0..12_usize, prop::collection::vec(any::<u8>(), 0..12)), 1..6),
    ) {
        let frames = recorded();
        let frame = which.get(&frames);
        let mut payload = frame.payload().to_vec();
        for (at, len, piece) in splices {
            let start = at.index(payload.len() + 1);
            let end = (start + len).min(payload.len());
            payload.splice(start..end, piece);
        }
        let _ = frame.receive(encode_frame(1, [payload.into()]).concat().into());
    }

    #[test]
    fn limits_hold_for_any_frame(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
        max_frame_bytes in 0..200_usize, max_buffers in 1..8_u32, chunk_len in 1..50_usize,
    ) {
        let wire = encode_frame(1, parts.iter().cloned().map(Bytes::from)).concat();
        let mut decoder = FrameDecoder::new(FrameLimits { max_frame_bytes, max_buffers });
        let (mut seen, mut refused) = (None, false);
        for chunk in wire.chunks(chunk_len) {
            decoder.push(Bytes::copy_from_slice(chunk));
            match decoder.next_frame() {
                Ok(frame) => seen = seen.or(frame),
                Err(_) => {
                    refused = true;
                    break;
                }
            }
        }
        let payload = parts.concat();
        // Buffers without a byte are not sent, but for the one of an empty frame.
        let buffers = parts.iter().filter(|part| !part.is_empty()).count().max(1);
        let fits = payload.len() <= max_frame_bytes && buffers <= max_buffers as usize;
        prop_assert_eq!((seen.map(|frame| frame.payload.to_vec()), refused), (fits.then_some(payload), !fits));
    }
}
