//! Text files, one per batch: `<prefix>-<time in ms>[.<suffix>]`, a line per row.
//!
//! # Delivery
//! Exactly once, and only whole files appear. A batch is written to a temporary file and synced before it is committed;
//! committed, it gets its name by a rename. A rename that was done before a crash is known by the temporary file being
//! gone. The file of cursors says how far the output has come, so delivered files may be moved away or deleted at any time.
//! A batch without rows makes no file.
//!
//! # Layout
//! All in the directory of the prefix, which is made if it is missing:
//!
//! | file | content |
//! |---|---|
//! | `<name>-<time>[.<suffix>]` | UTF-8; each row as Spark prints a tuple, `(the,3)`, and a newline |
//! | `<name>-<time>-<batch>[.<suffix>]` | the same, where two batches were due at one time: a clock that was set back |
//! | `.<name>-<log>-<epoch>-<batch>.tmp` | a batch that is staged; log in 32 hexadecimal digits |
//! | `.<name>.cursor` | `millstream-files 1 <log> <epoch> <batch>` and a newline: the last batch applied |
//!
//! Temporary files of this log that no commit record can name are removed: at the first staging of an opening those of
//! that batch and later ones (none of them was committed), at the first application those of earlier ones. Files of other
//! logs are left alone.
//!
//! # Source
//! `DStream.saveAsTextFiles` (Spark 2.4). There a batch is a directory of part files, and a batch that is run again
//! replaces them; here it is one file.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{BatchId, BatchStamp, Error, LogId, Output, Result, Rows, Staged};
use millstream_io::{Disk, SystemDisk, atomic_write, failpoint};
use parking_lot::Mutex;

use crate::text::push_tuple;

/// One text file per batch.
#[derive(Debug)]
pub struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    name: String,
    /// With its dot; empty when there is none.
    suffix: String,
    swept: Mutex<Swept>,
}

/// Which leftovers were looked for in this opening.
#[derive(Debug, Default)]
struct Swept {
    at_stage: bool,
    at_apply: bool,
}

/// The last batch applied.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    log: LogId,
    epoch: u64,
    batch: BatchId,
}

// === impl Files ===

impl Files {
    /// Files whose paths begin with `prefix`. Nothing is opened before the first use.
    pub fn new(prefix: impl AsRef<Path>) -> Self {
        let prefix = prefix.as_ref();
        let dir = prefix.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = prefix.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { disk: Arc::new(SystemDisk), dir: dir.to_owned(), name, suffix: String::new(), swept: Mutex::default() }
    }

    /// Names end with a dot and `suffix`.
    pub fn suffix(mut self, suffix: &str) -> Self {
        self.suffix = if suffix.is_empty() { String::new() } else { format!(".{suffix}") };
        self
    }

    /// Writes through `disk`.
    pub fn on_disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    fn temporary(&self, stamp: BatchStamp) -> String {
        format!("{}{}-{}.tmp", self.temporaries(stamp.log), stamp.epoch, stamp.batch)
    }

    /// What the names of a log's temporary files begin with.
    fn temporaries(&self, log: LogId) -> String {
        format!(".{}-{log}-", self.name)
    }

    fn cursor_path(&self) -> PathBuf {
        self.dir.join(format!(".{}.cursor", self.name))
    }

    fn cursor(&self) -> Result<Option<Cursor>> {
        let path = self.cursor_path();
        let file = match self.disk.open(&path) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; CURSOR_MOST_BYTES];
        let len = file.read_at(0, &mut bytes)?;
        let text = String::from_utf8_lossy(&bytes[..len]);
        let unread = || {
            let problem = format!("expected {CURSOR_MAGIC} log epoch batch, got {text:?}; move the directory away");
            Error::corrupt(path.display(), problem)
        };
        Cursor::parse(&text).ok_or_else(unread).map(Some)
    }

    /// How far the output has come.
    ///
    /// # Errors
    /// `Mismatch` when another log, or a newer opening of this one, writes here.
    fn cursor_for(&self, stamp: BatchStamp) -> Result<BatchId> {
        let Some(cursor) = self.cursor()? else { return Ok(0) };
        if cursor.log != stamp.log {
            let problem = format!(
                "holds results of log {}, not of log {}; move them away with {}, or choose another prefix",
                cursor.log,
                stamp.log,
                self.cursor_path().display()
            );
            return Err(Error::mismatch(self.describe(), problem));
        }
        if cursor.epoch > stamp.epoch {
            let problem = format!(
                "opening {} of the log wrote here, this is the older opening {}; another process runs this job: stop one",
                cursor.epoch, stamp.epoch
            );
            return Err(Error::mismatch(self.describe(), problem));
        }
        Ok(cursor.batch)
    }

    /// Removes the temporary files of `log` whose batch is a leftover.
    fn sweep(&self, log: LogId, is_leftover: impl Fn(BatchId) -> bool) -> Result<()> {
        let begin = self.temporaries(log);
        for name in self.disk.list(&self.dir)? {
            let numbers = name.strip_prefix(&begin).and_then(|rest| rest.strip_suffix(".tmp"));
            let batch = numbers.and_then(|numbers| numbers.split_once('-')).and_then(|(_, batch)| batch.parse().ok());
            if batch.is_some_and(&is_leftover) {
                tracing::info!(file = %name, "removed a temporary file that no commit record names");
                self.disk.remove(&self.dir.join(name))?;
            }
        }
        Ok(())
    }

    /// Gives the staged file its name, unless that was done already.
    fn deliver(&self, temporary: &str, stamp: BatchStamp) -> Result<()> {
        let from = self.dir.join(temporary);
        let Self { name, suffix, .. } = self;
        let mut to = self.dir.join(format!("{name}-{}{suffix}", stamp.time_ms));
        let taken = self.is_there(&to)?;
        if !self.is_there(&from)? {
            if !taken {
                // Someone was very quick, or deleted more than delivered files; the batch cannot be had again.
                tracing::warn!(file = %to.display(), "a batch was delivered and taken away before that was noted, or deleted");
            }
            return Ok(());
        }
        if taken {
            to = self.dir.join(format!("{name}-{}-{}{suffix}", stamp.time_ms, stamp.batch));
        }
        self.disk.rename(&from, &to)
    }

    fn is_there(&self, path: &Path) -> Result<bool> {
        match self.disk.open(path) {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Output for Files {
    fn stage(&self, stamp: BatchStamp, rows: &Rows) -> Result<Staged> {
        if rows.is_empty() {
            return Ok(Staged { bytes: Bytes::new() });
        }
        self.disk.create_dir_all(&self.dir)?;
        let mut swept = self.swept.lock();
        if !swept.at_stage {
            self.cursor_for(stamp)?;
            self.sweep(stamp.log, |batch| batch >= stamp.batch)?;
            swept.at_stage = true;
        }
        let temporary = self.temporary(stamp);
        let path = self.dir.join(&temporary);
        let mut text = String::new();
        for row in 0..rows.len() {
            push_tuple(&mut text, rows, row);
            text.push('\n');
        }
        if self.is_there(&path)? {
            // Of an attempt at this very batch that was not committed.
            self.disk.remove(&path)?;
        }
        let mut file = self.disk.create(&path)?;
        file.write_at(0, &[text.into()])?;
        file.sync_data()?;
        self.disk.sync_dir(&self.dir)?;
        failpoint::hit("files.staged")?;
        Ok(Staged { bytes: temporary.into() })
    }

    fn apply(&self, stamp: BatchStamp, staged: &Staged) -> Result<()> {
        self.disk.create_dir_all(&self.dir)?;
        if self.cursor_for(stamp)? >= stamp.batch {
            return Ok(());
        }
        let temporary = std::str::from_utf8(&staged.bytes).ok().filter(|name| !name.contains('/'));
        let Some(temporary) = temporary else {
            let problem = format!("{} bytes that are not the name of a file", staged.bytes.len());
            return Err(Error::corrupt(format_args!("batch {} staged for {}", stamp.batch, self.describe()), problem));
        };
        if !temporary.is_empty() {
            self.deliver(temporary, stamp)?;
        }
        failpoint::hit("files.renamed")?;
        let line = format!("{CURSOR_MAGIC} {} {} {}\n", stamp.log, stamp.epoch, stamp.batch);
        // Its sync of the directory makes the rename durable, too.
        atomic_write(&*self.disk, &self.cursor_path(), line.as_bytes())?;
        failpoint::hit("files.applied")?;
        let mut swept = self.swept.lock();
        if !swept.at_apply {
            self.sweep(stamp.log, |batch| batch <= stamp.batch)?;
            swept.at_apply = true;
        }
        Ok(())
    }

    fn last_applied(&self) -> Result<Option<(LogId, BatchId)>> {
        Ok(self.cursor()?.map(|cursor| (cursor.log, cursor.batch)))
    }

    fn describe(&self) -> String {
        format!("files {}-*{}", self.dir.join(&self.name).display(), self.suffix)
    }
}

// === impl Cursor ===

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.strip_prefix(CURSOR_MAGIC)?.strip_prefix(' ')?.split(' ');
        let log = LogId(u128::from_str_radix(words.next()?, 16).ok()?);
        let (epoch, batch) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        words.next().is_none().then_some(Self { log, epoch, batch })
    }
}

// === helpers ===

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { error, .. } if error.kind() == ErrorKind::NotFound)
}

/// Name and version of the format of the cursor.
const CURSOR_MAGIC: &str = "millstream-files 1";
/// More than the longest cursor.
const CURSOR_MOST_BYTES: usize = 128;

#[cfg(test)]
mod tests;
