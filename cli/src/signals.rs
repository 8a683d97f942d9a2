//! The signals that ask for an end, the one that asks for another look at the configuration, and one that must not end it.

use millstream_core::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Comes with a write beyond the largest file that the process may have (`ulimit -f`, `LimitFSIZE`): that write fails, and
    /// says so.
    _too_large: Signal,
}

/// SIGHUP.
pub(crate) struct Hangups(Signal);

// === impl Signals ===

impl Signals {
    /// From now on they no longer end the process.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            _too_large: listen(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    /// The number of the next signal.
    ///
    /// # Cancel safety
    /// May be dropped and awaited again.
    pub(crate) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => SIGTERM,
            _ = self.interrupt.recv() => SIGINT,
        }
    }
}

// === impl Hangups ===

impl Hangups {
    /// From now on it no longer ends the process.
    pub(crate) fn listen() -> Result<Self> {
        listen(SignalKind::hangup()).map(Self)
    }

    /// Resolves when it comes; several that came meanwhile are one.
    ///
    /// # Cancel safety
    /// May be dropped and awaited again.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Error::io("listen for", "signals", error))
}

const SIGXFSZ: i32 = 25;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;
