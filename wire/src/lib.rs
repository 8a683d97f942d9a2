//! Wire formats: received bytes to structs and back. No sockets, no clock, no threads.
//!
//! Whoever owns the connection reads chunks, pushes them into a [`netty::FrameDecoder`], gives each payload to an
//! [`avro_rpc`] connection, and the parameters to [`spark_sink`] or [`avro_event`]. Answers take the same way back as a
//! list of buffers for a vectored write.
//!
//! **Invariant:** decoding outside bytes never panics, never reads past the end, and never allocates from a length that
//! was only claimed. See `docs/formats/avro-rpc.md` and
//! `docs/formats/thrift.md` for the formats.

pub mod avro_event;
pub mod avro_rpc;
pub mod error;
mod events;
pub mod names;
pub mod netty;
pub mod reader;
pub mod spark_sink;
pub mod thrift;
pub mod writer;

pub use error::WireError;
pub use events::EventLimits;
