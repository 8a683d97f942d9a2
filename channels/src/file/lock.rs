//! One channel per directory, and no store over what Flume did not deliver.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_core::{Error, Result};
use millstream_io::{DirLock, Disk, SystemDisk};

use super::options::STORE;

/// Every directory of one channel, held.
#[derive(Debug, Clone)]
pub(crate) struct Locks(#[allow(dead_code, reason = "held, not read")] Arc<[DirLock]>);

impl Locks {
    /// Makes and locks the directories, as Flume does.
    ///
    /// # Errors
    /// `InUse` with the holder; `Mismatch` where Flume left logs; `Io`.
    pub(super) fn acquire(checkpoint_dir: &Path, data_dirs: &[PathBuf]) -> Result<Self> {
        let mut locks: Vec<DirLock> = Vec::with_capacity(data_dirs.len() + 1);
        for dir in data_dirs.iter().map(PathBuf::as_path).chain([checkpoint_dir]) {
            SystemDisk.create_dir_all(dir)?;
            // One directory may serve as both.
            if locks.iter().all(|lock| lock.path() != dir) {
                locks.push(DirLock::acquire(dir)?);
            }
        }
        for dir in data_dirs {
            refuse_flume_logs(dir)?;
        }
        for dir in data_dirs.iter().skip(1) {
            refuse_other_store(dir)?;
        }
        Ok(Self(locks.into()))
    }
}

/// Refuses a directory with a store that would not be read, as another one is the first now.
fn refuse_other_store(dir: &Path) -> Result<()> {
    if SystemDisk.list(dir)?.iter().any(|name| name == STORE) {
        let problem =
            format!("holds the events of a channel in {STORE}; name it first in dataDirs, or move {STORE} away");
        return Err(Error::mismatch(dir.display(), problem));
    }
    Ok(())
}

/// Refuses a directory with logs of Flume: events in them may never have been delivered.
fn refuse_flume_logs(dir: &Path) -> Result<()> {
    let names = SystemDisk.list(dir)?;
    for name in &names {
        let Some(id) = name.strip_prefix("log-") else { continue };
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let has_meta = names.contains(&format!("{name}.meta"));
        if has_meta || SystemDisk.open(&dir.join(name))?.size()? > 0 {
            let problem = format!(
                "{name} belongs to a file channel of Apache Flume and may hold events that were not delivered; let Flume drain the channel, then move its log-* files away, or choose another dataDirs"
            );
            return Err(Error::mismatch(dir.display(), problem));
        }
    }
    Ok(())
}
