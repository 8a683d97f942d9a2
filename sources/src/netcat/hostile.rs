//! What peers say that nobody vouches for: nothing panics, and how it is cut in transit changes nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use millstream_testkit::hostile;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::testing::{Plain, pieces, plain};

/// The events of what comes in pieces, and whether a line is too long.
fn heard(talk: Talk, pieces: &[&[u8]], most_events: usize) -> (Plain, bool) {
    let (mut held, mut searched, mut events) = (Vec::new(), 0, Plain::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match talk.heard(&held, searched, most_events) {
                Said::Lines(lines, end) => {
                    let bytes = Bytes::from(held.drain(..end).collect::<Vec<_>>());
                    events.extend(plain(&talk.batch(&bytes, &lines), end));
                    searched = 0;
                }
                Said::TooLong => return (events, true),
                Said::Unfinished => break,
            }
        }
        searched = held.len();
        // A character has at most four bytes.
        assert!(held.len() <= 4 * talk.most_units, "no more than a line is held");
    }
    (events, false)
}

fn talk(encoding: &str, most_units: usize) -> Talk {
    Talk { acks: true, most_units, decoder: Decoder::new(encoding, Policy::Keep).unwrap() }
}

#[test]
fn hostile_bytes_are_lines_like_others_whole_and_in_pieces() {
    for encoding in ["utf-8", "ISO-8859-1"] {
        let talk = talk(encoding, 512);
        for input in hostile() {
            let whole = heard(talk, &[&input.bytes], MOST_EVENTS);
            let pieces: Vec<&[u8]> = input.bytes.chunks(333).collect();
            assert_eq!(heard(talk, &pieces, MOST_EVENTS), whole, "{} as {encoding}", input.name);
        }
    }
}

proptest! {
    #[test]
    fn bytes_cut_anywhere_are_the_same_lines(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'x'), Just(0xC3), Just(0xA4)], 0..400),
        cuts: Vec<Index>, most_units in 1..60_usize, most_events in 1..9_usize, is_utf_8: bool,
    ) {
        let talk = talk(if is_utf_8 { "utf-8" } else { "ISO-8859-1" }, most_units);
        let whole = heard(talk, &[&bytes], most_events);
        prop_assert_eq!(heard(talk, &pieces(&bytes, &cuts), most_events), whole);
    }

    #[test]
    fn text_cut_anywhere_is_the_same_lines(
        text in "[a-zäß\u{1F600}\n]{0,200}", cuts: Vec<Index>, most_units in 1..40_usize,
    ) {
        let talk = talk("utf-8", most_units);
        let whole = heard(talk, &[text.as_bytes()], 100);
        prop_assert_eq!(heard(talk, &pieces(text.as_bytes(), &cuts), 100), whole);
    }
}
