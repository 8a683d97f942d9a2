//! The command and what it prints.

use std::process::Stdio;
use std::time::Duration;

use bytes::BytesMut;
use millstream_core::{Error, Options, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Time to end after SIGTERM, then it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// For one that has closed its output, to end by itself.
const FAREWELL: Duration = Duration::from_millis(100);
/// Read at once.
const READ_BYTES: usize = 64 << 10;
/// Longest line of errors that is logged in one piece.
const MOST_ERROR_BYTES: u64 = 8 << 10;

/// What is run.
#[derive(Debug, Clone)]
pub(super) struct Command {
    /// For errors.
    options: Options,
    program: String,
    arguments: Vec<String>,
    logs_errors: bool,
}

/// The running command.
#[derive(Debug)]
pub(super) struct Output {
    child: Child,
    stdout: ChildStdout,
    /// Ends when the command closes its errors.
    errors: Option<JoinHandle<()>>,
}

// === impl Command ===

impl Command {
    /// # Errors
    /// For an empty command.
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        let command = options.text("command")?;
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (key, mut words) = match options.find("shell") {
            Some(shell) => ("shell", [words(shell), vec![command.to_owned()]].concat()),
            None => ("command", words(command)),
        };
        if command.trim().is_empty() || (key == "shell" && words.len() == 1) {
            return Err(options.refuse(key, "expected a command, got none"));
        }
        let program = words.remove(0);
        let logs_errors = options.bool("logStdErr")?;
        Ok(Self { options: options.clone(), program, arguments: words, logs_errors })
    }

    /// Runs it in a process group of its own, so that all that it starts can be ended with it.
    ///
    /// # Errors
    /// When there is no such program, or it may not be run.
    pub(super) fn start(&self) -> Result<Output> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).process_group(0).kill_on_drop(true);
        // Open and silent, as Flume leaves it: some commands end with their input.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(if self.logs_errors { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().map_err(|error| {
            let key = if self.options.find("shell").is_some() { "shell" } else { "command" };
            let remedy = "give its path, or set shell = /bin/sh -c for what only a shell understands";
            self.options.refuse(key, format!("cannot run {:?}: {error}; {remedy}", self.program))
        })?;
        let stdout = child.stdout.take().expect("asked for above");
        let errors = child.stderr.take().map(|stderr| tokio::spawn(log(stderr)));
        tracing::info!(program = self.program, pid = child.id(), "command runs");
        Ok(Output { child, stdout, errors })
    }
}

// === impl Output ===

impl Output {
    /// Appends what it printed; 0 when it prints no more.
    ///
    /// # Errors
    /// Those of the pipe.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> Result<usize> {
        buffer.reserve(READ_BYTES);
        let read = self.stdout.read_buf(buffer).await;
        read.map_err(|error| Error::io("read", "output of the command", error))
    }

    /// Ends it, unless it ended by itself: SIGTERM, and SIGKILL for what is left of it.
    pub(super) async fn end(mut self) {
        let group = self.child.id().map(|pid| Pid::from_raw(pid as i32));
        // Nobody is left to be told, at worst.
        let signal = |signal| _ = group.map(|group| killpg(group, signal));
        // One that has printed everything is about to end, and shall say how.
        let mut ended = match timeout(FAREWELL, self.child.wait()).await {
            Ok(status) => status.map(Some),
            Err(_) => self.child.try_wait(),
        };
        if let Ok(None) = ended {
            signal(Signal::SIGTERM);
            let waited = timeout(GRACE, self.child.wait()).await;
            signal(Signal::SIGKILL);
            ended = match waited {
                Ok(status) => status.map(Some),
                Err(_) => self.child.wait().await.map(Some),
            };
        }
        match ended {
            Ok(Some(status)) => tracing::info!(%status, "command ended"),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "how the command ended cannot be known"),
        }
        if let Some(errors) = &self.errors {
            errors.abort();
        }
    }
}

/// Logs what the command prints as errors, line by line.
async fn log(stderr: ChildStderr) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MOST_ERROR_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tracing::info!(line = %String::from_utf8_lossy(&line).trim_end(), "command printed an error"),
        }
    }
}
