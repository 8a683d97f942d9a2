//! Somebody else has what the demo needs.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use millstream_tests::demo::different;
use millstream_tests::{Demo, Process, millstream};

use crate::place::{assert_counted, assert_says};

/// An `sqlite3` shell that holds a database locked.
struct Locker(Child);

// === impl Locker ===

impl Locker {
    fn lock(database: &Path) -> Self {
        let shell = Command::new("sqlite3").arg(database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut shell = shell.expect("the sqlite3 shell is installed: apt-get install sqlite3");
        let work = b".timeout 10000\nBEGIN EXCLUSIVE;\nSELECT 'it is locked';\n";
        shell.stdin.as_mut().unwrap().write_all(work).unwrap();
        let mut said = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "it is locked\n");
        Self(shell)
    }

    fn let_go(mut self) {
        self.0.stdin.take().unwrap().write_all(b"COMMIT;\n").unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Locker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_database_that_another_holds_locked_is_told_with_the_holder_and_gets_everything_later() {
    let demo = Demo::default();
    let process = Process::spawn(demo.command(&[]));
    demo.spool("one", "a b\n");
    process.until_true("counted", || demo.path("spool/one.COMPLETED").exists() && demo.table() == demo.oracle());
    let locker = Locker::lock(&demo.path("counts.sqlite"));
    demo.spool("two", "a c\n");
    let told = process.until("not applied, will try again");
    let holder = format!("database is locked by process {} (sqlite3)", locker.0.id());
    assert_says(&told, &["WARN", "/counts.sqlite: ", &holder, "it goes on once that lets go"]);
    // The rest goes on: more is read, and the other output has it.
    demo.spool("three", "a d\n");
    process.until_true("read", || demo.path("spool/three.COMPLETED").exists());
    process.until_true("the text files have it", || different(&demo.oracle(), &demo.texts()).is_none());
    assert_eq!(demo.table().len(), 2, "still locked");
    locker.let_go();
    process.until_true("the table has it", || different(&demo.oracle(), &demo.table()).is_none());
    let ended = process.stop();
    ended.expect_code(0);
    assert_eq!(ended.lines_with("database is locked").count(), 1, "told once: {:#?}", ended.log);
    assert_counted(&demo, &demo.oracle());
}

#[test]
fn a_second_demo_on_the_same_directory_is_told_who_has_it_and_harms_nothing() {
    let demo = Demo::default();
    let process = Process::spawn(demo.command(&[]));
    demo.spool("one", "a b\n");
    process.until_true("completed", || demo.path("spool/one.COMPLETED").exists());
    // With samples, which one that does not run does not copy.
    let mut second = Command::new(millstream());
    second.args(["demo", "--for", "1s", "--dir"]).arg(demo.path("")).env_remove("RUST_LOG");
    let ended = Process::spawn(second).ended();
    ended.expect_code(75);
    let told = ended.lines_with("is in use by").next().unwrap();
    let holder = format!("is in use by process {}; stop it or choose another directory", process.id());
    assert_says(told, &[demo.path("job").to_str().unwrap(), &holder]);
    demo.spool("two", "a c\n");
    process.until_true("completed", || demo.path("spool/two.COMPLETED").exists());
    process.stop().expect_code(0);
    let names =
        std::fs::read_dir(demo.path("spool")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // The tracker's directory is there when a file took its time.
    let mut spooled: Vec<String> = names.filter(|name| name != ".flumespool").collect();
    spooled.sort();
    assert_eq!(spooled, ["one.COMPLETED", "two.COMPLETED"], "no samples");
    assert_counted(&demo, &demo.oracle());
}
