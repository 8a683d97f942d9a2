//! Which files of the directory are to be read, and in which order.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{DirEntry, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use millstream_config::Pattern;
use millstream_core::{Error, Result};

use super::completing::Markers;

/// Directory times are this coarse at worst (some network file systems): a younger one may hide a later change.
const COARSEST_TIME: Duration = Duration::from_secs(3);

/// The `consumeOrder` option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Oldest,
    Youngest,
    Random,
}

/// What is looked for.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) dir: PathBuf,
    pub(super) include: Pattern,
    pub(super) ignore: Pattern,
    /// Files with this suffix are completed.
    pub(super) completed_suffix: String,
    pub(super) recursive: bool,
    pub(super) order: Order,
    /// Where files are marked that are done with, if they are.
    pub(super) markers: Option<Markers>,
    /// Things that are no files, so that each is told once.
    pub(super) told: HashSet<PathBuf>,
    /// The directory's time when a look at it found nothing, if that look can be trusted.
    empty_since: Option<SystemTime>,
}

/// A file set aside as it cannot be read; it is never looked at again.
pub(super) const REJECTED_SUFFIX: &str = ".REJECTED";

// === impl Listing ===

impl Listing {
    pub(super) fn new(
        dir: PathBuf,
        patterns: (Pattern, Pattern),
        completed_suffix: String,
        recursive: bool,
        order: Order,
    ) -> Self {
        let (include, ignore) = patterns;
        let (markers, told) = (None, HashSet::new());
        Self { dir, include, ignore, completed_suffix, recursive, order, markers, told, empty_since: None }
    }

    /// The files to read, first one first. A directory in which nothing changed since it was found empty is not listed
    /// again: an idle source costs one `stat` per look.
    ///
    /// # Errors
    /// `Io` when the directory cannot be listed.
    pub(super) fn scan(&mut self) -> Result<Vec<PathBuf>> {
        let looked_at = SystemTime::now();
        let metadata = std::fs::metadata(&self.dir).map_err(|error| Error::io("list", &self.dir, error))?;
        let changed_at = metadata.modified().ok();
        // A marker that someone removes leaves no trace in it.
        let tells = !self.recursive && self.markers.is_none();
        if tells && changed_at.is_some() && self.empty_since == changed_at {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        self.scan_into(&self.dir.clone(), &mut found)?;
        self.told.retain(|path| path.symlink_metadata().is_ok());
        let settled = changed_at.filter(|at| looked_at.duration_since(*at).is_ok_and(|age| age > COARSEST_TIME));
        self.empty_since = if found.is_empty() { settled } else { None };
        Ok(self.ordered(found))
    }

    fn scan_into(&mut self, dir: &Path, found: &mut Vec<(PathBuf, Metadata)>) -> Result<()> {
        let entries = std::fs::read_dir(dir).map_err(|error| Error::io("list", dir, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("list", dir, error))?;
            if self.wants(&entry.file_name()) {
                self.look_at(&entry, found)?;
            }
        }
        Ok(())
    }

    fn look_at(&mut self, entry: &DirEntry, found: &mut Vec<(PathBuf, Metadata)>) -> Result<()> {
        let path = entry.path();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        // Follows a link: what counts is what it leads to. What is gone meanwhile is nobody's concern.
        let Ok(metadata) = std::fs::metadata(&path) else {
            if is_link && path.symlink_metadata().is_ok() && self.told.insert(path.clone()) {
                tracing::warn!(link = %path.display(), "link leads to nothing that can be seen; remove it, or bring back what it leads to");
            }
            return Ok(());
        };
        if metadata.is_dir() {
            if !self.recursive || is_link {
                self.skipped(path, is_link);
            } else if let Err(error) = self.scan_into(&path, found)
                && self.told.insert(path)
            {
                // A directory that goes away or cannot be read hides its own files only.
                tracing::warn!(%error, "directory below the spool directory skipped; make it readable");
            }
        } else if !metadata.is_file() {
            if self.told.insert(path.clone()) {
                tracing::warn!(file = %path.display(), "not a regular file, never opened; remove it from the spool directory");
            }
        } else if self.include.is_found(&entry.file_name().to_string_lossy()) && !self.is_marked(&path) {
            found.push((path, metadata));
        }
        Ok(())
    }

    fn is_marked(&self, path: &Path) -> bool {
        self.markers.as_ref().is_some_and(|markers| markers.is_marked(path, &self.completed_suffix))
    }

    /// Tells that files below `path` are not read.
    fn skipped(&mut self, path: PathBuf, is_link: bool) {
        let remedy = match is_link {
            true => "move what it leads to into the spool directory",
            false => "set recursiveDirectorySearch = true, or move its files up",
        };
        if self.told.insert(path.clone()) {
            tracing::warn!(directory = %path.display(), remedy, "directory is not looked into");
        }
    }

    /// Whether something of this name can be of interest, file or directory.
    fn wants(&self, name: &OsStr) -> bool {
        let name = name.to_string_lossy();
        let done = name.ends_with(&self.completed_suffix) || name.ends_with(REJECTED_SUFFIX);
        !name.starts_with('.') && !done && !self.ignore.is_found(&name)
    }

    fn ordered(&self, mut found: Vec<(PathBuf, Metadata)>) -> Vec<PathBuf> {
        let age = |metadata: &Metadata| (metadata.mtime(), metadata.mtime_nsec());
        match self.order {
            Order::Oldest => found.sort_by(|(a, x), (b, y)| age(x).cmp(&age(y)).then_with(|| a.cmp(b))),
            Order::Youngest => found.sort_by(|(a, x), (b, y)| age(y).cmp(&age(x)).then_with(|| a.cmp(b))),
            Order::Random => {
                let seed = RandomState::new();
                found.sort_by_cached_key(|(path, _)| seed.hash_one(path));
            }
        }
        found.into_iter().map(|(path, _)| path).collect()
    }
}
