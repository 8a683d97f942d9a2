//! Receives syslog messages over TCP, one per line, on several ports.
//!
//! A message of RFC 5424 or RFC 3164 gives the headers `Facility`, `Severity`, `Priority`, `Version`, `timestamp` and `host`;
//! what stands behind the host is the body. A line that is no message is an event too, with `flume.syslog.status` =
//! `Invalid`; one that is longer than `eventSize`, or that the connection's end cuts off, is `Incomplete`. Times that name
//! no zone are UTC. Bodies stay in the charset in which they came.
//!
//! A port that cannot be had does not hold up the others; it is tried again every 5 s.
//!
//! # Delivery
//! Syslog has no answers: what the peer sent and nobody had read is lost in a crash. While channels refuse events nothing
//! more is read, so that the peer waits.
//!
//! # Source
//! `org.apache.flume.source.MultiportSyslogTCPSource` (Flume 1.11).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use millstream_core::options::joined;
use millstream_core::{
    Error, Fut, Kind, MetricName, OptionSpec, Options, Result, Source, SourceContext, SourceSpec, family, optional,
    required, unset,
};
use millstream_io::{Memory, listen, tls};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::charset::{Decoder, Policy};
use crate::gather::Gather;
use crate::socket::{self, MEMORY_BYTES, Stream};
use crate::syslog::{self, KeepFields, Limits, Multiport, Now, PeerHeaders, hear};
use crate::window::{Progress, pause};

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "multiport_syslogtcp",
    aliases: &["org.apache.flume.source.MultiportSyslogTCPSource"],
    summary: "Receives syslog messages over TCP, one per line, on several ports.",
    options: &OPTIONS,
    build: |options| Ok(Box::new(MultiportSyslogTcp::from_options(options)?)),
};

const OWN: [OptionSpec; 9] = [
    optional("host", Kind::Host, "0.0.0.0", "Address to listen on."),
    required("ports", Kind::List, "Ports to listen on."),
    optional("eventSize", Kind::Int(1, 16 << 20), "2500", "Longest message in bytes; a longer one is cut."),
    optional("batchSize", Kind::Int(1, u32::MAX as i64), "100", "Most events of one batch."),
    unset("portHeader", Kind::Text, "Name of a header with the port on which the message came."),
    optional("charset.default", Kind::Text, "UTF-8", "Charset of the hosts' names."),
    family("charset.port.*", Kind::Text, "By port: the charset of what comes there."),
    unset("numProcessors", Kind::Int(1, i64::MAX), "No effect: connections cost no thread."),
    optional("readBufferBytes", Kind::Int(1, i64::MAX), "1024", "No effect: what has come is read."),
];
const OPTIONS: [OptionSpec; OWN.len() + syslog::OPTIONS.len() + tls::SERVER_OPTIONS.len()] =
    joined(&[&OWN, &syslog::OPTIONS, &tls::SERVER_OPTIONS]);

/// Until the next try to bind.
const BIND_PAUSE: Duration = Duration::from_secs(5);

/// Listens.
struct MultiportSyslogTcp {
    host: String,
    ports: Vec<u16>,
    hearing: Arc<Hearing>,
}

/// How peers are heard.
struct Hearing {
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    multiport: Multiport,
    headers: PeerHeaders,
    port_header: Option<String>,
    decoder: Decoder,
    decoders: HashMap<u16, Decoder>,
    memory: Memory,
}

// === impl MultiportSyslogTcp ===

impl MultiportSyslogTcp {
    fn from_options(options: &Options) -> Result<Self> {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let mut ports = Vec::new();
        for text in options.list("ports") {
            let port = port(text);
            let refused = || options.refuse("ports", format_args!("expected ports in 1..=65535, got {text:?}"));
            ports.push(port.ok_or_else(refused)?);
        }
        ports.sort_unstable();
        ports.dedup();
        if ports.is_empty() {
            return Err(options.refuse("ports", "expected ports, got none"));
        }
        let mut decoders = HashMap::new();
        for setting in options.under("charset.port.") {
            let refused = |problem: String| Error::config(&setting.place, problem);
            let key = port(&setting.key);
            let key = key.ok_or_else(|| refused(format!("expected a port in 1..=65535, got {:?}", setting.key)))?;
            if !ports.contains(&key) {
                options.tell_unknown(&setting.place, &format!("the ports are {}", options.list("ports").join(", ")));
            }
            decoders.insert(key, Decoder::new(&setting.value, Policy::Keep).map_err(refused)?);
        }
        let default = Decoder::new(options.text("charset.default")?, Policy::Keep);
        let hearing = Hearing {
            acceptor: tls::acceptor(options)?,
            limits: Limits { message_bytes: options.int("eventSize")?, batch_events: options.int("batchSize")? },
            multiport: Multiport { keep: KeepFields::from_options(options)? },
            headers: PeerHeaders::from_options(options),
            port_header: options.find("portHeader").filter(|name| !name.is_empty()).map(str::to_owned),
            decoder: default.map_err(|problem| options.refuse("charset.default", problem))?,
            decoders,
            memory: Memory::new(MEMORY_BYTES),
        };
        Ok(Self { host: options.text("host")?.to_owned(), ports, hearing: Arc::new(hearing) })
    }

    async fn listen(self, cx: SourceContext) -> Result<()> {
        let mut listeners = Vec::new();
        for port in &self.ports {
            listeners.push((*port, listen::listen(&self.host, *port).await));
        }
        // With no port at all there is nothing to do: whoever runs the source tries again.
        if let [(_, Err(error)), ..] = listeners.as_slice()
            && listeners.iter().all(|(_, listener)| listener.is_err())
        {
            return Err(error.clone());
        }
        cx.status.ready();
        let mut serving = JoinSet::new();
        for (port, listener) in listeners {
            let (cx, hearing, host) = (cx.clone(), Arc::clone(&self.hearing), self.host.clone());
            serving.spawn(async move {
                if let Some(listener) = bound(&host, port, listener, &cx).await {
                    hearing.serve(listener, port, cx).await;
                }
            });
        }
        while let Some(outcome) = serving.join_next().await {
            outcome.map_err(|error| Error::Panicked {
                place: format!("source {}", cx.name),
                message: error.to_string(),
            })?;
        }
        Ok(())
    }
}

impl Source for MultiportSyslogTcp {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.listen(cx))
    }
}

/// The listener, tried again until there is one; `None` when the source was asked to stop.
async fn bound(host: &str, port: u16, mut tried: Result<TcpListener>, cx: &SourceContext) -> Option<TcpListener> {
    let mut is_told = false;
    loop {
        match tried {
            Ok(listener) => {
                tracing::info!(port, "multiport_syslogtcp source listens");
                return Some(listener);
            }
            Err(error) if !is_told => {
                is_told = true;
                tracing::warn!(%error, "port is not listened on, the others are; it is tried again");
                cx.status.count(MetricName::GenericProcessingFail, 1);
                cx.status.failed(&error);
            }
            Err(_) => {}
        }
        if pause(cx, BIND_PAUSE).await == Progress::Stopped {
            return None;
        }
        tried = listen::listen(host, port).await;
    }
}

// === impl Hearing ===

impl Hearing {
    async fn serve(self: Arc<Self>, listener: TcpListener, port: u16, cx: SourceContext) {
        let attend = |stream: TcpStream, peer| {
            let (hearing, cx) = (Arc::clone(&self), cx.clone());
            async move {
                let stream = socket::secured(hearing.acceptor.as_ref(), stream, peer, &cx).await?;
                hearing.hear(stream, peer, port, cx).await
            }
        };
        socket::serve(listener, &cx, attend).await;
    }

    async fn hear(&self, stream: Box<dyn Stream>, peer: SocketAddr, port: u16, cx: SourceContext) -> Result<()> {
        let named = self.headers.named(peer.ip()).await;
        let decoder = self.decoders.get(&port).unwrap_or(&self.decoder);
        let understand = |bytes: &[u8], frames: &[syslog::Frame]| {
            let (now, mut events) = (Now::new(&TimeZone::UTC), Gather::new());
            let mut invalid = 0;
            for frame in frames {
                if let Some(key) = &self.port_header {
                    events.header_of(key, port);
                }
                self.headers.add(&named, &mut events);
                let message = &bytes[frame.message.clone()];
                invalid += u64::from(!self.multiport.add(message, frame.is_incomplete, &now, decoder, &mut events));
            }
            cx.status.count(MetricName::EventReadFail, invalid);
            events.take()
        };
        hear(stream, peer, &cx, self.memory.clone(), self.limits, understand).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::{Served, declared, free_port, refusal, source, start};
    use millstream_testkit::{TestChannel, spec_contract, start_source};

    spec_contract!(declared(&SPEC, [("ports", "514")]));

    #[tokio::test]
    async fn each_port_has_its_header_and_charset_and_bad_lines_cost_no_good_ones() {
        let channel = TestChannel::new();
        let (first, second) = (free_port().await, free_port().await);
        let (ports, charset) = (format!("{first} {second}"), format!("charset.port.{second}"));
        let settings = [
            ("host", "127.0.0.1"),
            ("ports", &*ports),
            ("portHeader", "port"),
            (&charset, "ISO-8859-1"),
            ("clientIPHeader", "ip"),
        ];
        let running = start(&SPEC, &settings, &channel).await;
        let mut served = Served { running, port: first };
        let bad = "<13>2020-99-04T10:11:12Z h bad\n\0\0\n\n";
        served.peer().await.send(format!("<13>- h one\n{bad}<13>- h two\n")).await;
        channel.until(|stored| stored.bodies.len() == 4).await;
        served.port = second;
        served.peer().await.send(b"<13>- m\xFCller gr\xFC\xDFe\n").await;
        channel.until(|stored| stored.bodies.len() == 5).await;
        let stored = channel.stored();
        assert_eq!(channel.texts()[..4], ["one", "<13>2020-99-04T10:11:12Z h bad", "\0\0", "two"]);
        assert_eq!(stored.headers[1]["flume.syslog.status"], "Invalid");
        assert_eq!((&stored.headers[1]["port"], &*stored.headers[1]["ip"]), (&first.to_string(), "127.0.0.1"));
        assert_eq!((&stored.headers[4]["port"], &*stored.headers[4]["host"]), (&second.to_string(), "müller"));
        assert_eq!(stored.bodies[4], b"gr\xFC\xDFe");
        assert_eq!(served.running.counted(MetricName::EventReadFail), 2);
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn over_tls_1_3_all_comes_that_a_peer_sends_before_it_says_goodbye() {
        let channel = TestChannel::new();
        let dir = tempfile::tempdir().unwrap();
        let (keystore, port) = (crate::testing::keystore(dir.path()), free_port().await);
        let ports = port.to_string();
        let settings = [("host", "127.0.0.1"), ("ports", &*ports), ("ssl", "true"), ("keystore", &keystore)];
        let served = Served { running: start(&SPEC, &settings, &channel).await, port };
        for peer in 1..=20 {
            let mut stream = crate::testing::secured(served.port).await;
            assert_eq!(stream.get_ref().1.protocol_version(), Some(tokio_rustls::rustls::ProtocolVersion::TLSv1_3));
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"<13>- h secret\n").await.unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
            // What comes back is an end in order, not what cannot be decrypted.
            assert_eq!(tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await.unwrap(), 0);
            channel.until(|stored| stored.bodies.len() == peer).await;
        }
        assert!(channel.texts().iter().all(|text| text == "secret"));
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn batches_have_at_most_their_size() {
        let channel = TestChannel::new();
        let port = free_port().await;
        let ports = port.to_string();
        let settings = [("host", "127.0.0.1"), ("ports", &*ports), ("batchSize", "10")];
        let served = Served { running: start(&SPEC, &settings, &channel).await, port };
        served.peer().await.send("<13>- h x\n".repeat(100)).await;
        channel.until(|stored| stored.bodies.len() == 100).await;
        assert!(channel.puts().iter().all(|events| *events <= 10));
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_port_that_is_taken_holds_up_no_other_but_all_of_them_do() {
        let channel = TestChannel::new();
        let holder = listen::listen("127.0.0.1", 0).await.unwrap();
        let (taken, port) = (holder.local_addr().unwrap().port(), free_port().await);
        let ports = format!("{taken},{port}");
        let served =
            Served { running: start(&SPEC, &[("host", "127.0.0.1"), ("ports", &ports)], &channel).await, port };
        served.peer().await.send("<13>- h x\n").await;
        channel.until(|stored| stored.bodies.len() == 1).await;
        served.running.until_counted(MetricName::GenericProcessingFail, 1).await;
        let ports = taken.to_string();
        let second = start_source(source(&SPEC, &[("host", "127.0.0.1"), ("ports", &ports)]), &channel);
        assert!(second.outcome().await.unwrap_err().to_string().contains("Address already in use"));
        served.running.stop().await.unwrap();
    }

    #[test]
    fn what_is_no_port_and_no_charset_is_refused_at_its_place() {
        for (settings, key, part) in [
            (vec![("ports", "514 0")], "ports", "got \"0\""),
            (vec![("ports", " , ")], "ports", "got none"),
            (vec![("ports", "514"), ("charset.port.x", "UTF-8")], "charset.port.x", "got \"x\""),
            (vec![("ports", "514"), ("charset.port.514", "UTF-16")], "charset.port.514", "got \"UTF-16\""),
            (vec![("ports", "514"), ("charset.default", "klingon")], "charset.default", "got \"klingon\""),
        ] {
            let text = refusal(&SPEC, &settings);
            assert!(text.starts_with(&format!("flume.conf:7: a1.sources.r1.{key}: ")) && text.contains(part), "{text}");
        }
    }
}
