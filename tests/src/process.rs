//! A process under test, its log line by line.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::waiting::{PATIENCE, comes_true};

/// A running `millstream`. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal killed it.
    pub code: Option<i32>,
    /// What it wrote on standard error.
    pub log: Vec<String>,
}

#[derive(Debug, Default)]
struct Log {
    /// The lines so far, and whether there will be no more.
    lines: Mutex<(Vec<String>, bool)>,
    grown: Condvar,
}

// === impl Process ===

impl Process {
    /// Starts `millstream` with `arguments`, without the variables that set the log's level.
    pub fn start<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Self {
        let mut command = Command::new(crate::millstream());
        command.args(arguments).env_remove("RUST_LOG");
        Self::spawn(command)
    }

    /// Starts any command; its standard error is read here.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let (stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let reader = Some(std::thread::spawn(move || kept.read(stderr)));
        Self { child, log, reader }
    }

    /// Waits for a line with `part` in it and returns it.
    pub fn until(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        let mut looked = 0;
        loop {
            if let Some(line) = lines.0[looked..].iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            looked = lines.0.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.1 || left.is_zero() {
                let told = lines.0.join("\n");
                // Whoever else shows the log of a failed test can have it.
                drop(lines);
                panic!("no line with {part:?}:\n{told}");
            }
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits until `holds`; shows the log if it never does.
    #[track_caller]
    pub fn until_true(&self, what: &str, holds: impl FnMut() -> bool) {
        let lines = || self.log.lines.lock().unwrap().0.join("\n");
        assert!(comes_true(holds), "never: {what}:\n{}", lines());
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its process id, as long as it has not closed its standard error, which it does when it ends.
    pub fn running(&self) -> Option<u32> {
        (!self.log.lines.lock().unwrap().1).then(|| self.child.id())
    }

    /// The lines so far that have `part` in them.
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        self.log.lines.lock().unwrap().0.iter().filter(|line| line.contains(part)).cloned().collect()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id().try_into().unwrap()), signal).unwrap();
    }

    /// Asks it to end, and waits.
    pub fn stop(self) -> Ended {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        while !lines.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "does not end:\n{}", lines.0.join("\n"));
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
        drop(lines);
        // It closed its standard error, so it is on its way out.
        let code = self.child.wait().unwrap().code();
        self.reader.take().map(JoinHandle::join);
        let log = std::mem::take(&mut self.log.lines.lock().unwrap().0);
        Ended { code, log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Ended ===

impl Ended {
    /// Checks the exit code, and shows the log if it is another.
    #[track_caller]
    pub fn expect_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{}", self.log.join("\n"));
    }

    /// The lines that have `part` in them.
    pub fn lines_with<'a>(&'a self, part: &'a str) -> impl Iterator<Item = &'a str> {
        self.log.iter().map(String::as_str).filter(move |line| line.contains(part))
    }
}

// === impl Log ===

impl Log {
    fn read(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines() {
            self.lines.lock().unwrap().0.push(line.unwrap_or_else(|error| format!("unreadable: {error}")));
            self.grown.notify_all();
        }
        self.lines.lock().unwrap().1 = true;
        self.grown.notify_all();
    }
}
