//! `examples/spool2hdfs.properties`: lines from a spool into files of the day and hour.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream_tests::{Process, millstream};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A directory in which the example runs.
struct Place(TempDir);

// === impl Place ===

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(place.path("tutorial/spool")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self, more: &[&str]) -> Process {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/spool2hdfs.properties");
        let mut command = Command::new(millstream());
        command.args(["agent", "--name", "agent", "--conf", "conf", "--conf-file"]).arg(example);
        command.arg("-Dagent.sources.spool.pollDelay=20").args(more);
        command.current_dir(self.0.path()).env_remove("RUST_LOG");
        Process::spawn(command)
    }

    /// Puts a file with `lines` into the spool.
    fn spool(&self, name: &str, lines: std::ops::Range<u32>) {
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        fs::write(self.path("new"), text).unwrap();
        let renamed = Command::new("mv").arg(self.path("new")).arg(self.path("tutorial/spool").join(name)).status();
        assert!(renamed.unwrap().success());
    }

    fn is_completed(&self, name: &str) -> bool {
        self.path("tutorial/spool").join(format!("{name}.COMPLETED")).exists()
    }

    /// Every file below the directory of events.
    fn files(&self) -> Vec<PathBuf> {
        let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
        below(self.path("tutorial/events")).flat_map(below).flat_map(below).collect()
    }

    /// The lines of all files, sorted as numbers.
    fn lines(&self) -> Vec<u32> {
        let texts = self.files().into_iter().filter_map(|file| fs::read_to_string(file).ok());
        let mut lines: Vec<u32> =
            texts.flat_map(|text| text.lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>()).collect();
        lines.sort_unstable();
        lines
    }

    fn in_use(&self) -> usize {
        self.files().iter().filter(|file| file.extension().is_some_and(|end| end == "tmp")).count()
    }
}

#[test]
fn lines_arrive_once_in_files_of_the_hour_which_are_complete_after_a_stop() {
    let place = Place::new();
    place.spool("one", 0..1000);
    let agent = place.start(&[]);
    agent.until("spooldir spool → timestamp → file log → hdfs files");
    agent.until_true("the file is read", || place.is_completed("one"));
    agent.until_true("every line arrives", || place.lines().len() >= 1000);
    place.spool("two", 1000..1500);
    agent.until_true("every line of the second arrives", || place.lines().len() >= 1500);
    agent.stop().expect_code(0);
    assert_eq!(place.lines(), (0..1500).collect::<Vec<_>>());
    assert_eq!(place.in_use(), 0);
    let names: Vec<String> = place.files().iter().map(|file| file.display().to_string()).collect();
    for name in names {
        let parts: Vec<&str> = name.rsplit('/').take(3).collect();
        let [file, hour, day] = parts.as_slice() else { panic!("{name}") };
        assert!(file.starts_with("lines.") && file.ends_with(".txt"), "{name}");
        assert!(hour.len() == 2 && day.len() == 10, "{name}");
    }
}

#[test]
fn a_file_is_complete_soon_after_its_last_line() {
    let place = Place::new();
    place.spool("one", 0..10);
    let agent = place.start(&["-Dagent.sinks.files.hdfs.idleTimeout=1"]);
    agent.until_true("every line arrives", || place.lines().len() == 10);
    agent.until_true("the file is complete", || place.in_use() == 0);
    agent.stop().expect_code(0);
    assert_eq!(place.files().len(), 1);
}

#[test]
fn a_kill_in_the_middle_loses_nothing_and_repeats_at_most_one_batch() {
    let place = Place::new();
    place.spool("one", 0..20_000);
    let more = ["-Dagent.sinks.files.hdfs.batchSize=50"];
    let agent = place.start(&more);
    agent.until_true("some lines arrived", || place.lines().len() >= 500);
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let agent = place.start(&more);
    let arrived = || {
        let mut lines = place.lines();
        lines.dedup();
        lines.len() == 20_000
    };
    agent.until_true("every line arrives", arrived);
    agent.stop().expect_code(0);
    let repeated = place.lines().len() - 20_000;
    assert!(repeated <= 50, "{repeated} lines come twice");
}
