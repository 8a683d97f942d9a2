//! Sends events to agents: Flume's four RPC clients, under Flume's words and properties.
//!
//! ```no_run
//! use millstream::client::{Event, RpcClientFactory};
//!
//! # async fn send() -> millstream::Result<()> {
//! let properties = [("client.type", "default_failover"), ("hosts", "a b"), ("hosts.a", "one:4141"), ("hosts.b", "two:4141")];
//! let mut client = RpcClientFactory::get_instance(properties).await?;
//! client.append(Event::from("hello").with_header("kind", "greeting")).await?;
//! client.append_batch((0..1000).map(|number| Event::from(number.to_string())).collect()).await?;
//! # Ok(()) }
//! ```
//!
//! [`blocking`] has the same without `await`; [`FlumeLayer`] sends what a program logs.
//!
//! | `client.type` | Hosts | When a call fails |
//! |---|---|---|
//! | `default` | the first of `hosts` | the client is of no further use: get another |
//! | `default_failover` | one at a time | the next one in the circle, `max-attempts` times |
//! | `default_loadbalance` | each call another, in turn or at random | each other one once |
//! | `thrift` | the first of `hosts`, a thrift source, `protocol` compact or binary | the next call connects again |
//!
//! # Delivery
//! A call that returns `Ok` is stored, as durably as the agent's channels are. What was not answered OK comes back as
//! [`Undelivered`]. Events travel under names, so what is repeated, or goes to another host, because an answer was lost is
//! known where both ways lead to the same channel of ours; a foreign agent gets it twice, and so does one that is spoken
//! to by Thrift, which has no room for names.
//!
//! # Source
//! `org.apache.flume.api` of the Flume SDK 1.11. Different on purpose: a batch of which a part was answered OK comes back
//! without that part, where Flume sends all of it again.

pub mod blocking;
mod call;
mod event;
mod host;
mod layer;
mod properties;
mod rpc_client;
mod series;
#[cfg(test)]
mod tests;
mod ways;

pub use event::Event;
pub use layer::{FlumeGuard, FlumeLayer, FlumeLayerBuilder, WhenFull};
pub use rpc_client::{RpcClient, RpcClientFactory, Undelivered};
