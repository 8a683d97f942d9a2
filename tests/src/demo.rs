//! The demo as a process, and the oracle: `tr | sort | uniq -c` over the files, and the `sqlite3` shell over the table.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Words and how often they were counted.
pub type Counts = BTreeMap<String, u64>;

/// A directory for `millstream demo`.
#[derive(Debug)]
pub struct Demo {
    dir: TempDir,
}

/// What a run of the demo prints with `--output json`.
#[derive(Debug)]
pub struct Summary(pub serde_json::Value);

// === impl Demo ===

impl Default for Demo {
    fn default() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("spool")).unwrap();
        Self { dir }
    }
}

impl Demo {
    /// The directory, or something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a whole file into the spool.
    pub fn spool(&self, name: &str, content: impl AsRef<[u8]>) {
        spool(&self.path("spool"), name, content);
    }

    /// The command, with `more` arguments; no samples, JSON.
    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(crate::millstream());
        command.args(["demo", "--no-samples", "--output", "json", "--dir"]).arg(self.dir.path()).args(more);
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Runs it until everything is counted.
    #[track_caller]
    pub fn until_idle(&self) -> Summary {
        let output = self.command(&["--until-idle", "--for", "60s"]).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{log}", output.status);
        Summary(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}:\n{log}")))
    }

    /// What the table holds, by the `sqlite3` shell.
    pub fn table(&self) -> Counts {
        table(&self.path("counts.sqlite"))
    }

    /// The same from the text files of the other output: the last total of each word, in the order of the batches.
    pub fn texts(&self) -> Counts {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(self.path("counts")).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
        files.sort();
        let mut counts = Counts::new();
        for file in files {
            for line in std::fs::read_to_string(file).unwrap().lines() {
                let (word, count) = line[1..line.len() - 1].rsplit_once(',').unwrap();
                counts.insert(word.to_owned(), count.parse().unwrap());
            }
        }
        counts
    }

    /// What the completed files hold, by `tr | sort | uniq -c`.
    pub fn oracle(&self) -> Counts {
        let spool = std::fs::read_dir(self.path("spool")).unwrap().map(|entry| entry.unwrap().path());
        oracle(spool.filter(|path| path.extension().is_some_and(|extension| extension == "COMPLETED")))
    }

    /// Checks that both outputs agree with the oracle, and that the ledger balances.
    #[track_caller]
    pub fn assert_exact(&self, summary: &Summary) {
        let wanted = self.oracle();
        assert_eq!(different(&wanted, &self.table()), None, "table; ledger {}", summary.0["ledger"]);
        assert_eq!(different(&wanted, &self.texts()), None, "text files; ledger {}", summary.0["ledger"]);
        assert_eq!((summary.ledger("lost"), summary.ledger("waiting")), (0, 0), "{}", summary.0);
    }
}

// === impl Summary ===

impl Summary {
    /// A number of the ledger.
    pub fn ledger(&self, name: &str) -> i64 {
        self.0["ledger"][name].as_i64().unwrap()
    }
}

/// Puts a whole file into a spool directory.
pub fn spool(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    let hidden = dir.join(format!(".{name}"));
    std::fs::write(&hidden, content).unwrap();
    std::fs::hard_link(&hidden, dir.join(name)).unwrap();
    std::fs::remove_file(hidden).unwrap();
}

/// Words of whole files; a file whose last line has no newline does not run into the next.
pub fn oracle(files: impl IntoIterator<Item = PathBuf>) -> Counts {
    let script =
        "for f in \"$@\"; do cat \"$f\"; echo; done | tr -s ' \\t\\n\\v\\f\\r' '\\n' | grep -v '^$' | sort | uniq -c";
    let mut command = Command::new("sh");
    // Few thousand names fit on a command line; a list on standard input would have to be quoted.
    command.args(["-c", script, "sh"]).args(files).env("LC_ALL", "C");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let (count, word) = line.trim_start().split_once(' ').unwrap();
        (word.to_owned(), count.parse().unwrap())
    };
    text.lines().map(line).collect()
}

/// A table of words and counts, read by the `sqlite3` shell.
#[track_caller]
pub fn table(database: &Path) -> Counts {
    find_table(database).expect("a table of words and counts")
}

/// The same, if it is there already.
pub fn find_table(database: &Path) -> Option<Counts> {
    let mut shell = Command::new("sqlite3")
        .arg("-readonly")
        .args(["-separator", "\t"])
        .arg(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the sqlite3 shell is installed: apt-get install sqlite3");
    shell.stdin.take().unwrap().write_all(b"SELECT word, count FROM word_counts;\n").unwrap();
    let output = shell.wait_with_output().unwrap();
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| {
        let (word, count) = line.rsplit_once('\t').unwrap();
        (word.to_owned(), count.parse().unwrap())
    };
    Some(text.lines().map(row).collect())
}

/// The first word on which two counts differ: word, wanted, found.
pub fn different(wanted: &Counts, found: &Counts) -> Option<(String, Option<u64>, Option<u64>)> {
    let words = wanted.keys().chain(found.keys());
    let pair = |word: &String| (word.clone(), wanted.get(word).copied(), found.get(word).copied());
    words.map(pair).find(|(_, wanted, found)| wanted != found)
}
