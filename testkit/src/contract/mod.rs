//! What every implementation of a trait must do, as tests: one file per trait.
//!
//! A receiver is not here: what it works with can be made by the stream engine only, so its contract stands where that
//! is, in `streams/src/receiver/poll/tests.rs`.

pub mod channel;
pub mod interceptor;
pub mod output;
pub mod pull_sink;
pub mod selector;
pub mod sink;
pub mod source;
pub mod spec;
