//! File calls, where they may block.

use millstream_core::{Error, Result, SourceContext};

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    cx: &SourceContext,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Panicked { place: format!("source {}", cx.name), message: error.to_string() })
}
