//! The words of Millstream: events, batches, the component traits, errors, counters and status.
//!
//! Nothing here opens a file or a socket. See `ARCHITECTURE.md` for the picture.

pub mod batch;
pub mod error;
pub mod interval;
pub mod ticket;

pub use batch::{Batch, CommonHeader, Coverage, EventRef, Name, NameRun, SlabBuilder};
pub use error::{Error, Fault, Reaction, Result};
pub use interval::IntervalSet;
pub use ticket::{Resolver, Ticket, ticket};
