//! Where the demo keeps what: everything below one directory.

use std::path::{Path, PathBuf};

use millstream_core::Result;
use millstream_io::{Disk, SystemDisk};

/// The directories and files of one demo.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Where files are put to be counted.
    pub(super) spool: PathBuf,
    /// The agent's file channel.
    pub(super) channel: PathBuf,
    /// The job's commit log.
    pub(super) job: PathBuf,
    /// The totals.
    pub(super) database: PathBuf,
    /// The touched totals of each batch, as text.
    pub(super) texts: PathBuf,
}

// === impl Layout ===

impl Layout {
    /// Makes what is missing below `dir`.
    ///
    /// # Errors
    /// `Io` when a directory cannot be made.
    pub(super) fn prepare(dir: &Path) -> Result<Self> {
        let layout = Self {
            spool: dir.join("spool"),
            channel: dir.join("channel"),
            job: dir.join("job"),
            database: dir.join("counts.sqlite"),
            texts: dir.join("counts"),
        };
        for dir in [&layout.spool, &layout.channel, &layout.texts] {
            SystemDisk.create_dir_all(dir)?;
        }
        Ok(layout)
    }

    /// Files in the spool that are neither completed nor set aside. What cannot be listed counts as one: it is not done.
    pub(super) fn unread_files(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(&self.spool) else { return 1 };
        let unread = entries.flatten().filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let done = name.starts_with('.') || name.ends_with(".COMPLETED") || name.ends_with(".REJECTED");
            !done && std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file())
        });
        unread.count()
    }
}
