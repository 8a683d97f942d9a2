//! Receives syslog messages over TCP, one per line.
//!
//! A message of RFC 5424 or RFC 3164 gives the headers `Facility`, `Severity`, `priority`, `version`, `timestamp` and `host`;
//! what stands behind the host is the body. A line that is no message is an event too, with `flume.syslog.status` =
//! `Invalid`; one that is longer than `eventSize`, or that the connection's end cuts off, is `Incomplete`.
//!
//! Messages of another shape are told by `format.regex`: where it matches the whole message, from `<` on, its groups 1 to 5 are
//! priority, version, time, host and body.
//!
//! # Delivery
//! Syslog has no answers: what the peer sent and nobody had read is lost in a crash. While channels refuse events nothing
//! more is read, so that the peer waits.
//!
//! # Source
//! `org.apache.flume.source.SyslogTcpSource` (Flume 1.11).

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::tz::TimeZone;
use millstream_core::options::joined;
use millstream_core::{
    Error, Fut, Kind, OptionSpec, Options, Result, Source, SourceContext, SourceSpec, optional, required,
};
use millstream_io::{Memory, listen, tls};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::gather::Gather;
use crate::socket::{self, MEMORY_BYTES, Stream};
use crate::syslog::{self, Classic, Custom, KeepFields, Limits, Now, PeerHeaders, hear};

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "syslogtcp",
    aliases: &["org.apache.flume.source.SyslogTcpSource"],
    summary: "Receives syslog messages over TCP, one per line.",
    options: &OPTIONS,
    build: |options| Ok(Box::new(SyslogTcp::from_options(options)?)),
};

const OWN: [OptionSpec; 3] = [
    optional("host", Kind::Host, "0.0.0.0", "Address to listen on."),
    required("port", Kind::Int(0, 65535), "Port to listen on; 0 for any free one, which the log names."),
    optional("eventSize", Kind::Int(1, 16 << 20), "2500", "Longest message in bytes; a longer one is cut."),
];
const OPTIONS: [OptionSpec;
    OWN.len() + syslog::OPTIONS.len() + syslog::FORMAT_OPTIONS.len() + tls::SERVER_OPTIONS.len()] =
    joined(&[&OWN, &syslog::OPTIONS, &syslog::FORMAT_OPTIONS, &tls::SERVER_OPTIONS]);

/// Messages of one batch.
const BATCH_EVENTS: usize = 1000;

/// Listens.
struct SyslogTcp {
    host: String,
    port: u16,
    acceptor: Option<TlsAcceptor>,
    hearing: Hearing,
}

/// How a peer is heard.
#[derive(Debug, Clone)]
struct Hearing {
    limits: Limits,
    keep: KeepFields,
    custom: Option<Arc<Custom>>,
    headers: PeerHeaders,
    zone: TimeZone,
}

// === impl SyslogTcp ===

impl SyslogTcp {
    fn from_options(options: &Options) -> Result<Self> {
        let hearing = Hearing {
            limits: Limits { message_bytes: options.int("eventSize")?, batch_events: BATCH_EVENTS },
            keep: KeepFields::from_options(options)?,
            custom: Custom::from_options(options)?.map(Arc::new),
            headers: PeerHeaders::from_options(options),
            zone: TimeZone::system(),
        };
        let (host, port) = (options.text("host")?.to_owned(), options.int("port")?);
        Ok(Self { host, port, acceptor: tls::acceptor(options)?, hearing })
    }

    async fn listen(self, cx: SourceContext) -> Result<()> {
        let listener = listen::listen(&self.host, self.port).await?;
        let address = listener.local_addr().map_err(|error| Error::net("listen", &self.host, error))?;
        tracing::info!(%address, "syslogtcp source listens");
        cx.status.ready();
        let memory = Memory::new(MEMORY_BYTES);
        let attend = |stream: TcpStream, peer| {
            let (acceptor, hearing) = (self.acceptor.clone(), self.hearing.clone());
            let (cx, memory) = (cx.clone(), memory.clone());
            async move {
                let stream = socket::secured(acceptor.as_ref(), stream, peer, &cx).await?;
                hearing.hear(stream, peer, cx, memory).await
            }
        };
        socket::serve(listener, &cx, attend).await;
        Ok(())
    }
}

impl Source for SyslogTcp {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.listen(cx))
    }
}

// === impl Hearing ===

impl Hearing {
    async fn hear(self, stream: Box<dyn Stream>, peer: SocketAddr, cx: SourceContext, memory: Memory) -> Result<()> {
        let named = self.headers.named(peer.ip()).await;
        let mut classic = Classic::new(self.keep, self.custom);
        let understand = |bytes: &[u8], frames: &[syslog::Frame]| {
            let (now, mut events) = (Now::new(&self.zone), Gather::new());
            for frame in frames {
                self.headers.add(&named, &mut events);
                classic.add(&bytes[frame.message.clone()], frame.is_incomplete, &now, &mut events);
            }
            events.take()
        };
        hear(stream, peer, &cx, memory, self.limits, understand).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::{Served, declared, refusal, serve};
    use millstream_core::MetricName;
    use millstream_testkit::{TestChannel, spec_contract};

    spec_contract!(declared(&SPEC, [("port", "0")]));

    async fn syslog(settings: &[(&str, &str)], channel: &TestChannel) -> Served {
        serve(&SPEC, "host", settings, channel).await
    }

    #[tokio::test]
    async fn each_line_is_an_event_whatever_stands_beside_it() {
        let channel = TestChannel::new();
        let served = syslog(&[("clientIPHeader", "ip"), ("clientHostnameHeader", "name")], &channel).await;
        let mut peer = served.peer().await;
        peer.send("<34>1 2020-05-04T10:11:12Z h one\n\n\nno message\n<13>- h thr").await;
        channel.until(|stored| stored.bodies.len() == 2).await;
        peer.send("ee\n<13>- h cut off").await;
        peer.finish().await;
        channel.until(|stored| stored.bodies.len() == 4).await;
        assert_eq!(channel.texts(), ["one", "no message", "three", "cut off"]);
        let headers = channel.stored().headers;
        assert_eq!((&*headers[0]["timestamp"], &*headers[0]["ip"]), ("1588587072000", "127.0.0.1"));
        assert!(!headers[0]["name"].is_empty());
        assert_eq!((&*headers[1]["flume.syslog.status"], &*headers[1]["ip"]), ("Invalid", "127.0.0.1"));
        assert_eq!(headers[3]["flume.syslog.status"], "Incomplete");
        served.running.until_counted(MetricName::EventAcceptedCount, 4).await;
        assert_eq!(served.running.counted(MetricName::AppendBatchReceivedCount), 0);
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_cut_and_its_rest_is_no_message() {
        let channel = TestChannel::new();
        let served = syslog(&[("eventSize", "20")], &channel).await;
        served.peer().await.send("<13>- h 0123456789abcdefg\n<13>- h next\n").await;
        channel.until(|stored| stored.bodies.len() == 3).await;
        assert_eq!(channel.texts(), ["0123456789ab", "cdefg", "next"]);
        let status = |index: usize| channel.stored().headers[index].get("flume.syslog.status").cloned();
        assert_eq!(
            [status(0).as_deref(), status(1).as_deref(), status(2).as_deref()],
            [Some("Incomplete"), Some("Invalid"), None]
        );
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_waits_while_channels_refuse_and_nothing_is_lost_or_reordered() {
        let channel = TestChannel::new();
        let served = syslog(&[], &channel).await;
        channel.refuse_reservations(3);
        let lines: String = (0..5000).map(|line| format!("<13>- h {line}\n")).collect();
        let mut peer = served.peer().await;
        peer.send(lines).await;
        channel.until(|stored| stored.bodies.len() == 5000).await;
        assert_eq!(channel.texts(), (0..5000).map(|line| line.to_string()).collect::<Vec<_>>());
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn digits_without_end_and_octet_counts_are_lines_like_others() {
        let channel = TestChannel::new();
        let served = syslog(&[], &channel).await;
        let mut peer = served.peer().await;
        peer.send(format!("{} <13>- h x\n<{}>x\n<13>- h good\n", "9".repeat(30), "1".repeat(2000))).await;
        channel.until(|stored| stored.bodies.len() == 3).await;
        assert_eq!(channel.texts()[2], "good");
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn over_tls_it_is_the_same_and_a_peer_that_speaks_none_is_told_apart() {
        let channel = TestChannel::new();
        let dir = tempfile::tempdir().unwrap();
        let keystore = crate::testing::keystore(dir.path());
        let served = syslog(&[("ssl", "true"), ("keystore", &keystore)], &channel).await;
        let mut plain = served.peer().await;
        plain.send("<13>- h plain\n").await;
        plain.rest().await;
        served.running.until_counted(MetricName::GenericProcessingFail, 1).await;
        let mut silent = served.peer().await;
        let mut stream = crate::testing::secured(served.port).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"<13>- h secret\n").await.unwrap();
        channel.until(|stored| stored.bodies.len() == 1).await;
        assert_eq!(channel.texts(), ["secret"]);
        let stopping = tokio::time::Instant::now();
        served.running.stop().await.unwrap();
        silent.rest().await;
        assert!(stopping.elapsed() < std::time::Duration::from_secs(1), "one that shakes no hands holds up nothing");
    }

    #[tokio::test]
    async fn a_pattern_of_ones_own_is_tried_before_those_of_the_rfcs() {
        let channel = TestChannel::new();
        let settings = [
            ("format.regex", r"<(\d+)>()(\d{8}-\d{6}) \[(\w+)\] (.*)"),
            ("format.dateFormat", "yyyyMMdd-HHmmss"),
            ("keepFields", "hostname"),
        ];
        let served = syslog(&settings, &channel).await;
        served.peer().await.send("<13>20200504-101112 [box] own\n<14>- h rfc\n<15>none\n").await;
        channel.until(|stored| stored.bodies.len() == 3).await;
        assert_eq!(channel.texts(), ["box own", "h rfc", "<15>none"]);
        let headers = channel.stored().headers;
        assert_eq!((&*headers[0]["priority"], &*headers[0]["host"]), ("13", "box"));
        assert!(headers[0].contains_key("timestamp") && !headers[0].contains_key("version"));
        served.running.stop().await.unwrap();
    }

    #[test]
    fn a_pattern_that_cannot_be_used_is_refused_at_its_place() {
        let text = refusal(&SPEC, &[("port", "0"), ("format.regex", "(.*")]);
        assert!(text.starts_with("flume.conf:7: a1.sources.r1.format.regex: expected a regular expression"), "{text}");
    }
}
