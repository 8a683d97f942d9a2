//! Frames recorded from the real Flume and Spark classes decode, and encode again to the same bytes.
//!
//! How they were recorded: `tests/golden/driver/record.sh`; versions and command beside each file.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of a test fail by panicking")]

use std::path::PathBuf;

use bytes::Bytes;
use millstream_core::{Batch, EventRef};
use millstream_wire::avro_event::{self, Status};
use millstream_wire::avro_rpc::{
    ClientConnection, HandshakeRequest, HandshakeResponse, Incoming, Match, Metadata, Outcome, Protocol, Request,
    ServerConnection, UnknownClient,
};
use millstream_wire::netty::{Frame, FrameDecoder, encode_frame};
use millstream_wire::reader::Reader;
use millstream_wire::spark_sink::{self, Call};
use millstream_wire::{EventLimits, WireError};

const SPARK: &str = "spark-2.4.7";
const FLUME: &str = "flume-1.11.0";

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn frame(prefix: &str, name: &str) -> Frame {
    let mut decoder = FrameDecoder::default();
    decoder.push(read(&format!("{prefix}.{name}.bin")).into());
    let frame = decoder.next_frame().expect("a valid frame").expect("a whole frame");
    assert!(decoder.is_between_frames(), "{name}: one frame, nothing more");
    frame
}

fn payload(prefix: &str, name: &str) -> Bytes {
    frame(prefix, name).payload
}

/// A server that took the request `shaken_by`, or one that waits for its first.
fn server(protocol: std::sync::Arc<Protocol>, shaken_by: Option<Bytes>) -> ServerConnection {
    let mut server = ServerConnection::new(protocol, UnknownClient::AskForProtocol);
    if let Some(first) = shaken_by {
        call(&mut server, first);
    }
    server
}

fn call(server: &mut ServerConnection, payload: Bytes) -> Request {
    match server.request(payload).expect("a valid request") {
        Incoming::Call(request) => request,
        Incoming::Answer(parts) => panic!("expected a call, got the answer {parts:?}"),
    }
}

/// A client of ours, brought to the point where it waits for the first answer, or beyond.
fn client(protocol: std::sync::Arc<Protocol>, first_answer: Option<Bytes>) -> ClientConnection {
    let mut client = ClientConnection::new(protocol);
    client.call(Metadata::new(), "any", Bytes::new()).expect("the first call");
    if let Some(answer) = first_answer {
        assert!(matches!(client.response(answer), Ok(Outcome::Answered(_))));
        assert!(client.is_established());
    }
    client
}

fn answer(client: &mut ClientConnection, payload: Bytes) -> Result<Bytes, String> {
    match client.response(payload).expect("a valid response") {
        Outcome::Answered(response) => {
            assert!(response.meta.is_empty());
            response.result
        }
        Outcome::Resend(parts) => panic!("expected an answer, got {parts:?}"),
    }
}

fn header<'a>(event: EventRef<'a>, key: &str) -> Option<&'a str> {
    event.header(key).map(|value| std::str::from_utf8(value).expect("UTF-8"))
}

fn spark_shaken() -> Option<Bytes> {
    Some(payload(SPARK, "shake_get.request"))
}

#[test]
fn our_protocol_texts_are_those_of_the_real_classes() {
    assert_eq!(spark_sink::protocol().json().as_bytes(), read("spark-2.4.7.protocol.json"));
    assert_eq!(avro_event::protocol().json().as_bytes(), read("flume-1.11.0.protocol.json"));
}

#[test]
fn javas_handshake_has_our_hash_and_encodes_to_the_same_bytes() {
    for (prefix, name, protocol) in
        [(SPARK, "shake_get", spark_sink::protocol()), (FLUME, "shake_append", avro_event::protocol())]
    {
        let request = payload(prefix, &format!("{name}.request"));
        let mut reader = Reader::new(&request);
        let shake = HandshakeRequest::decode(&mut reader, &request).unwrap();
        assert_eq!((shake.client_hash, shake.server_hash), (protocol.md5(), protocol.md5()));
        assert_eq!((&shake.client_protocol, &shake.meta), (&None, &Some(Metadata::new())));
        let mut again = Vec::new();
        shake.encode(&mut again);
        assert_eq!(again, request[..reader.position()]);

        let response = payload(prefix, &format!("{name}.response"));
        let mut reader = Reader::new(&response);
        let shake = HandshakeResponse::decode(&mut reader, &response).unwrap();
        assert_eq!(shake.outcome, Match::Both);
        let mut again = Vec::new();
        shake.encode(&mut again);
        assert_eq!(again, response[..reader.position()]);
    }
}

#[test]
fn an_unknown_client_is_refused_and_then_known_as_by_java() {
    let mut ours = server(spark_sink::protocol(), None);
    let Incoming::Answer(parts) = ours.request(payload(SPARK, "unknown_client_nack.request")).unwrap() else {
        panic!("executed a call of an unknown client")
    };
    let (refusal, theirs) = (Bytes::from(parts.concat()), payload(SPARK, "unknown_client_nack.response"));
    let decode = |payload: &Bytes| HandshakeResponse::decode(&mut Reader::new(payload), payload).unwrap();
    assert_eq!((decode(&refusal).outcome, decode(&theirs).outcome), (Match::None, Match::None));
    assert_eq!(decode(&refusal).server_hash, decode(&theirs).server_hash);
    assert_eq!(decode(&refusal).server_protocol, decode(&theirs).server_protocol);

    let request = call(&mut ours, payload(SPARK, "unknown_client_nack-2.request"));
    let nack = Call::decode(&request.message, &request.params).unwrap();
    assert_eq!(nack, Some(Call::Nack { sequence_number: "nobody1".to_owned() }));
    let reply = request.responder.ok(&Metadata::new(), []).concat();
    assert_eq!(reply, payload(SPARK, "unknown_client_nack-2.response"));
    assert!(matches!(client(spark_sink::protocol(), None).response(theirs), Ok(Outcome::Resend(_))));
}

#[test]
fn every_request_of_sparks_client_decodes_and_encodes_to_the_same_bytes() {
    let names = ["shake_get", "get", "ack", "nack", "get_many", "ack_many", "get_large", "ack_large"];
    for name in names {
        let request_payload = payload(SPARK, &format!("{name}.request"));
        let mut server = server(spark_sink::protocol(), spark_shaken().filter(|_| name != "shake_get"));
        let request = call(&mut server, request_payload.clone());
        assert!(request.meta.is_empty());
        let call = Call::decode(&request.message, &request.params).unwrap().expect("a known message");
        match (&call, name) {
            (Call::GetEventBatch { n }, "get") => assert_eq!(*n, 1),
            (Call::GetEventBatch { n }, _) => assert_eq!(*n, 1000),
            (Call::Ack { sequence_number } | Call::Nack { sequence_number }, _) => {
                assert_eq!(sequence_number.len(), 9, "8 random characters and a counter");
            }
        }
        assert_eq!(call.encode_params(), request.params);
        let mut client = client(spark_sink::protocol(), Some(payload(SPARK, "shake_get.response")));
        let again = client.call(Metadata::new(), call.message(), call.encode_params()).unwrap().concat();
        assert!(request_payload.ends_with(&again), "{name}");
        assert!(name == "shake_get" || again == request_payload, "{name}");
    }
}

#[test]
fn every_batch_of_sparks_sink_decodes_and_encodes_to_the_same_bytes() {
    for (name, events) in [("shake_get", 3), ("get", 1), ("get_many", 301), ("get_large", 1)] {
        let response = payload(SPARK, &format!("{name}.response"));
        let first = Some(payload(SPARK, "shake_get.response")).filter(|_| name != "shake_get");
        let datum = answer(&mut client(spark_sink::protocol(), first), response.clone()).expect("no error");
        let batch = spark_sink::decode_event_batch(&datum, &EventLimits::default()).unwrap();
        assert_eq!((batch.error_msg.as_str(), batch.sequence_number.len()), ("", 9));
        assert_eq!(batch.events.len(), events, "{name}");
        let again = spark_sink::encode_event_batch(&batch.sequence_number, &[batch.events]);
        assert_eq!(again, datum, "{name}");
        let mut server = server(spark_sink::protocol(), spark_shaken().filter(|_| name != "shake_get"));
        let request = call(&mut server, payload(SPARK, &format!("{name}.request")));
        assert_eq!(request.responder.ok(&Metadata::new(), [again]).concat(), response, "{name}");
    }
}

#[test]
fn the_events_are_those_that_were_put() {
    let datum = answer(&mut client(spark_sink::protocol(), None), payload(SPARK, "shake_get.response")).unwrap();
    let batch: Batch = spark_sink::decode_event_batch(&datum, &EventLimits::default()).unwrap().events;
    let bodies: Vec<_> = batch.iter().map(EventRef::body).collect();
    assert_eq!(bodies, [&b""[..], b"hello", "grüß".as_bytes()]);
    assert_eq!(header(batch.event(1), "k"), Some("v"));
    assert_eq!((header(batch.event(2), "host"), header(batch.event(2), "ü")), (Some("a"), Some("")));
}

#[test]
fn an_error_batch_of_sparks_sink_says_why() {
    let response = payload(SPARK, "shake_get_error.response");
    let datum = answer(&mut client(spark_sink::protocol(), None), response).unwrap();
    let batch = spark_sink::decode_event_batch(&datum, &EventLimits::default()).unwrap();
    assert!(batch.error_msg.starts_with("Take list for MemoryTransaction, capacity 10000 full"), "{}", batch.error_msg);
    assert!(batch.sequence_number.is_empty() && batch.events.is_empty());
    assert_eq!(spark_sink::encode_error_batch(&batch.error_msg), datum);
}

#[test]
fn an_ack_is_answered_by_no_bytes() {
    for name in ["ack", "nack", "ack_many", "ack_large"] {
        let mut client = client(spark_sink::protocol(), Some(payload(SPARK, "shake_get.response")));
        let datum = answer(&mut client, payload(SPARK, &format!("{name}.response"))).unwrap();
        assert_eq!(spark_sink::decode_null(&datum), Ok(()));
    }
}

#[test]
fn flumes_events_and_answers_decode_and_encode_to_the_same_bytes() {
    let cases =
        [("shake_append", 1), ("append", 1), ("append_batch", 3), ("append_batch_many", 300), ("append_failed", 1)];
    for (name, events) in cases {
        let shaken = Some(payload(FLUME, "shake_append.request")).filter(|_| name != "shake_append");
        let request_payload = payload(FLUME, &format!("{name}.request"));
        let request = call(&mut server(avro_event::protocol(), shaken), request_payload);
        let limits = EventLimits::default();
        let batch = avro_event::decode_params(&request.message, &request.params, &limits).unwrap().expect("known");
        assert_eq!(batch.len(), events, "{name}");
        let again = match request.message.as_str() {
            avro_event::APPEND => avro_event::encode_append(batch.event(0)),
            _ => avro_event::encode_append_batch(&[batch]),
        };
        assert_eq!(again, request.params, "{name}");

        let response = payload(FLUME, &format!("{name}.response"));
        let first = Some(payload(FLUME, "shake_append.response")).filter(|_| name != "shake_append");
        let datum = answer(&mut client(avro_event::protocol(), first), response.clone()).unwrap();
        let expected = if name == "append_failed" { Status::Failed } else { Status::Ok };
        assert_eq!(Status::decode(&datum), Ok(expected), "{name}");
        assert_eq!(request.responder.ok(&Metadata::new(), [expected.encode()]).concat(), response, "{name}");
    }
}

#[test]
fn a_failure_of_the_java_server_is_its_text() {
    let response = payload(FLUME, "shake_append_error.response");
    let text = answer(&mut client(avro_event::protocol(), None), response.clone()).unwrap_err();
    assert!(text.ends_with("IllegalStateException: channel is full"), "{text}");
    let request = call(&mut server(avro_event::protocol(), None), payload(FLUME, "shake_append_error.request"));
    assert_eq!(request.responder.error(&Metadata::new(), &text).concat(), response);
}

#[test]
fn every_recorded_frame_survives_our_framing_and_any_cut() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut frames = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        frames += 1;
        let bytes = Bytes::from(std::fs::read(&path).unwrap());
        let mut decoder = FrameDecoder::default();
        decoder.push(bytes.clone());
        let frame = decoder.next_frame().unwrap().unwrap();
        let again = encode_frame(frame.serial, [frame.payload.clone()]).concat();
        decoder.push(again.into());
        assert_eq!(decoder.next_frame(), Ok(Some(frame)), "{}", path.display());
        for end in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
            let mut cut = FrameDecoder::default();
            cut.push(bytes.slice(..end));
            assert_eq!(cut.next_frame(), Ok(None), "{} cut at {end}", path.display());
        }
    }
    assert!(frames >= 30, "{frames} frames");
}

#[test]
fn every_recorded_file_says_what_it_is_and_how_to_record_it_again() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (mut recorded, mut notes) = (0, 0);
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            notes += 1;
            continue;
        }
        recorded += 1;
        let note = read(path.with_extension("txt").file_name().unwrap().to_str().unwrap());
        let note = String::from_utf8(note).unwrap();
        let lines: Vec<&str> = note.lines().collect();
        let [what, versions, command, sum] = lines[..] else { panic!("{note}") };
        assert!(what.starts_with(&format!("{}: ", path.file_name().unwrap().to_str().unwrap())), "{what}");
        assert!(versions.starts_with("versions: ") && versions.contains("openjdk version"), "{versions}");
        let script = command.strip_prefix("command: ").unwrap().split(',').next().unwrap();
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        assert!(root.join(script).is_file(), "{command}");
        let sum = sum.strip_prefix("sha256: ").unwrap();
        assert!(sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sum}");
    }
    assert_eq!(recorded, notes, "a note of nothing");
}

#[test]
fn a_recorded_batch_cut_anywhere_is_refused() {
    let datum = answer(&mut client(spark_sink::protocol(), None), payload(SPARK, "shake_get.response")).unwrap();
    for end in 0..datum.len() {
        let cut: Result<_, WireError> = spark_sink::decode_event_batch(&datum.slice(..end), &EventLimits::default());
        assert!(cut.is_err(), "cut at {end}");
    }
}
