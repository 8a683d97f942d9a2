//! What is said between two ends of Avro's protocol, listened to in the middle.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use millstream_wire::EventLimits;
use millstream_wire::avro_event::{self, decode_params};
use millstream_wire::avro_rpc::{Incoming, ServerConnection, UnknownClient};

use crate::demo::Counts;

/// Passes on what is said to a port and back, and keeps it. Its threads end with the connections and the test.
#[derive(Debug)]
pub struct Overheard {
    /// Where to say it.
    pub port: u16,
    connections: Arc<Mutex<Vec<Connection>>>,
}

/// What was said on a connection, and what came back.
type Connection = [Arc<Mutex<Vec<u8>>>; 2];

fn calls_of(connection: &Connection) -> Vec<Call> {
    let [said, answered] = connection.each_ref().map(|said| frames(&said.lock().unwrap()));
    let mut answers: BTreeMap<u32, Vec<u8>> = answered.into_iter().collect();
    said.into_iter().map(|(serial, request)| Call { request, answer: answers.remove(&serial) }).collect()
}

/// A call, and its answer if one came.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Handshake, metadata, the message's name and its parameters.
    pub request: Vec<u8>,
    /// Handshake, metadata, whether it is an error, and the result.
    pub answer: Option<Vec<u8>>,
}

// === impl Overheard ===

impl Overheard {
    /// In front of a port on which somebody may listen now or later.
    pub fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, connections) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<Connection>>>::default());
        let kept = Arc::clone(&connections);
        thread::spawn(move || {
            for near in listener.incoming().map(Result::unwrap) {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let said: Connection = Connection::default();
                kept.lock().unwrap().push(said.clone());
                let ends = [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)];
                for ((from, to), kept) in ends.into_iter().zip(said) {
                    thread::spawn(move || pass(from, to, &kept));
                }
            }
        });
        Self { port, connections }
    }

    /// How often `word` was said, and came back.
    pub fn count(&self, word: &str) -> [usize; 2] {
        let connections = self.connections.lock().unwrap();
        let count = |said: &Mutex<Vec<u8>>| {
            said.lock().unwrap().windows(word.len()).filter(|window| *window == word.as_bytes()).count()
        };
        [0, 1].map(|way| connections.iter().map(|connection| count(&connection[way])).sum())
    }

    /// All calls so far that were made as a whole, in their order.
    pub fn calls(&self) -> Vec<Call> {
        self.connections.lock().unwrap().iter().flat_map(calls_of).collect()
    }

    /// How often each body was said so far in calls that nobody refused.
    pub fn bodies(&self) -> Counts {
        let mut bodies = Counts::new();
        for connection in self.connections.lock().unwrap().iter() {
            let mut server = ServerConnection::new(avro_event::protocol(), UnknownClient::Accept);
            let calls = calls_of(connection);
            let stored = calls.iter().filter(|call| call.answer.is_none() || call.is_answered_ok());
            stored.flat_map(|call| call.bodies(&mut server)).for_each(|body| *bodies.entry(body).or_default() += 1);
        }
        bodies
    }
}

// === impl Call ===

impl Call {
    /// Whether it was answered by a `Status.OK`: no error, and the first of the enum's symbols.
    pub fn is_answered_ok(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.ends_with(&[0, 0]))
    }
}

impl Call {
    /// Bodies of its events; none of what is only a handshake.
    fn bodies(&self, connection: &mut ServerConnection) -> Vec<String> {
        let Incoming::Call(call) = connection.request(self.request.clone().into()).unwrap() else { return Vec::new() };
        let batch = decode_params(&call.message, &call.params, &EventLimits::default()).unwrap().unwrap();
        batch.iter().map(|event| String::from_utf8(event.body().to_vec()).unwrap()).collect()
    }
}

/// Serial and payload of each whole frame of Avro's Netty transport.
fn frames(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    fn number(bytes: &mut &[u8]) -> Option<u32> {
        let (number, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(u32::from_be_bytes(*number))
    }
    fn frame(bytes: &mut &[u8]) -> Option<(u32, Vec<u8>)> {
        let (serial, parts) = (number(bytes)?, number(bytes)?);
        let mut payload = Vec::new();
        for _ in 0..parts {
            let length = number(bytes)? as usize;
            let (part, rest) = bytes.split_at_checked(length)?;
            payload.extend_from_slice(part);
            *bytes = rest;
        }
        Some((serial, payload))
    }
    std::iter::from_fn(|| frame(&mut bytes)).collect()
}

fn pass(mut from: TcpStream, mut to: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        // What cannot be passed on was not said.
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        kept.lock().unwrap().extend_from_slice(&buffer[..count]);
    }
    // Either side may have gone first.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
