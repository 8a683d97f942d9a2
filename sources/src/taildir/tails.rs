//! All files that the source follows: what is done with them where it may block.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use millstream_core::{Batch, Error, Result};
use millstream_io::FileIdentity;

use super::groups::{Found, Groups};
use super::positions::{Entry, Known, Positions, Standing};
use super::tail::{Due, Reading, Tail};
use crate::files::{self, Unopened};

/// The files and what is known of them.
#[derive(Debug)]
pub(super) struct Tails {
    groups: Groups,
    reading: Arc<Reading>,
    /// In the order in which they were found.
    pub(super) tails: Vec<Tail>,
    pub(super) positions: Positions,
    /// Files that cannot be read, so that each is told once.
    told: HashSet<PathBuf>,
    /// The next look lists the directories in any case: a file that was refused may be permitted by then.
    pub(super) look_again: bool,
    is_first_look: bool,
}

/// What a look at the files found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Files that are new to the source.
    pub(super) fresh: Vec<Fresh>,
    /// What is to be done, by index.
    pub(super) due: Vec<(usize, Due)>,
    /// Files that cannot be opened, told for the first time.
    pub(super) refused: Vec<Error>,
    /// Whether it is the first of this run.
    pub(super) is_first: bool,
}

/// A file that is new to the source.
#[derive(Debug)]
pub(super) struct Fresh {
    path: PathBuf,
    group: usize,
    /// Renamed while the source did not run, so that its name matches no more.
    leaving: bool,
    opened: (File, FileIdentity),
    known: Option<Known>,
    pub(super) origin: Arc<str>,
    /// What the channels know.
    pub(super) covered: Option<u64>,
}

/// A new file that is taken in.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) path: PathBuf,
    /// The channels know of another content under the same identity.
    pub(super) retire: Option<Arc<str>>,
    /// What was seen of that, and the bytes of it that were not read.
    pub(super) rewritten: Option<(String, u64)>,
    /// Tells the channels where reading begins.
    pub(super) skipped: Option<Batch>,
}

// === impl Tails ===

impl Tails {
    pub(super) fn new(groups: Groups, reading: Arc<Reading>, positions: Positions) -> Self {
        let (tails, told) = (Vec::new(), HashSet::new());
        Self { groups, reading, tails, positions, told, look_again: false, is_first_look: true }
    }

    /// Looks for new files, and at all others.
    pub(super) fn look(&mut self) -> Look {
        self.tails.retain(|tail| !tail.has_left);
        let is_first = std::mem::take(&mut self.is_first_look);
        let mut look = Look { is_first, ..Look::default() };
        if let Some(found) = self.groups.scan(std::mem::take(&mut self.look_again)) {
            self.compare(found, &mut look);
        }
        let dues = self.tails.iter_mut().enumerate().map(|(index, tail)| (index, tail.look(&self.reading)));
        look.due = dues.filter_map(|(index, due)| Some((index, due?))).collect();
        look
    }

    /// Finds out which files have other names, which left and which are new.
    pub(super) fn compare(&mut self, found: Vec<Found>, look: &mut Look) {
        let mut names: HashMap<FileIdentity, Vec<Found>> = HashMap::new();
        let mut order = Vec::new();
        for file in found {
            let of_file = names.entry(file.identity).or_default();
            if of_file.is_empty() {
                order.push(file.identity);
            }
            of_file.push(file);
        }
        for tail in &mut self.tails {
            let names = names.remove(&tail.identity).unwrap_or_default();
            let same = names.iter().position(|file| file.path == tail.path && file.group.is_some());
            let name = same.or_else(|| names.iter().position(|file| file.group.is_some()));
            match name {
                Some(_) => tail.leaving = false,
                None => tail.leave(),
            }
            if let Some(file) = name.or(names.len().checked_sub(1)).map(|index| &names[index]) {
                tail.path.clone_from(&file.path);
                tail.group = file.group.unwrap_or(tail.group);
            }
        }
        for identity in order {
            let Some(names) = names.remove(&identity) else { continue };
            let name = names.iter().find(|file| file.group.is_some());
            match name.cloned().or_else(|| names.into_iter().next()) {
                Some(Found { path, group: Some(group), .. }) => self.open(path, identity, group, false, look),
                Some(Found { path, .. }) if look.is_first => {
                    if let Some(group) = self.group_it_left(identity) {
                        self.open(path, identity, group, true, look);
                    }
                }
                _ => {}
            }
        }
    }

    /// The group of a file that matches none now, if it was read before the source was stopped.
    fn group_it_left(&self, identity: FileIdentity) -> Option<usize> {
        let known = self.positions.known.iter().find(|known| is_of(known, identity))?;
        self.groups.groups.iter().position(|group| group.has(known.file.as_ref()))
    }

    fn open(&mut self, path: PathBuf, identity: FileIdentity, group: usize, leaving: bool, look: &mut Look) {
        match files::open(&path) {
            // Replaced just now: the next look finds it.
            Ok((_, other)) if other != identity => self.look_again = true,
            Ok(opened) => {
                self.told.remove(&path);
                let known = self.positions.take_known(|known| is_of(known, identity));
                let origin = known.as_ref().map_or_else(|| new_origin(identity), |known| known.origin.as_str().into());
                look.fresh.push(Fresh { path, group, leaving, opened, known, origin, covered: None });
            }
            Err(Unopened::Gone) => self.look_again = true,
            Err(Unopened::Refused(error)) => {
                self.look_again = true;
                look.refused.extend(self.told.insert(path).then_some(error));
            }
        }
    }

    /// Takes in new files, of which the channels were asked.
    pub(super) fn begin(&mut self, fresh: Vec<Fresh>, to_end: bool) -> Vec<Result<Begun>> {
        let begun = fresh.into_iter().map(|file| {
            let known = file.known.clone();
            self.begin_one(file, to_end).inspect_err(|_| {
                // The next look finds it again, and what is known of it.
                self.look_again = true;
                known.into_iter().for_each(|known| self.positions.remember(known));
            })
        });
        let begun = begun.collect();
        // A file that comes later is another one, even under the same inode and path.
        self.positions.entries.clear();
        begun
    }

    fn begin_one(&mut self, fresh: Fresh, to_end: bool) -> Result<Begun> {
        let Fresh { path, group, leaving, opened, known, origin, covered } = fresh;
        let len = opened.0.metadata().map_err(|error| Error::io("stat", &path, error))?.len();
        let read_before = covered.max(known.as_ref().map(|known| known.pos)).unwrap_or_default();
        let reason = match &known {
            _ if read_before > len => Some(format!("it has {len} bytes, {read_before} were read")),
            Some(known) if !known.print.matches(&opened.0) => Some("it has another content than what was read".into()),
            _ => None,
        };
        let unread = known.as_ref().map_or(0, |known| known.len.saturating_sub(read_before));
        let rewritten = reason.map(|reason| (reason, unread));
        let is_same = rewritten.is_none();
        let retire = covered.filter(|_| !is_same).map(|_| Arc::clone(&origin));
        let (covered, known) = (covered.filter(|_| is_same), known.filter(|_| is_same));
        let entry = self.positions.entry(opened.1.inode, &path).filter(|position| *position <= len);
        let stored = match self.positions.standing {
            Standing::Missing => None,
            Standing::Foreign => entry.or(known.map(|known| known.pos)),
            Standing::Ours => known.map(|known| known.pos),
        };
        let position = match (covered, self.positions.standing) {
            (Some(covered), Standing::Foreign) => Some(covered.max(stored.unwrap_or_default())),
            (Some(covered), _) => Some(covered),
            (None, _) => stored,
        };
        if covered.is_none() && position.is_some_and(|position| position > 0) {
            tracing::info!(file = %path.display(), position, "the channels do not know it, the position file does");
        }
        let to_end = to_end && !leaving && is_same;
        let position = position.unwrap_or(if to_end { len } else { 0 });
        let covered = covered.unwrap_or_default().min(position);
        let tail = Tail::new(path.clone(), group, origin, opened, (position, covered));
        let mut tail = tail.map_err(|error| Error::io("read", &path, error))?;
        tail.leaving = leaving;
        let skipped = tail.skipped();
        self.tails.push(tail);
        Ok(Begun { path, retire, rewritten, skipped })
    }

    /// [`Tail::step`] of the file at `index`.
    ///
    /// # Errors
    /// As there.
    pub(super) fn step(&mut self, index: usize, until: u64, at_end: bool, most_batches: usize) -> Result<Vec<Batch>> {
        let tail = &mut self.tails[index];
        let batches = tail.step(&self.reading, &self.groups.groups[tail.group], until, at_end, most_batches)?;
        self.told.remove(&tail.path);
        Ok(batches)
    }

    /// Whether this is the first time that the file cannot be read.
    pub(super) fn tell(&mut self, index: usize) -> bool {
        self.told.insert(self.tails[index].path.clone())
    }

    /// Lets the file at `index` go. Should it come back, it is not read again, unless it is deleted.
    pub(super) fn let_go(&mut self, index: usize) {
        let tail = &mut self.tails[index];
        // Removed by the next look, so that the indexes stay.
        tail.has_left = true;
        if !tail.is_deleted() {
            let known = tail.known();
            self.positions.remember(known);
        }
    }

    /// Writes how far the channels have everything.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn write(&mut self, and_positions: bool) -> Result<()> {
        let here = || self.tails.iter().filter(|tail| !tail.has_left);
        let known = here().map(Tail::known).collect();
        let matching: Vec<Entry> = here().filter(|tail| !tail.leaving).map(entry).collect();
        self.positions.write(known, &matching, and_positions)
    }
}

fn entry(tail: &Tail) -> Entry {
    Entry { inode: tail.identity.inode, pos: tail.delivered, file: tail.path.to_string_lossy().into_owned() }
}

/// Whether a record is of the file with this identity.
fn is_of(known: &Known, identity: FileIdentity) -> bool {
    let id = identity.to_string();
    // Where the file system tells no time of birth, a random id stands there.
    match identity.birth_nanos {
        Some(_) => known.origin == id,
        None => known.origin.starts_with(&id),
    }
}

/// The name under which channels know a file.
fn new_origin(identity: FileIdentity) -> Arc<str> {
    let mut random = [0; 8];
    if identity.birth_nanos.is_none() && getrandom::fill(&mut random).is_ok() {
        return format!("{identity}{:016x}", u64::from_le_bytes(random)).into();
    }
    identity.to_string().into()
}
