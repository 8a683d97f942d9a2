//! A peer of a sink that speaks `SparkFlumeProtocol`: asks for batches, and answers for them as its test says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_wire::avro_rpc::{ClientConnection, Metadata, Outcome, Response};
use millstream_wire::names::{Names, Peer};
use millstream_wire::netty::{FrameDecoder, encode_frame};
use millstream_wire::spark_sink::{self, Call};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For whom a [`SparkPeer`] passes itself off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerKind {
    /// A receiver of ours.
    Own,
    /// Spark's.
    Foreign,
}

/// One connection.
pub struct SparkPeer {
    kind: PeerKind,
    stream: TcpStream,
    rpc: ClientConnection,
    frames: FrameDecoder,
    serial: u32,
}

/// An answer to a poll.
#[derive(Debug)]
pub struct ReceivedBatch {
    /// Why there is no batch; empty when there is one.
    pub error: String,
    /// What to ack or nack.
    pub sequence_number: String,
    /// Bodies of the events.
    pub bodies: Vec<String>,
    /// Their names, if they came along.
    pub names: Option<Names>,
}

// === impl SparkPeer ===

impl SparkPeer {
    /// Connects to a sink.
    pub async fn connect(address: SocketAddr, kind: PeerKind) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let rpc = ClientConnection::new(spark_sink::protocol());
        Self { kind, stream, rpc, frames: FrameDecoder::default(), serial: 0 }
    }

    /// Asks for at most `n` events and waits for the answer.
    pub async fn poll(&mut self, n: i32) -> ReceivedBatch {
        let sent = self.send_poll(n).await;
        let (serial, batch) = self.receive_batch().await;
        assert_eq!(serial, sent);
        batch
    }

    /// Asks for at most `n` events; gives the serial of the question.
    pub async fn send_poll(&mut self, n: i32) -> u32 {
        self.send(Call::GetEventBatch { n }).await
    }

    /// Waits for an answer to a question; gives the serial too.
    pub async fn receive_batch(&mut self) -> (u32, ReceivedBatch) {
        let (serial, response) = self.receive().await;
        let batch = spark_sink::decode_event_batch(&response.result.unwrap(), &Default::default()).unwrap();
        let bodies = batch.events.iter().map(|event| String::from_utf8(event.body().to_vec()).unwrap()).collect();
        let names = Names::from_meta(&response.meta).unwrap();
        (serial, ReceivedBatch { error: batch.error_msg, sequence_number: batch.sequence_number, bodies, names })
    }

    /// Says that a batch is safe.
    pub async fn ack(&mut self, sequence_number: &str) {
        self.answer(Call::Ack { sequence_number: sequence_number.into() }).await;
    }

    /// Says that a batch was not stored.
    pub async fn nack(&mut self, sequence_number: &str) {
        self.answer(Call::Nack { sequence_number: sequence_number.into() }).await;
    }

    async fn answer(&mut self, call: Call) {
        let sent = self.send(call).await;
        let (serial, response) = self.receive().await;
        assert_eq!(serial, sent);
        spark_sink::decode_null(&response.result.unwrap()).unwrap();
    }

    async fn send(&mut self, call: Call) -> u32 {
        let mut meta = Metadata::new();
        if self.kind == PeerKind::Own {
            Peer { version: "millstream/test".into(), pipelined: true }.insert_into(&mut meta, true);
        }
        self.serial += 1;
        let parts = self.rpc.call(meta, call.message(), call.encode_params()).unwrap();
        self.stream.write_all(&encode_frame(self.serial, parts).concat()).await.unwrap();
        self.serial
    }

    async fn receive(&mut self) -> (u32, Response) {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                let Outcome::Answered(response) = self.rpc.response(frame.payload).unwrap() else { panic!("resend") };
                return (frame.serial, response);
            }
            let mut chunk = BytesMut::with_capacity(4096);
            let read = timeout(ANSWER_TIMEOUT, self.stream.read_buf(&mut chunk)).await;
            assert!(read.expect("in time").unwrap() > 0, "the sink closed the connection");
            self.frames.push(Bytes::copy_from_slice(&chunk));
        }
    }
}

/// Long, for tests with a paused clock.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
