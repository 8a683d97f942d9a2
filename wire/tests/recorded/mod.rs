//! The recorded frames, and the whole way from received bytes to what they mean.

#![allow(clippy::panic, clippy::unwrap_used, dead_code, reason = "helpers of tests, each of which uses some")]

use std::path::PathBuf;

use bytes::Bytes;
use millstream_core::Batch;
use millstream_wire::avro_event::{self, Status};
use millstream_wire::avro_rpc::{ClientConnection, Incoming, Metadata, Outcome, ServerConnection, UnknownClient};
use millstream_wire::names::{Names, Peer, accepts_names};
use millstream_wire::netty::FrameDecoder;
use millstream_wire::spark_sink::{self, Call};
use millstream_wire::{EventLimits, WireError};

/// One frame as it passed between real peers.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// As its file, without the ending: `spark-2.4.7.get.request`.
    pub name: String,
    /// The frame.
    pub bytes: Bytes,
}

/// Every recorded frame, by name.
pub fn recorded() -> Vec<Recorded> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            all.push(Recorded { name, bytes: std::fs::read(&path).unwrap().into() });
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(all.len() >= 30, "{} frames", all.len());
    all
}

impl Recorded {
    /// The payload of the frame.
    pub fn payload(&self) -> Bytes {
        let mut decoder = FrameDecoder::default();
        decoder.push(self.bytes.clone());
        decoder.next_frame().unwrap().unwrap().payload
    }

    /// Reads `received` as whoever got this frame does: frames, the call or answer in each, and what it carries.
    pub fn receive(&self, received: Bytes) -> Result<(), WireError> {
        let mut decoder = FrameDecoder::default();
        decoder.push(received);
        while let Some(frame) = decoder.next_frame()? {
            self.decode(frame.payload)?;
        }
        Ok(())
    }

    /// Reads `payload` as whoever got this frame does.
    pub fn decode(&self, payload: Bytes) -> Result<(), WireError> {
        match self.name.ends_with(".request") {
            true => self.serve(payload),
            false => self.ask(payload),
        }
    }

    fn is_sparks(&self) -> bool {
        self.name.starts_with("spark")
    }

    /// Whether this is the first frame of a connection, or comes before the handshake is done.
    fn shakes(&self) -> bool {
        self.name.contains(".shake_") || self.name.contains(".unknown_client")
    }

    fn serve(&self, payload: Bytes) -> Result<(), WireError> {
        let protocol = if self.is_sparks() { spark_sink::protocol() } else { avro_event::protocol() };
        let mut server = ServerConnection::new(protocol, UnknownClient::Accept);
        if !self.shakes() {
            let mut first = ClientConnection::new(spark_sink::protocol());
            let call = first.call(Metadata::new(), "any", Bytes::new()).unwrap();
            assert!(matches!(server.request(call.concat().into()), Ok(Incoming::Call(_))));
        }
        let Incoming::Call(request) = server.request(payload)? else { return Ok(()) };
        read_meta(&request.meta)?;
        if self.is_sparks() {
            Call::decode(&request.message, &request.params)?;
        } else if let Some(batch) = avro_event::decode_params(&request.message, &request.params, &LIMITS)? {
            touch(&batch);
        }
        Ok(())
    }

    fn ask(&self, payload: Bytes) -> Result<(), WireError> {
        let protocol = if self.is_sparks() { spark_sink::protocol() } else { avro_event::protocol() };
        let mut client = ClientConnection::new(protocol);
        client.call(Metadata::new(), "any", Bytes::new()).unwrap();
        if !self.shakes() {
            // BOTH, nothing else to say, no metadata, no error.
            assert!(matches!(client.response(Bytes::from_static(&[0; 6])), Ok(Outcome::Answered(_))));
        }
        let Outcome::Answered(response) = client.response(payload)? else { return Ok(()) };
        read_meta(&response.meta)?;
        let Ok(datum) = response.result else { return Ok(()) };
        if !self.is_sparks() {
            Status::decode(&datum)?;
        } else if self.name.contains("get") {
            touch(&spark_sink::decode_event_batch(&datum, &LIMITS)?.events);
        } else {
            spark_sink::decode_null(&datum)?;
        }
        Ok(())
    }
}

const LIMITS: EventLimits = EventLimits { max_events: 1 << 20, max_headers: 1 << 22 };

fn read_meta(meta: &Metadata) -> Result<(), WireError> {
    let _ = (Peer::from_meta(meta), accepts_names(meta));
    Names::from_meta(meta).map(drop)
}

/// Looks at every byte of the events.
fn touch(batch: &Batch) {
    let bytes: usize = batch
        .iter()
        .map(|event| event.body().len() + event.headers().map(|(key, value)| key.len() + value.len()).sum::<usize>())
        .sum();
    assert!(bytes as u64 >= batch.body_bytes());
}

/// Places in `len` bytes: all of the first 2 KiB and of the last 64 bytes, between them one in 97.
pub fn places(len: usize) -> impl Iterator<Item = usize> {
    (0..len).filter(move |at| *at < 2048 || at + 64 >= len || at % 97 == 0)
}
