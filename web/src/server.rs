//! The HTTP server: small answers, and nothing that changes anything.
//!
//! A client gets 10 s to ask and a connection lives 5 minutes at most, unless events are shown on it; more than 64 connections wait. So whoever is slow or
//! hostile costs a bounded amount and stops nobody's events. A port in use is told once and waited for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use millstream_core::{Error, Status};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::settings::Monitoring;
use crate::tap::{self, Asking, MOST_TAPS};
use crate::{api, flume, prometheus};

type Answer = Response<Either<Full<Bytes>, Channel<Bytes, Infallible>>>;

/// A server at work; it ends when this is dropped.
#[derive(Debug)]
pub struct Serving {
    address: watch::Receiver<Option<SocketAddr>>,
    _task: JoinSet<()>,
}

/// Serves `status` from now on.
pub fn start(monitoring: Monitoring, status: Arc<Status>) -> Serving {
    let (tell, address) = watch::channel(None);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let listener = listening(SocketAddr::new(monitoring.host, monitoring.port)).await;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "monitoring serves http");
            tell.send_replace(Some(address));
        }
        serve(listener, status).await;
    });
    Serving { address, _task: task }
}

// === impl Serving ===

impl Serving {
    /// Where it listens, once it does.
    pub async fn address(&mut self) -> Option<SocketAddr> {
        self.address.wait_for(Option::is_some).await.ok().and_then(|address| *address)
    }
}

/// A listener, as soon as the port is free.
async fn listening(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => Error::net("bind", address, error),
        };
        if !told {
            let remedy = "choose another one by -Dflume.monitoring.port";
            tracing::error!(%error, remedy, "monitoring waits for its port; the agent works without it");
            told = true;
        }
        sleep(BIND_AGAIN).await;
    }
}

async fn serve(listener: TcpListener, status: Arc<Status>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let taps = Arc::new(Semaphore::new(MOST_TAPS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let site = Site { status: Arc::clone(&status), taps: Arc::clone(&taps), peer, tapped: false.into() };
                connections.spawn(async move {
                    talk(stream, site).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Too many open files, as a rule: it passes.
                tracing::warn!(%error, "monitoring cannot accept a connection");
                sleep(BIND_AGAIN).await;
            }
        }
    }
}

/// What a client may ask for.
struct Site {
    status: Arc<Status>,
    taps: Arc<Semaphore>,
    peer: SocketAddr,
    /// Whether it asked for events: these may come for as long as it stays.
    tapped: AtomicBool,
}

async fn talk(stream: TcpStream, site: Site) {
    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, &site))));
    let talking = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASK_WITHIN)
        .max_buf_size(MOST_REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut talking = pin!(talking);
    let ended = loop {
        match timeout(LONGEST_CONNECTION, &mut talking).await {
            Err(_) if site.tapped.load(Ordering::Relaxed) => {}
            ended => break ended,
        }
    };
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "a client of the monitoring left or made no sense");
    }
}

/// The answer to one request. As in Flume, `/metrics` may be written in any case, and every method but two is a `GET`.
fn answer<B>(request: &Request<B>, site: &Site) -> Answer {
    let status = &site.status;
    if matches!(*request.method(), Method::TRACE | Method::OPTIONS) {
        return text(StatusCode::FORBIDDEN, "not allowed\n");
    }
    match request.uri().path().to_ascii_lowercase().as_str() {
        "/" => with_type(StatusCode::OK, "text/html;charset=utf-8", INDEX),
        "/metrics" => match wanted(request.headers()) {
            None => json(&flume::metrics(status)),
            Some(kind) => openmetrics(status, kind),
        },
        "/metrics/prometheus" => openmetrics(status, wanted(request.headers()).unwrap_or(PROMETHEUS)),
        "/api/v1/status" => json(&api::status(status)),
        "/api/v1/tap" => tapped(request, site),
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match api::unready(status) {
            reasons if reasons.is_empty() => text(StatusCode::OK, "ok\n"),
            reasons => text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics /metrics/prometheus /api/v1/status /api/v1/tap /livez /readyz\n",
        ),
    }
}

/// The content type of Prometheus text, if the `Accept` header names one of its kinds, and JSON not before it.
fn wanted(headers: &HeaderMap) -> Option<&'static str> {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = accept.flat_map(|value| value.split(',')).map(|kind| kind.split(';').next().unwrap_or_default().trim());
    for kind in kinds {
        match kind.to_ascii_lowercase().as_str() {
            "application/json" => return None,
            "application/openmetrics-text" => return Some(OPENMETRICS),
            "text/plain" => return Some(PROMETHEUS),
            _ => {}
        }
    }
    None
}

fn openmetrics(status: &Arc<Status>, kind: &'static str) -> Answer {
    let metrics = if kind == PROMETHEUS { prometheus::plain(status) } else { prometheus::metrics(status) };
    match metrics {
        Ok(metrics) => with_type(StatusCode::OK, kind, metrics),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}\n")),
    }
}

fn tapped<B>(request: &Request<B>, site: &Site) -> Answer {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let asking = Asking { from: site.peer.ip(), host, query: request.uri().query() };
    match tap::open(asking, &site.status, &site.taps) {
        Ok(body) => {
            site.tapped.store(true, Ordering::Relaxed);
            let mut response = Response::new(Either::Right(body));
            response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(LINES));
            response
        }
        Err((code, problem)) => text(code, problem),
    }
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(StatusCode::OK, "application/json;charset=utf-8", bytes),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {error}\n")),
    }
}

fn text(code: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(code, "text/plain;charset=utf-8", body)
}

fn with_type(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

const INDEX: &str = "<html><body><ul>\
    <li><a href=\"metrics\">metrics, as Flume shows them</a></li>\
    <li><a href=\"metrics/prometheus\">the same for Prometheus</a></li>\
    <li><a href=\"api/v1/status\">status</a></li></ul></body></html>\n";
const LINES: &str = "application/x-ndjson";
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0;charset=utf-8";
const PROMETHEUS: &str = "text/plain;version=0.0.4;charset=utf-8";
/// As Flume supervises what it cannot start.
const BIND_AGAIN: Duration = Duration::from_secs(3);
const ASK_WITHIN: Duration = Duration::from_secs(10);
const LONGEST_CONNECTION: Duration = Duration::from_secs(300);
const MOST_CONNECTIONS: usize = 64;
/// A request line with its headers.
const MOST_REQUEST_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests;
