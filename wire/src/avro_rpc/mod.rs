//! Avro RPC: the handshake, calls and answers inside the payloads that [`crate::netty`] frames.
//!
//! # Layout
//! | Payload | Parts, in order |
//! |---|---|
//! | request | handshake request until the connection is established · call metadata · message name · parameters |
//! | response | handshake response if the request had a handshake · call metadata · error flag · answer or error |
//!
//! A connection is established by the first handshake answered BOTH or CLIENT; from then on neither side sends one.
//! [`ServerConnection`] and [`ClientConnection`] hold that state; they do no I/O.
//!
//! # Source
//! Avro 1.11 specification, "Protocol Wire Format"; `org.apache.avro.ipc.{Requestor,Responder}` (1.7 to 1.11).

mod client;
mod handshake;
mod metadata;
mod server;

pub use client::{ClientConnection, Outcome, Response};
pub use handshake::{HandshakeRequest, HandshakeResponse, Match, Protocol};
pub use metadata::Metadata;
pub use server::{Incoming, Request, Responder, ServerConnection, UnknownClient};

#[cfg(test)]
mod tests;
