//! The output's table: its columns, its SQL, and whether what is there fits.

use std::path::Path;

use millstream_core::{ColumnKind, Error, Result, Rows, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::cursor;
use super::failure::Failure;

/// A table as declared.
#[derive(Debug)]
pub(super) struct Table {
    name: String,
    /// In the order of the rows' columns.
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: ColumnKind,
    is_key: bool,
}

// === impl Table ===

impl Table {
    pub(super) fn new(name: String) -> Self {
        Self { name, columns: Vec::new() }
    }

    pub(super) fn push(&mut self, name: String, kind: ColumnKind, is_key: bool) {
        self.columns.push(Column { name, kind, is_key });
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the tables that are missing, and refuses one that does not fit. A cursor without its table says nothing any
    /// more and goes.
    pub(super) fn ensure(&self, connection: &mut Connection, path: &Path) -> Result<(), Failure> {
        if !self.columns.iter().any(|column| column.is_key) {
            let problem = format!("table {} has no key; declare one with .key(…)", self.name);
            return Err(Error::config(path.display(), problem).into());
        }
        if self.is_there(connection, path)? && exists(connection, "millstream_cursor")? {
            return self.refuse_foreign_rows(connection, path);
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(cursor::CREATE)?;
        // Looked at again: another process may have made it in the meantime.
        if !self.is_there(&transaction, path)? {
            transaction.execute("DELETE FROM millstream_cursor WHERE output = ?1", [&self.name])?;
            transaction.execute_batch(&self.create_sql())?;
        }
        self.refuse_foreign_rows(&transaction, path)?;
        Ok(transaction.commit()?)
    }

    /// Whether the table exists.
    ///
    /// # Errors
    /// `Mismatch` when it has other columns.
    fn is_there(&self, connection: &Connection, path: &Path) -> Result<bool, Failure> {
        if !exists(connection, &self.name)? {
            return Ok(false);
        }
        let mut statement = connection.prepare("SELECT name, type, pk FROM pragma_table_info(?1) ORDER BY cid")?;
        let found = statement.query_map([&self.name], |row| {
            let (name, sql_type, key): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(shown(&name, &sql_type, key > 0))
        })?;
        let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
        let wanted: Vec<String> =
            self.columns.iter().map(|column| shown(&column.name, sql_type(column.kind), column.is_key)).collect();
        let same = found.len() == wanted.len()
            && found.iter().zip(&wanted).all(|(found, wanted)| found.eq_ignore_ascii_case(wanted));
        if !same {
            let problem = format!(
                "table {} is ({}), but ({}) is needed; rename or drop it, or choose another name",
                self.name,
                found.join(", "),
                wanted.join(", ")
            );
            return Err(Error::mismatch(path.display(), problem).into());
        }
        Ok(true)
    }

    /// Rows that no job of ours wrote must not be mixed with results.
    fn refuse_foreign_rows(&self, connection: &Connection, path: &Path) -> Result<(), Failure> {
        let sql = format!(
            "SELECT EXISTS(SELECT 1 FROM {}) AND NOT EXISTS(SELECT 1 FROM millstream_cursor WHERE output = ?1)",
            quoted(&self.name)
        );
        if connection.query_row(&sql, [&self.name], |row| row.get::<_, bool>(0))? {
            let problem = format!(
                "table {} has rows, but nothing says which job wrote them; rename or drop it, or choose another name",
                self.name
            );
            return Err(Error::mismatch(path.display(), problem).into());
        }
        Ok(())
    }

    /// Writes every row.
    pub(super) fn upsert(&self, transaction: &Transaction<'_>, rows: &Rows) -> Result<(), Failure> {
        let mut statement = transaction.prepare_cached(&self.upsert_sql())?;
        for row in 0..rows.len() {
            for column in 0..rows.width() {
                statement.raw_bind_parameter(column + 1, bound(rows.value(row, column)))?;
            }
            statement.raw_execute()?;
        }
        Ok(())
    }

    /// Refuses rows that the table cannot hold.
    pub(super) fn check_rows(&self, rows: &Rows, path: &Path) -> Result<()> {
        let fits = rows.width() == self.columns.len()
            && (rows.is_empty()
                || self.columns.iter().enumerate().all(|(index, column)| holds(column.kind, rows.value(0, index))));
        if fits {
            return Ok(());
        }
        let wanted: Vec<&str> = self.columns.iter().map(|column| sql_type(column.kind)).collect();
        let problem = format!(
            "table {} takes rows of ({}), got {} columns of other kinds; declare the columns as the rows have them",
            self.name,
            wanted.join(", "),
            rows.width()
        );
        Err(Error::mismatch(path.display(), problem))
    }

    fn create_sql(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                // SQLite stores what is not a number as NULL.
                let not_null = if column.kind == ColumnKind::F64 { "" } else { " NOT NULL" };
                format!("{} {}{not_null}", quoted(&column.name), sql_type(column.kind))
            })
            .collect();
        let (name, keys) = (quoted(&self.name), self.names(true).join(", "));
        // Without row ids a row lies in one tree instead of two.
        format!("CREATE TABLE {name}({}, PRIMARY KEY({keys})) WITHOUT ROWID", columns.join(", "))
    }

    fn upsert_sql(&self) -> String {
        let all: Vec<String> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        let places: Vec<String> = (1..=all.len()).map(|place| format!("?{place}")).collect();
        let set: Vec<String> = self.names(false).into_iter().map(|name| format!("{name} = excluded.{name}")).collect();
        let then = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
        format!(
            "INSERT INTO {}({}) VALUES({}) ON CONFLICT({}) DO {then}",
            quoted(&self.name),
            all.join(", "),
            places.join(", "),
            self.names(true).join(", ")
        )
    }

    /// The first key and the first value of the rows with the largest values.
    pub(super) fn top_sql(&self) -> String {
        let first = |is_key| self.names(is_key).into_iter().next().unwrap_or_else(|| "1".to_owned());
        let (key, value) = (first(true), first(false));
        format!("SELECT {key}, {value} FROM {} ORDER BY {value} DESC, {key} LIMIT ?1", quoted(&self.name))
    }

    /// The quoted names of the keys, or of the others.
    fn names(&self, keys: bool) -> Vec<String> {
        self.columns.iter().filter(|column| column.is_key == keys).map(|column| quoted(&column.name)).collect()
    }
}

// === helpers ===

fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE)";
    connection.query_row(sql, [table], |row| row.get(0))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn shown(name: &str, sql_type: &str, is_key: bool) -> String {
    format!("{name} {sql_type}{}", if is_key { " key" } else { "" })
}

fn sql_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::I64 | ColumnKind::Time => "INTEGER",
        ColumnKind::F64 => "REAL",
        ColumnKind::Text => "TEXT",
        ColumnKind::Bytes => "BLOB",
    }
}

fn holds(kind: ColumnKind, value: Value<'_>) -> bool {
    matches!(
        (kind, value),
        (ColumnKind::I64, Value::I64(_))
            | (ColumnKind::F64, Value::F64(_))
            | (ColumnKind::Text, Value::Text(_))
            | (ColumnKind::Bytes, Value::Bytes(_))
            | (ColumnKind::Time, Value::Time(_))
    )
}

fn bound(value: Value<'_>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        Value::I64(number) | Value::Time(number) => ValueRef::Integer(number),
        Value::F64(number) => ValueRef::Real(number),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Bytes(bytes) => ValueRef::Blob(bytes),
    })
}
