use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::error::WireError;
use crate::reader::Reader;

fn protocol(text: &'static str) -> Arc<Protocol> {
    Arc::new(Protocol::new(text))
}

fn meta(key: &str, value: &'static [u8]) -> Metadata {
    let mut meta = Metadata::new();
    meta.insert(key, value);
    meta
}

fn call(server: &mut ServerConnection, payload: Vec<Bytes>) -> Request {
    match server.request(payload.concat().into()).unwrap() {
        Incoming::Call(request) => request,
        Incoming::Answer(parts) => panic!("expected a call, got the answer {parts:?}"),
    }
}

fn answered(client: &mut ClientConnection, payload: Vec<Bytes>) -> Response {
    match client.response(payload.concat().into()).unwrap() {
        Outcome::Answered(response) => response,
        Outcome::Resend(parts) => panic!("expected an answer, got {parts:?}"),
    }
}

#[test]
fn a_connection_shakes_hands_once() {
    let mut client = ClientConnection::new(protocol("ours"));
    let mut server = ServerConnection::new(protocol("ours"), UnknownClient::Accept);
    let first = client.call(meta("k", b"v"), "append", Bytes::from_static(b"one")).unwrap();
    let request = call(&mut server, first);
    assert_eq!((request.message.as_str(), &request.params[..]), ("append", &b"one"[..]));
    assert_eq!(request.meta, meta("k", b"v"));
    let reply = request.responder.ok(&meta("r", b"w"), [Bytes::from_static(b"fine")]).concat();
    assert_eq!(&reply[..4], [0, 0, 0, 0], "BOTH and three nulls");
    let response = answered(&mut client, vec![reply.into()]);
    assert_eq!(response, Response { meta: meta("r", b"w"), result: Ok(Bytes::from_static(b"fine")) });

    let second = client.call(Metadata::new(), "ack", Bytes::from_static(b"two")).unwrap();
    assert_eq!(second.concat(), b"\x00\x06acktwo");
    let request = call(&mut server, second);
    let response = answered(&mut client, request.responder.error(&Metadata::new(), "no such luck"));
    assert_eq!(response.result, Err("no such luck".to_owned()));
}

#[test]
fn a_second_call_waits_for_the_handshake() {
    let mut client = ClientConnection::new(protocol("ours"));
    client.call(Metadata::new(), "a", Bytes::new()).unwrap();
    assert!(matches!(client.call(Metadata::new(), "b", Bytes::new()), Err(WireError::Sequence { .. })));
    assert!(!client.is_established());
}

#[test]
fn a_server_with_another_text_tells_its_own_and_the_call_is_executed_once() {
    let mut client = ClientConnection::new(protocol("ours"));
    let mut server = ServerConnection::new(protocol("theirs"), UnknownClient::AskForProtocol);
    let first = client.call(Metadata::new(), "a", Bytes::new()).unwrap();
    let request = call(&mut server, first);
    answered(&mut client, request.responder.ok(&Metadata::new(), []));
    assert_eq!(client.server_protocol(), Some("theirs"));
    assert!(client.is_established());
}

fn shake_without_text(client: &str, guess: &str) -> Bytes {
    let request = HandshakeRequest {
        client_hash: Protocol::new(client.to_owned()).md5(),
        client_protocol: None,
        server_hash: Protocol::new(guess.to_owned()).md5(),
        meta: Some(Metadata::new()),
    };
    let mut out = Vec::new();
    request.encode(&mut out);
    out.extend(b"\x00\x06ack");
    out.into()
}

#[test]
fn an_unknown_client_without_text_is_asked_or_accepted() {
    let mut strict = ServerConnection::new(protocol("ours"), UnknownClient::AskForProtocol);
    let Incoming::Answer(parts) = strict.request(shake_without_text("other", "other")).unwrap() else { panic!() };
    let payload = Bytes::from(parts.concat());
    let response = HandshakeResponse::decode(&mut Reader::new(&payload), &payload).unwrap();
    assert_eq!(response.outcome, Match::None);
    assert_eq!(response.server_protocol.as_deref(), Some("ours"));

    let mut lenient = ServerConnection::new(protocol("ours"), UnknownClient::Accept);
    let request = call(&mut lenient, vec![shake_without_text("other", "other")]);
    assert_eq!(request.responder.ok(&Metadata::new(), []).concat(), [0, 0, 0, 0, 0, 0]);

    let mut lenient = ServerConnection::new(protocol("ours"), UnknownClient::Accept);
    let request = call(&mut lenient, vec![shake_without_text("other", "third")]);
    assert_eq!(request.responder.ok(&Metadata::new(), []).concat()[0], 2, "CLIENT: the guess was wrong");
}

#[test]
fn a_refused_call_is_sent_again_once() {
    let refusal = || {
        let (server_protocol, server_hash) = (Some("theirs".to_owned()), Some(Protocol::new("theirs").md5()));
        let mut out = Vec::new();
        HandshakeResponse { outcome: Match::None, server_protocol, server_hash, meta: None }.encode(&mut out);
        Bytes::from(out)
    };
    let mut client = ClientConnection::new(protocol("ours"));
    client.call(Metadata::new(), "a", Bytes::from_static(b"p")).unwrap();
    let Outcome::Resend(parts) = client.response(refusal()).unwrap() else { panic!() };
    let mut server = ServerConnection::new(protocol("theirs"), UnknownClient::AskForProtocol);
    let request = call(&mut server, parts);
    assert_eq!(&request.params[..], b"p");
    assert_eq!(request.responder.ok(&Metadata::new(), []).concat()[0], 0, "BOTH: the hash was learnt");
    assert!(matches!(client.response(refusal()), Err(WireError::Sequence { .. })));
}

#[test]
fn a_ping_is_answered_by_the_handshake_alone() {
    let mut server = ServerConnection::new(protocol("ours"), UnknownClient::Accept);
    let mut ping = shake_without_text("ours", "ours").to_vec();
    ping.truncate(ping.len() - 4);
    ping.push(0);
    let Incoming::Answer(parts) = server.request(ping.into()).unwrap() else { panic!() };
    assert_eq!(parts.concat(), [0, 0, 0, 0]);
}

#[test]
fn a_payload_cut_anywhere_is_an_error_before_the_parameters() {
    let whole = ClientConnection::new(protocol("ours")).call(meta("k", b"v"), "append", Bytes::new()).unwrap().concat();
    for end in 0..whole.len() {
        let mut server = ServerConnection::new(protocol("ours"), UnknownClient::Accept);
        assert!(server.request(Bytes::copy_from_slice(&whole[..end])).is_err(), "cut at {end}");
    }
}

#[test]
fn claimed_metadata_takes_no_memory() {
    let mut server = ServerConnection::new(protocol("ours"), UnknownClient::Accept);
    call(&mut server, vec![shake_without_text("ours", "ours")]);
    for count in [&[0x80, 0x80, 0x80, 0x80, 0x10][..], &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x00], &[0x80, 0x08]] {
        assert!(server.request([count, &[0; 600]].concat().into()).is_err());
    }
}

fn any_meta() -> impl Strategy<Value = Metadata> {
    prop::collection::vec((".{0,8}", any::<Vec<u8>>()), 0..5).prop_map(|entries| {
        let mut meta = Metadata::new();
        entries.into_iter().for_each(|(key, value)| meta.insert(&key, value));
        meta
    })
}

prop_compose! {
    fn any_handshake_request()(
        client_hash: [u8; 16], client_protocol in prop::option::of(".{0,40}"), server_hash: [u8; 16],
        meta in prop::option::of(any_meta()),
    ) -> HandshakeRequest {
        HandshakeRequest { client_hash, client_protocol, server_hash, meta }
    }
}

prop_compose! {
    fn any_handshake_response()(
        outcome in prop::sample::select(vec![Match::Both, Match::Client, Match::None]),
        server_protocol in prop::option::of(".{0,40}"), server_hash: Option<[u8; 16]>,
        meta in prop::option::of(any_meta()),
    ) -> HandshakeResponse {
        HandshakeResponse { outcome, server_protocol, server_hash, meta }
    }
}

/// What `decode` reads of all of `bytes`, and that it refuses whatever is cut from them.
fn whole<T: std::fmt::Debug>(bytes: Vec<u8>, decode: fn(&mut Reader<'_>, &Bytes) -> Result<T, WireError>) -> T {
    let bytes = Bytes::from(bytes);
    for end in 0..bytes.len() {
        let cut = bytes.slice(..end);
        assert!(decode(&mut Reader::new(&cut), &cut).is_err(), "cut at {end}");
    }
    let mut reader = Reader::new(&bytes);
    let value = decode(&mut reader, &bytes).unwrap();
    assert_eq!(reader.finish("all"), Ok(()));
    value
}

proptest! {
    #[test]
    fn handshakes_survive_the_round_trip(request in any_handshake_request(), response in any_handshake_response()) {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        request.encode(&mut asked);
        response.encode(&mut answered);
        prop_assert_eq!(whole(asked, HandshakeRequest::decode), request);
        prop_assert_eq!(whole(answered, HandshakeResponse::decode), response);
    }

    #[test]
    fn metadata_survives_the_round_trip_and_says_its_length(meta in any_meta()) {
        let mut out = Vec::new();
        meta.encode(&mut out);
        prop_assert_eq!(out.len(), meta.encoded_len());
        prop_assert_eq!(whole(out, Metadata::decode), meta);
    }

    #[test]
    fn failures_survive_the_round_trip(text in ".{0,60}", meta in any_meta()) {
        let mut client = ClientConnection::new(protocol("ours"));
        let mut server = ServerConnection::new(protocol("ours"), UnknownClient::Accept);
        for _ in 0..2 {
            let payload = client.call(Metadata::new(), "any", Bytes::new()).unwrap();
            let failure = call(&mut server, payload).responder.error(&meta, &text);
            let response = answered(&mut client, failure);
            prop_assert_eq!(response, Response { meta: meta.clone(), result: Err(text.clone()) });
        }
    }

    #[test]
    fn random_payloads_never_panic(bytes: Vec<u8>, established: bool) {
        let mut server = ServerConnection::new(protocol("ours"), UnknownClient::Accept);
        let mut client = ClientConnection::new(protocol("ours"));
        let first = client.call(Metadata::new(), "a", Bytes::new()).unwrap();
        if established {
            let request = call(&mut server, first);
            answered(&mut client, request.responder.ok(&Metadata::new(), []));
        }
        let _ = server.request(bytes.clone().into());
        let _ = client.response(bytes.into());
    }

    #[test]
    fn calls_and_answers_survive_the_round_trip(
        meta in any_meta(), message in ".{1,12}", params: Vec<u8>,
    ) {
        let mut client = ClientConnection::new(protocol("ours"));
        let mut server = ServerConnection::new(protocol("ours"), UnknownClient::Accept);
        let payload = client.call(meta.clone(), &message, params.clone().into()).unwrap();
        let request = call(&mut server, payload);
        prop_assert_eq!((&request.meta, &request.message, &request.params[..]), (&meta, &message, &params[..]));
        let response = answered(&mut client, request.responder.ok(&meta, [Bytes::from(params.clone())]));
        prop_assert_eq!(response, Response { meta, result: Ok(params.into()) });
    }
}
