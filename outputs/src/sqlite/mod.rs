//! Rows into a table of an SQLite database: inserted, or replacing the row with the same key.
//!
//! # Delivery
//! Exactly once. The table `millstream_cursor` says per output which batch of which log was applied last; it is written
//! in the transaction that writes the rows, so a batch that comes again changes nothing. A batch of another log, or of an
//! older opening of the log, is refused. A database that was deleted is made anew, empty, at the next start of the job;
//! one that disappears under a running job stops the output, so that no running total begins again unseen.
//!
//! # Layout
//! | table | column | content |
//! |---|---|---|
//! | *the output's* | as declared | the rows; the keys are the primary key |
//! | `millstream_cursor` | `output` TEXT | name of the output's table, the primary key |
//! | | `log` TEXT | identity of the job's commit log, 32 hexadecimal digits |
//! | | `epoch` INTEGER | opening of the log that applied the batch |
//! | | `batch` INTEGER | the last batch applied |
//!
//! Write-ahead logging with `synchronous = EXTRA`: one fsync per batch, after which the batch survives a kill and a power
//! cut alike; and who reads with the `sqlite3` shell neither waits for the job nor holds it up. While the job runs, its
//! latest batches lie in `<path>-wal`: copy both files, or use `.backup`. Where the file system cannot do that (NFS), SQLite
//! keeps its rollback journal, as durable and slower, and readers and the job wait for each other.
//!
//! # Errors
//! A database that another process has locked is waited for shortly ([`Sqlite::busy_timeout`]), then reported as an error
//! that may be retried, with the process that has it open.

mod cursor;
mod failure;
mod table;
#[cfg(test)]
mod tests;
mod top;

use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_core::{BatchId, BatchStamp, ColumnKind, Error, LogId, Output, Result, Rows, Staged};
use millstream_io::{Disk, FileIdentity, SystemDisk, failpoint};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use cursor::Cursor;
use failure::{Failure, failed};
use table::Table;
pub use top::Top;

/// An SQLite table as an output.
///
/// ```
/// use millstream_core::ColumnKind;
/// use millstream_outputs::Sqlite;
///
/// let counts = Sqlite::upsert("counts.sqlite", "word_counts")
///     .key("word", ColumnKind::Text)
///     .value("count", ColumnKind::I64);
/// # drop(counts);
/// ```
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    table: Table,
    busy_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Opened at first use, and again after a failure.
    open: Option<Open>,
    /// What this process knows to be in the database: should it be gone, someone deleted it.
    last: Option<Cursor>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// The file that the connection has; its path may come to name another.
    file: FileIdentity,
}

// === impl Sqlite ===

impl Sqlite {
    /// Writes into `table` of the database at `path`. Declare its columns next, in the order of the rows' columns; nothing
    /// is opened before the first use.
    pub fn upsert(path: impl Into<PathBuf>, table: impl Into<String>) -> Self {
        Self { path: path.into(), table: Table::new(table.into()), busy_timeout: BUSY_TIMEOUT, state: Mutex::default() }
    }

    /// The next column is part of the key.
    pub fn key(mut self, name: impl Into<String>, kind: ColumnKind) -> Self {
        self.table.push(name.into(), kind, true);
        self
    }

    /// The next column is replaced when the key is there already.
    pub fn value(mut self, name: impl Into<String>, kind: ColumnKind) -> Self {
        self.table.push(name.into(), kind, false);
        self
    }

    /// How long one call waits for a lock before it reports it; 250 ms unless told. The job waits on between calls.
    pub fn busy_timeout(mut self, wait: Duration) -> Self {
        self.busy_timeout = wait;
        self
    }

    /// The rows with the largest value in the first value column, over a connection of its own.
    pub fn top(&self) -> Top {
        Top::new(self.path.clone(), &self.table, self.busy_timeout)
    }

    /// Works on the open database, opening it if need be.
    fn with<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection, &mut Option<Cursor>) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut state = self.state.lock();
        let State { open, last } = &mut *state;
        if open.as_ref().is_some_and(|open| identity(&self.path) != Some(open.file)) {
            *open = None;
        }
        let opened = match open {
            Some(opened) => opened,
            None => open.insert(self.open()?),
        };
        let failure = match work(&mut opened.connection, last) {
            Ok(outcome) => return Ok(outcome),
            Err(failure) => failure,
        };
        if !failure.leaves_connection_usable() {
            *open = None;
        }
        Err(failure.into_error(action, &self.path))
    }

    fn open(&self) -> Result<Open> {
        let refused = |failure: Failure| failure.into_error("open", &self.path);
        if let Some(dir) = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            SystemDisk.create_dir_all(dir)?;
        }
        let mut connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
            .and_then(|connection| connection.busy_timeout(self.busy_timeout).map(|()| connection))
            .map_err(|error| failed("open", &self.path, error))?;
        prepare(&connection).map_err(|error| failed("open", &self.path, error))?;
        self.table.ensure(&mut connection, &self.path).map_err(refused)?;
        let gone = || Error::io("open", &self.path, std::io::ErrorKind::NotFound.into());
        let file = identity(&self.path).ok_or_else(gone)?;
        Ok(Open { connection, file })
    }

    fn write(&self, transaction: &Transaction<'_>, stamp: BatchStamp, rows: &Rows) -> Result<(), Failure> {
        self.table.upsert(transaction, rows)?;
        Cursor::of(stamp).store(transaction, self.table.name())?;
        failpoint::hit("sqlite.rows-written")?;
        Ok(())
    }
}

impl Output for Sqlite {
    fn stage(&self, _stamp: BatchStamp, rows: &Rows) -> Result<Staged> {
        self.table.check_rows(rows, &self.path)?;
        Ok(Staged { bytes: rows.encode() })
    }

    fn apply(&self, stamp: BatchStamp, staged: &Staged) -> Result<()> {
        let rows = Rows::decode(staged.bytes.clone())?;
        self.table.check_rows(&rows, &self.path)?;
        self.with("write", |connection, last| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let stored = Cursor::load(&transaction, self.table.name())?;
            if let Some(known) = last
                && stored.is_none()
            {
                return Err(Failure::Refused(known.vanished(&self.describe())));
            }
            let known = match stored {
                Some(cursor) if cursor.has_applied(stamp, &self.describe())? => cursor,
                _ => {
                    self.write(&transaction, stamp, &rows)?;
                    transaction.commit()?;
                    Cursor::of(stamp)
                }
            };
            *last = Some(known);
            failpoint::hit("sqlite.committed")?;
            Ok(())
        })
    }

    fn last_applied(&self) -> Result<Option<(LogId, BatchId)>> {
        self.with("read", |connection, last| {
            *last = Cursor::load(connection, self.table.name())?;
            Ok(last.map(|cursor| (cursor.log, cursor.batch)))
        })
    }

    fn describe(&self) -> String {
        format!("table {} of {}", self.table.name(), self.path.display())
    }
}

// === helpers ===

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // One thread at a time has it, behind our own lock.
    Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// The settings of every writing connection; see the module's page.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // Answers with the mode that it got, which may be the old one.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection
        .execute_batch("PRAGMA synchronous = EXTRA; PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -8192")
}

fn identity(path: &Path) -> Option<FileIdentity> {
    std::fs::metadata(path).ok().map(|metadata| FileIdentity::of(&metadata))
}

/// Long enough for a reader's or a checkpoint's moment, short enough that stopping the job never hangs.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
