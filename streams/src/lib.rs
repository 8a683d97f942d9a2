//! Streams: events are computed on, in micro-batches.
//!
//! A [`StreamingContext`] describes inputs, operators and outputs; started, it is a [`Job`]. The life of a batch is in
//! `engine/`: blocks are drained from the inboxes of the receivers, the stages compute, one record in the commit log
//! holds everything, then the receivers acknowledge and the outputs apply. See `ARCHITECTURE.md`.

mod commit;
mod context;
mod dstream;
mod engine;
mod flume;
mod graph;
mod job;
mod listener;
pub mod offline;
mod output;
mod place;
mod pool;
mod queue;
pub mod receiver;
mod stage;
mod state;

pub use context::StreamingContext;
pub use dstream::event::{Event, words};
pub use dstream::fused::{Fused, Step};
pub use dstream::{Combined, DStream, StateStream};
pub use flume::FlumeUtils;
pub use job::Job;
pub use listener::{ReceiverInfo, StreamingListener};
pub use queue::InputQueue;
pub use state::State;
