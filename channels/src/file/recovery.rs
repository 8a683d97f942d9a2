//! Opening: what is stored, what of it was delivered, and where to go on.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use millstream_core::{IntervalSet, Result, RoomKeeper};
use millstream_io::Disk;
use millstream_journal::{Journal, Location, Options, Record};

use super::format::{AckSnapshot, LogSnapshot, PutRecord, incarnation};
use super::letters::Letters;
use super::options::FileOptions;
use super::origins::{Origins, Positions};
use super::store::{Segment, State, Store};
use crate::gate::Gate;
use crate::queue::Queue;
use crate::random::random;
use crate::received::Received;
use crate::sync::Mutex;

/// Directory of what was put, in the store's.
pub(super) const LOG: &str = "log";
/// Directory of what was delivered.
pub(super) const ACKS: &str = "acks";
/// Bytes that may be on their way to the disk.
const IN_FLIGHT_BYTES: u64 = 16 << 20;
/// Longest record in bytes: a batch comes out of a frame or a buffer that is far smaller.
const MAX_RECORD_BYTES: u32 = 1 << 30;
/// Bytes of a segment of acks: a start reads no more than that.
const ACK_SEGMENT_BYTES: u64 = 1 << 20;

/// What the log says.
struct Log {
    journal: Journal,
    /// The state behind its last record.
    snapshot: LogSnapshot,
    /// First sequence of the newest snapshot: `puts` begin there.
    base: u64,
    segments: VecDeque<Segment>,
    /// The records behind that snapshot.
    puts: Vec<(Location, PutRecord)>,
    fresh: bool,
}

impl Store {
    /// Opens the store in `dir`, whose locks the caller holds.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        name: &Arc<str>,
        options: &FileOptions,
        memory_bytes: u64,
    ) -> Result<Arc<Self>> {
        let log = Log::open(Arc::clone(&disk), &dir.join(LOG), name, options)?;
        let id = log.snapshot.store;
        let letters = Arc::new(Letters::open(Arc::clone(&disk), dir, name)?);
        let (acks, delivered) = open_acks(disk, &dir.join(ACKS), name, id, options.segment_bytes)?;
        let AckSnapshot { mut acked, lost, .. } = delivered;
        let oldest = log.segments.front().map_or(0, |oldest| oldest.first);
        acked.insert(0..oldest);
        let opening = random()?;
        let logged = log.snapshot.next;
        let next = logged.max(acked.ranges().next_back().map_or(0, |last| last.end));
        let mut names = log.snapshot.names.clone();
        names.open(incarnation(id, opening), next);
        names.forget(oldest);
        let waiting_events = next - acked.len();
        let room = RoomKeeper::new(options.capacity_events, IN_FLIGHT_BYTES);
        room.occupy(waiting_events, 0);
        let gate = Gate::new(Arc::clone(name), options.transaction_events, options.keep_alive, room);
        let positions = Positions { ends: log.snapshot.origins, dropped: log.snapshot.dropped };
        let state = State {
            next,
            stored: next,
            body_bytes: log.snapshot.body_bytes,
            stored_body_bytes: log.snapshot.body_bytes,
            origins: Origins::starting_at(positions),
            names,
            received: Received::starting_at(log.snapshot.received),
            acked,
            lost,
            trimmed: log.snapshot.trimmed,
            named_elsewhere: log.snapshot.named_elsewhere,
            acks: Default::default(),
            in_flight: VecDeque::new(),
            queue: Queue::default(),
            open: IntervalSet::new(),
            backlog: None,
            backlogs: 0,
            segments: log.segments,
            dirty: !log.puts.is_empty(),
            closed: false,
        };
        let store = Arc::new(Self {
            gate,
            id,
            opening,
            log: log.journal,
            acks,
            letters,
            durability: options.durability,
            memory_bytes,
            reader: Mutex::new(None),
            state: Mutex::new(state),
        });
        store.load(log.base, log.puts, logged);
        store.letters.hold_against(|| {
            let state = store.state.lock();
            state.names.waiting(&state.acked, 0..state.stored)
        });
        if !log.fresh {
            tracing::info!(
                channel = %name, dir = %dir.display(), waiting_events,
                stored_events = next, "file channel opened"
            );
        }
        Ok(store)
    }

    /// Makes takeable what was not delivered.
    fn load(self: &Arc<Self>, base: u64, puts: Vec<(Location, PutRecord)>, logged: u64) {
        let mut state = self.state.lock();
        let floor = state.acked.run_end(0);
        if floor < base {
            let holding = state.segments.iter().rev().find(|segment| segment.first <= floor);
            let segment = holding.map_or(0, |segment| segment.number);
            state.begin_backlog(Location { segment, offset: 0 }, floor);
        } else {
            let mut expected = base;
            for (location, put) in puts {
                if state.queue.ready_bytes() > self.memory_bytes {
                    state.begin_backlog(location, expected);
                    break;
                }
                let end = put.end();
                if put.first > expected {
                    self.give_up(&mut state, expected..put.first);
                }
                state.enqueue_waiting(put.first, &put.batch, expected..end);
                expected = expected.max(end);
            }
            if state.backlog.is_none() {
                self.give_up(&mut state, expected..logged);
            }
        }
        if let Some(backlog) = state.backlog
            && backlog.next >= state.stored
        {
            state.backlog = None;
        }
        // Acknowledged numbers that the log does not know any more.
        let stored = state.stored;
        self.give_up(&mut state, logged..stored);
        self.remove_delivered(&mut state);
    }
}

// === impl Log ===

impl Log {
    fn open(disk: Arc<dyn Disk>, dir: &Path, name: &Arc<str>, options: &FileOptions) -> Result<Self> {
        let fresh = LogSnapshot { store: random()?, ..LogSnapshot::default() };
        let journal_options = Options {
            name: format!("{name}-log").into(),
            segment_bytes: options.segment_bytes,
            reserve_bytes: options.reserve_bytes,
            max_record_bytes: MAX_RECORD_BYTES,
        };
        let (journal, recovered) = Journal::open(disk, dir, journal_options, fresh.encode())?;
        let mut log = Self {
            snapshot: LogSnapshot::decode(&recovered.snapshot)?,
            base: 0,
            segments: VecDeque::new(),
            puts: Vec::with_capacity(recovered.records.len()),
            fresh: recovered.fresh,
            journal,
        };
        log.base = log.snapshot.next;
        log.find_segments()?;
        for record in &recovered.records {
            log.replay(name, record);
        }
        Ok(log)
    }

    /// One whose snapshot is damaged is part of the one before it, or begins at an unknown place.
    fn find_segments(&mut self) -> Result<()> {
        for number in self.journal.segments() {
            let snapshot = self.journal.snapshot_of(number)?.map(|bytes| LogSnapshot::decode(&bytes)).transpose()?;
            let (first, body_bytes) = match snapshot {
                Some(snapshot) => (snapshot.next, snapshot.body_bytes),
                None if self.segments.is_empty() => (0, 0),
                None => continue,
            };
            self.segments.push_back(Segment { number, first, body_bytes });
        }
        Ok(())
    }

    fn replay(&mut self, name: &Arc<str>, record: &Record) {
        match self.snapshot.replay(record) {
            Ok(Some(put)) => self.puts.push((record.location, put)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(channel = %name, location = ?record.location, %error, "stored put cannot be read");
            }
        }
    }
}

/// Opens the acks of store `id`; what another store acknowledged is dropped.
fn open_acks(
    disk: Arc<dyn Disk>,
    dir: &Path,
    name: &Arc<str>,
    id: u64,
    segment_bytes: u64,
) -> Result<(Journal, AckSnapshot)> {
    let options = Options {
        name: format!("{name}-acks").into(),
        segment_bytes: segment_bytes.min(ACK_SEGMENT_BYTES),
        // Delivering frees the disk, so it needs no reserve.
        reserve_bytes: 0,
        max_record_bytes: MAX_RECORD_BYTES,
    };
    let none = IntervalSet::new();
    let first = AckSnapshot::encode(id, &none, &none);
    let (journal, recovered) = Journal::open(disk, dir, options, first.clone())?;
    let mut delivered = AckSnapshot::decode(&recovered.snapshot)?;
    if delivered.store != id {
        tracing::warn!(channel = %name, dir = %dir.display(), "acks of another store dropped");
        journal.roll(first)?;
        journal.delete_before(u64::MAX)?;
        return Ok((journal, AckSnapshot { store: id, ..AckSnapshot::default() }));
    }
    recovered.records.iter().try_for_each(|record| delivered.replay(record))?;
    Ok((journal, delivered))
}
