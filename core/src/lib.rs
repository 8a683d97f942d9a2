//! The words of Millstream: events, batches, the component traits, errors, counters and status.
//!
//! Nothing here opens a file or a socket. See `ARCHITECTURE.md` for the picture.

pub mod error;
pub mod ticket;

pub use error::{Error, Fault, Reaction, Result};
pub use ticket::{Resolver, Ticket, ticket};
