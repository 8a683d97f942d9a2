//! The load: Flume's own client, and a native one that sends what was encoded before.

use std::time::{Duration, Instant};

use millstream_core::Batch;
use millstream_testkit::peer::{ClassPath, Jvm, Peer, driver_in};
use millstream_wire::avro_event;

use crate::caller::Caller;

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
    caller: Caller,
    frame: Vec<u8>,
}

// === impl Client ===

impl Client {
    /// After the handshake, which comes with an empty batch.
    fn connect(port: u16, batch: u64) -> Self {
        let mut caller = Caller::connect(port, avro_event::protocol());
        caller.append(&[]);
        let frame = caller.frame("appendBatch", avro_event::encode_append_batch(&[events(batch)]));
        Self { caller, frame }
    }

    fn send(&mut self, calls: u64) {
        for _ in 0..calls {
            self.caller.exchange(&self.frame);
        }
    }
}

/// So many equal events.
pub fn events(count: u64) -> Batch {
    Batch::from_bodies((0..count).map(|_| [b'x'; BODY_BYTES]))
}
