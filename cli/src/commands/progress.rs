//! Progress of long work: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How far something has come, in units of which the total is known.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    unit: &'static str,
    total: u64,
    done: u64,
    told: Instant,
}

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(5);

// === impl Progress ===

impl Progress {
    /// Of `what`, `total` are to be done: `events` or `bytes`.
    pub(super) fn start(what: &'static str, unit: &'static str, total: u64) -> Self {
        let bar = || {
            let counts = if unit == "bytes" {
                "{binary_bytes} of {binary_total_bytes}"
            } else {
                "{human_pos} of {human_len} events"
            };
            let template = format!("{what} {{bar:30}} {counts}, {{eta}} left");
            let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style)
        };
        let bar = std::io::stderr().is_terminal().then(bar);
        Self { bar, what, unit, total, done: 0, told: Instant::now() }
    }

    /// So many more are done. Called per batch, not per event.
    pub(super) fn add(&mut self, more: u64) {
        self.done += more;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done.min(self.total));
        } else if self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            let Self { what, unit, total, done, .. } = self;
            // A reader that left wants nothing more.
            let _ = writeln!(std::io::stderr(), "{what}: {done} of {total} {unit}");
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
