#![allow(clippy::unwrap_used, reason = "tests")]
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as StdStream};

use bytes::Bytes;
use millstream_testkit::contract::sink::{FailingHome, Home};
use millstream_testkit::{failing_sink_contract, setting, sink_contract};
use millstream_wire::EventLimits;
use millstream_wire::thrift::{Method, Status, decode_call, encode_exception, encode_reply};
use parking_lot::Mutex as Lock;

use super::*;

/// A thrift source of nobody's, on threads of its own: keeps what it is sent, and answers as a test tells it.
struct Peer {
    port: u16,
    encoding: Encoding,
    state: Arc<Lock<State>>,
}

#[derive(Default)]
struct State {
    bodies: Vec<String>,
    refuse: usize,
    throw: usize,
    hang_up: usize,
    connections: usize,
}

impl Peer {
    fn new(encoding: Encoding) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Lock::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.lock().connections += 1;
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, encoding, &state));
            }
        });
        Self { port, encoding, state }
    }

    fn sink(&self, more: &[(&str, &str)]) -> Box<dyn Sink> {
        let port = self.port.to_string();
        let protocol = if self.encoding == Encoding::Binary { "binary" } else { "compact" };
        let own = [("hostname", "127.0.0.1"), ("port", port.as_str()), ("protocol", protocol)];
        let settings = own.iter().chain(more).map(|(key, value)| setting(key, value));
        let (options, unknown) = Options::parse("a1.sinks.k1", SPEC.options, &[], settings).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        let BuiltSink::Push { sink, .. } = (SPEC.build)(&options).unwrap() else { panic!("pulls") };
        sink
    }
}

fn serve(mut stream: StdStream, encoding: Encoding, state: &Lock<State>) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).unwrap();
        let call = decode_call(encoding, &Bytes::from(frame), &EventLimits::default()).unwrap();
        let Method::AppendBatch(batch) = call.method else { panic!("{call:?}") };
        let mut state = state.lock();
        let due = |count: &mut usize| std::mem::replace(count, count.saturating_sub(1)) > 0;
        if due(&mut state.hang_up) {
            return;
        }
        let answer = if due(&mut state.throw) {
            encode_exception(encoding, "appendBatch", call.sequence, "as asked")
        } else if due(&mut state.refuse) {
            encode_reply(encoding, "appendBatch", call.sequence, Status::Failed)
        } else {
            let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
            state.bodies.extend(batch.iter().map(|event| text(event.body())));
            encode_reply(encoding, "appendBatch", call.sequence, Status::Ok)
        };
        drop(state);
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

impl Home for Peer {
    fn spec(&self) -> &'static SinkSpec {
        &SPEC
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let protocol = if self.encoding == Encoding::Binary { "binary" } else { "compact" };
        vec![("hostname", "127.0.0.1".into()), ("port", self.port.to_string()), ("protocol", protocol.into())]
    }

    fn delivered(&self) -> Option<Vec<String>> {
        Some(self.state.lock().bodies.clone())
    }
}

impl FailingHome for Peer {
    fn fail(&self, count: usize) {
        self.state.lock().refuse = count;
    }
}

sink_contract!(Peer::new(Encoding::Compact));
failing_sink_contract!(Peer::new(Encoding::Binary));

fn one(body: &str) -> Arc<[Batch]> {
    Arc::from([Batch::from_bodies([body])])
}

#[tokio::test]
async fn a_refusal_keeps_the_connection_and_a_lost_answer_does_not() {
    let peer = Peer::new(Encoding::Compact);
    let mut sink = peer.sink(&[]);
    peer.state.lock().refuse = 1;
    let refused = sink.deliver(one("a")).await.unwrap_err().to_string();
    assert!(refused.contains("the peer answered FAILED"), "{refused}");
    peer.state.lock().throw = 1;
    let thrown = sink.deliver(one("a")).await.unwrap_err().to_string();
    assert!(thrown.ends_with("the peer answered: as asked"), "{thrown}");
    assert_eq!(peer.state.lock().connections, 1);
    peer.state.lock().hang_up = 1;
    assert!(sink.deliver(one("a")).await.is_err());
    sink.deliver(one("a")).await.unwrap();
    let state = peer.state.lock();
    assert_eq!((state.connections, state.bodies.len()), (2, 1));
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_an_error_that_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 10]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let peer = Peer { port, encoding: Encoding::Compact, state: Arc::default() };
    let error = peer.sink(&[]).deliver(one("a")).await.unwrap_err().to_string();
    assert!(error.contains("is it a thrift source?"), "{error}");
}

#[test]
fn kerberos_is_refused_at_its_place() {
    let settings = [setting("hostname", "h"), setting("port", "1"), setting("kerberos", "true")];
    let (options, _) = Options::parse("a1.sinks.k1", SPEC.options, &[], settings).unwrap();
    let error = (SPEC.build)(&options).err().unwrap().to_string();
    assert!(error.contains("kerberos: true is not built in"), "{error}");
}
