//! How far an output has come, as the database itself remembers it.

use millstream_core::{BatchId, BatchStamp, Error, LogId, Result};
use rusqlite::{Connection, OptionalExtension};

use super::failure::Failure;

/// Makes the table of cursors.
pub(super) const CREATE: &str = "CREATE TABLE IF NOT EXISTS millstream_cursor(output TEXT PRIMARY KEY, \
                                 log TEXT NOT NULL, epoch INTEGER NOT NULL, batch INTEGER NOT NULL) WITHOUT ROWID";

/// The last batch that is in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) log: LogId,
    pub(super) epoch: u64,
    pub(super) batch: BatchId,
}

// === impl Cursor ===

impl Cursor {
    pub(super) fn of(stamp: BatchStamp) -> Self {
        Self { log: stamp.log, epoch: stamp.epoch, batch: stamp.batch }
    }

    pub(super) fn load(connection: &Connection, output: &str) -> Result<Option<Self>, Failure> {
        let sql = "SELECT log, epoch, batch FROM millstream_cursor WHERE output = ?1";
        let row = connection
            .prepare_cached(sql)?
            .query_row([output], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
        let Some((log, epoch, batch)) = row.optional()? else { return Ok(None) };
        let unread = || Error::corrupt("millstream_cursor", format_args!("log {log:?}, epoch {epoch}, batch {batch}"));
        let log = u128::from_str_radix(&log, 16).map_err(|_| unread())?;
        let number = |value: i64| u64::try_from(value).map_err(|_| unread());
        Ok(Some(Self { log: LogId(log), epoch: number(epoch)?, batch: number(batch)? }))
    }

    pub(super) fn store(self, connection: &Connection, output: &str) -> Result<(), Failure> {
        let sql = "INSERT INTO millstream_cursor(output, log, epoch, batch) VALUES(?1, ?2, ?3, ?4) \
                   ON CONFLICT(output) DO UPDATE SET log = excluded.log, epoch = excluded.epoch, batch = excluded.batch";
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (epoch, batch) = (number(self.epoch), number(self.batch));
        connection.prepare_cached(sql)?.execute((output, self.log.to_string(), epoch, batch))?;
        Ok(())
    }

    /// Whether the batch of `stamp` is in the table already.
    ///
    /// # Errors
    /// `Mismatch` for a batch of another log or of an older opening.
    pub(super) fn has_applied(self, stamp: BatchStamp, output: &str) -> Result<bool> {
        if self.log != stamp.log {
            let problem = format!(
                "holds results of log {}, not of log {}; move it away to have it filled again, or choose another table",
                self.log, stamp.log
            );
            return Err(Error::mismatch(output, problem));
        }
        if self.epoch > stamp.epoch {
            let problem = format!(
                "opening {} of the log wrote to it, this is the older opening {}; another process runs this job: stop one",
                self.epoch, stamp.epoch
            );
            return Err(Error::mismatch(output, problem));
        }
        Ok(self.batch >= stamp.batch)
    }

    /// The error for a database that lost this cursor.
    pub(super) fn vanished(self, output: &str) -> Error {
        let problem = format!(
            "batch {} was in it and is no more: it was deleted or replaced while the job ran; start the job again, which fills it",
            self.batch
        );
        Error::mismatch(output, problem)
    }
}
