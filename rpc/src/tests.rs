#![allow(clippy::unwrap_used, reason = "tests")]
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use millstream_core::{Error, Fut, Options, Result, Setting, Stopper, stop_token};
use millstream_io::listen::listen;
use millstream_io::tls::{self, CLIENT_OPTIONS, SERVER_OPTIONS};
use millstream_wire::avro_rpc::{Metadata, Protocol};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Call, Client, ClientSettings, Pending, Reply, Server, ServerLimits, Service, Wrapping, introduce};

fn protocol() -> Arc<Protocol> {
    Arc::new(Protocol::new(r#"{"protocol":"Echo"}"#))
}

/// Answers `echo` with its parameters, `late` once a permit is added to `gate`, `held` is executed only then.
struct Echo {
    gate: Semaphore,
    holding: AtomicBool,
    executed: Mutex<Vec<String>>,
    ended: Mutex<Vec<Result<()>>>,
}

impl Service for Echo {
    fn protocol(&self) -> Arc<Protocol> {
        protocol()
    }

    fn execute(self: Arc<Self>, call: Call) -> Fut<'static, Pending> {
        Box::pin(async move {
            if call.message == "held" {
                self.holding.store(true, Relaxed);
                self.gate.acquire().await.unwrap().forget();
            }
            let shown = String::from_utf8_lossy(&call.params[..call.params.len().min(20)]).into_owned();
            self.executed.lock().push(format!("{} {shown}", call.message));
            Pending::new(async move {
                let mut reply = match call.message.as_str() {
                    "fail" => Reply::error("as asked"),
                    _ => Reply::ok(call.params),
                };
                if call.message == "late" {
                    self.gate.acquire().await.unwrap().forget();
                }
                introduce(&mut reply.meta, false);
                reply
            })
        })
    }

    fn closed(&self, _peer: SocketAddr, outcome: &Result<()>) {
        self.ended.lock().push(outcome.clone());
    }
}

struct Running {
    echo: Arc<Echo>,
    port: u16,
    stopper: Stopper,
    serving: JoinHandle<()>,
}

impl Running {
    async fn start(wrapping: Wrapping<TlsAcceptor>, limits: ServerLimits) -> Self {
        let server = Server::new(listen("127.0.0.1", 0).await.unwrap(), wrapping, limits);
        let port = server.address().unwrap().port();
        let (stopper, stop) = stop_token();
        let echo = Arc::new(Echo {
            gate: Semaphore::new(0),
            holding: AtomicBool::new(false),
            executed: Mutex::default(),
            ended: Mutex::default(),
        });
        let serving = tokio::spawn(server.serve(Arc::clone(&echo), stop));
        Self { echo, port, stopper, serving }
    }

    async fn plain() -> Self {
        Self::start(Wrapping::default(), ServerLimits::default()).await
    }

    fn settings(&self, wrapping: Wrapping<TlsConnector>) -> ClientSettings {
        ClientSettings {
            host: "127.0.0.1".into(),
            port: self.port,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            wrapping,
            protocol: protocol(),
        }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.settings(Wrapping::default())).await.unwrap()
    }

    async fn socket(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Why the first connection that ended did.
    async fn outcome(&self) -> Result<()> {
        loop {
            if let Some(outcome) = self.echo.ended.lock().pop() {
                return outcome;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn echo(client: &mut Client, text: &str) -> String {
    let response = client.call(Metadata::new(), "echo", Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
    String::from_utf8(response.result.unwrap().to_vec()).unwrap()
}

/// TLS of both sides, with a key made for the test.
fn tls_pair(dir: &tempfile::TempDir) -> (TlsAcceptor, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let file = dir.path().join("server.pem");
    std::fs::write(&file, made.signing_key.serialize_pem() + &made.cert.pem()).unwrap();
    let file = file.display().to_string();
    let setting = |key: &str, value: &str| Setting { key: key.into(), value: value.into(), place: key.into() };
    let server = [setting("ssl", "true"), setting("keystore", &file)];
    let client = [setting("ssl", "true"), setting("truststore", &file)];
    let server = Options::parse("s", &SERVER_OPTIONS, &[], server).unwrap().0;
    let client = Options::parse("c", &CLIENT_OPTIONS, &[], client).unwrap().0;
    (tls::acceptor(&server).unwrap().unwrap(), tls::connector(&client).unwrap().unwrap())
}

#[tokio::test]
async fn calls_come_through_plain_compressed_encrypted_and_both() {
    let dir = tempfile::tempdir().unwrap();
    let (acceptor, connector) = tls_pair(&dir);
    let long = "text that compresses ".repeat(50_000);
    for (encrypted, deflate) in [(false, None), (false, Some(6)), (true, None), (true, Some(0))] {
        let tls = encrypted.then(|| acceptor.clone());
        let running = Running::start(Wrapping { tls, deflate }, ServerLimits::default()).await;
        let wrapping = Wrapping { tls: encrypted.then(|| connector.clone()), deflate };
        let mut client = Client::connect(&running.settings(wrapping)).await.unwrap();
        assert_eq!(echo(&mut client, "short").await, "short", "{encrypted} {deflate:?}");
        assert_eq!(echo(&mut client, &long).await, long, "{encrypted} {deflate:?}");
        client.close().await;
        running.outcome().await.unwrap();
    }
}

/// The order of Flume 1.10 and 1.11.
#[tokio::test]
async fn a_client_that_encrypts_inside_of_compression_is_understood_too() {
    use async_compression::tokio::{bufread::ZlibDecoder, write::ZlibEncoder};
    let dir = tempfile::tempdir().unwrap();
    let (acceptor, connector) = tls_pair(&dir);
    let running = Running::start(Wrapping { tls: Some(acceptor), deflate: Some(6) }, ServerLimits::default()).await;
    let (reading, writing) = tokio::io::split(running.socket().await);
    let reading = ZlibDecoder::new(tokio::io::BufReader::new(reading));
    let inside = tokio::io::join(reading, ZlibEncoder::new(writing));
    let mut stream = connector.connect("localhost".try_into().unwrap(), inside).await.unwrap();
    let mut rpc = millstream_wire::avro_rpc::ClientConnection::new(protocol());
    let parts = rpc.call(Metadata::new(), "echo", Bytes::from_static(b"hi")).unwrap();
    stream.write_all(&millstream_wire::netty::encode_frame(7, parts).concat()).await.unwrap();
    stream.flush().await.unwrap();
    let mut serial = [0; 4];
    stream.read_exact(&mut serial).await.unwrap();
    assert_eq!(serial, [0, 0, 0, 7]);
}

#[tokio::test]
async fn our_own_server_takes_many_calls_at_once_and_answers_in_order() {
    let running = Running::plain().await;
    let mut client = running.client().await;
    assert_eq!(client.most_open(), 1, "before hands are shaken");
    echo(&mut client, "first").await;
    assert!(client.most_open() > 1 && client.peer().is_some());
    client.send(Metadata::new(), "late", Bytes::from_static(b"a")).await.unwrap();
    client.send(Metadata::new(), "echo", Bytes::from_static(b"b")).await.unwrap();
    while running.echo.executed.lock().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.echo.executed.lock()[1..], ["late a", "echo b"], "executed although the first waits");
    running.echo.gate.add_permits(1);
    assert_eq!(client.answer().await.unwrap().result.unwrap(), "a");
    assert_eq!(client.answer().await.unwrap().result.unwrap(), "b");
}

#[tokio::test]
async fn a_call_that_is_held_up_holds_up_the_next_one_of_its_connection_alone() {
    let running = Running::plain().await;
    let (mut first, mut second) = (running.client().await, running.client().await);
    echo(&mut first, "1").await;
    first.send(Metadata::new(), "held", Bytes::from_static(b"x")).await.unwrap();
    first.send(Metadata::new(), "echo", Bytes::from_static(b"y")).await.unwrap();
    echo(&mut second, "2").await;
    assert_eq!(*running.echo.executed.lock(), ["echo 1", "echo 2"]);
    running.echo.gate.add_permits(1);
    assert_eq!(first.answer().await.unwrap().result.unwrap(), "x");
    assert_eq!(first.answer().await.unwrap().result.unwrap(), "y");
}

#[tokio::test]
async fn an_error_of_the_service_is_its_text_and_the_connection_goes_on() {
    let running = Running::plain().await;
    let mut client = running.client().await;
    let failed = client.call(Metadata::new(), "fail", Bytes::new()).await.unwrap();
    assert_eq!(failed.result, Err("as asked".to_owned()));
    assert_eq!(echo(&mut client, "on").await, "on");
}

#[tokio::test]
async fn a_peer_that_stops_in_the_middle_of_a_frame_is_disconnected_and_an_idle_one_is_not() {
    let limits = ServerLimits { stall: Duration::from_millis(50), ..ServerLimits::default() };
    let running = Running::start(Wrapping::default(), limits).await;
    let mut idle = running.client().await;
    echo(&mut idle, "1").await;
    let mut slow = running.socket().await;
    slow.write_all(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0]).await.unwrap();
    assert_eq!(slow.read(&mut [0; 1]).await.unwrap(), 0, "closed");
    let error = running.outcome().await.unwrap_err();
    assert!(matches!(error, Error::Net { .. }), "{error}");
    assert_eq!(echo(&mut idle, "2").await, "2");
}

#[tokio::test]
async fn wrong_bytes_and_a_cut_frame_end_the_connection_with_their_place() {
    let running = Running::plain().await;
    for (bytes, text) in [(&[0, 0, 0, 1, 0, 0, 0, 0][..], "number of buffers"), (&[0, 0, 0, 1], "after 4 bytes")] {
        let mut socket = running.socket().await;
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        let error = running.outcome().await.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[tokio::test]
async fn unfinished_frames_wait_for_memory_and_finish_once_there_is_some() {
    let limits = ServerLimits { memory_bytes: 384 << 10, ..ServerLimits::default() };
    let running = Running::start(Wrapping::default(), limits).await;
    let large = "x".repeat(300 << 10);
    // Holds up its connection with a frame that took all of the memory.
    let mut first = running.client().await;
    first.send(Metadata::new(), "held", Bytes::from("x".repeat(400 << 10))).await.unwrap();
    while !running.echo.holding.load(Relaxed) {
        tokio::task::yield_now().await;
    }
    let mut second = running.client().await;
    second.send(Metadata::new(), "echo", Bytes::from(large.clone())).await.unwrap();
    let mut small = running.client().await;
    echo(&mut small, "small ones pass").await;
    assert_eq!(*running.echo.executed.lock(), ["echo small ones pass"], "the second large one waits");
    running.echo.gate.add_permits(1);
    assert_eq!(first.answer().await.unwrap().result.unwrap().len(), 400 << 10);
    assert_eq!(second.answer().await.unwrap().result.unwrap().len(), large.len());
}

#[tokio::test]
async fn slow_peers_that_hold_all_memory_are_dropped_for_a_good_one() {
    let limits = ServerLimits { memory_bytes: 384 << 10, ..ServerLimits::default() };
    let running = Running::start(Wrapping::default(), limits).await;
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut socket = running.socket().await;
        socket.write_all(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 16, 0, 0]).await.unwrap();
        // Waits for room, or for more of the frame.
        socket.write_all(&[7; 200 << 10]).await.unwrap();
        slow.push(socket);
    }
    let mut good = running.client().await;
    let large = "x".repeat(200 << 10);
    assert_eq!(echo(&mut good, &large).await, large);
    let error = running.outcome().await.unwrap_err();
    assert!(error.to_string().contains("hold too many bytes"), "{error}");
    assert_eq!(echo(&mut good, &large).await, large, "as long as others are slow");
}

#[tokio::test]
async fn a_server_that_stops_answers_what_is_under_way() {
    let running = Running::plain().await;
    let mut client = running.client().await;
    echo(&mut client, "1").await;
    client.send(Metadata::new(), "late", Bytes::from_static(b"last")).await.unwrap();
    while running.echo.executed.lock().len() < 2 {
        tokio::task::yield_now().await;
    }
    running.stopper.stop();
    running.echo.gate.add_permits(1);
    assert_eq!(client.answer().await.unwrap().result.unwrap(), "last");
    running.serving.await.unwrap();
    assert!(client.call(Metadata::new(), "echo", Bytes::new()).await.is_err());
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_an_error_in_time() {
    let running = Running::plain().await;
    let settings =
        ClientSettings { request_timeout: Duration::from_millis(30), ..running.settings(Wrapping::default()) };
    let mut client = Client::connect(&settings).await.unwrap();
    let error = client.call(Metadata::new(), "late", Bytes::new()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("answer from 127.0.0.1:{}: ", running.port)), "{error}");
}

#[tokio::test]
async fn the_time_for_an_answer_begins_when_the_call_is_written() {
    let running = Running::plain().await;
    let relay = listen("127.0.0.1", 0).await.unwrap();
    let limit = Duration::from_secs(3);
    let mut settings = ClientSettings { request_timeout: limit, ..running.settings(Wrapping::default()) };
    settings.port = relay.local_addr().unwrap().port();
    let mut server = running.socket().await;
    tokio::spawn(async move {
        let (mut client, _) = relay.accept().await.unwrap();
        tokio::time::sleep(limit * 2 / 3).await; // sleeps: what is written meanwhile finds no reader
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let mut client = Client::connect(&settings).await.unwrap();
    let began = std::time::Instant::now();
    let larger_than_buffers = Bytes::from(vec![0; 32 << 20]);
    client.send(Metadata::new(), "late", larger_than_buffers.clone()).await.unwrap();
    assert!(began.elapsed() >= limit / 2, "it was written without a reader");
    let gate = Arc::clone(&running.echo);
    tokio::spawn(async move {
        tokio::time::sleep(limit * 2 / 3).await; // sleeps: longer than what is left since writing began
        gate.gate.add_permits(1);
    });
    assert_eq!(client.answer().await.unwrap().result.unwrap(), larger_than_buffers);
    assert!(began.elapsed() > limit);
}

#[tokio::test]
async fn one_sided_tls_and_compression_are_told_with_what_may_be_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (acceptor, connector) = tls_pair(&dir);
    let said = async |server: Wrapping<TlsAcceptor>, client: Wrapping<TlsConnector>| {
        let running = Running::start(server, ServerLimits::default()).await;
        let mut client = match Client::connect(&running.settings(client)).await {
            Ok(client) => client,
            Err(error) => return error.to_string(),
        };
        client.call(Metadata::new(), "echo", Bytes::new()).await.unwrap_err().to_string()
    };
    let deflate = || Wrapping { tls: None, deflate: Some(6) };
    let text = said(Wrapping::default(), deflate()).await;
    assert!(text.ends_with("has the source compression-type = deflate too?"), "{text}");
    let text = said(Wrapping::default(), Wrapping { tls: Some(connector), deflate: None }).await;
    assert!(text.contains("has the server ssl = true"), "{text}");
    let text = said(Wrapping { tls: Some(acceptor), deflate: None }, Wrapping::default()).await;
    assert!(text.contains("without ssl and compression-type if this end has none?"), "{text}");
}
