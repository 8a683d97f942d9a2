#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Stdio};
use std::time::Instant;

use millstream_core::Reaction;
use millstream_testkit::contract::output::{Subject, rows, stamp};
use tempfile::TempDir;

use super::*;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("counts.sqlite")
    }

    fn output(&self) -> Sqlite {
        let output = Sqlite::upsert(self.path(), "word_counts");
        output.key("word", ColumnKind::Text).value("count", ColumnKind::I64).busy_timeout(Duration::from_millis(20))
    }

    fn apply(&self, output: &Sqlite, batch: BatchId, pairs: &[(&str, i64)]) -> Result<()> {
        let staged = output.stage(stamp(1, batch), &rows(pairs))?;
        output.apply(stamp(1, batch), &staged)
    }

    fn sql(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
}

impl Subject for Place {
    fn open(&self) -> Box<dyn Output> {
        Box::new(self.output())
    }

    fn shown(&self) -> Vec<String> {
        let mut counts = self.output().top().read(100).unwrap_or_default();
        counts.sort();
        counts.into_iter().map(|(word, count)| format!("({word},{count})")).collect()
    }

    fn wipe(&self) {
        for file in std::fs::read_dir(self.0.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

millstream_testkit::output_contract!(Place::new());

#[test]
fn a_total_replaces_the_one_before_and_the_top_is_the_largest() {
    let place = Place::new();
    let output = place.output();
    let mut top = output.top();
    assert_eq!(top.read(10).unwrap(), [], "there is no database yet");
    place.sql("CREATE TABLE other(x)");
    assert_eq!(top.read(10).unwrap(), [], "there is no table yet");
    place.apply(&output, 1, &[("the", 1), ("mill", 9), ("a", 1)]).unwrap();
    place.apply(&output, 2, &[("the", 12)]).unwrap();
    let wanted = [("the".to_owned(), 12), ("mill".to_owned(), 9)];
    assert_eq!(top.read(2).unwrap(), wanted);
    let schema: String = Connection::open(place.path())
        .unwrap()
        .query_row(
            "SELECT group_concat(name || ' ' || type || ' ' || pk) FROM pragma_table_info('word_counts')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(schema, "word TEXT 1,count INTEGER 0");
}

#[test]
fn a_commit_is_as_durable_as_sqlite_can_make_it() {
    let place = Place::new();
    let output = place.output();
    place.apply(&output, 1, &[("a", 1)]).unwrap();
    let settings = output.with("read", |connection, _| {
        let ask = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, rusqlite::types::Value>(0));
        Ok((ask("PRAGMA journal_mode")?, ask("PRAGMA synchronous")?))
    });
    assert_eq!(settings.unwrap(), ("wal".to_owned().into(), 3.into()));
}

#[test]
fn a_locked_database_is_reported_for_a_retry_which_succeeds_later() {
    let place = Place::new();
    let output = place.output();
    place.apply(&output, 1, &[("a", 1)]).unwrap();
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = place.apply(&output, 2, &[("a", 2)]).unwrap_err();
    assert!(matches!(error.reaction(), Reaction::Retry { .. }), "{error}");
    for part in ["database is locked", "counts.sqlite"] {
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    place.apply(&output, 2, &[("a", 2)]).unwrap();
    assert_eq!(place.shown(), ["(a,2)"]);
}

#[test]
fn a_lock_names_the_process_that_has_the_file_open() {
    let place = Place::new();
    let output = place.output();
    place.apply(&output, 1, &[("a", 1)]).unwrap();
    // It has the file as its output, and ends with its input.
    let file = std::fs::File::open(place.path()).unwrap();
    let mut holder = Command::new("sh").args(["-c", "read line"]).stdin(Stdio::piped()).stdout(file).spawn().unwrap();
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = place.apply(&output, 2, &[("a", 2)]).unwrap_err().to_string();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(error.contains(&format!("by process {} (sh)", holder.id())), "{error}");
}

#[test]
fn readers_do_not_hold_the_job_up_and_see_whole_batches() {
    let place = Place::new();
    let output = place.output();
    place.apply(&output, 1, &[("a", 1), ("b", 1)]).unwrap();
    let reader = Connection::open(place.path()).unwrap();
    let sum =
        |reader: &Connection| reader.query_row("SELECT sum(count) FROM word_counts", [], |row| row.get::<_, i64>(0));
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(sum(&reader).unwrap(), 2);
    place.apply(&output, 2, &[("a", 5), ("b", 5)]).unwrap();
    assert_eq!(sum(&reader).unwrap(), 2, "the reader's picture stands still");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(sum(&reader).unwrap(), 10);
}

#[test]
fn a_table_with_other_columns_is_refused_with_both() {
    let place = Place::new();
    place.sql("CREATE TABLE word_counts(word TEXT, n INTEGER)");
    let error = place.output().last_applied().unwrap_err();
    assert_eq!(error.reaction(), Reaction::Stop);
    for part in ["(word TEXT, n INTEGER)", "(word TEXT key, count INTEGER)", "choose another name"] {
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
}

#[test]
fn rows_that_nobody_vouches_for_are_refused_and_an_empty_table_is_used() {
    let place = Place::new();
    place.sql("CREATE TABLE word_counts(word TEXT PRIMARY KEY, count INTEGER NOT NULL)");
    place.apply(&place.output(), 1, &[("a", 1)]).unwrap();
    assert_eq!(place.shown(), ["(a,1)"]);
    place.sql("DELETE FROM millstream_cursor");
    let error = place.output().last_applied().unwrap_err();
    assert!(error.to_string().contains("nothing says which job wrote them"), "{error}");
}

#[test]
fn a_table_dropped_between_two_starts_is_made_anew_and_its_cursor_forgotten() {
    let place = Place::new();
    place.apply(&place.output(), 4, &[("a", 1)]).unwrap();
    place.sql("DROP TABLE word_counts");
    assert_eq!(place.output().last_applied().unwrap(), None);
}

#[test]
fn a_database_deleted_under_a_running_job_stops_it() {
    let place = Place::new();
    let output = place.output();
    place.apply(&output, 1, &[("a", 1)]).unwrap();
    place.wipe();
    let error = place.apply(&output, 2, &[("b", 1)]).unwrap_err();
    assert_eq!(error.reaction(), Reaction::Stop);
    assert!(error.to_string().contains("deleted or replaced while the job ran"), "{error}");
    assert_eq!(place.shown(), [""; 0], "nothing of a later batch alone");
    assert_eq!(place.output().last_applied().unwrap(), None, "the next start fills it again");
}

#[test]
fn rows_of_another_shape_are_refused_before_they_are_committed() {
    let place = Place::new();
    let output = place.output();
    let mut other = Rows::of::<(i64, String)>();
    other.push(&(1_i64, "a".to_owned()));
    let error = output.stage(stamp(1, 1), &other).unwrap_err();
    assert!(error.to_string().contains("takes rows of (TEXT, INTEGER)"), "{error}");
    assert!(output.stage(stamp(1, 1), &Rows::of::<(String, i64)>()).is_ok());
}

#[test]
fn something_else_than_a_database_is_refused_and_kept() {
    let place = Place::new();
    std::fs::write(place.path(), b"these are my notes, at least a hundred bytes of them ".repeat(20)).unwrap();
    let error = place.output().last_applied().unwrap_err();
    assert!(error.to_string().contains("is no SQLite database"), "{error}");
    assert!(std::fs::read(place.path()).unwrap().starts_with(b"these are my notes"));
}

#[test]
fn a_table_without_a_key_is_refused() {
    let place = Place::new();
    let output = Sqlite::upsert(place.path(), "t").value("count", ColumnKind::I64);
    let error = output.last_applied().unwrap_err();
    assert!(error.to_string().contains("table t has no key"), "{error}");
}

#[test]
fn twenty_thousand_rows_are_one_transaction() {
    let place = Place::new();
    let output = place.output();
    let mut many = Rows::of::<(String, i64)>();
    (0..20_000_i64).for_each(|n| many.push(&(format!("word{}", n * 7919 % 20_000), n)));
    for batch in 1..=3 {
        let staged = output.stage(stamp(1, batch), &many).unwrap();
        let start = Instant::now();
        output.apply(stamp(1, batch), &staged).unwrap();
        println!("batch {batch}: {:?}", start.elapsed());
    }
    assert_eq!(output.top().read(1).unwrap()[0].1, 19_999);
}
