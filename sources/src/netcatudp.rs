//! Turns each datagram received on a UDP port into one event: its first line.
//!
//! # Delivery
//! Best effort: a datagram that finds no room in the system's buffer is lost and nobody knows. One that was received is
//! offered until a channel takes it.
//!
//! # Source
//! `org.apache.flume.source.NetcatUdpSource` (Flume 1.11).

use bytes::Bytes;
use millstream_core::{
    Batch, Error, Fut, Kind, OptionSpec, Options, Result, SlabBuilder, Source, SourceContext, SourceSpec, optional,
    required, unset,
};

use crate::datagrams::{Datagrams, Receiver, bind};
use crate::window::Progress;

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "netcatudp",
    aliases: &["org.apache.flume.source.NetcatUdpSource"],
    summary: "Turns each datagram received on a UDP port into one event.",
    options: OPTIONS,
    build: |options| Ok(Box::new(NetcatUdp::from_options(options)?)),
};

const OPTIONS: &[OptionSpec] = &[
    optional("bind", Kind::Host, "0.0.0.0", "Address to listen on."),
    required("port", Kind::Int(0, 65535), "Port to listen on; 0 for any free one, which the log names."),
    unset("remoteAddress", Kind::Text, "Name of a header with the sender's address, as /192.0.2.1:5140."),
];

/// Listens.
#[derive(Debug)]
struct NetcatUdp {
    bind: String,
    port: u16,
    address_header: Option<String>,
}

// === impl NetcatUdp ===

impl NetcatUdp {
    fn from_options(options: &Options) -> Result<Self> {
        let address_header = options.find("remoteAddress").map(str::to_owned);
        Ok(Self { bind: options.text("bind")?.to_owned(), port: options.int("port")?, address_header })
    }

    async fn listen(self, cx: SourceContext) -> Result<()> {
        let socket = bind(&self.bind, self.port).await?;
        let address = socket.local_addr().map_err(|error| Error::net("listen", &self.bind, error))?;
        tracing::info!(%address, "netcatudp source listens");
        cx.status.ready();
        let mut receiver = Receiver::new(socket);
        while let Some(datagrams) = receiver.next(&cx).await? {
            if receiver.deliver(&cx, self.events(&datagrams)).await? == Progress::Stopped {
                break;
            }
        }
        receiver.finish(&cx).await
    }

    fn events(&self, datagrams: &Datagrams) -> Batch {
        let bytes = &datagrams.bytes;
        let bodies = datagrams.each.iter().map(|(place, peer)| {
            let line = memchr::memchr(b'\n', &bytes[place.clone()]).map_or(place.end, |at| place.start + at);
            (place.start..line, peer)
        });
        let Some(key) = &self.address_header else {
            let mut builder = SlabBuilder::with_capacity(bytes.clone(), datagrams.each.len());
            bodies.for_each(|(body, _)| builder.row(body));
            return builder.finish();
        };
        let mut buffer = Vec::from(key.as_bytes());
        let mut rows = Vec::with_capacity(datagrams.each.len());
        for (body, peer) in bodies {
            let value = buffer.len();
            buffer.extend_from_slice(format!("/{peer}").as_bytes());
            let start = buffer.len();
            buffer.extend_from_slice(&bytes[body]);
            rows.push((value..start, start..buffer.len()));
        }
        let mut builder = SlabBuilder::with_capacity(Bytes::from(buffer), rows.len());
        for (value, body) in rows {
            builder.header(0..key.len(), value);
            builder.row(body);
        }
        builder.finish()
    }
}

impl Source for NetcatUdp {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.listen(cx))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::{declared, free_udp_port, source, start};
    use millstream_core::MetricName;
    use millstream_testkit::{TestChannel, spec_contract, start_source};
    use tokio::net::UdpSocket;

    spec_contract!(declared(&SPEC, [("port", "0")]));

    async fn sender(port: u16) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(("127.0.0.1", port)).await.unwrap();
        socket
    }

    #[tokio::test]
    async fn the_first_line_of_each_datagram_is_an_event() {
        let (port, channel) = (free_udp_port().await, TestChannel::new());
        let text = port.to_string();
        let running =
            start(&SPEC, &[("bind", "127.0.0.1"), ("port", &text), ("remoteAddress", "from")], &channel).await;
        let peer = sender(port).await;
        let datagrams: [&[u8]; 5] = [b"one\ntwo", b"", b"three", b"\xFF\0\r\n", &[b'x'; 60_000]];
        for (index, datagram) in datagrams.iter().enumerate() {
            peer.send(datagram).await.unwrap();
            channel.until(|stored| stored.bodies.len() == index + 1).await;
        }
        let stored = channel.stored();
        assert_eq!(stored.bodies, [&b"one"[..], b"", b"three", b"\xFF\0\r", &[b'x'; 60_000]]);
        assert_eq!(stored.headers[0]["from"], format!("/{}", peer.local_addr().unwrap()));
        running.until_counted(MetricName::EventAcceptedCount, 5).await;
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_received_is_offered_until_a_channel_takes_it() {
        let (port, channel) = (free_udp_port().await, TestChannel::new());
        let text = port.to_string();
        let running = start(&SPEC, &[("bind", "127.0.0.1"), ("port", &text)], &channel).await;
        channel.refuse_reservations(3);
        channel.fail_puts(1);
        sender(port).await.send(b"one").await.unwrap();
        channel.until(|stored| stored.bodies.len() == 1).await;
        assert!(channel.stored().headers[0].is_empty());
        channel.refuse_reservations(u32::MAX);
        sender(port).await.send(b"two").await.unwrap();
        channel.until(|stored| stored.refused > 3).await;
        let status = std::sync::Arc::clone(&running.status);
        running.stop().await.unwrap();
        assert!(status.counters().value(MetricName::ChannelWriteFail) > 3, "a loss at the stop is counted");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let running = start_source(source(&SPEC, &[("bind", "127.0.0.1"), ("port", &port)]), &TestChannel::new());
        let error = running.outcome().await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("bind 127.0.0.1:{port} (UDP): Address already in use")), "{error}");
    }
}
