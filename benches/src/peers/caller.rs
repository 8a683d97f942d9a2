//! A connection that asks and waits for the answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::Batch;
use millstream_wire::avro_event::{self, Status};
use millstream_wire::avro_rpc::{ClientConnection, Metadata, Outcome, Protocol};
use millstream_wire::netty::{FrameDecoder, FrameLimits, encode_frame};
use millstream_wire::spark_sink::{self, Call};

/// One call at a time.
#[derive(Debug)]
pub struct Caller {
    stream: TcpStream,
    decoder: FrameDecoder,
    connection: ClientConnection,
    chunk: Vec<u8>,
}

/// Takes events from a Spark sink as Spark does.
#[derive(Debug)]
pub struct Poller(Caller);

// === impl Caller ===

impl Caller {
    /// Connects; the first call shakes hands.
    pub fn connect(port: u16, protocol: Arc<Protocol>) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let decoder = FrameDecoder::new(FrameLimits::default());
        Self { stream, decoder, connection: ClientConnection::new(protocol), chunk: vec![0; 64 << 10] }
    }

    /// Sends events in one call and waits until they are stored.
    pub fn append(&mut self, batches: &[Batch]) {
        let params = avro_event::encode_append_batch(batches);
        assert_eq!(Status::decode(&self.call("appendBatch", params)).unwrap(), Status::Ok);
    }

    /// A call as it goes out: to be sent again and again, without being encoded each time.
    pub fn frame(&mut self, message: &str, params: Bytes) -> Vec<u8> {
        let parts = self.connection.call(Metadata::new(), message, params).unwrap();
        encode_frame(1, parts).concat()
    }

    /// Sends such a frame and waits for the answer, whatever it says.
    pub fn exchange(&mut self, frame: &[u8]) -> Bytes {
        self.stream.write_all(frame).unwrap();
        self.answer()
    }

    /// The datum of the answer.
    pub fn call(&mut self, message: &str, params: Bytes) -> Bytes {
        let mut frame = self.frame(message, params);
        loop {
            let answer = self.exchange(&frame);
            match self.connection.response(answer).unwrap() {
                Outcome::Answered(response) => return response.result.expect("no error"),
                Outcome::Resend(parts) => frame = encode_frame(1, parts).concat(),
            }
        }
    }

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

// === impl Poller ===

impl Poller {
    /// Connects to a sink.
    pub fn connect(port: u16) -> Self {
        Self(Caller::connect(port, spark_sink::protocol()))
    }

    /// Takes so many events at least, in batches of 1000, each acknowledged; how many they were.
    pub fn take(&mut self, events: u64) -> u64 {
        let mut taken = 0;
        while taken < events {
            let ask = Call::GetEventBatch { n: 1000 };
            let datum = self.0.call(ask.message(), ask.encode_params());
            let batch = spark_sink::decode_event_batch(&datum, &Default::default()).unwrap();
            if batch.error_msg.is_empty() {
                taken += batch.events.len() as u64;
                let ack = Call::Ack { sequence_number: batch.sequence_number };
                self.0.call(ack.message(), ack.encode_params());
            }
        }
        taken
    }
}
