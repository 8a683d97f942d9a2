//! What the machine itself can do, measured beside the agents.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_wire::avro_event::{self, Status};
use millstream_wire::avro_rpc::{Incoming, Metadata, ServerConnection, UnknownClient};
use millstream_wire::netty::{FrameDecoder, FrameLimits, encode_frame};
use nix::sys::resource::{UsageWho, getrusage};

use crate::load::{BODY_BYTES, Load, Sender, Shape, events};
use crate::rounds::{Contestant, Sample};

/// A server that does nothing but receive: reads a frame into one buffer, finds the bodies in it, and answers.
/// Returns wall seconds and the CPU seconds of its threads.
pub fn bare_receiver(shape: Shape, count: u64) -> (f64, f64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let params = avro_event::encode_append_batch(&[events(shape.batch)]).len();
    let each = count / shape.clients;
    std::thread::scope(|scope| {
        let serving: Vec<_> = (0..shape.clients)
            .map(|_| {
                let listener = listener.try_clone().unwrap();
                scope.spawn(move || receive(listener, params, each))
            })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let mut load = Load::start(Sender::Native, dir.path(), port, shape, 0, count);
        let wall = load.run();
        drop(load);
        let cpu = serving.into_iter().map(|thread| thread.join().unwrap()).sum();
        (wall.as_secs_f64(), cpu)
    })
}

/// Receives so many events from one peer; the CPU seconds that this took.
fn receive(listener: TcpListener, params: usize, events: u64) -> f64 {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nodelay(true).unwrap();
    let mut chunk = vec![0; 64 << 10];
    // The handshake, by our own code: what counts comes after it.
    let mut connection = ServerConnection::new(avro_event::protocol(), UnknownClient::Accept);
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    while let Some(payload) = next_payload(&mut stream, &mut decoder, &mut chunk) {
        let (answer, done) = match connection.request(payload).unwrap() {
            Incoming::Answer(parts) => (parts, false),
            Incoming::Call(call) => (call.responder.ok(&Metadata::new(), [Status::Ok.encode()]), true),
        };
        stream.write_all(&encode_frame(1, answer).concat()).unwrap();
        if done {
            break;
        }
    }
    let call = answer_of_a_call();
    let (mut frame, mut received, begun) = (Vec::new(), 0, cpu_of_thread());
    while received < events {
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        let buffers = u32::from_be_bytes(head[4..8].try_into().unwrap());
        let mut length = u32::from_be_bytes(head[8..12].try_into().unwrap()) as usize;
        frame.clear();
        for buffer in 0..buffers {
            if buffer > 0 {
                stream.read_exact(&mut head[..4]).unwrap();
                length = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
            }
            let from = frame.len();
            frame.resize(from + length, 0);
            stream.read_exact(&mut frame[from..]).unwrap();
        }
        received += bodies(&frame[frame.len() - params..]);
        stream.write_all(&call).unwrap();
    }
    cpu_of_thread() - begun
}

fn next_payload(stream: &mut std::net::TcpStream, decoder: &mut FrameDecoder, chunk: &mut [u8]) -> Option<Bytes> {
    loop {
        if let Some(frame) = decoder.next_frame().unwrap() {
            return Some(frame.payload);
        }
        match stream.read(chunk).unwrap() {
            0 => return None,
            len => decoder.push(Bytes::copy_from_slice(&chunk[..len])),
        }
    }
}

fn answer_of_a_call() -> Vec<u8> {
    let datum = Status::Ok.encode();
    // No call metadata, no error, the status.
    encode_frame(1, [Bytes::from_static(&[0, 0]), datum]).concat()
}

/// Walks the events of an array: headers of nobody, a body each. Returns how many there are.
fn bodies(mut array: &[u8]) -> u64 {
    let (mut count, mut bytes) = (0, 0_usize);
    loop {
        let block = long(&mut array);
        if block == 0 {
            assert!(bytes > 0, "no bodies");
            return count;
        }
        for _ in 0..block {
            assert_eq!(long(&mut array), 0, "no headers");
            let length = long(&mut array) as usize;
            let (body, rest) = array.split_at(length);
            bytes += body.len();
            array = rest;
        }
        count += block as u64;
    }
}

fn long(bytes: &mut &[u8]) -> i64 {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (first, rest) = bytes.split_first().expect("a number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return (value >> 1) as i64 ^ -((value & 1) as i64);
        }
        shift += 7;
    }
}

fn cpu_of_thread() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let of = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    of(usage.user_time()) + of(usage.system_time())
}

/// The disk of the agents: sequential write + fdatasync of 1 MiB blocks into a growing file, as events of 200 bytes.
pub fn disk<'a>() -> Contestant<'a> {
    let rate = || syncs(1 << 20, Duration::from_secs(1)) * f64::from(1 << 20) / BODY_BYTES as f64;
    Contestant::new("write + fdatasync of 1 MiB, as events", move || of_nobody(rate()))
}

/// The same disk: write + fdatasync of 4 KiB into a growing file.
pub fn small_syncs<'a>() -> Contestant<'a> {
    Contestant::new("write + fdatasync of 4 KiB", || of_nobody(syncs(4 << 10, Duration::from_secs(1))))
}

fn of_nobody(rate: f64) -> Sample {
    Sample { rate, cpu: f64::NAN, peak_mb: f64::NAN }
}

fn syncs(bytes: usize, time: Duration) -> f64 {
    // Where agents keep their files too.
    let file = tempfile::tempfile().unwrap();
    let block = vec![0x5a; bytes];
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < time {
        file.write_all_at(&block, count * bytes as u64).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    count as f64 / begun.elapsed().as_secs_f64()
}
