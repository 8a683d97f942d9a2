//! `millstream version`.

use std::io::Write;
use std::process::ExitCode;

/// Prints name and version.
pub(crate) fn run() -> ExitCode {
    // A reader that left wants nothing more.
    let _ = writeln!(std::io::stdout(), "Millstream {}", env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}
