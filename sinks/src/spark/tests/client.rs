//! A peer of the sink.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use millstream_wire::avro_rpc::{ClientConnection, Metadata, Outcome, Response};
use millstream_wire::names::{Names, Peer};
use millstream_wire::netty::{FrameDecoder, encode_frame};
use millstream_wire::spark_sink::{self, Call};
use tokio::io::AsyncReadExt;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Own,
    Foreign,
}

pub(super) struct Client {
    kind: Kind,
    stream: TcpStream,
    rpc: ClientConnection,
    frames: FrameDecoder,
    serial: u32,
}

pub(super) struct Received {
    pub(super) error: String,
    pub(super) sequence_number: String,
    pub(super) bodies: Vec<String>,
    pub(super) names: Option<Names>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, kind: Kind) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let rpc = ClientConnection::new(spark_sink::protocol());
        Self { kind, stream, rpc, frames: FrameDecoder::default(), serial: 0 }
    }

    async fn send(&mut self, call: Call) -> u32 {
        let mut meta = Metadata::new();
        if self.kind == Own {
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
            // Long, for tests with a paused clock.
            let read = timeout(Duration::from_secs(600), self.stream.read_buf(&mut chunk)).await;
            assert!(read.expect("in time").unwrap() > 0, "the sink closed the connection");
            self.frames.push(Bytes::copy_from_slice(&chunk));
        }
    }

    pub(super) async fn send_poll(&mut self, n: i32) -> u32 {
        self.send(Call::GetEventBatch { n }).await
    }

    pub(super) async fn receive_batch(&mut self) -> (u32, Received) {
        let (serial, response) = self.receive().await;
        let batch = spark_sink::decode_event_batch(&response.result.unwrap(), &Default::default()).unwrap();
        let bodies = batch.events.iter().map(|event| String::from_utf8(event.body().to_vec()).unwrap()).collect();
        let names = Names::from_meta(&response.meta).unwrap();
        (serial, Received { error: batch.error_msg, sequence_number: batch.sequence_number, bodies, names })
    }

    pub(super) async fn poll(&mut self, n: i32) -> Received {
        let sent = self.send_poll(n).await;
        let (serial, batch) = self.receive_batch().await;
        assert_eq!(serial, sent);
        batch
    }

    pub(super) async fn ack(&mut self, sequence_number: &str) {
        self.answer(Call::Ack { sequence_number: sequence_number.into() }).await;
    }

    pub(super) async fn nack(&mut self, sequence_number: &str) {
        self.answer(Call::Nack { sequence_number: sequence_number.into() }).await;
    }

    async fn answer(&mut self, call: Call) {
        let sent = self.send(call).await;
        let (serial, response) = self.receive().await;
        assert_eq!(serial, sent);
        spark_sink::decode_null(&response.result.unwrap()).unwrap();
    }
}
