#![allow(clippy::unwrap_used, reason = "tests")]

use millstream_testkit::{TestChannel, spec_contract};
use tokio::time::timeout;

use super::*;
use crate::testing::{Peer, Served, declared, refusal, serve};

spec_contract!(declared(&SPEC, [("port", "0")]));

async fn http(settings: &[(&str, &str)], channel: &TestChannel) -> Served {
    serve(&SPEC, "bind", settings, channel).await
}

/// Sends a request and gives status and body of the answer.
async fn ask(peer: &mut Peer, request: &str, body: &str) -> (u16, String) {
    peer.send(format!("{request}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    answer(peer).await
}

async fn answer(peer: &mut Peer) -> (u16, String) {
    let status = peer.line().await.split(' ').nth(1).unwrap().parse().unwrap();
    let mut length = 0;
    loop {
        let line = peer.line().await.to_ascii_lowercase();
        if line == "\r\n" {
            break;
        }
        length = line.strip_prefix("content-length: ").map_or(length, |text| text.trim().parse().unwrap());
    }
    (status, String::from_utf8(peer.raw(length).await).unwrap())
}

const JSON: &str = "POST /any/path HTTP/1.1\r\nContent-Type: application/json";

#[tokio::test]
async fn a_request_is_a_batch_and_is_answered_with_200_and_nothing_else() {
    let channel = TestChannel::new();
    let served = http(&[], &channel).await;
    let mut peer = served.peer().await;
    let body = r#"[{"headers": {"k": "v"}, "body": "one"}, {"body": "two"}]"#;
    assert_eq!(ask(&mut peer, JSON, body).await, (200, String::new()));
    assert_eq!(ask(&mut peer, JSON, "[]").await.0, 200, "the connection goes on");
    assert_eq!(
        ask(&mut peer, "GET / HTTP/1.1\r\nContent-Type: application/json", r#"[{"body":"three"}]"#).await.0,
        200
    );
    assert_eq!(channel.texts(), ["one", "two", "three"]);
    assert_eq!(channel.puts(), [2, 1]);
    assert_eq!(channel.stored().headers[0]["k"], "v");
    let counted = |counter| served.running.counted(counter);
    assert_eq!((counted(MetricName::EventReceivedCount), counted(MetricName::EventAcceptedCount)), (3, 3));
    assert_eq!((counted(MetricName::AppendBatchReceivedCount), counted(MetricName::AppendBatchAcceptedCount)), (3, 3));
    served.running.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_taken_is_answered_with_flumes_status_and_the_reason() {
    let channel = TestChannel::new();
    let served = http(&[], &channel).await;
    let mut peer = served.peer().await;
    for (request, body, status, part) in [
        (JSON, "{}", 400, "expected an array of objects"),
        (JSON, "", 500, "got nothing"),
        ("POST / HTTP/1.1\r\nContent-Type: text/x;charset=ebcdic", "[]", 500, "expected the charset utf-8"),
        ("PUT / HTTP/1.1", "[]", 405, "PUT is not served"),
        ("DELETE / HTTP/1.1", "", 405, "DELETE is not served"),
        ("OPTIONS / HTTP/1.1", "", 403, "OPTIONS is not served"),
        ("TRACE / HTTP/1.1", "", 403, "TRACE is not served"),
        ("PATCH / HTTP/1.1", "", 501, "PATCH is not served"),
    ] {
        let (found, text) = ask(&mut peer, request, body).await;
        assert_eq!(found, status, "{request}: {text}");
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(served.running.counted(MetricName::EventReadFail), 3);
    assert_eq!(channel.texts(), [""; 0]);
    served.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_channel_that_refuses_is_503_for_the_whole_request() {
    let channel = TestChannel::new();
    let served = http(&[], &channel).await;
    let mut peer = served.peer().await;
    channel.refuse_reservations(1);
    let (status, text) = ask(&mut peer, JSON, r#"[{"body":"a"},{"body":"b"}]"#).await;
    assert_eq!(status, 503);
    assert!(text.contains("send them again: channel c1 is full"), "{text}");
    assert_eq!(served.running.counted(MetricName::EventReceivedCount), 2);
    channel.fail_puts(1);
    assert_eq!(ask(&mut peer, JSON, r#"[{"body":"a"}]"#).await.0, 503);
    assert_eq!(served.running.counted(MetricName::EventReceivedCount), 3);
    assert_eq!(ask(&mut peer, JSON, r#"[{"body":"a"}]"#).await.0, 200);
    assert_eq!(channel.texts(), ["a"]);
    served.running.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_answered_before_it_is_stored_and_a_stop_waits_for_the_answer() {
    let channel = TestChannel::new();
    let served = http(&[], &channel).await;
    let (mut idle, mut peer) = (served.peer().await, served.peer().await);
    assert_eq!(ask(&mut idle, JSON, "[]").await.0, 200);
    channel.hold();
    let body = r#"[{"body":"a"}]"#;
    peer.send(format!("{JSON}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    channel.until(|stored| stored.bodies.len() == 1).await;
    assert!(timeout(Duration::from_millis(50), peer.line()).await.is_err());
    served.running.ask_to_stop();
    channel.tell();
    assert_eq!(answer(&mut peer).await.0, 200);
    served.running.outcome().await.unwrap();
    assert_eq!(idle.rest().await, "");
}

#[tokio::test]
async fn a_blob_is_one_event_with_the_parameters_as_headers_and_is_cut_at_its_limit() {
    let channel = TestChannel::new();
    let settings = [("handler", BLOB_HANDLER), ("handler.maxBlobLength", "5")];
    let served = http(&settings, &channel).await;
    let mut peer = served.peer().await;
    let request = "POST /x?a=1&b=%C3%BC+x&a=2 HTTP/1.1\r\nContent-Type: image/png";
    assert_eq!(ask(&mut peer, request, "123").await.0, 200);
    assert_eq!(ask(&mut peer, "POST / HTTP/1.1", "1234567").await.0, 200);
    let form = "POST /?a=1 HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    assert_eq!(ask(&mut peer, form, "c=3&d=of+any+length").await.0, 200);
    let stored = channel.stored();
    assert_eq!(channel.texts(), ["123", "12345", ""]);
    let of = |index: usize| stored.headers[index].iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
    assert_eq!(of(0), ["Content-Type=image/png", "a=1", "b=ü x"]);
    assert!(of(1).is_empty());
    assert_eq!(of(2), ["Content-Type=application/x-www-form-urlencoded", "a=1", "c=3", "d=of any length"]);
    served.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_says_no_more_still_gets_its_answer() {
    let channel = TestChannel::new();
    let served = http(&[], &channel).await;
    let mut peer = served.peer().await;
    channel.hold();
    peer.send(format!("{JSON}\r\nHost: x\r\nContent-Length: 14\r\n\r\n[{{\"body\":\"a\"}}]")).await;
    peer.finish().await;
    channel.until(|stored| stored.bodies.len() == 1).await;
    // What the end of the peer's words does, it does by now.
    assert!(timeout(Duration::from_millis(50), peer.raw(1)).await.is_err());
    channel.tell();
    assert_eq!(answer(&mut peer).await.0, 200);
    served.running.stop().await.unwrap();
}

#[tokio::test]
async fn hostile_requests_are_refused_and_others_served_meanwhile() {
    let channel = TestChannel::new();
    let served = http(&[], &channel).await;
    // A body that is claimed and does not come.
    let mut waiting = served.peer().await;
    waiting.send(format!("{JSON}\r\nContent-Length: 1000\r\n\r\n[")).await;
    // More than anything may have.
    let mut claiming = served.peer().await;
    claiming.send(format!("{JSON}\r\nHost: x\r\nContent-Length: {}\r\n\r\n", i64::MAX)).await;
    assert_eq!(answer(&mut claiming).await.0, 413);
    claiming.rest().await;
    // A head without end, and bytes that are no HTTP.
    let mut endless = served.peer().await;
    endless.send(format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(HEAD_BYTES))).await;
    assert!(endless.rest().await.starts_with("HTTP/1.1 431"));
    let mut alien = served.peer().await;
    alien.send(b"\x16\x03\x01\x02\x00\r\n\r\n").await;
    assert!(alien.rest().await.starts_with("HTTP/1.1 400"));
    served.running.until_counted(MetricName::GenericProcessingFail, 2).await;
    assert_eq!(ask(&mut served.peer().await, JSON, r#"[{"body":"good"}]"#).await.0, 200);
    assert_eq!(channel.texts(), ["good"]);
    served.running.stop().await.unwrap();
}

#[test]
fn a_handler_that_is_not_there_and_tls_without_a_key_are_refused_at_their_place() {
    let text = refusal(&SPEC, &[("port", "0"), ("handler", "com.example.Mine")]);
    assert!(text.starts_with("flume.conf:7: a1.sources.r1.handler: expected ") && text.contains("Mine"), "{text}");
    for key in ["ssl", "enableSSL"] {
        let text = refusal(&SPEC, &[("port", "0"), (key, "true")]);
        assert!(text.contains("keystore") && text.contains("missing"), "{text}");
    }
}
