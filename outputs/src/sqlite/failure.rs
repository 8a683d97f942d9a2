//! What SQLite reports, in our words.

use std::io;
use std::path::Path;

use millstream_core::Error;
use millstream_io::{Disk, SystemDisk, holder};
use rusqlite::ErrorCode;

/// Why a piece of work ended.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite could not do it.
    Sql(rusqlite::Error),
    /// It must not be done.
    Refused(Error),
}

// === impl Failure ===

impl Failure {
    /// Whether the connection need not be opened again.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        match self {
            Self::Sql(error) => is_locked(error),
            Self::Refused(_) => true,
        }
    }

    pub(super) fn into_error(self, action: &'static str, path: &Path) -> Error {
        match self {
            Self::Sql(error) => failed(action, path, error),
            Self::Refused(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

// === helpers ===

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The error that the engine sees; what may pass by itself may be retried.
pub(super) fn failed(action: &'static str, path: &Path, error: rusqlite::Error) -> Error {
    if is_locked(&error) {
        // Who has it open most likely locked it.
        let holder = holder::of_file(path).map_or(String::new(), |holder| format!(" by {holder}"));
        let text = format!("database is locked{holder}; it goes on once that lets go");
        return Error::io(action, path, io::Error::new(io::ErrorKind::ResourceBusy, text));
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            let free = SystemDisk.free_bytes(path.parent().unwrap_or(path));
            Error::DiskFull { path: path.to_owned(), wanted_bytes: 0, free_bytes: free.unwrap_or(0) }
        }
        Some(ErrorCode::NotADatabase) => {
            Error::mismatch(path.display(), "is no SQLite database; move it away or choose another path")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            let problem = format!("{error}; move it away: the job fills a new one when it starts again");
            Error::corrupt(path.display(), problem)
        }
        Some(ErrorCode::ConstraintViolation) => {
            let problem = format!("{error}; remove the constraint, or choose another table");
            Error::mismatch(path.display(), problem)
        }
        _ => Error::io(action, path, io::Error::other(error)),
    }
}
