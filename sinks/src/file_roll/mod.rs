//! Writes events into files of a local directory, and begins a new one from time to time.
//!
//! A file is called `<prefix><milliseconds>-<number>`, with the start of the sink and a number that counts from 1; with
//! the path manager `rolltime` `<prefix><yyyyMMddHHmmss>-<number>`, with the time of the file. A name that is taken is
//! passed over. There is no file without events.
//!
//! # Delivery
//! A transaction is delivered once it is on the disk. One that fails is cut off again, so that the file has each event
//! once; only a crash between delivery and commit repeats one batch.
//!
//! # Source
//! `org.apache.flume.sink.RollingFileSink`, `DefaultPathManager`, `RollTimePathManager` (Flume 1.11).

mod names;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_core::{
    Batch, BuiltSink, Error, Fut, Kind, Options, Result, Sink, SinkContext, SinkSpec, family, optional, required,
};
use millstream_io::{Clock, Disk, DiskFile, SystemClock, SystemDisk};
use parking_lot::Mutex;

use crate::file_counts::{FileCounts, OpenCount};
use crate::serializer::{EventSerializer, SerializerFactory};
use names::FileNames;

/// The declaration.
pub static SPEC: SinkSpec = SinkSpec {
    name: "file_roll",
    aliases: &["org.apache.flume.sink.RollingFileSink"],
    summary: "Writes events into files of a local directory, and begins a new one from time to time.",
    options: &[
        required("sink.directory", Kind::Path, "Directory of the files; it must exist."),
        optional("sink.rollInterval", Kind::Seconds, "30", "Time after which a new file begins; 0 for never."),
        optional("sink.batchSize", Kind::Int(1, u32::MAX as i64), "100", "Most events of one transaction."),
        optional("sink.fsync", Kind::Bool, "true", "Waits for the disk before an event counts as delivered."),
        optional(
            "sink.serializer",
            Kind::Text,
            "TEXT",
            "How events are written: text, header_and_text, avro_event, or the class of Flume's AvroEventSerializer.",
        ),
        family("sink.serializer.*", Kind::Text, "Options of the serializer."),
        optional("sink.pathManager", Kind::Text, "DEFAULT", "How files are called: default, rolltime."),
        optional("sink.pathManager.prefix", Kind::Text, "", "What the names begin with."),
        optional("sink.pathManager.extension", Kind::Text, "", "What the names end with, behind a dot."),
    ],
    build: |options| built(options, Arc::new(SystemDisk), SystemClock::new()),
};

fn built(options: &Options, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<BuiltSink> {
    let sink = FileRoll(Arc::new(Mutex::new(Writer::from_options(options, disk, clock)?)));
    Ok(BuiltSink::Push { sink: Box::new(sink), batch_size: options.int("sink.batchSize")? })
}

/// Delivers to files.
#[derive(Debug)]
struct FileRoll(Arc<Mutex<Writer>>);

impl Sink for FileRoll {
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        let writer = Arc::clone(&self.0);
        Box::pin(async move {
            // Of one sink, one delivery runs at a time.
            let written = tokio::task::spawn_blocking(move || writer.lock().write(&batches)).await;
            written.unwrap_or_else(|error| {
                Err(Error::Panicked { place: "the file_roll sink".into(), message: error.to_string() })
            })
        })
    }

    fn start(&mut self, cx: SinkContext) {
        self.0.lock().counts.start(&cx);
    }
}

/// The file under way and how the next one is made.
#[derive(Debug)]
struct Writer {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: PathBuf,
    names: FileNames,
    serializer: SerializerFactory,
    /// None: never.
    roll_interval: Option<Duration>,
    fsync: bool,
    open: Option<OpenFile>,
    counts: FileCounts,
    /// A transaction's bytes; kept for its room.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct OpenFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    serializer: Box<dyn EventSerializer>,
    /// Bytes of whole transactions: where the next one begins.
    committed: u64,
    /// On the monotonic clock.
    opened: Duration,
    _count: OpenCount,
}

// === impl Writer ===

impl Writer {
    fn from_options(options: &Options, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Self> {
        let dir = options.path("sink.directory")?;
        // Listed rather than looked at, so that a disk that a test makes can say so too.
        disk.list(&dir).map_err(|error| {
            options.refuse("sink.directory", format_args!("expected a directory that exists, got {dir:?}: {error}"))
        })?;
        let interval = options.seconds("sink.rollInterval")?;
        Ok(Self {
            names: FileNames::from_options(options, clock.now_ms())?,
            serializer: SerializerFactory::from_options(options, "sink.serializer")?,
            roll_interval: (!interval.is_zero()).then_some(interval),
            fsync: options.bool("sink.fsync")?,
            disk,
            clock,
            dir,
            open: None,
            counts: FileCounts::default(),
            buffer: Vec::new(),
        })
    }

    /// Writes one transaction, all of it or nothing.
    fn write(&mut self, batches: &[Batch]) -> Result<()> {
        if batches.iter().all(Batch::is_empty) {
            return Ok(());
        }
        let due = |open: &OpenFile| {
            let age = self.clock.monotonic().saturating_sub(open.opened);
            self.roll_interval.is_some_and(|interval| age >= interval)
        };
        if self.open.as_ref().is_some_and(due) {
            self.open = None;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        match self.append(&mut open, batches) {
            Ok(()) => {
                self.open = Some(open);
                Ok(())
            }
            Err(error) => {
                self.cut_off(open);
                Err(error)
            }
        }
    }

    fn begin(&mut self) -> Result<OpenFile> {
        let created = self.create();
        let ((path, file), count) = self.counts.created(created)?;
        let (serializer, opened) = (self.serializer.make(), self.clock.monotonic());
        Ok(OpenFile { file, path, serializer, committed: 0, opened, _count: count })
    }

    fn create(&mut self) -> Result<(PathBuf, Box<dyn DiskFile>)> {
        let (path, file) = loop {
            let path = self.dir.join(self.names.next(self.clock.now_ms()));
            match self.disk.create(&path) {
                Ok(file) => break (path, file),
                Err(Error::Io { error, .. }) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        if self.fsync
            && let Err(error) = self.disk.sync_dir(&self.dir)
        {
            // Nothing is in it; one that stays is an empty file.
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        Ok((path, file))
    }

    fn append(&mut self, open: &mut OpenFile, batches: &[Batch]) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        if open.committed == 0 {
            open.serializer.begin(&mut bytes);
        }
        for event in batches.iter().flat_map(Batch::iter) {
            open.serializer.append(event, &mut bytes)?;
        }
        open.serializer.end_transaction(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        open.file.write_at(open.committed, std::slice::from_ref(&bytes))?;
        if self.fsync {
            open.file.sync_data()?;
        }
        open.committed += bytes.len() as u64;
        self.buffer = bytes.try_into_mut().map(Vec::from).unwrap_or_default();
        if self.buffer.capacity() > KEPT_BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Takes what a failed transaction left out of the file, which gets no more events: what a failed sync left is not
    /// known. An empty file goes altogether.
    fn cut_off(&self, mut open: OpenFile) {
        let cut = match open.committed {
            0 => self.disk.remove(&open.path),
            committed => open.file.set_len(committed).and_then(|()| open.file.sync_data()),
        };
        if let Err(error) = cut {
            let (path, committed) = (open.path.display(), open.committed);
            tracing::warn!(%path, %error, committed, "part of a failed transaction stays in the file; its events come again");
        }
    }
}

/// A buffer that one large transaction needed is not kept for the others.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests;
