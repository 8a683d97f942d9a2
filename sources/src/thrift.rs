//! Listens for Thrift: what Flume's thrift sinks and clients send.
//!
//! Messages are framed and in the compact or the binary encoding, as `protocol` says. A connection whose bytes are no
//! messages is closed, and so is one that begins a message and does not go on with it.
//!
//! # Delivery
//! `OK` is answered once every required channel has the events, `FAILED` when one refused them: the peer has to send them
//! again.
//!
//! # Source
//! `org.apache.flume.source.ThriftSource` (Flume 1.11).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_core::options::joined;
use millstream_core::{
    Batch, Error, Fut, Kind, MetricName, OptionSpec, Options, Result, Source, SourceContext, SourceSpec, optional,
    required, unset,
};
use millstream_io::{Memory, listen, tls};
use millstream_wire::EventLimits;
use millstream_wire::thrift::{Call, Encoding, Method, Status, decode_call, encode_exception, encode_reply};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::socket::{self, Inbox, Stream, stored};

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "thrift",
    aliases: &["org.apache.flume.source.ThriftSource"],
    summary: "Listens for events that thrift sinks and clients send.",
    options: &OPTIONS,
    build: |options| Ok(Box::new(Thrift::from_options(options)?)),
};

const OWN: [OptionSpec; 7] = [
    required("bind", Kind::Host, "Address to listen on."),
    required("port", Kind::Int(0, 65535), "Port to listen on; 0 for any free one, which the log names."),
    optional("threads", Kind::Int(0, i64::MAX), "0", "No effect: connections cost no thread."),
    optional("protocol", Kind::Choice(&["compact", "binary"]), "compact", "The encoding that all clients must use."),
    optional("kerberos", Kind::Bool, "false", "Only false is built in."),
    unset("agent-principal", Kind::Text, "No effect without Kerberos."),
    unset("agent-keytab", Kind::Path, "No effect without Kerberos."),
];
const OPTIONS: [OptionSpec; OWN.len() + tls::SERVER_OPTIONS.len()] = joined(&[&OWN, &tls::SERVER_OPTIONS]);

/// Longest frame, as in Thrift's own servers.
const MOST_FRAME_BYTES: usize = 16_384_000;
/// Held by unfinished frames of all peers.
const MEMORY_BYTES: usize = 256 << 20;
/// A small frame has so long to come; for those that hold memory see [`millstream_io::memory`].
const PATIENCE: Duration = Duration::from_secs(60);
/// Of a frame's length.
const LENGTH_BYTES: usize = 4;

/// Listens.
struct Thrift {
    bind: String,
    port: u16,
    encoding: Encoding,
    acceptor: Option<TlsAcceptor>,
}

/// What the connections share.
struct Serving {
    cx: SourceContext,
    encoding: Encoding,
    memory: Memory,
}

// === impl Thrift ===

impl Thrift {
    fn from_options(options: &Options) -> Result<Self> {
        if options.bool("kerberos")? {
            return Err(options.refuse("kerberos", "true is not built in; use ssl = true between trusted machines"));
        }
        let is_binary = options.text("protocol")?.eq_ignore_ascii_case("binary");
        Ok(Self {
            bind: options.text("bind")?.to_owned(),
            port: options.int("port")?,
            encoding: if is_binary { Encoding::Binary } else { Encoding::Compact },
            acceptor: tls::acceptor(options)?,
        })
    }

    async fn listen(self, cx: SourceContext) -> Result<()> {
        let listener = listen::listen(&self.bind, self.port).await?;
        let address = listener.local_addr().map_err(|error| Error::net("listen", &self.bind, error))?;
        tracing::info!(%address, "thrift source listens");
        cx.status.ready();
        let serving = Serving { cx: cx.clone(), encoding: self.encoding, memory: Memory::new(MEMORY_BYTES) };
        let serving = Arc::new(serving);
        let attend = |stream: TcpStream, peer| {
            let (acceptor, serving) = (self.acceptor.clone(), Arc::clone(&serving));
            async move {
                let stream = socket::secured(acceptor.as_ref(), stream, peer, &serving.cx).await?;
                serving.connection(stream, peer).await
            }
        };
        socket::serve(listener, &cx, attend).await;
        Ok(())
    }
}

impl Source for Thrift {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.listen(cx))
    }
}

// === impl Serving ===

impl Serving {
    async fn connection(&self, mut stream: Box<dyn Stream>, peer: SocketAddr) -> Result<()> {
        let mut stop = self.cx.stop.clone();
        let mut inbox = Inbox::new(&self.memory, Some(PATIENCE));
        loop {
            while let Some(frame) = self.frame(&mut inbox, peer)? {
                if let Some(answer) = self.answer(&frame, peer).await? {
                    stream.write_all(&answer).await.map_err(|error| Error::net("answer", peer, error))?;
                }
            }
            let read = tokio::select! {
                biased;
                () = stop.stopped() => break,
                read = inbox.fill(&mut stream) => read.map_err(|error| Error::net("read", peer, error))?,
            };
            match read {
                0 if inbox.bytes.is_empty() => break,
                0 => return Err(self.unreadable(peer, "the connection ends within a frame")),
                _ => {}
            }
        }
        socket::say_goodbye(&mut stream).await;
        Ok(())
    }

    /// The next whole frame, without its length.
    fn frame(&self, inbox: &mut Inbox, peer: SocketAddr) -> Result<Option<Bytes>> {
        let Some(length) = inbox.bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MOST_FRAME_BYTES {
            let problem = format!("expected a frame of at most {MOST_FRAME_BYTES} bytes, got {length}");
            return Err(self.unreadable(peer, problem));
        }
        let end = LENGTH_BYTES + length;
        let is_whole = inbox.bytes.len() >= end;
        Ok(is_whole.then(|| inbox.take(end).freeze().slice(LENGTH_BYTES..)))
    }

    /// Executes a call; `None` when no answer is expected.
    async fn answer(&self, frame: &Bytes, peer: SocketAddr) -> Result<Option<Vec<u8>>> {
        let call = decode_call(self.encoding, frame, &EventLimits::default());
        let Call { method, sequence, is_answered } = call.map_err(|error| self.unreadable(peer, error))?;
        let (name, received, accepted, batch) = match method {
            Method::Append(batch) => {
                ("append", MetricName::AppendReceivedCount, MetricName::AppendAcceptedCount, batch)
            }
            Method::AppendBatch(batch) => {
                ("appendBatch", MetricName::AppendBatchReceivedCount, MetricName::AppendBatchAcceptedCount, batch)
            }
            Method::Unknown(name) => {
                let text = format!("Invalid method name: '{name}'");
                tracing::warn!(%peer, method = name, "unknown method called");
                return Ok(is_answered.then(|| encode_exception(self.encoding, &name, sequence, &text)));
            }
        };
        let status = self.store(&batch, received, accepted).await;
        Ok(is_answered.then(|| encode_reply(self.encoding, name, sequence, status)))
    }

    async fn store(&self, batch: &Batch, received: MetricName, accepted: MetricName) -> Status {
        self.cx.status.count(received, 1);
        match stored(&self.cx, batch).await {
            Ok(()) => {
                self.cx.status.count(accepted, 1);
                Status::Ok
            }
            // Logged already.
            Err(_) => Status::Failed,
        }
    }

    fn unreadable(&self, peer: SocketAddr, problem: impl ToString) -> Error {
        self.cx.status.count(MetricName::EventReadFail, 1);
        Error::corrupt(peer, problem)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::time::Duration;

    use super::*;
    use crate::testing::{Peer, Served, declared, refusal, serve};
    use millstream_core::SlabBuilder;
    use millstream_testkit::{TestChannel, spec_contract};
    use millstream_wire::thrift::{Answer, decode_answer, encode_append, encode_append_batch};

    spec_contract!(declared(&SPEC, [("bind", "127.0.0.1"), ("port", "0")]));

    async fn thrift(settings: &[(&str, &str)], channel: &TestChannel) -> Served {
        serve(&SPEC, "bind", settings, channel).await
    }

    async fn answer(encoding: Encoding, peer: &mut Peer) -> Answer {
        let length = peer.raw(LENGTH_BYTES).await;
        let length = u32::from_be_bytes(length.try_into().unwrap());
        decode_answer(encoding, &peer.raw(length as usize).await).unwrap()
    }

    async fn call(encoding: Encoding, peer: &mut Peer, bodies: &[&str]) -> Result<Status, String> {
        peer.send(encode_append_batch(encoding, 3, &[Batch::from_bodies(bodies)])).await;
        let answer = answer(encoding, peer).await;
        assert_eq!(answer.sequence, 3);
        answer.outcome
    }

    #[tokio::test]
    async fn single_events_and_batches_arrive_in_both_encodings_and_are_counted_under_flumes_names() {
        for (protocol, encoding) in [("compact", Encoding::Compact), ("BINARY", Encoding::Binary)] {
            let channel = TestChannel::new();
            let served = thrift(&[("protocol", protocol)], &channel).await;
            let mut peer = served.peer().await;
            let mut builder = SlabBuilder::new(Bytes::from_static(b"kvbody"));
            builder.header(0..1, 1..2);
            builder.row(2..6);
            let event = encode_append(encoding, 3, builder.finish().event(0));
            // In pieces, as networks bring them.
            for piece in event.chunks(5) {
                peer.send(piece).await;
            }
            assert_eq!(answer(encoding, &mut peer).await.outcome, Ok(Status::Ok));
            let large = "x".repeat(10 << 20);
            assert_eq!(call(encoding, &mut peer, &["a", "", &large]).await, Ok(Status::Ok));
            assert_eq!(call(encoding, &mut peer, &[]).await, Ok(Status::Ok));
            assert_eq!(channel.texts(), ["body", "a", "", &large]);
            assert_eq!(channel.stored().headers[0]["k"], "v");
            let counted = |name| served.running.counted(name);
            assert_eq!((counted(MetricName::AppendReceivedCount), counted(MetricName::AppendAcceptedCount)), (1, 1));
            let batches = [MetricName::AppendBatchReceivedCount, MetricName::AppendBatchAcceptedCount];
            assert_eq!(batches.map(counted), [2, 2]);
            assert_eq!((counted(MetricName::EventReceivedCount), counted(MetricName::EventAcceptedCount)), (4, 4));
            served.running.stop().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_refused_batch_is_failed_and_the_connection_goes_on() {
        let channel = TestChannel::new();
        let served = thrift(&[], &channel).await;
        let mut peer = served.peer().await;
        channel.refuse_reservations(1);
        assert_eq!(call(Encoding::Compact, &mut peer, &["a"]).await, Ok(Status::Failed));
        channel.fail_puts(1);
        assert_eq!(call(Encoding::Compact, &mut peer, &["b"]).await, Ok(Status::Failed));
        assert_eq!(call(Encoding::Compact, &mut peer, &["c"]).await, Ok(Status::Ok));
        assert_eq!(channel.texts(), ["c"]);
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_answered_before_it_is_stored_and_a_stop_waits_for_the_answer() {
        let channel = TestChannel::new();
        let served = thrift(&[], &channel).await;
        let mut peer = served.peer().await;
        channel.hold();
        peer.send(encode_append_batch(Encoding::Compact, 3, &[Batch::from_bodies(["a"])])).await;
        channel.until(|stored| stored.bodies.len() == 1).await;
        assert!(tokio::time::timeout(Duration::from_millis(50), peer.raw(1)).await.is_err());
        served.running.ask_to_stop();
        channel.tell();
        assert_eq!(answer(Encoding::Compact, &mut peer).await.outcome, Ok(Status::Ok));
        served.running.outcome().await.unwrap();
    }

    #[tokio::test]
    async fn bytes_that_are_no_calls_end_their_connection_alone_and_are_counted() {
        let channel = TestChannel::new();
        let served = thrift(&[], &channel).await;
        let mut good = served.peer().await;
        let binary = encode_append_batch(Encoding::Binary, 3, &[Batch::from_bodies(["a"])]);
        for bytes in [&[0xFF; 8][..], b"GET / HTTP/1.1\r\n\r\n", &[0, 0, 0, 1, 0], &[0, 0, 0, 0], &binary] {
            let mut peer = served.peer().await;
            peer.send(bytes).await;
            assert_eq!(peer.rest().await, "", "{bytes:?}");
        }
        let mut cut = served.peer().await;
        cut.send([0, 0, 0, 9, 1]).await;
        cut.finish().await;
        served.running.until_counted(MetricName::EventReadFail, 6).await;
        good.send([&[0, 0, 0, 8][..], &[0x82, 0x21, 5, 4], b"ping"].concat()).await;
        let refused = answer(Encoding::Compact, &mut good).await;
        assert_eq!((refused.sequence, refused.outcome), (5, Err("Invalid method name: 'ping'".into())));
        assert_eq!(call(Encoding::Compact, &mut good, &["a"]).await, Ok(Status::Ok));
        served.running.stop().await.unwrap();
    }

    #[test]
    fn kerberos_is_refused_with_the_remedy() {
        let text = refusal(&SPEC, &[("bind", "h"), ("port", "1"), ("kerberos", "true")]);
        assert!(text.starts_with("flume.conf:7: a1.sources.r1.kerberos: ") && text.contains("ssl"), "{text}");
    }
}
