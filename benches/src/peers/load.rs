//! The load: Flume's own client, and a native one that sends what was encoded before.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_core::Batch;
use millstream_testkit::peer::{ClassPath, Jvm, Peer, driver_in};
use millstream_wire::avro_event::{self, Status};
use millstream_wire::avro_rpc::{ClientConnection, Metadata, Outcome};
use millstream_wire::netty::{FrameDecoder, FrameLimits, encode_frame};

/// Bytes of every body.
pub const BODY_BYTES: usize = 200;

/// So many clients send this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Connections, each with a thread.
    pub clients: u64,
    /// Events of a call.
    pub batch: u64,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// `RpcClient` of Flume 1.11: its JVM shares the machine with the subject.
    Sdk,
    /// Frames encoded before; one call of a connection is in flight.
    Native,
}

/// Connected senders, which have warmed the subject up.
pub enum Load {
    /// Its steps begin with a file.
    Sdk { peer: Peer, dir: std::path::PathBuf },
    /// One per client.
    Native { clients: Vec<Client>, shape: Shape, events: u64 },
}

// === impl Load ===

impl Load {
    /// Connects to `port`, sends `warm` events, and is ready to send `events`.
    pub fn start(sender: Sender, dir: &std::path::Path, port: u16, shape: Shape, warm: u64, events: u64) -> Self {
        match sender {
            Sender::Sdk => {
                let arguments =
                    [u64::from(port), shape.clients, shape.batch, warm, events].map(|number| number.to_string());
                let mut peer = driver_in(Jvm::Steady, "RpcBench", ClassPath::Flume111, dir, &arguments);
                peer.until_log("done 0 ");
                Self::Sdk { peer, dir: dir.to_owned() }
            }
            Sender::Native => {
                let clients = (0..shape.clients).map(|_| Client::connect(port, shape.batch)).collect();
                let mut load = Self::Native { clients, shape, events: warm };
                load.run();
                if let Self::Native { events: left, .. } = &mut load {
                    *left = events;
                }
                load
            }
        }
    }

    /// Sends the events and waits until all are acknowledged; how long that took.
    pub fn run(&mut self) -> Duration {
        match self {
            Self::Sdk { peer, dir } => {
                let begun = Instant::now();
                std::fs::write(dir.join("go1"), "").unwrap();
                peer.until_log("done 1 ");
                begun.elapsed()
            }
            Self::Native { clients, shape, events } => {
                let calls = *events / shape.batch / shape.clients;
                let begun = Instant::now();
                std::thread::scope(|scope| {
                    clients.iter_mut().for_each(|client| _ = scope.spawn(move || client.send(calls)));
                });
                begun.elapsed()
            }
        }
    }
}

/// A connection, and the call that it sends.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    decoder: FrameDecoder,
    connection: ClientConnection,
    frame: Vec<u8>,
    chunk: Vec<u8>,
}

// === impl Client ===

impl Client {
    /// After the handshake, which comes with an empty batch.
    fn connect(port: u16, batch: u64) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self {
            stream,
            decoder: FrameDecoder::new(FrameLimits::default()),
            connection: ClientConnection::new(avro_event::protocol()),
            frame: Vec::new(),
            chunk: vec![0; 64 << 10],
        };
        client.encode(&[]);
        client.shake();
        client.encode(&[events(batch)]);
        client
    }

    fn encode(&mut self, batches: &[Batch]) {
        let params = avro_event::encode_append_batch(batches);
        let parts = self.connection.call(Metadata::new(), "appendBatch", params).unwrap();
        self.frame = encode_frame(1, parts).concat();
    }

    fn send(&mut self, calls: u64) {
        for _ in 0..calls {
            self.stream.write_all(&self.frame).unwrap();
            self.answer();
        }
    }

    /// Sends the encoded call until it is answered.
    fn shake(&mut self) {
        loop {
            self.stream.write_all(&self.frame).unwrap();
            let answer = self.answer();
            match self.connection.response(answer).unwrap() {
                Outcome::Answered(response) => {
                    let datum = response.result.expect("an empty batch is accepted");
                    assert_eq!(Status::decode(&datum).unwrap(), Status::Ok);
                    return;
                }
                Outcome::Resend(parts) => self.frame = encode_frame(1, parts).concat(),
            }
        }
    }

    /// Waits for an answer.
    fn answer(&mut self) -> Bytes {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return frame.payload;
            }
            let len = self.stream.read(&mut self.chunk).unwrap();
            assert!(len > 0, "the subject closed the connection");
            self.decoder.push(Bytes::copy_from_slice(&self.chunk[..len]));
        }
    }
}

/// So many equal events.
pub fn events(count: u64) -> Batch {
    Batch::from_bodies((0..count).map(|_| [b'x'; BODY_BYTES]))
}
