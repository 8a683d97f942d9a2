//! Takes events from HTTP requests.
//!
//! Every path is served. POST and GET give their body to the handler: `JSONHandler` takes an array of objects with `headers`
//! and `body`, both optional; `BlobHandler` makes one event of the whole body, its headers are the parameters of the
//! request. The answer is empty, or says in one line what was wrong.
//!
//! | status | |
//! |---|---|
//! | 200 | every required channel has the events |
//! | 400 | the body is not what the handler expects |
//! | 403, 405, 501 | the method is not served |
//! | 408, 413 | the body does not come, or is too large |
//! | 500 | the body is blank or `null`, or in a charset that is not served |
//! | 503 | a channel refused the events, or too many bodies are under way: send them again |
//!
//! # Delivery
//! A request is one batch: 200 is answered once every required channel has all of its events.
//!
//! # Source
//! `org.apache.flume.source.http.HTTPSource`, `JSONHandler`, and `BlobHandler` of the morphline module (Flume 1.11).

mod blob;
mod body;
mod heard;
#[cfg(test)]
mod hostile;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use millstream_core::options::joined;
use millstream_core::{
    Batch, Error, Fut, Kind, MetricName, OptionSpec, Options, Result, Setting, Source, SourceContext, SourceSpec,
    family, optional, required, unset,
};
use millstream_io::{listen, tls};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::socket::{self, Stream, stored};
use blob::Blob;
use body::Bodies;
use heard::Heard;

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "http",
    aliases: &["org.apache.flume.source.http.HTTPSource"],
    summary: "Takes events from HTTP requests.",
    options: &OPTIONS,
    build: |options| Ok(Box::new(Http::from_options(options)?)),
};

const OWN: [OptionSpec; 11] = [
    optional("bind", Kind::Host, "0.0.0.0", "Address to listen on."),
    required("port", Kind::Int(0, 65535), "Port to listen on; 0 for any free one, which the log names."),
    optional("handler", Kind::Text, JSON_HANDLER, "The class of JSONHandler or of BlobHandler."),
    optional("handler.maxBlobLength", Kind::Int(1, 1 << 30), "100000000", "BlobHandler: longer bodies are cut there."),
    unset("enableSSL", Kind::Bool, "Old name of ssl."),
    unset("keystorePassword", Kind::Text, "Old name of keystore-password."),
    unset("excludeProtocols", Kind::List, "Old name of exclude-protocols."),
    family("QueuedThreadPool.*", Kind::Text, "No effect: there is no Jetty."),
    family("HttpConfiguration.*", Kind::Text, "No effect: there is no Jetty."),
    family("SslContextFactory.*", Kind::Text, "No effect: there is no Jetty."),
    family("ServerConnector.*", Kind::Text, "No effect: there is no Jetty."),
];
const OPTIONS: [OptionSpec; OWN.len() + tls::SERVER_OPTIONS.len()] = joined(&[&OWN, &tls::SERVER_OPTIONS]);

const JSON_HANDLER: &str = "org.apache.flume.source.http.JSONHandler";
const BLOB_HANDLER: &str = "org.apache.flume.sink.solr.morphline.BlobHandler";

/// Old names and those that TLS knows.
const OLD_NAMES: [(&str, &str); 3] =
    [("enableSSL", "ssl"), ("keystorePassword", "keystore-password"), ("excludeProtocols", "exclude-protocols")];

/// A peer has so long to send the head of a request.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// Longest head of a request.
const HEAD_BYTES: usize = 16 << 10;

/// Listens.
#[derive(Debug)]
struct Http {
    bind: String,
    port: u16,
    acceptor: Acceptor,
    handler: Handler,
}

/// Hidden from debug output, as it holds a private key.
struct Acceptor(Option<TlsAcceptor>);

/// Makes events of a body.
#[derive(Debug, Clone)]
enum Handler {
    Json,
    Blob(Blob),
}

/// What is answered instead of 200.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    text: String,
}

/// What the connections share.
struct Serving {
    cx: SourceContext,
    handler: Handler,
    bodies: Bodies,
}

// === impl Http ===

impl Http {
    fn from_options(options: &Options) -> Result<Self> {
        let handler = match options.text("handler")? {
            JSON_HANDLER | "JSON" => Handler::Json,
            BLOB_HANDLER => Handler::Blob(Blob { most_bytes: options.int("handler.maxBlobLength")? }),
            other => {
                let problem = format!("expected {JSON_HANDLER} or {BLOB_HANDLER}, got {other:?}");
                return Err(options.refuse("handler", problem));
            }
        };
        let acceptor = Acceptor(tls::acceptor(&tls_options(options)?)?);
        Ok(Self { bind: options.text("bind")?.to_owned(), port: options.int("port")?, acceptor, handler })
    }

    async fn listen(self, cx: SourceContext) -> Result<()> {
        let listener = listen::listen(&self.bind, self.port).await?;
        let address = listener.local_addr().map_err(|error| Error::net("listen", &self.bind, error))?;
        tracing::info!(%address, "http source listens");
        cx.status.ready();
        let serving = Arc::new(Serving { cx: cx.clone(), handler: self.handler, bodies: Bodies::new() });
        let attend = |stream: TcpStream, peer| {
            let (acceptor, serving) = (self.acceptor.0.clone(), Arc::clone(&serving));
            async move {
                let stream = socket::secured(acceptor.as_ref(), stream, peer, &serving.cx).await?;
                serving.connection(stream, peer).await
            }
        };
        socket::serve(listener, &cx, attend).await;
        Ok(())
    }
}

impl Source for Http {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.listen(cx))
    }
}

/// The options of TLS under the names that it knows.
fn tls_options(options: &Options) -> Result<Options> {
    let place = |key: &str| match options.refuse(key, "") {
        Error::Config { place, .. } => place,
        _ => key.to_owned(),
    };
    let own = tls::SERVER_OPTIONS.iter().map(|spec| (spec.key, spec.key));
    let settings = own.chain(OLD_NAMES).filter_map(|(written, key)| {
        let value = options.find(written)?.to_owned();
        Some(Setting { key: key.to_owned(), value, place: place(written) })
    });
    Options::parse("http source", &tls::SERVER_OPTIONS, &[], settings).map(|(options, _)| options)
}

// === impl Serving ===

impl Serving {
    async fn connection(self: Arc<Self>, stream: Box<dyn Stream>, peer: SocketAddr) -> Result<()> {
        let (mut stop, heard) = (self.cx.stop.clone(), Heard::default());
        let stream = heard.on(stream);
        let service = service_fn(|request| {
            let (serving, heard) = (Arc::clone(&self), heard.clone());
            async move {
                let answer = serving.answer(request, peer).await;
                // With its body, which is read by now.
                heard.forget();
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(HEAD_BYTES);
        // A peer that has said everything still wants its answer.
        server.half_close(true);
        let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = stop.stopped() => {
                // What is under way is answered.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        match outcome {
            // A peer that has nothing to say for long is no failure.
            Err(error) if error.is_timeout() && !heard.anything() => Ok(()),
            Err(error) if error.is_timeout() => {
                let problem = format!("the head of a request came too slowly, not within {} s", HEAD_WAIT.as_secs());
                Err(Error::net("serve", peer, std::io::Error::other(problem)))
            }
            outcome => outcome.map_err(|error| Error::net("serve", peer, std::io::Error::other(error))),
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        let refusal = match self.take(request, peer).await {
            Ok(()) => return Response::new(Full::default()),
            Err(refusal) => refusal,
        };
        let mut response = Response::new(Full::from(format!("{}\n", refusal.text)));
        *response.status_mut() = refusal.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=utf-8"));
        if matches!(refusal.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            // The rest of the body is not read.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn take(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<(), Refusal> {
        match *request.method() {
            Method::POST | Method::GET | Method::HEAD => {}
            Method::PUT | Method::DELETE => return Err(Refusal::method(StatusCode::METHOD_NOT_ALLOWED, &request)),
            Method::TRACE | Method::OPTIONS => return Err(Refusal::method(StatusCode::FORBIDDEN, &request)),
            _ => return Err(Refusal::method(StatusCode::NOT_IMPLEMENTED, &request)),
        }
        let (head, body) = request.into_parts();
        // Held until the channels have the events: what is under way is bounded.
        let body = match &self.handler {
            Handler::Blob(blob) if !blob::is_form(&head) => self.bodies.read(body, blob.most_bytes, true).await,
            Handler::Json | Handler::Blob(_) => self.bodies.read(body, body::MOST_BYTES, false).await,
        };
        let body = body.inspect_err(|refusal| self.unreadable(refusal, peer))?;
        let events = match &self.handler {
            Handler::Json => json::events(&head, &body.bytes),
            Handler::Blob(blob) => Ok(blob.event(&head, &body)),
        };
        let events = events.inspect_err(|refusal| self.unreadable(refusal, peer))?;
        self.store(events).await
    }

    fn unreadable(&self, refusal: &Refusal, peer: SocketAddr) {
        tracing::warn!(%peer, status = %refusal.status, problem = refusal.text, "request refused");
        self.cx.status.count(MetricName::EventReadFail, 1);
    }

    async fn store(&self, events: Batch) -> Result<(), Refusal> {
        self.cx.status.count(MetricName::AppendBatchReceivedCount, 1);
        let outcome = stored(&self.cx, &events).await;
        outcome.map_err(|error| {
            let text = format!("a channel refused the events, send them again: {error}");
            Refusal { status: StatusCode::SERVICE_UNAVAILABLE, text }
        })?;
        self.cx.status.count(MetricName::AppendBatchAcceptedCount, 1);
        Ok(())
    }
}

// === impl Refusal ===

impl Refusal {
    fn bad(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into() }
    }

    fn method(status: StatusCode, request: &Request<Incoming>) -> Self {
        Self { status, text: format!("{} is not served, send events by POST", request.method()) }
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Acceptor").field(&self.0.is_some()).finish()
    }
}
