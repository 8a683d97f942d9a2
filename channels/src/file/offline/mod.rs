//! A channel that no agent runs: finding it, looking into it, repairing it, emptying it.
//!
//! Nothing is read in a second way. Looking opens the channel as an agent would, on a disk whose changes stay in memory
//! ([`ViewDisk`]); repairing opens it on the real one. [`verify`](StoppedChannel::verify) reads every frame beside that.
//!
//! # Delivery
//! What is taken from [`StoppedChannel::view`] stays in the channel. What is taken from [`StoppedChannel::open`] and
//! committed is gone, as with an agent.

mod letters;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use millstream_core::{Channel, ChannelRef, ChannelTotals, Error, Result};
use millstream_io::view::Change;
use millstream_io::{DirLock, Disk, SystemDisk, ViewDisk, failpoint};
use millstream_journal::{Durability, Finding, Location, survey};

use super::format::AckSnapshot;
use super::options::{FileOptions, MAX_SEGMENT_BYTES, STORE};
use super::recovery::{ACKS, LOG};
use super::store::{MEMORY_BYTES, Store};
use super::{FileChannel, Locks, format};

pub use letters::{DeadLetters, Letter};
pub use verify::{Problem, Severity, Verified};

/// How long a take waits for events that turn out to be lost.
const KEEP_ALIVE: Duration = Duration::from_millis(200);
/// How deep below a directory channels are looked for.
const MOST_DEPTH: usize = 16;

/// A channel on disk, kept from being opened by an agent for as long as this lives.
#[derive(Debug)]
pub struct StoppedChannel {
    data_dir: PathBuf,
    lock: Lock,
}

#[derive(Debug)]
enum Lock {
    /// Others may read as well.
    Shared(#[allow(dead_code, reason = "held, not read")] Option<DirLock>),
    /// Taken over by the channel that is opened.
    Own(Locks),
}

/// The segment files of one of a channel's two logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Segments.
    pub segments: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Copies of damaged bytes, and segments in which nothing could be read.
    pub quarantined: u64,
    /// When the first and the last segment were last written.
    pub written: Option<(SystemTime, SystemTime)>,
}

/// What a snapshot of the log says beside the totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// How far each origin is stored.
    pub origins: Vec<(String, u64)>,
    /// Openings of which events are in the log: incarnation and first sequence.
    pub openings: Vec<(u128, u64)>,
    /// Names received that may come again.
    pub names_received: u64,
    /// Sequences that wait, as ranges.
    pub waiting: Vec<std::ops::Range<u64>>,
}

/// The data directories with a channel at or below `dir`, sorted.
///
/// # Errors
/// `dir` cannot be listed. What cannot be below it is passed over.
pub fn find(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if let Some(data_dir) = data_dir(dir) {
        return Ok(vec![data_dir]);
    }
    SystemDisk.list(dir)?;
    look_into(dir, MOST_DEPTH, &mut found);
    found.sort();
    Ok(found)
}

fn look_into(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if is_data_dir(dir) {
        found.push(dir.to_owned());
        return;
    }
    if depth == 0 {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        // A link could lead round in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            look_into(&entry.path(), depth - 1, found);
        }
    }
}

fn is_data_dir(dir: &Path) -> bool {
    dir.join(STORE).join(LOG).is_dir()
}

/// `dir`, or the one above it where it is the store itself.
fn data_dir(dir: &Path) -> Option<PathBuf> {
    if is_data_dir(dir) {
        return Some(dir.to_owned());
    }
    let is_store = dir.file_name().is_some_and(|name| name == STORE) && dir.join(LOG).is_dir();
    let above = dir.parent().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    above.filter(|_| is_store).map(Path::to_owned)
}

// === impl StoppedChannel ===

impl StoppedChannel {
    /// For looking: nothing is written, and no agent opens the channel meanwhile.
    ///
    /// # Errors
    /// `InUse` with the holder; `Mismatch` where there is no channel.
    pub fn read_only(dir: &Path) -> Result<Self> {
        let data_dir = located(dir)?;
        let lock = Lock::Shared(DirLock::share(&data_dir)?);
        Ok(Self { data_dir, lock })
    }

    /// For changing it.
    ///
    /// # Errors
    /// As above, and what an agent is refused for.
    pub fn exclusive(dir: &Path) -> Result<Self> {
        let data_dir = located(dir)?;
        let lock = Lock::Own(Locks::acquire(&data_dir, std::slice::from_ref(&data_dir))?);
        Ok(Self { data_dir, lock })
    }

    /// The directory in `dataDirs`.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The channel as an agent would find it; whatever is done with it is forgotten.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn view(&self) -> Result<ChannelRef> {
        Ok(Arc::new(self.view_on(ViewDisk::default())?))
    }

    fn view_on(&self, disk: ViewDisk) -> Result<FileChannel> {
        FileChannel::open(Arc::new(disk), &self.name(), &self.options(), None, MEMORY_BYTES)
    }

    /// Opens the channel as an agent does. To be closed.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn open(self) -> Result<ChannelRef> {
        let locks = match self.lock {
            Lock::Own(ref locks) => locks.clone(),
            Lock::Shared(_) => Locks::acquire(&self.data_dir, std::slice::from_ref(&self.data_dir))?,
        };
        let opened = FileChannel::open(Arc::new(SystemDisk), &self.name(), &self.options(), Some(locks), MEMORY_BYTES);
        Ok(Arc::new(opened?))
    }

    /// Whether there are files that say what was delivered. Without them all that is in the log is delivered again.
    pub fn has_acks(&self) -> bool {
        self.store_dir().join(ACKS).is_dir()
    }

    /// The totals as they are once all was read: what is in no record that is whole is lost, and does not wait.
    ///
    /// # Errors
    /// Those of opening it, and of reading.
    pub fn totals(&self, progress: &mut dyn FnMut(u64)) -> Result<ChannelTotals> {
        let channel = self.view_on(ViewDisk::default())?;
        channel.store.sweep(progress)?;
        Ok(channel.totals())
    }

    /// Names of the events that are dead letters and do not wait.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn dead_lettered_names(&self) -> Result<Vec<(u128, std::ops::Range<u64>)>> {
        let channel = self.view_on(ViewDisk::default())?;
        let (kept, waiting) = (channel.store.letters.kept(), channel.waiting_names());
        let mut dead = Vec::new();
        for (id, names) in kept.names.iter() {
            let mut names = names.clone();
            waiting.iter().filter(|(other, _)| *other == id).for_each(|(_, range)| _ = names.remove(range.clone()));
            dead.extend(names.ranges().map(|range| (id, range)));
        }
        Ok(dead)
    }

    /// What [`Self::repair`] would change, by file, and how many events it would note as lost; `progress` is told the bytes
    /// read.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn repairs(&self, progress: &mut dyn FnMut(u64)) -> Result<(Vec<Change>, u64)> {
        let disk = ViewDisk::default();
        let channel = self.view_on(disk.clone())?;
        let lost = channel.store.sweep(progress)?;
        let is_repair = |change: &Change| match change {
            Change::Created(path) => path.extension().is_none_or(|end| end != "tmp"),
            Change::Renamed(_, to) => to.extension().is_some_and(|end| end == "bad"),
            Change::Cut(..) => true,
            // At every opening: segments of which everything is delivered go, and those that were never finished; what may
            // not have reached the disk is written again.
            Change::Removed(_) | Change::Written(..) => false,
        };
        let mut changes: Vec<Change> = disk.changes().into_iter().filter(is_repair).collect();
        changes.sort_by_key(|change| change.path().to_owned());
        Ok((changes, lost))
    }

    /// Does what opening does, and for all segments what an agent would do on its way to them: damaged bytes are copied to
    /// `*.bad`, an unfinished write is cut off, events of which the record is gone are noted as lost: how many. Doing it
    /// again finds nothing to do.
    ///
    /// # Errors
    /// Those of opening it, and of reading. Every step is complete in itself.
    pub fn repair(self, progress: &mut dyn FnMut(u64)) -> Result<u64> {
        let Lock::Own(locks) = self.lock else {
            return Err(Error::InUse { path: self.data_dir, holder: "a reader".to_owned() });
        };
        let options = FileOptions { roll_on_close: false, ..Self::options_of(&self.data_dir) };
        let name = self.data_dir.display().to_string().into();
        let channel = FileChannel::open(Arc::new(SystemDisk), &name, &options, Some(locks), MEMORY_BYTES)?;
        let lost = channel.store.sweep(progress)?;
        failpoint::hit("channel.swept")?;
        channel.store.refuse();
        channel.store.close(false)?;
        Ok(lost)
    }

    /// Everything that is not as it should be.
    ///
    /// # Errors
    /// Reading failed, or the files are of a later version or of several channels.
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified> {
        verify::verify(&self.store_dir(), progress)
    }

    /// Events that are noted as lost already.
    ///
    /// # Errors
    /// Reading failed, or the files are of a later version.
    pub fn noted_lost(&self) -> Result<u64> {
        let mut acks = AckSnapshot::default();
        if !self.has_acks() {
            return Ok(0);
        }
        survey(&ViewDisk::default(), &self.store_dir().join(ACKS), &mut |finding| match finding {
            Finding::Snapshot(_, bytes) => AckSnapshot::decode(&bytes).map(|snapshot| acks = snapshot),
            Finding::Record(record) => acks.replay(&record),
            Finding::Segment { .. } | Finding::Damage(_) => Ok(()),
        })?;
        Ok(acks.lost.len())
    }

    /// The files of both logs: what was put, and what was delivered.
    ///
    /// # Errors
    /// A directory that is there cannot be listed.
    pub fn files(&self) -> Result<(Files, Files)> {
        Ok((Files::of(&self.store_dir().join(LOG))?, Files::of(&self.store_dir().join(ACKS))?))
    }

    /// What the log knows beside events.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn contents(&self) -> Result<Contents> {
        let channel = self.view_on(ViewDisk::default())?;
        let state = channel.store.state.lock();
        let mut origins: Vec<_> =
            state.origins.stored.ends.iter().map(|(origin, end)| (origin.to_string(), *end)).collect();
        origins.sort();
        // The last one is that of this view.
        let own = format::incarnation(channel.store.id, channel.store.opening);
        let openings = state.names.openings.iter().filter(|opening| opening.incarnation != own);
        Ok(Contents {
            origins,
            openings: openings.map(|opening| (opening.incarnation, opening.first)).collect(),
            names_received: state.received.enqueued().iter().map(|(_, known)| known.len()).sum(),
            waiting: state.acked.gaps(0..state.stored),
        })
    }

    fn name(&self) -> Arc<str> {
        self.data_dir.display().to_string().into()
    }

    fn store_dir(&self) -> PathBuf {
        self.data_dir.join(STORE)
    }

    fn options(&self) -> FileOptions {
        Self::options_of(&self.data_dir)
    }

    /// Bounds that refuse nothing: nothing is put.
    fn options_of(data_dir: &Path) -> FileOptions {
        FileOptions {
            checkpoint_dir: data_dir.to_owned(),
            data_dirs: vec![data_dir.to_owned()],
            capacity_events: u64::MAX,
            transaction_events: u64::MAX,
            keep_alive: KEEP_ALIVE,
            segment_bytes: MAX_SEGMENT_BYTES,
            reserve_bytes: 0,
            durability: Durability::Synced,
            roll_on_close: true,
        }
    }
}

fn located(dir: &Path) -> Result<PathBuf> {
    if let Some(found) = data_dir(dir) {
        return Ok(found);
    }
    let below = find(dir)?;
    let hint = match &below[..] {
        [] => "name a directory of the channel's dataDirs".to_owned(),
        [one] => format!("there is one in {}", one.display()),
        [one, ..] => format!("there are {} below it, as in {}; name one of them", below.len(), one.display()),
    };
    Err(Error::mismatch(dir.display(), format!("holds no file channel, that is, no {STORE}/{LOG}; {hint}")))
}

// === impl Files ===

impl Files {
    fn of(dir: &Path) -> Result<Self> {
        let mut files = Self::default();
        if !dir.is_dir() {
            return Ok(files);
        }
        let mut names = SystemDisk.list(dir)?;
        names.sort();
        for name in names {
            let Ok(metadata) = std::fs::metadata(dir.join(&name)) else { continue };
            if name.ends_with(".bad") {
                files.quarantined += 1;
            }
            if !name.ends_with(".log") {
                continue;
            }
            files.segments += 1;
            files.bytes += metadata.len();
            if let Ok(written) = metadata.modified() {
                let first = files.written.map_or(written, |(first, _)| first);
                files.written = Some((first, written));
            }
        }
        Ok(files)
    }
}

// === impl Store ===

impl Store {
    /// Reads the whole log as takes would, and gives up what turns out to be missing; how many events that were.
    fn sweep(self: &Arc<Self>, progress: &mut dyn FnMut(u64)) -> Result<u64> {
        let before = self.state.lock().lost.len();
        let (from, mut expected) = {
            let state = self.state.lock();
            let segment = state.segments.front();
            (segment.map_or(0, |segment| segment.number), segment.map_or(0, |segment| segment.first))
        };
        let mut reader = self.log.reader(Location { segment: from, offset: 0 });
        while let Some((_, kind, payload)) = reader.next()? {
            progress(payload.len() as u64);
            if kind != format::RECORD {
                continue;
            }
            let Ok(put) = format::PutRecord::decode(&payload) else { continue };
            if put.first > expected {
                self.give_up(&mut self.state.lock(), expected..put.first);
            }
            expected = expected.max(put.end());
        }
        self.letters.sweep()?;
        let mut state = self.state.lock();
        let stored = state.stored;
        self.give_up(&mut state, expected..stored);
        Ok(state.lost.len() - before)
    }
}
