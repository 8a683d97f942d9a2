//! One file per command.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod avro_client;
pub(crate) mod channel;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod deadletter;
pub(crate) mod demo;
mod events_file;
mod output;
mod peer;
mod progress;
pub(crate) mod tap;
pub(crate) mod version;
pub(crate) mod why;

use std::path::Path;

use millstream_core::{Error, Result};

use crate::exit;

/// Makes sure that there is such a directory.
fn find(dir: &Path) -> Result<()> {
    std::fs::metadata(dir).map(drop).map_err(|error| Error::io(exit::FIND, dir, error))
}

/// Runs async work on this thread.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::io("start", "runtime", error))?.block_on(work)
}
