//! Files, and what is none, in the spool directory.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use millstream_tests::demo::different;
use millstream_tests::{Demo, Process, millstream};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use crate::place::{Place, assert_counted, assert_says, bodies, words_of};

/// Somebody who may read only what is permitted: `nobody`.
const NOBODY: u32 = 65534;

/// The demo as a user without privileges; root may read everything.
fn unprivileged(demo: &Demo) -> Process {
    // The build directory may be nobody else's business.
    let copy = demo.path("millstream");
    fs::copy(millstream(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["demo", "--no-samples", "--output", "json", "--dir"]).arg(demo.path("")).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).current_dir("/");
    if geteuid().is_root() {
        chown(demo.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
        chown(demo.path("spool"), Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    Process::spawn(command)
}

#[test]
fn a_file_that_may_not_be_read_is_told_once_and_counted_when_it_may() {
    let demo = Demo::default();
    let secret = demo.path("spool/secret");
    fs::write(&secret, "hidden words\n").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();
    let process = unprivileged(&demo);
    let told = process.until("file may not be read");
    assert_says(&told, &["WARN", "/spool/secret: Permission denied", "permit it, it is tried again at every look"]);
    demo.spool("good", "good words\n");
    process.until_true("the other file is completed", || demo.path("spool/good.COMPLETED").exists());
    fs::set_permissions(&secret, Permissions::from_mode(0o444)).unwrap();
    process.until_true("it is completed", || demo.path("spool/secret.COMPLETED").exists());
    let ended = process.stop();
    ended.expect_code(0);
    assert_eq!(ended.lines_with("may not be read").count(), 1, "{:#?}", ended.log);
    assert_eq!(different(&demo.oracle(), &demo.table()), None);
    assert_counted(&demo, &words_of(&demo, &["good.COMPLETED", "secret.COMPLETED"]));
}

/// Harms a file of which two lines were read, and returns what is told of it.
fn harmed(harm: impl FnOnce(&File)) -> String {
    let place = Place::new();
    let path = place.path("spool/a");
    fs::write(&path, "one\ntwo\n").unwrap();
    // It is not whole for an hour, so that it is still being read.
    let agent = place.agent(&["sources.r1.quietMillis=3600000"]);
    agent.until(" two }");
    harm(&File::options().write(true).open(&path).unwrap());
    let told = agent.until("file set aside");
    place.spool("b", "three\n");
    agent.until(" three }");
    let ended = agent.stop();
    ended.expect_code(0);
    assert_eq!(bodies(&ended), ["one", "two", "three"], "what was delivered stays, and comes once");
    assert!(place.path("spool/a.REJECTED").exists());
    told
}

#[test]
fn a_file_that_is_rewritten_while_it_is_read_is_set_aside_and_the_next_is_read() {
    let told = harmed(|file| file.write_all_at(b"ONE\ntwo\nthree\n", 0).unwrap());
    assert_says(&told, &["WARN", "/spool/a: it was rewritten: bytes 0..8 are not those that were read"]);
    assert_says(
        &told,
        &["its first 8 bytes were delivered", "/spool/a.REJECTED", "put what is missing, and only that"],
    );
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_set_aside_and_the_next_is_read() {
    let told = harmed(|file| file.set_len(5).unwrap());
    assert_says(&told, &["WARN", "/spool/a: it shrank to 5 bytes while 8 were read already"]);
    assert_says(
        &told,
        &["its first 8 bytes were delivered", "/spool/a.REJECTED", "put what is missing, and only that"],
    );
}

#[test]
fn a_name_that_was_completed_before_is_counted_and_set_aside_under_another() {
    let demo = Demo::default();
    let process = Process::spawn(demo.command(&[]));
    demo.spool("x", "first words\n");
    process.until_true("completed", || demo.path("spool/x.COMPLETED").exists());
    demo.spool("x", "second words\n");
    let told = process.until("file set aside");
    assert_says(&told, &["WARN", "/spool/x: ", "/spool/x.COMPLETED exists with another content"]);
    assert_says(&told, &["all its events were delivered", "/spool/x.REJECTED"]);
    // A third one finds both names taken.
    demo.spool("x", "third words\n");
    process.until_true("the third is set aside", || demo.path("spool/x.1.REJECTED").exists());
    demo.spool("y", "other words\n");
    process.until_true("the other is completed", || demo.path("spool/y.COMPLETED").exists());
    process.stop().expect_code(0);
    assert_counted(&demo, &words_of(&demo, &["x.COMPLETED", "x.REJECTED", "x.1.REJECTED", "y.COMPLETED"]));
}

#[test]
fn what_is_no_file_is_told_and_never_opened_and_a_link_to_a_file_is_followed() {
    let demo = Demo::default();
    mkfifo(&demo.path("spool/fifo"), Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", demo.path("spool/device")).unwrap();
    symlink("nowhere", demo.path("spool/dangling")).unwrap();
    fs::create_dir(demo.path("spool/below")).unwrap();
    fs::write(demo.path("spool/below/file"), "unread\n").unwrap();
    fs::write(demo.path("elsewhere"), "linked words\n").unwrap();
    symlink(demo.path("elsewhere"), demo.path("spool/link")).unwrap();
    let process = Process::spawn(demo.command(&[]));
    for (name, parts) in [
        ("fifo", ["not a regular file, never opened", "remove it from the spool directory"]),
        ("device", ["not a regular file, never opened", "remove it from the spool directory"]),
        ("dangling", ["link leads to nothing", "remove it, or bring back what it leads to"]),
        ("below", ["directory is not looked into", "set recursiveDirectorySearch"]),
    ] {
        assert_says(&process.until(&format!("/spool/{name}")), &parts);
    }
    process.until_true("the link is completed", || demo.path("spool/link.COMPLETED").is_symlink());
    // Told once, however often the directory is looked at.
    demo.spool("good", "good words\n");
    process.until_true("the good file is completed", || demo.path("spool/good.COMPLETED").exists());
    let ended = process.stop();
    ended.expect_code(0);
    assert_eq!(ended.lines_with("WARN").count(), 4, "{:#?}", ended.log);
    assert_counted(&demo, &words_of(&demo, &["link.COMPLETED", "good.COMPLETED"]));
}

#[test]
fn a_spool_directory_that_goes_away_is_told_once_and_read_again_when_it_is_back() {
    let demo = Demo::default();
    let process = Process::spawn(demo.command(&[]));
    demo.spool("one", "a b\n");
    process.until_true("completed", || demo.path("spool/one.COMPLETED").exists());
    let away = Command::new("mv").arg(demo.path("spool")).arg(demo.path("away")).status().unwrap();
    assert!(away.success());
    let told = process.until("spool directory cannot be listed");
    assert_says(&told, &["WARN", "/spool: No such file or directory", "bring it back, it goes on by itself"]);
    let back = Command::new("mv").arg(demo.path("away")).arg(demo.path("spool")).status().unwrap();
    assert!(back.success());
    demo.spool("two", "a c\n");
    process.until_true("completed", || demo.path("spool/two.COMPLETED").exists());
    let ended = process.stop();
    ended.expect_code(0);
    assert_eq!(ended.lines_with("cannot be listed").count(), 1, "{:#?}", ended.log);
    assert_counted(&demo, &demo.oracle());
}
