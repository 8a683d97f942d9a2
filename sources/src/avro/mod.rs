//! Listens for Avro RPC: what Flume's avro sinks and RPC clients send, and ours.
//!
//! The connections are those of `millstream-rpc`: TLS, compression, limits.
//!
//! # Delivery
//! OK is answered once every required channel has the events, FAILED when one refused them; the peer sends them again.
//! From our own sinks events come with their names, and the channel trims what it has: a batch whose answer was lost is not
//! stored twice. From foreign peers it is.
//!
//! # Source
//! `org.apache.flume.source.AvroSource` (Flume 1.11). Different on purpose: a look-up of a peer's name does not hold up other
//! peers.

mod ip_filter;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use millstream_core::options::joined;
use millstream_core::{
    Fut, Kind, MetricName, OptionSpec, Options, Result, Source, SourceContext, SourceSpec, optional, required, unset,
};
use millstream_io::{listen, tls};
use millstream_rpc::{Call, Pending, Reply, Server, ServerLimits, Service, Wrapping};
use millstream_wire::EventLimits;
use millstream_wire::avro_event::{self, APPEND, Status};
use millstream_wire::avro_rpc::Protocol;
use millstream_wire::names::Peer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use ip_filter::IpFilter;

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "avro",
    aliases: &["org.apache.flume.source.AvroSource"],
    summary: "Listens for events that avro sinks and RPC clients send.",
    options: &OPTIONS,
    build: |options| Ok(Box::new(AvroSource::from_options(options)?)),
};

const OWN: [OptionSpec; 6] = [
    required("bind", Kind::Host, "Address to listen on."),
    required("port", Kind::Int(0, 65535), "Port to listen on; 0 for any free one, which the log names."),
    optional("threads", Kind::Int(0, i64::MAX), "0", "No effect: connections cost no thread, as in Flume 1.11."),
    optional("compression-type", Kind::Choice(&["none", "deflate"]), "none", "What all clients must use too."),
    optional("ipFilter", Kind::Bool, "false", "Admits clients by ipFilterRules."),
    unset(
        "ipFilterRules",
        Kind::Text,
        "allow or deny, ip or name, and a pattern with * and ?, such as deny:ip:10.*; the first that matches decides, and without one a client is admitted.",
    ),
];
const OPTIONS: [OptionSpec; OWN.len() + tls::SERVER_OPTIONS.len()] = joined(&[&OWN, &tls::SERVER_OPTIONS]);

/// Level of the answers' compression, as in Flume.
const LEVEL: u32 = 6;

/// Listens.
#[derive(Debug)]
struct AvroSource {
    bind: String,
    port: u16,
    wrapping: Wrapping<TlsAcceptor>,
    filter: IpFilter,
}

/// Hands the events of every call to the channels.
struct Receiving {
    cx: SourceContext,
    filter: IpFilter,
}

// === impl AvroSource ===

impl AvroSource {
    fn from_options(options: &Options) -> Result<Self> {
        let deflate = options.text("compression-type")?.eq_ignore_ascii_case("deflate").then_some(LEVEL);
        Ok(Self {
            bind: options.text("bind")?.to_owned(),
            port: options.int("port")?,
            wrapping: Wrapping { tls: tls::acceptor(options)?, deflate },
            filter: IpFilter::from_options(options)?,
        })
    }

    async fn serve_on(self, listener: TcpListener, cx: SourceContext) -> Result<()> {
        let server = Server::new(listener, self.wrapping, ServerLimits::default());
        tracing::info!(address = %server.address()?, "avro source listens");
        cx.status.ready();
        let stop = cx.stop.clone();
        server.serve(Arc::new(Receiving { cx, filter: self.filter }), stop).await;
        Ok(())
    }
}

impl Source for AvroSource {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(async move {
            let listener = listen::listen(&self.bind, self.port).await?;
            self.serve_on(listener, cx).await
        })
    }
}

// === impl Receiving ===

impl Service for Receiving {
    fn protocol(&self) -> Arc<Protocol> {
        avro_event::protocol()
    }

    fn execute(self: Arc<Self>, call: Call) -> Fut<'static, Pending> {
        Box::pin(async move {
            let own = Peer::from_meta(&call.meta).is_some();
            let batch = match avro_event::decode_call(&call.meta, &call.message, &call.params, &EventLimits::default())
            {
                Ok(Some(batch)) => batch,
                Ok(None) => {
                    return Pending::ready(Reply::to_peer(own, Err(format!("unknown message {:?}", call.message))));
                }
                Err(error) => {
                    self.count(MetricName::EventReadFail, 1);
                    tracing::warn!(%error, peer = %call.peer, "a call cannot be read");
                    return Pending::ready(Reply::to_peer(own, Err(error.to_string())));
                }
            };
            let single = call.message == APPEND;
            self.count(if single { MetricName::AppendReceivedCount } else { MetricName::AppendBatchReceivedCount }, 1);
            let events = batch.len() as u64;
            match self.cx.deliver(batch).await {
                Ok(delivery) => Pending::new(async move {
                    let stored = delivery.stored().await;
                    self.answer(own, single, events, call.peer, stored)
                }),
                Err(error) => {
                    // What no channel has room for was received, too.
                    self.count(MetricName::EventReceivedCount, events);
                    Pending::ready(self.answer(own, single, events, call.peer, Err(error)))
                }
            }
        })
    }

    fn admits(&self, peer: SocketAddr) -> Fut<'_, bool> {
        Box::pin(self.filter.admits(peer.ip()))
    }

    fn opened(&self, _peer: SocketAddr) {
        self.count(MetricName::OpenConnectionCount, 1);
    }

    fn closed(&self, _peer: SocketAddr, outcome: &Result<()>) {
        self.cx.status.counters().lower(MetricName::OpenConnectionCount, 1);
        if let Err(error) = outcome {
            self.count(MetricName::GenericProcessingFail, 1);
            self.cx.status.failed(error);
        }
    }
}

impl Receiving {
    fn count(&self, name: MetricName, by: u64) {
        self.cx.status.count(name, by);
    }

    fn answer(&self, own: bool, single: bool, events: u64, peer: SocketAddr, stored: Result<()>) -> Reply {
        let status = match stored {
            Ok(()) => {
                self.count(MetricName::EventAcceptedCount, events);
                self.count(
                    if single { MetricName::AppendAcceptedCount } else { MetricName::AppendBatchAcceptedCount },
                    1,
                );
                Status::Ok
            }
            Err(error) => {
                tracing::warn!(%error, %peer, events, "events refused, the peer will send them again");
                self.cx.status.failed(&error);
                Status::Failed
            }
        };
        Reply::to_peer(own, Ok(status.encode()))
    }
}
