//! The phases of a process, as it writes them to a pipe.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// Reads the failpoints that a process passes, until it ends.
#[derive(Debug)]
pub struct Trace {
    path: PathBuf,
    passed: Arc<Passed>,
    reader: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Passed {
    points: Mutex<Vec<String>>,
    grown: Condvar,
}

// === impl Trace ===

impl Trace {
    /// Makes the pipe `name` in `dir` and has `command` write to it.
    pub fn attach(command: &mut Command, dir: &Path, name: &str) -> Self {
        let path = dir.join(name);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        command.env("MILLSTREAM_FAILPOINT_TRACE", &path);
        let passed = Arc::new(Passed::default());
        let (pipe, kept) = (path.clone(), Arc::clone(&passed));
        let reader = std::thread::spawn(move || {
            for point in BufReader::new(File::open(pipe).unwrap()).lines().map_while(Result::ok) {
                kept.points.lock().unwrap().push(point);
                kept.grown.notify_all();
            }
        });
        Self { path, passed, reader }
    }

    /// Waits until `point` was passed `times` times; `false` if that takes longer than `patience`.
    pub fn wait_for(&self, point: &str, times: usize, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut points = self.passed.points.lock().unwrap();
        while points.iter().filter(|passed| *passed == point).count() < times {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            points = self.passed.grown.wait_timeout(points, left).unwrap().0;
        }
        true
    }

    /// Everything that the process passed. It must have ended.
    pub fn passed(self) -> Vec<String> {
        // One that ended before its first point never opened the pipe: somebody must, and leave it to its reader. Not
        // waiting for one, if that has read everything and left.
        drop(File::options().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&self.path));
        self.reader.join().unwrap();
        std::fs::remove_file(&self.path).unwrap();
        std::mem::take(&mut *self.passed.points.lock().unwrap())
    }
}
