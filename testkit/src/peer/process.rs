//! A peer as a process.
//!
//! Between the test and the peer stands a guard, a shell whose standard input is a pipe that the test holds open. When the
//! test ends, in whatever way, the pipe closes and the guard ends the peer. The guard ends with the peer, and by its exit code.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

/// Ends the peer gently when the pipe closes, and by force 3 s later.
const GUARD: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
peer=$!
echo $peer >"$0.new" && mv "$0.new" "$0"
{ read -r _ <&3; kill $peer; sleep 3; kill -9 $peer; } 2>/dev/null &
wait $peer
code=$?
kill $! 2>/dev/null
exit $code
"#;
/// Lines of a log that are shown when something goes wrong.
const TAIL: usize = 60;

/// A running peer. Ended when dropped.
#[derive(Debug)]
pub struct Peer {
    name: String,
    guard: Child,
    pid: Pid,
    log: PathBuf,
}

// === impl Peer ===

impl Peer {
    /// Starts `command` in `dir`; what it writes goes to `<dir>/<name>.log`, anew for each start.
    #[track_caller]
    pub fn start(name: &str, dir: &Path, command: &Command) -> Self {
        let (pid_file, log) = (dir.join(format!("{name}.pid")), dir.join(format!("{name}.log")));
        // The one of an earlier start must not be taken for this one.
        let _ = fs::remove_file(&pid_file);
        let output = File::create(&log).unwrap();
        let mut guard = Command::new("bash");
        guard.args(["-c", GUARD]).arg(&pid_file).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guard.env(key, value),
                None => guard.env_remove(key),
            };
        }
        guard.current_dir(dir).stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
        let mut guard = guard.spawn().unwrap_or_else(|error| panic!("bash: {error}"));
        let begun = Instant::now();
        let pid = loop {
            if let Ok(pid) = fs::read_to_string(&pid_file) {
                break Pid::from_raw(pid.trim().parse().unwrap());
            }
            assert!(begun.elapsed() < PATIENCE, "the guard of {name} writes no process id");
            if let Some(status) = guard.try_wait().unwrap() {
                // It may have written between the two looks.
                assert!(pid_file.exists(), "the guard of {name} ended: {status}");
            }
            pause();
        };
        Self { name: name.to_owned(), guard, pid, log }
    }

    /// Its process id; the guard's is another one.
    pub fn id(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of that, under its name.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("--- {}\n{}\n---", self.name, lines[lines.len().saturating_sub(TAIL)..].join("\n"))
    }

    /// Waits until `holds`; fails at once when the peer ends before, and shows what it said.
    #[track_caller]
    pub fn until(&mut self, what: &str, holds: impl FnMut() -> bool) {
        if let Err(why) = self.comes_true(holds) {
            panic!("never: {what}: {why}\n{}", self.log_tail());
        }
    }

    /// Waits until it has written `part`.
    #[track_caller]
    pub fn until_log(&mut self, part: &str) {
        let log = self.log.clone();
        self.until(&format!("a line with {part:?}"), || fs::read_to_string(&log).is_ok_and(|log| log.contains(part)));
    }

    /// Waits until somebody listens on `port`.
    pub fn listens(&mut self, port: u16) -> Result<(), String> {
        self.comes_true(|| TcpStream::connect(("127.0.0.1", port)).is_ok())
    }

    fn comes_true(&mut self, mut holds: impl FnMut() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            if let Some(status) = self.guard.try_wait().unwrap() {
                // What it did last may be what is waited for.
                return if holds() { Ok(()) } else { Err(format!("it ended: {status}")) };
            }
            if Instant::now() > deadline {
                return Err(format!("not within {PATIENCE:?}"));
            }
            pause();
        }
        Ok(())
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub fn kill(mut self) {
        kill(self.pid, Signal::SIGKILL).unwrap();
        self.guard.wait().unwrap();
    }

    /// Holds it where it is; nothing that it has open is closed.
    pub fn freeze(&self) {
        kill(self.pid, Signal::SIGSTOP).unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        kill(self.pid, Signal::SIGCONT).unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) {
        self.end();
    }

    /// Waits until it ends by itself; fails if that is not by exit code 0.
    #[track_caller]
    pub fn succeeds(self) {
        self.ends_with(0);
    }

    /// Waits until it ends by itself, by this exit code.
    #[track_caller]
    pub fn ends_with(mut self, code: i32) {
        let deadline = Instant::now() + PATIENCE;
        let status: ExitStatus = loop {
            if let Some(status) = self.guard.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "does not end:\n{}", self.log_tail());
            pause();
        };
        assert_eq!(status.code(), Some(code), "{}", self.log_tail());
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.guard.try_wait().unwrap().is_some()
    }

    fn end(&mut self) {
        // One that has ended gave its id back.
        if self.guard.try_wait().unwrap().is_some() {
            return;
        }
        drop(self.guard.stdin.take());
        // It may be frozen, and would not hear that it shall end. It may also end this moment.
        let _ = kill(self.pid, Signal::SIGCONT);
        self.guard.wait().unwrap();
    }
}

/// Between two looks.
fn pause() {
    sleep(Duration::from_millis(20)); // sleeps: another process tells nobody what it did
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(dir: &Path, script: &str) -> Peer {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Peer::start("shell", dir, &command)
    }

    fn lives(id: u32) -> bool {
        kill(Pid::from_raw(id.cast_signed()), None).is_ok()
    }

    #[test]
    fn a_peer_that_ends_by_itself_gives_its_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        shell(dir.path(), "exit 7").ends_with(7);
    }

    #[test]
    fn a_peer_is_gone_when_its_value_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let mut peer = shell(dir.path(), "echo up; exec sleep 1000");
        peer.until_log("up");
        let id = peer.id();
        assert!(lives(id));
        drop(peer);
        assert!(!lives(id));
    }

    #[test]
    fn a_peer_that_does_not_want_to_end_is_made_to() {
        let dir = tempfile::tempdir().unwrap();
        let mut peer = shell(dir.path(), "trap '' TERM; echo up; while :; do sleep 0.05; done");
        peer.until_log("up");
        let id = peer.id();
        peer.stop();
        assert!(!lives(id));
    }

    #[test]
    fn a_frozen_peer_can_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let mut peer = shell(dir.path(), "echo up; exec sleep 1000");
        peer.until_log("up");
        peer.freeze();
        let id = peer.id();
        peer.stop();
        assert!(!lives(id));
    }

    #[test]
    #[should_panic(expected = "it ended: exit status: 3")]
    fn a_peer_that_ends_while_something_is_waited_for_fails_at_once_and_shows_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        shell(dir.path(), "echo cannot bind; exit 3").until_log("ready");
    }
}
