//! What is told of files that cannot be dealt with: once, however often they are seen.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use millstream_core::{Error, MetricName, Result, SourceContext};

/// The files that cannot be dealt with and were told about.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Not opened; tried again at every look.
    refused: HashSet<PathBuf>,
    /// By origin: read as far as it goes, and could not be renamed. Not touched again.
    pub(super) stuck: HashSet<Arc<str>>,
    /// The directory cannot be listed.
    unlisted: bool,
}

// === impl Told ===

impl Told {
    /// The files listed; a failed listing is told once, and the next look tries again.
    pub(super) fn listed(&mut self, cx: &SourceContext, scanned: Result<Vec<PathBuf>>) -> Vec<PathBuf> {
        match scanned {
            Ok(files) => {
                if std::mem::take(&mut self.unlisted) {
                    tracing::info!("spool directory is back");
                }
                self.refused.retain(|path| path.symlink_metadata().is_ok());
                files
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unlisted, true) {
                    tracing::warn!(%error, "spool directory cannot be listed; bring it back, it goes on by itself");
                    cx.status.count(MetricName::EventReadFail, 1);
                    cx.status.failed(&error);
                }
                Vec::new()
            }
        }
    }

    pub(super) fn refused(&mut self, cx: &SourceContext, path: PathBuf, error: &Error) {
        if self.refused.insert(path) {
            tracing::warn!(%error, "file may not be read; permit it, it is tried again at every look");
            cx.status.count(MetricName::EventReadFail, 1);
            cx.status.failed(error);
        }
    }

    pub(super) fn stuck(&mut self, cx: &SourceContext, origin: Arc<str>, error: &Error, state: &str) {
        tracing::warn!(%error, state, "file left as it is; permit renaming it and restart the source");
        cx.status.count(MetricName::GenericProcessingFail, 1);
        cx.status.failed(error);
        self.stuck.insert(origin);
    }
}
