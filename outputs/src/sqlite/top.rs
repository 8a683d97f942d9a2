//! Reading the table while the job writes it.

use std::path::PathBuf;
use std::time::Duration;

use millstream_core::Result;
use millstream_io::FileIdentity;
use rusqlite::{Connection, OpenFlags};

use super::failure::failed;
use super::table::Table;
use super::{connect, identity};

/// The rows of a table with the largest values, read over a connection that cannot write.
///
/// Every reading looks at the whole table (about 10 ms per 100,000 rows): an index that made it cheap would slow every
/// batch down.
#[derive(Debug)]
pub struct Top {
    path: PathBuf,
    table: String,
    sql: String,
    busy_timeout: Duration,
    open: Option<(Connection, FileIdentity)>,
}

// === impl Top ===

impl Top {
    pub(super) fn new(path: PathBuf, table: &Table, busy_timeout: Duration) -> Self {
        Self { path, table: table.name().to_owned(), sql: table.top_sql(), busy_timeout, open: None }
    }

    /// Up to `rows` of them: key and value, largest value first, equal ones by key. None while there is no table.
    ///
    /// # Errors
    /// As the output's.
    pub fn read(&mut self, rows: usize) -> Result<Vec<(String, i64)>> {
        let file = identity(&self.path);
        if self.open.as_ref().map(|(_, file)| *file) != file {
            self.open = None;
        }
        let Some(file) = file else { return Ok(Vec::new()) };
        let read = self.query(file, rows);
        read.map_err(|error| {
            self.open = None;
            failed("read", &self.path, error)
        })
    }

    fn query(&mut self, file: FileIdentity, rows: usize) -> rusqlite::Result<Vec<(String, i64)>> {
        let (connection, _) = match &mut self.open {
            Some(open) => open,
            None => {
                let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
                connection.busy_timeout(self.busy_timeout)?;
                if !connection.table_exists(None, self.table.as_str())? {
                    return Ok(Vec::new());
                }
                self.open.insert((connection, file))
            }
        };
        let mut statement = connection.prepare_cached(&self.sql)?;
        let limit = i64::try_from(rows).unwrap_or(i64::MAX);
        statement.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }
}
