#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use http_body_util::BodyExt;
use millstream_core::{ComponentStatus, PathStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn status() -> Arc<Status> {
    let status = Arc::new(Status::default());
    let components = vec![ComponentStatus::new("source", "r1".into(), "avro".into())];
    status.replace(PathStatus { name: "a1".into(), line: "avro r1".into(), components, ..PathStatus::default() });
    status
}

fn site() -> Site {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    Site { status: status(), taps: Arc::new(Semaphore::new(1)), peer, tapped: false.into() }
}

/// Code, content type and body.
async fn asked(method: &str, path: &str, accept: &str) -> (u16, String, String) {
    let request = Request::builder().method(method).uri(path).header(ACCEPT, accept).body(()).unwrap();
    let response = answer(&request, &site());
    let code = response.status().as_u16();
    let kind = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn metrics_are_flumes_json_unless_prometheus_asks() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    for (path, accept, kind) in [
        ("/metrics", "*/*", "application/json;charset=utf-8"),
        ("/METRICS", "", "application/json;charset=utf-8"),
        ("/metrics", "application/json, text/plain, */*", "application/json;charset=utf-8"),
        ("/metrics", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json;charset=utf-8"),
        ("/metrics", prometheus, OPENMETRICS),
        ("/metrics", "Text/Plain", PROMETHEUS),
        ("/metrics/prometheus", "*/*", PROMETHEUS),
    ] {
        let (code, found, body) = asked("GET", path, accept).await;
        assert_eq!((code, found.as_str()), (200, kind), "{path} {accept}");
        if found.starts_with("application/json") {
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["SOURCE.r1"]["EventReceivedCount"], "0");
        } else {
            assert!(body.contains("millstream_event_received_total{"), "{body}");
        }
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_answered_as_flume_answers_them() {
    for (method, path, code, part) in [
        ("GET", "/", 200, "metrics"),
        ("GET", "/favicon.ico", 404, "/metrics"),
        ("TRACE", "/metrics", 403, ""),
        ("OPTIONS", "/metrics", 403, ""),
        ("POST", "/metrics", 200, "SOURCE.r1"),
        ("GET", "/api/v1/tap?component=r1", 403, "by the name localhost"),
        ("GET", "/livez", 200, "ok"),
        ("GET", "/readyz", 503, "source r1 is starting"),
        ("GET", "/api/v1/status", 200, "\"path\":\"avro r1\""),
    ] {
        let (found, _, body) = asked(method, path, "*/*").await;
        assert_eq!((found, body.contains(part)), (code, true), "{method} {path}: {body}");
    }
}

/// What the server writes before it closes the connection.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // It may close before all of a request is read.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn hostile_clients_are_refused_and_others_served() {
    let host = [127, 0, 0, 1].into();
    let mut serving = start(Monitoring { host, port: 0 }, status());
    let address = serving.address().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let long = [b"GET /".as_slice(), &vec![b'a'; 100_000]].concat();
    assert!(!exchange(address, &long).await.contains("200 OK"));
    assert!(
        exchange(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await.contains("400 Bad Request")
    );
    let body = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\nConnection: close\r\n\r\n";
    assert!(exchange(address, body).await.starts_with("HTTP/1.1 200 OK"));
    let good = exchange(address, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(good.starts_with("HTTP/1.1 200 OK") && good.ends_with("ok\n"), "{good}");
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_ask_in_time_is_left() {
    let mut serving = start(Monitoring { host: [127, 0, 0, 1].into(), port: 0 }, status());
    let address = serving.address().await.unwrap();
    let began = tokio::time::Instant::now();
    exchange(address, b"GET /met").await;
    let waited = began.elapsed();
    assert!(waited >= ASK_WITHIN && waited < ASK_WITHIN * 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_port_in_use_is_waited_for() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = holder.local_addr().unwrap();
    let mut serving = start(Monitoring { host: address.ip(), port: address.port() }, status());
    assert!(timeout(BIND_AGAIN * 2, serving.address()).await.is_err());
    drop(holder);
    assert_eq!(serving.address().await, Some(address));
}
