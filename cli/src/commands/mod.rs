//! One file per command.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod avro_client;
pub(crate) mod channel;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod demo;
mod output;
mod progress;
pub(crate) mod tap;
pub(crate) mod version;
pub(crate) mod why;
