#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TFieldIdentifier,
    TInputProtocol, TListIdentifier, TMapIdentifier, TMessageIdentifier, TMessageType, TOutputProtocol,
    TStructIdentifier, TType,
};

use super::*;
use crate::events::tests::{Plain, any_events, batch_of, plain};

const BOTH: [Encoding; 2] = [Encoding::Compact, Encoding::Binary];

fn decoded(encoding: Encoding, message: Vec<u8>) -> Result<Call, WireError> {
    decode_call(encoding, &message.into(), &EventLimits::default())
}

/// What stands in a frame.
fn unframed(frame: Vec<u8>) -> Vec<u8> {
    let (length, message) = frame.split_at(4);
    assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, message.len());
    message.to_vec()
}

/// `appendBatch` as Thrift's own library writes it, with fields that nobody knows.
fn written_by_thrift(out: &mut dyn TOutputProtocol, events: &Plain, with_unknown: bool) {
    out.write_message_begin(&TMessageIdentifier::new("appendBatch", TMessageType::Call, 7)).unwrap();
    out.write_struct_begin(&TStructIdentifier::new("args")).unwrap();
    if with_unknown {
        unknown_fields(out);
    }
    out.write_field_begin(&TFieldIdentifier::new("events", TType::List, 1)).unwrap();
    out.write_list_begin(&TListIdentifier::new(TType::Struct, events.len() as i32)).unwrap();
    for (headers, body) in events {
        out.write_struct_begin(&TStructIdentifier::new("event")).unwrap();
        out.write_field_begin(&TFieldIdentifier::new("headers", TType::Map, 1)).unwrap();
        let map = TMapIdentifier::new(TType::String, TType::String, headers.len() as i32);
        out.write_map_begin(&map).unwrap();
        for (key, value) in headers {
            out.write_bytes(key).unwrap();
            out.write_bytes(value).unwrap();
        }
        out.write_map_end().unwrap();
        out.write_field_end().unwrap();
        out.write_field_begin(&TFieldIdentifier::new("body", TType::String, 2)).unwrap();
        out.write_bytes(body).unwrap();
        out.write_field_end().unwrap();
        out.write_field_stop().unwrap();
        out.write_struct_end().unwrap();
    }
    out.write_list_end().unwrap();
    out.write_field_end().unwrap();
    out.write_field_stop().unwrap();
    out.write_struct_end().unwrap();
    out.write_message_end().unwrap();
}

fn unknown_fields(out: &mut dyn TOutputProtocol) {
    let mut field = |id, kind, value: &dyn Fn(&mut dyn TOutputProtocol)| {
        out.write_field_begin(&TFieldIdentifier::new("unknown", kind, id)).unwrap();
        value(out);
        out.write_field_end().unwrap();
    };
    field(100, TType::Bool, &|out| out.write_bool(true).unwrap());
    field(101, TType::I08, &|out| out.write_i8(-1).unwrap());
    field(102, TType::I16, &|out| out.write_i16(-300).unwrap());
    field(103, TType::I64, &|out| out.write_i64(i64::MIN).unwrap());
    field(104, TType::Double, &|out| out.write_double(1.5).unwrap());
    field(2000, TType::List, &|out| {
        out.write_list_begin(&TListIdentifier::new(TType::Bool, 2)).unwrap();
        out.write_bool(true).unwrap();
        out.write_bool(false).unwrap();
        out.write_list_end().unwrap();
    });
    field(2001, TType::Map, &|out| {
        out.write_map_begin(&TMapIdentifier::new(TType::I32, TType::Struct, 1)).unwrap();
        out.write_i32(1).unwrap();
        out.write_struct_begin(&TStructIdentifier::new("inner")).unwrap();
        out.write_field_begin(&TFieldIdentifier::new("flag", TType::Bool, 1)).unwrap();
        out.write_bool(false).unwrap();
        out.write_field_end().unwrap();
        out.write_field_stop().unwrap();
        out.write_struct_end().unwrap();
        out.write_map_end().unwrap();
    });
}

fn by_thrift(encoding: Encoding, events: &Plain, with_unknown: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    match encoding {
        Encoding::Compact => written_by_thrift(&mut TCompactOutputProtocol::new(&mut bytes), events, with_unknown),
        Encoding::Binary => written_by_thrift(&mut TBinaryOutputProtocol::new(&mut bytes, true), events, with_unknown),
    }
    bytes
}

proptest! {
    #[test]
    fn calls_have_the_bytes_of_thrifts_own_library_and_are_read_back(events in any_events()) {
        for encoding in BOTH {
            let message = by_thrift(encoding, &events, false);
            prop_assert_eq!(unframed(encode_append_batch(encoding, 7, &[batch_of(&events)])), &message[..]);
            let call = decoded(encoding, message).unwrap();
            prop_assert_eq!((call.sequence, call.is_answered), (7, true));
            let Method::AppendBatch(batch) = call.method else { panic!("{:?}", call.method) };
            prop_assert_eq!(plain(&batch), events.clone());
            if let Some(event) = batch.iter().next() {
                let call = decoded(encoding, unframed(encode_append(encoding, -1, event))).unwrap();
                prop_assert_eq!(call.sequence, -1);
                let Method::Append(batch) = call.method else { panic!("{:?}", call.method) };
                prop_assert_eq!(plain(&batch), &events[..1]);
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_refused_or_understood_and_never_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        events in any_events(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for encoding in BOTH {
            let _ = decoded(encoding, bytes.clone());
            let _ = decode_answer(encoding, &bytes);
            bytes = by_thrift(encoding, &events, true);
            for (at, byte) in &flips {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let _ = decoded(encoding, bytes.clone());
        }
    }
}

#[test]
fn fields_that_nobody_knows_are_passed_over() {
    let events: Plain = vec![(vec![(b"k".to_vec(), b"v".to_vec())], b"body".to_vec())];
    for encoding in BOTH {
        let call = decoded(encoding, by_thrift(encoding, &events, true)).unwrap();
        let Method::AppendBatch(batch) = call.method else { panic!("{:?}", call.method) };
        assert_eq!(plain(&batch), events, "{encoding:?}");
    }
}

#[test]
fn answers_are_understood_by_thrifts_own_library_and_by_us() {
    for encoding in BOTH {
        let message = unframed(encode_reply(encoding, "append", 9, Status::Failed));
        let mut input: Box<dyn TInputProtocol> = match encoding {
            Encoding::Compact => Box::new(TCompactInputProtocol::new(&message[..])),
            Encoding::Binary => Box::new(TBinaryInputProtocol::new(&message[..], true)),
        };
        let begin = input.read_message_begin().unwrap();
        assert_eq!((&*begin.name, begin.message_type, begin.sequence_number), ("append", TMessageType::Reply, 9));
        input.read_struct_begin().unwrap();
        let field = input.read_field_begin().unwrap();
        assert_eq!((field.id, field.field_type), (Some(0), TType::I32));
        assert_eq!(input.read_i32().unwrap(), 1);
        assert_eq!(input.read_field_begin().unwrap().field_type, TType::Stop);
        assert_eq!(decode_answer(encoding, &message).unwrap().outcome, Ok(Status::Failed));

        let message = unframed(encode_exception(encoding, "x", 9, "not known"));
        let mut input: Box<dyn TInputProtocol> = match encoding {
            Encoding::Compact => Box::new(TCompactInputProtocol::new(&message[..])),
            Encoding::Binary => Box::new(TBinaryInputProtocol::new(&message[..], true)),
        };
        assert_eq!(input.read_message_begin().unwrap().message_type, TMessageType::Exception);
        let error = thrift::Error::read_application_error_from_in_protocol(&mut *input).unwrap();
        assert_eq!((error.message.as_str(), error.kind), ("not known", thrift::ApplicationErrorKind::UnknownMethod));
        assert_eq!(
            decode_answer(encoding, &message).unwrap(),
            Answer { sequence: 9, outcome: Err("not known".into()) }
        );
    }
}

#[test]
fn what_is_claimed_and_not_there_is_refused_by_name() {
    let compact = |bytes: &[u8]| [&[0x82, 0x21, 0, 11][..], b"appendBatch", bytes].concat();
    let cases: BTreeMap<&str, Vec<u8>> = [
        ("list", compact(&[0x19, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F])),
        ("map", compact(&[0x19, 0x1C, 0x1B, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x88])),
        ("body", compact(&[0x19, 0x1C, 0x1B, 0, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F])),
        ("no body", compact(&[0x19, 0x1C, 0x1B, 0, 0, 0])),
        ("trailing", compact(&[0x19, 0x0C, 0, 1])),
        ("alien", b"GET / HTTP/1.1".to_vec()),
    ]
    .into();
    for (case, message) in cases {
        assert!(decoded(Encoding::Compact, message).is_err(), "{case}");
    }
    let deep = [&[0x82, 0x21, 0, 6][..], b"append", &[0x2C].repeat(100_000)].concat();
    assert!(matches!(decoded(Encoding::Compact, deep), Err(WireError::TooLarge { .. })));
    let deep = [&[0x80, 1, 0, 1, 0, 0, 0, 6][..], b"append", &[0; 4], &[12, 0, 5].repeat(100_000)].concat();
    assert!(matches!(decoded(Encoding::Binary, deep), Err(WireError::TooLarge { .. })));
    let text = decoded(Encoding::Binary, by_thrift(Encoding::Compact, &vec![], false)).unwrap_err().to_string();
    assert!(text.contains("is the other side set to compact?"), "{text}");
    let text = decoded(Encoding::Compact, by_thrift(Encoding::Binary, &vec![], false)).unwrap_err().to_string();
    assert!(text.contains("is the other side set to binary?"), "{text}");
}

#[test]
fn a_method_that_is_not_the_services_is_named_and_an_older_start_understood() {
    let message = [&[0, 0, 0, 4][..], b"ping", &[1, 0, 0, 0, 5, 0]].concat();
    let call = decoded(Encoding::Binary, message).unwrap();
    assert!(matches!(call.method, Method::Unknown(name) if name == "ping"));
    assert_eq!(call.sequence, 5);
}
