//! What is on the disk: for programs, and after a power cut.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use millstream_core::{Error, Result};

use super::Call;
use crate::Dice;

/// Unsynced data is kept or lost in pieces of this many bytes where a power cut leaves holes.
const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) life: u64,
    pub(super) next_inode: u64,
    pub(super) inodes: HashMap<u64, Inode>,
    pub(super) dirs: HashSet<PathBuf>,
    pub(super) durable_dirs: HashSet<PathBuf>,
    pub(super) names: BTreeMap<PathBuf, u64>,
    pub(super) durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since the last sync of their directory, in order.
    pub(super) name_changes: Vec<(PathBuf, Name)>,
    /// Calls until the process ends by itself.
    pub(super) calls_left: Option<u64>,
    /// Bytes of the whole disk; `None` is as many as wanted.
    pub(super) capacity: Option<u64>,
    pub(super) faults: HashMap<Call, Fault>,
    pub(super) syncs: u64,
    pub(super) strikes: u64,
}

/// What a name stands for from now on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    File(u64),
    Dir,
    Nothing,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) skip: u32,
    pub(super) times: u32,
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Changes since the last sync, in order.
    pub(super) changes: Vec<Change>,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: usize, content: Vec<u8> },
    SetLen(usize),
}

// === impl Machine ===

impl Machine {
    pub(super) fn strike(&mut self, call: Call, action: &'static str, path: &Path) -> Result<()> {
        let Some(fault) = self.faults.get_mut(&call) else { return Ok(()) };
        if fault.skip > 0 {
            fault.skip -= 1;
            return Ok(());
        }
        if fault.times == 0 {
            return Ok(());
        }
        fault.times -= 1;
        self.strikes += 1;
        Err(Error::io(action, path, io::Error::other("asked for by the test")))
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    pub(super) fn change_name(&mut self, path: &Path, name: Name) {
        match name {
            Name::File(inode) => _ = self.names.insert(path.to_owned(), inode),
            Name::Nothing => _ = self.names.remove(path),
            Name::Dir => _ = self.dirs.insert(path.to_owned()),
        }
        self.name_changes.push((path.to_owned(), name));
    }

    pub(super) fn name_is_durable(&mut self, path: PathBuf, name: Name) {
        match name {
            Name::File(inode) => _ = self.durable_names.insert(path, inode),
            Name::Nothing => _ = self.durable_names.remove(&path),
            Name::Dir => _ = self.durable_dirs.insert(path),
        }
    }

    /// Goes back to the names that are durable, in directories that are so up to the root.
    pub(super) fn lose_names(&mut self) {
        let durable = std::mem::take(&mut self.durable_dirs);
        let is_kept = |dir: &Path| dir.ancestors().all(|dir| durable.contains(dir) || dir.parent().is_none());
        self.durable_dirs = durable.iter().filter(|dir| is_kept(dir)).cloned().collect();
        self.dirs = self.durable_dirs.clone();
        let mut names = std::mem::take(&mut self.durable_names);
        names.retain(|path, _| path.parent().is_some_and(|dir| self.has_dir(dir)));
        self.names = names.clone();
        self.durable_names = names;
    }

    /// Those that have none above them are always there.
    pub(super) fn has_dir(&self, dir: &Path) -> bool {
        dir.parent().is_none() || self.dirs.contains(dir)
    }

    pub(super) fn used(&self) -> u64 {
        self.names.values().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.now.len() as u64).sum()
    }
}

// === impl Inode ===

impl Inode {
    pub(super) fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.changes.push(change);
    }

    pub(super) fn lose_power(&mut self, dice: &mut Dice) {
        let mut changes = std::mem::take(&mut self.changes);
        if dice.chance(50) {
            let kept = dice.below(changes.len() as u64 + 1) as usize;
            let torn = changes.get(kept).cloned();
            changes.truncate(kept);
            if let Some(Change::Write { offset, mut content }) = torn {
                content.truncate(dice.below(content.len() as u64 + 1) as usize);
                changes.push(Change::Write { offset, content });
            }
            changes.iter().for_each(|change| apply(&mut self.durable, change));
        } else {
            for change in &changes {
                self.keep_sectors(change, dice);
            }
        }
        self.now = self.durable.clone();
    }

    fn keep_sectors(&mut self, change: &Change, dice: &mut Dice) {
        let Change::Write { offset, content } = change else { return apply(&mut self.durable, change) };
        let mut at = *offset;
        let end = offset + content.len();
        while at < end {
            let next = (at / SECTOR + 1) * SECTOR;
            let next = next.min(end);
            if dice.chance(50) {
                let piece = content[at - offset..next - offset].to_vec();
                apply(&mut self.durable, &Change::Write { offset: at, content: piece });
            }
            at = next;
        }
    }
}

pub(super) fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { content: piece, .. } if piece.is_empty() => {}
        Change::Write { offset, content: piece } => {
            let end = offset + piece.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(piece);
        }
        Change::SetLen(len) => content.resize(*len, 0),
    }
}
