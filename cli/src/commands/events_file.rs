//! Files of events that commands write.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use millstream_core::{Batch, Error, Result};
use millstream_io::{Disk, SystemDisk, failpoint};
use millstream_sinks::EventFile;

use super::output::{event_json, printable};

/// What events become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A container file of Avro, records of headers and body, as Flume's serializer avro_event writes them.
    Avro,
    /// An object per line, with headers and body; a body that is not UTF-8 is in body_base64.
    Jsonl,
    /// Bodies without headers, one on a line, for a spooling directory; a body with a line break in it is refused.
    Lines,
}

/// A file of events: there as a whole under its name, or not at all.
pub(crate) struct EventsFile {
    path: PathBuf,
    /// `None` for standard output.
    temporary: Option<(File, PathBuf)>,
    format: Format,
    /// Of the format avro.
    events: Option<EventFile>,
    buffer: Vec<u8>,
}

// === impl EventsFile ===

impl EventsFile {
    /// # Errors
    /// `Mismatch` where there is a file of that name.
    pub(crate) fn create(path: &Path, format: Format) -> Result<Self> {
        let temporary = if path == Path::new("-") { None } else { Some(make_temporary(path)?) };
        let mut buffer = Vec::new();
        let events = (format == Format::Avro).then(|| EventFile::begin(&mut buffer));
        Ok(Self { path: path.to_owned(), temporary, format, events, buffer })
    }

    pub(crate) fn append(&mut self, batch: &Batch) -> Result<()> {
        for event in batch.iter() {
            match &mut self.events {
                Some(events) => events.append(event, &mut self.buffer)?,
                None => {
                    match self.format {
                        Format::Lines => self.buffer.extend_from_slice(one_line(event.body())?),
                        Format::Avro | Format::Jsonl => self.buffer.extend(event_json(event).to_string().into_bytes()),
                    }
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
    pub(crate) fn finish(mut self) -> Result<()> {
        if let Some(events) = self.events.take() {
            events.end(&mut self.buffer)?;
        }
        self.flush()?;
        let Some((file, temporary)) = self.temporary.take() else { return Ok(()) };
        file.sync_all().map_err(|error| Error::io("fsync", &temporary, error))?;
        failpoint::hit("export.file-synced")?;
        refuse_existing(&self.path)?;
        SystemDisk.rename(&temporary, &self.path)?;
        failpoint::hit("export.file-renamed")?;
        SystemDisk.sync_dir(directory(&self.path))?;
        failpoint::hit("export.file-named")
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

fn one_line(body: &[u8]) -> Result<&[u8]> {
    if memchr::memchr2(b'\n', b'\r', body).is_none() {
        return Ok(body);
    }
    let shown = printable(&body[..body.len().min(SHOWN_BYTES)]);
    Err(Error::mismatch(
        format!("event {shown:?}"),
        "has a line break in its body and would become several lines; choose another --format",
    ))
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

/// Of a body, in an error.
const SHOWN_BYTES: usize = 60;
/// Written at once.
const BUFFER_BYTES: usize = 1 << 20;
