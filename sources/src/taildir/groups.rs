//! Which files are to be read: file groups, each a directory and a pattern for names in it.

use std::collections::HashSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use millstream_config::Pattern;
use millstream_core::{CommonHeader, Error, Options, Result};
use millstream_io::FileIdentity;

/// Directory times are this coarse at worst (some network file systems): a younger one may hide a later change.
const COARSEST_TIME: Duration = Duration::from_secs(3);

/// One file group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) dir: PathBuf,
    names: Pattern,
    /// The `headers.<group>.*` options.
    pub(super) headers: Vec<CommonHeader>,
    /// The directory's time at the last look, if nothing can hide behind it.
    unchanged_since: Option<SystemTime>,
}

/// All file groups, in the order of the `filegroups` option.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) groups: Vec<Group>,
    /// Whether a directory is only listed when its time changed.
    cached: bool,
    /// Directories and files that cannot be looked at, so that each is told once.
    told: HashSet<PathBuf>,
}

/// A file in one of the directories.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) identity: FileIdentity,
    pub(super) modified: Option<SystemTime>,
    /// The first group whose pattern matches its name.
    pub(super) group: Option<usize>,
}

// === impl Group ===

impl Group {
    fn from_options(options: &Options, name: &str) -> Result<Self> {
        let wanted = || {
            let key = format!("filegroups.{name}");
            options.refuse(&key, "missing; expected a directory and, as its last part, a pattern")
        };
        let pattern = options.under("filegroups.").filter(|setting| setting.key == name).last().ok_or_else(wanted)?;
        let refuse = |problem: String| Error::config(&pattern.place, problem);
        let (dir, names) = match pattern.value.rsplit_once('/') {
            Some((dir, names)) if !names.is_empty() => (if dir.is_empty() { "/" } else { dir }, names),
            _ => {
                let problem = "expected a directory and, as its last part, a pattern";
                return Err(refuse(format!("{problem}, got {:?}", pattern.value)));
            }
        };
        // From where the agent was started, as in Flume.
        let dir = std::path::absolute(dir).map_err(|error| Error::io("find", dir, error))?;
        let names = Pattern::parse_whole(names).map_err(refuse)?;
        let headers = options.under("headers.").filter_map(|setting| {
            let (group, header) = setting.key.split_once('.')?;
            (group == name).then(|| CommonHeader {
                key: Bytes::from(header.to_owned()),
                value: Bytes::from(setting.value),
                keep_existing: false,
            })
        });
        Ok(Self { dir, names, headers: headers.collect(), unchanged_since: None })
    }

    /// Whether `path` belongs to this group.
    pub(super) fn has(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.parent() == Some(&self.dir) && self.names.is_found(&name)
    }
}

// === impl Groups ===

impl Groups {
    /// # Errors
    /// For a group without a pattern, or with one that cannot be used.
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        let names = options.list("filegroups");
        if names.is_empty() {
            return Err(options.refuse("filegroups", "expected the names of file groups, got none"));
        }
        let of_group = |key: &str| names.contains(&key);
        let filegroups = options.under("filegroups.").filter(|setting| !of_group(&setting.key));
        let of_header = |key: &str| key.split_once('.').is_some_and(|(group, _)| of_group(group));
        let headers = options.under("headers.").filter(|setting| !of_header(&setting.key));
        for setting in filegroups.chain(headers) {
            options.tell_unknown(&setting.place, &format!("the groups are {}", names.join(", ")));
        }
        let groups = names.into_iter().map(|name| Group::from_options(options, name)).collect::<Result<_>>()?;
        Ok(Self { groups, cached: options.bool("cachePatternMatching")?, told: HashSet::new() })
    }

    /// The regular files of all directories, oldest first; `None` when no directory changed since the last look, unless it
    /// is to be repeated.
    pub(super) fn scan(&mut self, again: bool) -> Option<Vec<Found>> {
        let looked_at = SystemTime::now();
        let times: Vec<_> = self.groups.iter().map(|group| modified(&group.dir)).collect();
        let is_same = |(group, time): (&Group, &Option<SystemTime>)| time.is_some() && group.unchanged_since == *time;
        if self.cached && !again && self.groups.iter().zip(&times).all(is_same) {
            return None;
        }
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for (index, time) in times.into_iter().enumerate() {
            let dir = self.groups[index].dir.clone();
            let listed = !seen.insert(dir.clone()) || self.list(&dir, &mut found);
            let settled = |at: &SystemTime| looked_at.duration_since(*at).is_ok_and(|age| age > COARSEST_TIME);
            self.groups[index].unchanged_since = time.filter(settled).filter(|_| listed);
        }
        found.sort_by(|a, b| a.modified.cmp(&b.modified).then_with(|| a.path.cmp(&b.path)));
        Some(found)
    }

    /// Adds the files of `dir`; whether it could be listed.
    fn list(&mut self, dir: &Path, found: &mut Vec<Found>) -> bool {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => {
                if self.told.insert(dir.to_owned()) {
                    let error = Error::io("list", dir, error);
                    tracing::warn!(%error, "directory cannot be listed; bring it back, it goes on by itself");
                }
                return false;
            }
        };
        if self.told.remove(dir) {
            tracing::info!(directory = %dir.display(), "directory is back");
        }
        for entry in entries.flatten() {
            let path = entry.path();
            let group = self.groups.iter().position(|group| group.has(&path));
            // Follows a link: what counts is what it leads to. What is gone meanwhile is nobody's concern.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if metadata.is_file() {
                found.push(Found::new(path, &metadata, group));
            } else if group.is_some() && !metadata.is_dir() && self.told.insert(path.clone()) {
                tracing::warn!(file = %path.display(), "not a regular file, never opened");
            }
        }
        true
    }

    /// The first directory that is not there.
    pub(super) fn missing_directory(&self) -> Option<&Path> {
        self.groups.iter().map(|group| group.dir.as_path()).find(|dir| !dir.is_dir())
    }
}

impl Found {
    fn new(path: PathBuf, metadata: &Metadata, group: Option<usize>) -> Self {
        let modified = metadata.modified().ok();
        Self { path, identity: FileIdentity::of(metadata), modified, group }
    }
}

/// The time of a directory; one that cannot be looked at has none, so it is listed, which tells why.
fn modified(dir: &Path) -> Option<SystemTime> {
    std::fs::metadata(dir).and_then(|metadata| metadata.modified()).ok()
}
