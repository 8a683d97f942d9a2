//! Avro RPC over sockets: servers that execute calls, and clients that make them; and a client of Flume's Thrift service.
//!
//! The formats are those of `millstream-wire`; here are connections, with their TLS and compression, limits and
//! time-outs. No message is known here: a [`Service`] gets each call as it is.

mod buffers;
pub mod client;
mod connection;
pub mod server;
#[cfg(test)]
mod tests;
pub mod thrift;
mod transport;

pub use client::{Client, ClientSettings};
pub use server::{Call, Pending, Reply, Server, ServerLimits, Service};
pub use thrift::{ThriftClient, ThriftSettings};
pub use transport::Wrapping;

use millstream_wire::avro_rpc::Metadata;
use millstream_wire::names::Peer;

/// Says in call metadata who we are; with `accept_names` also that names are understood in the answer.
pub fn introduce(meta: &mut Metadata, accept_names: bool) {
    let version = concat!("millstream/", env!("CARGO_PKG_VERSION")).to_owned();
    Peer { version, pipelined: true }.insert_into(meta, accept_names);
}
