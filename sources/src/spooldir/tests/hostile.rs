//! Files that nobody vouches for: nothing panics, and in which pieces they are read changes nothing.

use apache_avro::types::Value;
use apache_avro::{Codec, Schema, Writer};
use bytes::Bytes;
use millstream_testkit::hostile;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::charset::{Decoder, Policy};
use crate::spooldir::format::{Cut, Cutter, Format};
use crate::spooldir::schema_type::SchemaType;
use crate::testing::{Plain, pieces, plain};

/// A file's events, their positions, and whether its rest cannot be read.
type Read = (Plain, Vec<u64>, bool);

/// Reads a file that comes in pieces, as it is followed.
fn read(format: &Format, pieces: &[&[u8]], batch_events: usize) -> Read {
    let mut cutter = match format {
        Format::Avro { .. } => Cutter::Records(Box::default()),
        Format::Lines { .. } | Format::Blob { .. } => Cutter::Bytes,
    };
    let (mut held, mut base, mut events, mut positions) = (Vec::new(), 0, Plain::new(), Vec::new());
    for (index, piece) in pieces.iter().enumerate() {
        held.extend_from_slice(piece);
        let (bytes, ended) = (Bytes::copy_from_slice(&held), index + 1 == pieces.len());
        let Cut { batches, consumed, problem } = cutter.cut(format, batch_events, (&bytes, base), ended);
        for batch in batches {
            assert!(batch.len() <= batch_events);
            // A schema is in a header of each of its batches, and a compressed block is as large as what it holds.
            events.extend(plain(&batch, 1 << 27));
            positions.extend(batch.iter().filter_map(|event| event.end()));
        }
        if problem.is_some() {
            return (events, positions, true);
        }
        held.drain(..consumed);
        base += consumed as u64;
    }
    (events, positions, false)
}

fn formats() -> Vec<(&'static str, Format)> {
    let lines = |charset, policy| Format::Lines { most_units: 100, decoder: Decoder::new(charset, policy).unwrap() };
    vec![
        ("lines", lines("UTF-8", Policy::Fail)),
        ("replaced lines", lines("UTF-8", Policy::Replace)),
        ("latin lines", lines("ISO-8859-1", Policy::Fail)),
        ("blobs", Format::Blob { most_bytes: 1000 }),
        ("records", Format::Avro { schema_type: SchemaType::Hash }),
    ]
}

#[test]
fn hostile_files_are_read_as_far_as_that_goes_whole_and_in_pieces() {
    for input in hostile() {
        for (name, format) in formats() {
            let whole = read(&format, &[&input.bytes], 100);
            let pieces: Vec<&[u8]> = input.bytes.chunks(input.bytes.len() / 7 + 1).collect();
            let again = read(&format, if pieces.is_empty() { &[b""] } else { &pieces }, 100);
            assert!(again == whole, "{} as {name}: {} and {} events", input.name, whole.0.len(), again.0.len());
        }
    }
}

/// Some texts as a container, a block for each group.
fn container(groups: &[Vec<String>], is_compressed: bool) -> Vec<u8> {
    let schema = Schema::parse_str(r#"{"type":"array","items":["null","string"]}"#).unwrap();
    let codec = if is_compressed { Codec::Deflate(Default::default()) } else { Codec::Null };
    let mut writer = Writer::builder().schema(&schema).codec(codec).writer(Vec::new()).build().unwrap();
    for group in groups {
        for text in group {
            let item = Value::Union(1, Value::String(text.clone()).into());
            writer.append_value(Value::Array(vec![Value::Union(0, Value::Null.into()), item])).unwrap();
        }
        writer.flush().unwrap();
    }
    writer.into_inner().unwrap()
}

proptest! {
    #[test]
    fn bytes_read_in_any_pieces_are_the_same_events(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'x'), Just(0xC3), Just(0xA4)], 0..600),
        cuts: Vec<Index>, batch_events in 1..9_usize,
    ) {
        for (name, format) in formats() {
            let whole = read(&format, &[&bytes], batch_events);
            prop_assert_eq!(read(&format, &pieces(&bytes, &cuts), batch_events), whole, "{}", name);
        }
    }

    #[test]
    fn containers_read_in_any_pieces_are_the_same_records_and_wrong_ones_never_panic(
        groups in prop::collection::vec(prop::collection::vec("[a-zü]{0,9}", 1..5), 0..5),
        is_compressed: bool, cuts: Vec<Index>, at: Index, byte: u8,
    ) {
        let format = Format::Avro { schema_type: SchemaType::Literal };
        let mut bytes = container(&groups, is_compressed);
        let whole = read(&format, &[&bytes], 3);
        prop_assert_eq!(whole.0.len(), groups.concat().len());
        prop_assert!(!whole.2);
        prop_assert_eq!(&read(&format, &pieces(&bytes, &cuts), 3), &whole);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let spoilt = read(&format, &[&bytes], 3);
        prop_assert_eq!(read(&format, &pieces(&bytes, &cuts), 3), spoilt);
        read(&format, &[&bytes[..at]], 3);
    }
}
