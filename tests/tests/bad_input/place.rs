//! An agent in a directory of its own, and what a demo is checked against.

use std::path::PathBuf;

use millstream_tests::demo::{Counts, different, oracle, spool};
use millstream_tests::{Demo, Ended, Process};
use tempfile::TempDir;

/// `a1` spools through a file channel into its log; keys are replaced on the command line.
const CONFIG: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = spooldir
a1.sources.r1.spoolDir = ${sys:dir}/spool
a1.sources.r1.pollDelay = 20
a1.sources.r1.maxBackoff = 50
a1.sources.r1.channels = c1
a1.channels.c1.type = file
a1.channels.c1.checkpointDir = ${sys:dir}/checkpoint
a1.channels.c1.dataDirs = ${sys:dir}/data
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
";

/// The directory of an agent.
pub struct Place(TempDir);

// === impl Place ===

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("spool")).unwrap();
        std::fs::write(dir.path().join("flume.conf"), CONFIG).unwrap();
        Self(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a whole file into the spool.
    pub fn spool(&self, name: &str, content: impl AsRef<[u8]>) {
        spool(&self.path("spool"), name, content);
    }

    /// Starts the agent, `keys` of it replaced.
    pub fn agent(&self, keys: &[&str]) -> Process {
        let (file, dir) = (self.path("flume.conf"), format!("-Ddir={}", self.0.path().display()));
        let mut arguments = vec!["agent".into(), "-n".into(), "a1".into(), "-f".into(), file.into_os_string()];
        arguments.push(dir.into());
        arguments.extend(keys.iter().map(|key| format!("-Da1.{key}").into()));
        Process::start(arguments)
    }
}

/// The bodies that the logger sink wrote, in order, of those without a blank in them.
pub fn bodies(ended: &Ended) -> Vec<&str> {
    let events = ended.lines_with("Event: { headers:{} body:");
    events.map(|line| line.trim_end_matches(" }").rsplit(' ').next().unwrap()).collect()
}

/// What these files of the demo's spool hold, by `tr | sort | uniq -c`.
pub fn words_of(demo: &Demo, files: &[&str]) -> Counts {
    oracle(files.iter().map(|file| demo.path("spool").join(file)))
}

/// Lets the demo count what there still is, and checks both outputs and the ledger.
#[track_caller]
pub fn assert_counted(demo: &Demo, wanted: &Counts) {
    let summary = demo.until_idle();
    assert_eq!(different(wanted, &demo.table()), None, "table; {}", summary.0);
    assert_eq!(different(wanted, &demo.texts()), None, "text files; {}", summary.0);
    assert_eq!((summary.ledger("lost"), summary.ledger("waiting")), (0, 0), "{}", summary.0);
}

/// Checks that `line` has every one of `parts`.
#[track_caller]
pub fn assert_says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "lacks {part:?}: {line}");
    }
}
