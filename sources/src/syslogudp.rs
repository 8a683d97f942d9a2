//! Receives syslog messages over UDP, one per datagram: what stands before its first newline.
//!
//! Headers and body are those of `syslogtcp`.
//!
//! # Delivery
//! Best effort: a datagram that finds no room in the system's buffer is lost and nobody knows. One that was received is
//! offered until a channel takes it.
//!
//! # Source
//! `org.apache.flume.source.SyslogUDPSource` (Flume 1.11).

use std::sync::Arc;

use jiff::tz::TimeZone;
use millstream_core::options::joined;
use millstream_core::{
    Batch, Error, Fut, Kind, OptionSpec, Options, Result, Source, SourceContext, SourceSpec, optional, required,
};

use crate::datagrams::{Datagrams, Receiver, bind};
use crate::gather::Gather;
use crate::syslog::{self, Classic, Custom, Frame, KeepFields, Now, PeerHeaders, PeerNames};
use crate::window::Progress;

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "syslogudp",
    aliases: &["org.apache.flume.source.SyslogUDPSource"],
    summary: "Receives syslog messages over UDP, one per datagram.",
    options: &OPTIONS,
    build: |options| Ok(Box::new(SyslogUdp::from_options(options)?)),
};

const OWN: [OptionSpec; 2] = [
    optional("host", Kind::Host, "0.0.0.0", "Address to listen on."),
    required("port", Kind::Int(0, 65535), "Port to listen on; 0 for any free one, which the log names."),
];
const OPTIONS: [OptionSpec; OWN.len() + syslog::OPTIONS.len() + syslog::FORMAT_OPTIONS.len()] =
    joined(&[&OWN, &syslog::OPTIONS, &syslog::FORMAT_OPTIONS]);

/// Listens.
#[derive(Debug)]
struct SyslogUdp {
    host: String,
    port: u16,
    headers: PeerHeaders,
    names: PeerNames,
    classic: Classic,
    zone: TimeZone,
}

// === impl SyslogUdp ===

impl SyslogUdp {
    fn from_options(options: &Options) -> Result<Self> {
        Ok(Self {
            host: options.text("host")?.to_owned(),
            port: options.int("port")?,
            headers: PeerHeaders::from_options(options),
            names: PeerNames::default(),
            classic: Classic::new(KeepFields::from_options(options)?, Custom::from_options(options)?.map(Arc::new)),
            zone: TimeZone::system(),
        })
    }

    async fn listen(mut self, cx: SourceContext) -> Result<()> {
        let socket = bind(&self.host, self.port).await?;
        let address = socket.local_addr().map_err(|error| Error::net("listen", &self.host, error))?;
        tracing::info!(%address, "syslogudp source listens");
        cx.status.ready();
        let mut receiver = Receiver::new(socket);
        while let Some(datagrams) = receiver.next(&cx).await? {
            let events = self.events(&datagrams).await;
            if !events.is_empty() && receiver.deliver(&cx, events).await? == Progress::Stopped {
                break;
            }
        }
        receiver.finish(&cx).await
    }

    async fn events(&mut self, datagrams: &Datagrams) -> Batch {
        let (now, mut events) = (Now::new(&self.zone), Gather::new());
        for (place, peer) in &datagrams.each {
            let bytes = &datagrams.bytes[place.clone()];
            // One without a newline is whole as well, and one of newlines alone says nothing.
            let Some(frame) = Frame::first(bytes, usize::MAX).or_else(|| Frame::rest(bytes)) else { continue };
            let named = self.names.named(&self.headers, peer.ip()).await;
            self.headers.add(&named, &mut events);
            self.classic.add(&bytes[frame.message], false, &now, &mut events);
        }
        events.take()
    }
}

impl Source for SyslogUdp {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.listen(cx))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::{declared, free_udp_port, start};
    use millstream_core::MetricName;
    use millstream_testkit::{TestChannel, spec_contract};
    use tokio::net::UdpSocket;

    spec_contract!(declared(&SPEC, [("port", "0")]));

    #[tokio::test]
    async fn each_datagram_is_an_event_up_to_its_first_newline() {
        let (port, channel) = (free_udp_port().await, TestChannel::new());
        let text = port.to_string();
        let settings = [("host", "127.0.0.1"), ("port", &*text), ("clientIPHeader", "ip"), ("keepFields", "hostname")];
        let running = start(&SPEC, &settings, &channel).await;
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        peer.connect(("127.0.0.1", port)).await.unwrap();
        let long = format!("<13>- h {}", "x".repeat(50_000));
        let datagrams = ["<34>1 2020-05-04T10:11:12Z h one\nleft out", "\n", "", "no message", "\n<13>- h two", &long];
        for datagram in datagrams {
            peer.send(datagram.as_bytes()).await.unwrap();
        }
        channel.until(|stored| stored.bodies.len() == 4).await;
        assert_eq!(channel.texts(), ["h one", "no message", "h two", &long[6..]]);
        let headers = channel.stored().headers;
        assert_eq!((&*headers[0]["host"], &*headers[0]["ip"]), ("h", "127.0.0.1"));
        assert_eq!(headers[1]["flume.syslog.status"], "Invalid");
        assert_eq!(headers[3].get("flume.syslog.status"), None);
        running.until_counted(MetricName::EventAcceptedCount, 4).await;
        running.stop().await.unwrap();
    }
}
