//! `millstream channel export`, and the files that `drain` writes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use millstream_channels::file::offline::StoppedChannel;
use millstream_core::{Batch, ChannelRef, Error, Result, Take};
use millstream_io::{Disk, SystemDisk};
use millstream_sinks::EventFile;

use super::{block_on, each_batch};
use crate::commands::output::event_json;
use crate::commands::progress::Progress;
use crate::exit;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The channel's directory in dataDirs.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// File to make; - for standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Avro)]
    format: Format,
}

/// What events become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A container file of Avro, records of headers and body, as Flume's serializer avro_event writes them.
    Avro,
    /// An object per line, with headers and body; a body that is not UTF-8 is in body_base64.
    Jsonl,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let channel = StoppedChannel::read_only(&arguments.dir)?;
    let noted_lost = channel.noted_lost()?;
    let view = channel.view()?;
    let mut file = EventsFile::create(&arguments.file, arguments.format)?;
    let takes = block_on(write_all("export", &view, &mut file))?;
    file.finish()?;
    let events = takes.iter().map(Take::events).sum::<usize>() as u64;
    Ok(verdict(&view, events, noted_lost))
}

/// Says how many events were passed on, and that some could not be read.
pub(super) fn verdict(channel: &ChannelRef, events: u64, noted_lost: u64) -> ExitCode {
    let lost = channel.totals().lost_events.saturating_sub(noted_lost);
    let mut err = std::io::stderr();
    // A reader that left wants nothing more.
    let _ = writeln!(err, "{events} events");
    if lost == 0 {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(err, "millstream: {lost} events could not be read; millstream channel verify says where");
    ExitCode::from(exit::DATA)
}

/// Writes everything that waits; the takes are still open.
pub(super) async fn write_all(what: &'static str, channel: &ChannelRef, file: &mut EventsFile) -> Result<Vec<Take>> {
    let mut progress = Progress::start(what, "events", channel.totals().waiting_events());
    let takes = each_batch(channel, |batch| {
        file.append(batch)?;
        progress.add(batch.len() as u64);
        Ok(())
    });
    let takes = takes.await;
    progress.finish();
    takes
}

/// A file of events: there as a whole under its name, or not at all.
pub(super) struct EventsFile {
    path: PathBuf,
    /// `None` for standard output.
    temporary: Option<(File, PathBuf)>,
    events: Option<EventFile>,
    buffer: Vec<u8>,
}

// === impl EventsFile ===

impl EventsFile {
    /// # Errors
    /// `Mismatch` where there is a file of that name.
    pub(super) fn create(path: &Path, format: Format) -> Result<Self> {
        let temporary = if path == Path::new("-") { None } else { Some(make_temporary(path)?) };
        let mut buffer = Vec::new();
        let events = (format == Format::Avro).then(|| EventFile::begin(&mut buffer));
        Ok(Self { path: path.to_owned(), temporary, events, buffer })
    }

    fn append(&mut self, batch: &Batch) -> Result<()> {
        for event in batch.iter() {
            match &mut self.events {
                Some(events) => events.append(event, &mut self.buffer)?,
                None => {
                    self.buffer.extend(event_json(event).to_string().into_bytes());
                    self.buffer.push(b'\n');
                }
            }
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let written = match &mut self.temporary {
            Some((file, _)) => file.write_all(&self.buffer),
            None => std::io::stdout().write_all(&self.buffer),
        };
        self.buffer.clear();
        written.map_err(|error| Error::io("write", &self.path, error))
    }

    /// Makes it durable and gives it its name.
    pub(super) fn finish(mut self) -> Result<()> {
        if let Some(events) = self.events.take() {
            events.end(&mut self.buffer)?;
        }
        self.flush()?;
        let Some((file, temporary)) = self.temporary.take() else { return Ok(()) };
        file.sync_all().map_err(|error| Error::io("fsync", &temporary, error))?;
        refuse_existing(&self.path)?;
        SystemDisk.rename(&temporary, &self.path)?;
        SystemDisk.sync_dir(directory(&self.path))
    }
}

impl Drop for EventsFile {
    fn drop(&mut self) {
        if let Some((_, temporary)) = self.temporary.take() {
            // Half of it is worth nothing: the events are where they were.
            let _ = SystemDisk.remove(&temporary);
        }
    }
}

fn make_temporary(path: &Path) -> Result<(File, PathBuf)> {
    refuse_existing(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory(path).join(format!(".{name}.tmp"));
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary);
    Ok((file.map_err(|error| Error::io("create", &temporary, error))?, temporary))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.exists() {
        return Err(Error::mismatch(
            path.display(),
            "is there already and is not written over; name another file, or move it away",
        ));
    }
    Ok(())
}

/// Written at once.
const BUFFER_BYTES: usize = 1 << 20;
