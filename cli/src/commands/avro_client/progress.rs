//! What a person sees meanwhile.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal, nothing elsewhere.
#[derive(Debug)]
pub(super) struct Progress(Option<ProgressBar>);

// === impl Progress ===

impl Progress {
    pub(super) fn start() -> Self {
        let bar = || {
            let style = ProgressStyle::with_template("{spinner} {bytes} {msg}");
            ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        };
        Self(std::io::stderr().is_terminal().then(bar))
    }

    /// So many more bytes are to be sent.
    pub(super) fn expect(&self, bytes: u64) {
        let Some(bar) = &self.0 else { return };
        if bar.length().is_none() {
            let style = ProgressStyle::with_template(
                "{bar:30} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left {msg}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        bar.set_length(bar.length().unwrap_or_default() + bytes);
    }

    /// So many more are stored.
    pub(super) fn sent(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    /// All of them are.
    pub(super) fn finish(&self, events: u64) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
            // A reader that left wants nothing more.
            let _ = writeln!(std::io::stderr(), "{events} events delivered");
        }
    }
}
