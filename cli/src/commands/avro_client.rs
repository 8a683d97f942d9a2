//! `millstream avro-client`: sends lines to an avro source.

mod lines;
mod progress;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::time::SystemTime;

use clap::Args;
use millstream::client::Event;
use millstream::client::blocking::{RpcClient, RpcClientFactory};
use millstream_core::{Error, Result};
use millstream_io::disk::{Disk, SystemDisk};
use tracing_subscriber::filter::LevelFilter;

use crate::{exit, logging};
use lines::Lines;
use progress::Progress;

/// Flume's arguments.
#[derive(Debug, Args)]
#[command(override_usage = USAGE)]
pub(crate) struct Arguments {
    /// Host of the avro source.
    #[arg(short = 'H', long, required_unless_present = "rpc_props")]
    host: Option<String>,
    /// Port of the avro source.
    #[arg(short, long, required_unless_present = "rpc_props")]
    port: Option<u16>,
    /// Property file of a client, with Flume's keys; instead of host and port.
    #[arg(short = 'P', long = "rpcProps", value_name = "FILE")]
    rpc_props: Option<PathBuf>,
    /// File to send, a line an event; standard input unless given.
    #[arg(short = 'F', long)]
    filename: Option<PathBuf>,
    /// Directory to send, oldest file first; a file that is sent gets the suffix .COMPLETED.
    #[arg(long, conflicts_with = "filename")]
    dirname: Option<PathBuf>,
    /// Property file of headers, which every event gets.
    #[arg(short = 'R', long = "headerFile", value_name = "FILE")]
    header_file: Option<PathBuf>,
}

/// Sends; the exit code says whether everything is stored.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    if let Err(error) = logging::start(None, LevelFilter::WARN) {
        return exit::failure(&error);
    }
    match send(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::failure(&error),
    }
}

fn send(arguments: Arguments) -> Result<()> {
    let headers = match &arguments.header_file {
        Some(file) => millstream_config::load(file)?.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        None => Vec::new(),
    };
    let client = match (&arguments.rpc_props, arguments.host, arguments.port) {
        (Some(file), ..) => RpcClientFactory::get_instance_from_file(file)?,
        (None, Some(host), Some(port)) => RpcClientFactory::get_default_instance(&host, port)?,
        _ => return Err(Error::config("avro-client", "expected --host and --port, or --rpcProps")),
    };
    let mut sending = Sending { client, headers, progress: Progress::start(), delivered: 0 };
    match (arguments.filename, arguments.dirname) {
        (Some(file), _) => sending.file(&file)?,
        (None, Some(dir)) => sending.directory(&dir)?,
        (None, None) => sending.stream("standard input", Box::new(io::stdin()))?,
    }
    sending.client.close();
    sending.progress.finish(sending.delivered);
    Ok(())
}

/// A client at work.
struct Sending {
    client: RpcClient,
    headers: Vec<(String, String)>,
    progress: Progress,
    delivered: u64,
}

// === impl Sending ===

impl Sending {
    fn file(&mut self, path: &Path) -> Result<()> {
        let failed = |action| move |error| Error::io(action, path, error);
        let file = File::open(path).map_err(failed("open"))?;
        let bytes = file.metadata().map_err(failed("read"))?.len();
        self.progress.expect(bytes);
        self.stream(&path.display().to_string(), Box::new(file))
    }

    /// Sends file after file, until none is left that is not completed.
    fn directory(&mut self, dir: &Path) -> Result<()> {
        loop {
            let files = waiting_files(dir)?;
            if files.is_empty() {
                return Ok(());
            }
            for file in files {
                let mut completed = file.clone().into_os_string();
                completed.push(COMPLETED);
                let completed = PathBuf::from(completed);
                if completed.exists() {
                    let problem = "it is there already, so the file of that name is not sent; move one of the two away";
                    return Err(Error::mismatch(completed.display(), problem));
                }
                self.file(&file)?;
                SystemDisk.rename(&file, &completed)?;
            }
        }
    }

    /// Sends lines as they come: what was read together goes together.
    fn stream(&mut self, place: &str, input: Box<dyn Read + Send>) -> Result<()> {
        let mut lines = Lines::new(BufReader::with_capacity(BUFFER_BYTES, input));
        let batch_size = self.client.batch_size();
        let (sender, handfuls) = sync_channel(1);
        // Not waited for: after a failure it may still wait for somebody to type.
        let reading = std::thread::Builder::new().name("lines".into()).spawn(move || {
            loop {
                let handful = lines.handful(batch_size);
                let last = handful.as_ref().map_or(true, Vec::is_empty);
                // Who stopped sending wants no more lines.
                if sender.send(handful).is_err() || last {
                    return;
                }
            }
        });
        reading.map_err(|error| Error::io("start", "thread lines", error))?;
        let mut sent = 0;
        for handful in handfuls {
            let lines = handful.map_err(|error| Error::io("read", place, error))?;
            let count = lines.len() as u64;
            let bytes: u64 = lines.iter().map(|line| line.len() as u64 + 1).sum();
            let event = |line| Event::new(line).with_headers(self.headers.iter().cloned());
            let events = lines.into_iter().map(event).collect();
            if let Err(undelivered) = self.client.append_batch(events) {
                let next_line = sent + count - undelivered.events.len() as u64 + 1;
                tracing::error!(place, next_line, "lines before this one are delivered, the others are not");
                return Err(undelivered.error);
            }
            sent += count;
            self.delivered += count;
            self.progress.sent(bytes);
        }
        Ok(())
    }
}

/// Files of `dir` that are not completed, oldest first; hidden ones are none.
fn waiting_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("list", dir, error);
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name.ends_with(COMPLETED) {
            continue;
        }
        let metadata = path.metadata().map_err(|error| Error::io("read", &path, error))?;
        if metadata.is_file() {
            files.push((metadata.modified().map_err(failed)?, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

const USAGE: &str = "millstream avro-client --host <HOST> --port <PORT> [OPTIONS]
       millstream avro-client --rpcProps <FILE> [OPTIONS]";
/// As spooldir's.
const COMPLETED: &str = ".COMPLETED";
/// Read at once: what a call carries at most, unless a line is longer.
const BUFFER_BYTES: usize = 1 << 20;
