//! Exit codes, after `sysexits.h`.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use millstream_core::Error;

/// The command line is wrong.
pub(crate) const USAGE: u8 = 64;
/// What is stored is damaged.
pub(crate) const DATA: u8 = 65;
/// The configuration cannot be read, there is no such directory, or nothing was found in it.
pub(crate) const NO_INPUT: u8 = 66;
/// Every component has failed.
pub(crate) const UNAVAILABLE: u8 = 69;
/// A bug.
const SOFTWARE: u8 = 70;
/// A disk, a socket or stored data.
const IO: u8 = 74;
/// Somebody else has what is needed: try again later.
pub(crate) const TEMPORARY: u8 = 75;
/// The configuration is wrong, or belongs to other data.
pub(crate) const CONFIG: u8 = 78;

/// What is tried with a directory before anything is done with it.
pub(crate) const FIND: &str = "find";

/// Prints help, or what is wrong with the command line.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // A reader that left wants nothing more.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// Prints why the command ends.
pub(crate) fn failure(error: &Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "millstream: {error}");
    ExitCode::from(code(error))
}

fn code(error: &Error) -> u8 {
    match error {
        Error::Io { action: "read configuration", .. } => NO_INPUT,
        Error::Io { action: FIND, error, .. } if error.kind() == ErrorKind::NotFound => NO_INPUT,
        Error::Config { .. } | Error::Mismatch { .. } | Error::BatchTooLarge { .. } => CONFIG,
        Error::InUse { .. } => TEMPORARY,
        Error::Panicked { .. } | Error::Stopped { .. } => SOFTWARE,
        _ => IO,
    }
}
