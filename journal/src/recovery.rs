//! Opening: finding out what is there, and making it durable before it is served.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use millstream_core::{Error, Result};
use millstream_io::{Disk, DiskFile, failpoint};

use crate::counters::{Counters, add};
use crate::format::{DATA_START, HEAD_LEN, HEADER_LEN, Head, Header, SNAPSHOT, Seed, VOID};
use crate::journal::{Location, Options};
use crate::quarantine::{self, Quarantined};
use crate::scan::{Found, Scanner};
use crate::segment;

/// Bytes written again at once.
const REWRITE_CHUNK: u64 = 1 << 20;

/// What an opening found.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The log's identity, drawn when its directory was made.
    pub log_id: u128,
    /// The newest snapshot that can be read; `first_snapshot` of the opening where there is none.
    pub snapshot: Bytes,
    /// What was appended after that snapshot, in order.
    pub records: Vec<Record>,
    /// Damaged places met. Those in older segments are met by readers.
    pub quarantined: Vec<Quarantined>,
    /// Bytes of an unfinished write that were cut off the end.
    pub torn_tail_bytes: u64,
    /// There was no log here before.
    pub fresh: bool,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is, as its append was told.
    pub location: Location,
    /// The user's own.
    pub kind: u8,
    /// What was appended, its parts joined.
    pub payload: Bytes,
}

/// What the journal goes on with.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The newest segment.
    pub(crate) file: Box<dyn DiskFile>,
    /// Its end.
    pub(crate) end: u64,
    /// All segments and their ends.
    pub(crate) segments: BTreeMap<u64, u64>,
    pub(crate) next_segment: u64,
    pub(crate) recovered: Recovered,
}

/// A segment before its frames were looked at.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) number: u64,
    pub(crate) header: Option<Header>,
    pub(crate) damaged_copies: [bool; 2],
    /// Length of the file, or what the segment behind says.
    pub(crate) end: u64,
}

/// What the frames of one segment say.
#[derive(Debug, Default)]
struct Scanned {
    snapshot: Option<Bytes>,
    records: Vec<Record>,
    /// Offset and length.
    damage: Vec<(u64, u64)>,
    /// Behind the last valid frame.
    valid_end: u64,
    /// All before it was on the disk when the last valid frame was written.
    durable_to: u64,
    tail: u64,
}

/// The first steps, which a survey takes as well.
pub(crate) struct Opening<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    name: &'a str,
    next_segment: u64,
    quarantined: Vec<Quarantined>,
    /// Of these, how many were set aside by this opening.
    set_aside: u64,
    /// Segments with something in them that have no place in the chain: somebody brought them back too late.
    pub(crate) strays: Vec<Candidate>,
}

/// Opens or makes the log in `dir`.
pub(crate) fn open(
    disk: &dyn Disk,
    dir: &Path,
    options: &Options,
    first_snapshot: Bytes,
    counters: &Counters,
) -> Result<Opened> {
    disk.create_dir_all(dir)?;
    let mut opening = Opening::new(disk, dir, &options.name);
    let candidates = opening.candidates()?;
    let fresh = candidates.is_empty();
    let log_id = opening.log_id(&candidates)?;
    let candidates = match log_id {
        Some(_) => {
            let chain = opening.chain(candidates);
            for stray in std::mem::take(&mut opening.strays) {
                opening.give_up(&stray)?;
            }
            chain
        }
        None => {
            // Nothing names the log, so no frame can be told from garbage.
            for candidate in &candidates {
                opening.give_up(candidate)?;
            }
            Vec::new()
        }
    };
    let log_id = log_id.map_or_else(draw_log_id, Ok)?;
    let opened = opening.recover(log_id, candidates, first_snapshot, fresh)?;
    add(&counters.damaged, opened.recovered.quarantined.len() as u64);
    add(&counters.damaged_bytes, opened.recovered.quarantined.iter().map(|place| place.length).sum());
    add(&counters.set_aside, opening.set_aside);
    Ok(opened)
}

// === impl Opening ===

impl<'a> Opening<'a> {
    pub(crate) fn new(disk: &'a dyn Disk, dir: &'a Path, name: &'a str) -> Self {
        Self { disk, dir, name, next_segment: 1, quarantined: Vec::new(), set_aside: 0, strays: Vec::new() }
    }

    /// The segments, ascending; half-made ones are removed.
    pub(crate) fn candidates(&mut self) -> Result<Vec<Candidate>> {
        let mut numbers = Vec::new();
        for file in self.disk.list(self.dir)? {
            let Some((number, extension)) = segment::parse_name(&file) else { continue };
            self.next_segment = self.next_segment.max(number + 1);
            match extension {
                "log" if file == segment::name(number) => numbers.push(number),
                "tmp" => {
                    self.disk.remove(&self.dir.join(&file))?;
                    failpoint::hit("journal.temporary-removed")?;
                }
                _ => {}
            }
        }
        numbers.sort_unstable();
        let mut candidates = Vec::with_capacity(numbers.len());
        for number in numbers {
            let path = self.dir.join(segment::name(number));
            let file = self.disk.open(&path)?;
            let (header, damaged_copies) = segment::read_header(file.as_ref(), &path)?;
            if let Some(header) = header
                && header.segment != number
            {
                let problem = format!("is segment {}; give it its name back, or move it away", header.segment);
                return Err(Error::mismatch(path.display(), problem));
            }
            candidates.push(Candidate { number, header, damaged_copies, end: file.size()? });
        }
        Ok(candidates)
    }

    /// The one log to which all segments belong; `None` when none says so.
    pub(crate) fn log_id(&self, candidates: &[Candidate]) -> Result<Option<u128>> {
        let mut found: Option<Header> = None;
        for header in candidates.iter().filter_map(|candidate| candidate.header) {
            match found {
                Some(first) if first.log_id != header.log_id => {
                    let problem = format!(
                        "segment {} belongs to log {:032x} and segment {} to log {:032x}; move the segments of one of them away",
                        first.segment, first.log_id, header.segment, header.log_id
                    );
                    return Err(Error::mismatch(format_args!("{}: {}", self.name, self.dir.display()), problem));
                }
                Some(_) => {}
                None => found = Some(header),
            }
        }
        Ok(found.map(|header| header.log_id))
    }

    /// Sets the end of each segment to what the one behind it says, and leaves out those that were never completed.
    pub(crate) fn chain(&mut self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut chain: Vec<Candidate> = Vec::with_capacity(candidates.len());
        while let Some(mut candidate) = candidates.pop() {
            if let Some(header) = chain.last().and_then(|next| next.header) {
                if candidate.number > header.previous {
                    if !self.is_bare(&candidate) {
                        self.strays.push(candidate);
                        continue;
                    }
                    // Its making failed after the rename, so nothing was ever appended to it.
                    let _ = self.disk.remove(&self.dir.join(segment::name(candidate.number)));
                    let _ = failpoint::hit("journal.unmade-removed");
                    continue;
                }
                if candidate.number == header.previous {
                    candidate.end = header.previous_end;
                } else {
                    tracing::warn!(
                        journal = self.name,
                        missing = header.previous,
                        before = header.segment,
                        "journal segment is gone"
                    );
                }
            }
            chain.push(candidate);
        }
        chain.reverse();
        chain
    }

    /// Whether a segment holds its snapshot and nothing else.
    fn is_bare(&self, candidate: &Candidate) -> bool {
        let Some(header) = candidate.header else { return false };
        let Ok(file) = self.disk.open(&self.dir.join(segment::name(candidate.number))) else { return false };
        let mut scanner = Scanner::new(file, Seed::new(header.log_id, candidate.number), DATA_START);
        let mut next = || scanner.next(candidate.end);
        matches!(next(), Ok(Found::Frame { head, .. }) if head.flags == SNAPSHOT) && matches!(next(), Ok(Found::End))
    }

    fn recover(
        &mut self,
        log_id: u128,
        mut candidates: Vec<Candidate>,
        first_snapshot: Bytes,
        fresh: bool,
    ) -> Result<Opened> {
        // From the newest back to the first one with a snapshot.
        let mut scanned: Vec<Scanned> = Vec::new();
        let mut first = candidates.len();
        let mut unreadable = Vec::new();
        while first > 0 && scanned.last().is_none_or(|segment| segment.snapshot.is_none()) {
            first -= 1;
            let mut candidate = self.scan(log_id, &candidates[first])?;
            let newest = first + 1 == candidates.len();
            if newest && candidate.snapshot.is_none() && candidate.records.is_empty() {
                // Appending here would put a record where the snapshot belongs.
                unreadable.extend(candidates.pop());
                continue;
            }
            // What a later segment was begun behind was whole then.
            if (!newest || !unreadable.is_empty()) && candidate.tail > 0 {
                candidate.damage.push((candidate.valid_end, candidate.tail));
                candidate.tail = 0;
            }
            scanned.push(candidate);
        }
        scanned.reverse();
        let was_newest = unreadable.is_empty();
        for candidate in &candidates {
            for (copy, damaged) in candidate.damaged_copies.iter().enumerate() {
                if *damaged {
                    self.set_aside(candidate.number, (copy * HEADER_LEN) as u64, HEADER_LEN as u64, false);
                }
            }
        }
        for (candidate, scanned) in candidates[first..].iter().zip(&scanned) {
            // Older segments were synced before the next one was begun.
            let newest = candidates.last().is_some_and(|newest| newest.number == candidate.number) && was_newest;
            for (offset, length) in &scanned.damage {
                self.set_aside(candidate.number, *offset, *length, newest && *offset >= scanned.durable_to);
            }
        }
        // Behind what is set aside, which a start that is killed in between would else take for an unfinished write.
        for candidate in &unreadable {
            self.give_up(candidate)?;
        }
        let mut segments: BTreeMap<u64, u64> =
            candidates.iter().map(|candidate| (candidate.number, candidate.end)).collect();
        let snapshot = scanned.iter().find_map(|segment| segment.snapshot.clone());
        let newest = candidates.last().zip(scanned.last());
        let torn_tail_bytes = newest.map_or(0, |(_, segment)| segment.tail);
        let (file, end) = match newest {
            Some((candidate, segment)) => (self.accept(log_id, candidate.number, segment)?, segment.valid_end),
            None => {
                let header = Header { log_id, segment: self.next_segment, previous: 0, previous_end: 0 };
                self.next_segment += 1;
                let snapshot = first_snapshot.clone();
                let made = segment::create(self.disk, self.dir, header, snapshot).map_err(|not_made| not_made.error)?;
                segments.insert(header.segment, made.1);
                made
            }
        };
        if let Some((candidate, _)) = newest {
            segments.insert(candidate.number, end);
        }
        if torn_tail_bytes > 0 {
            tracing::info!(journal = self.name, torn_tail_bytes, "unfinished write cut off");
        }
        let recovered = Recovered {
            log_id,
            snapshot: snapshot.unwrap_or(first_snapshot),
            records: scanned.into_iter().flat_map(|segment| segment.records).collect(),
            quarantined: std::mem::take(&mut self.quarantined),
            torn_tail_bytes,
            fresh,
        };
        Ok(Opened { file, end, segments, next_segment: self.next_segment, recovered })
    }

    fn scan(&self, log_id: u128, candidate: &Candidate) -> Result<Scanned> {
        let file = self.disk.open(&self.dir.join(segment::name(candidate.number)))?;
        let mut scanner = Scanner::new(file, Seed::new(log_id, candidate.number), DATA_START);
        let mut scanned = Scanned { valid_end: DATA_START, ..Scanned::default() };
        loop {
            match scanner.next(candidate.end)? {
                Found::Frame { head, payload, .. } if head.flags == SNAPSHOT => {
                    scanned.snapshot = Some(payload);
                    scanned.valid_end = scanner.position();
                    // A segment gets its name after its snapshot was synced.
                    scanned.durable_to = scanned.valid_end;
                }
                Found::Frame { offset, head, payload } => {
                    let location = Location { segment: candidate.number, offset };
                    scanned.records.push(Record { location, kind: head.kind, payload });
                    scanned.durable_to = scanned.durable_to.max(head.durable_to);
                    scanned.valid_end = scanner.position();
                }
                Found::Damage { offset, length } => scanned.damage.push((offset, length)),
                Found::Tail { length, .. } => scanned.tail = length,
                Found::End => return Ok(scanned),
            }
        }
    }

    /// Cuts the newest segment behind its last frame and makes what is kept durable: it may have been in memory only, and
    /// it is about to be served as stored.
    ///
    /// What is not known to have been synced is written again: after a sync that failed under an earlier process, the
    /// kernel takes those pages for clean, and a sync alone would not write them. Holes there become void frames, so
    /// that later openings do not take them for damage of what was stored.
    fn accept(&self, log_id: u128, number: u64, scanned: &Scanned) -> Result<Box<dyn DiskFile>> {
        let mut file = self.disk.open(&self.dir.join(segment::name(number)))?;
        let end = scanned.valid_end;
        if file.size()? != end {
            file.set_len(end)?;
            failpoint::hit("journal.tail-cut")?;
        }
        let mut at = scanned.durable_to;
        while at < end {
            let mut chunk = vec![0; (end - at).min(REWRITE_CHUNK) as usize];
            let read = file.read_at(at, &mut chunk)?;
            if read == 0 {
                break;
            }
            chunk.truncate(read);
            file.write_at(at, &[chunk.into()])?;
            at += read as u64;
        }
        failpoint::hit("journal.rewritten")?;
        let seed = Seed::new(log_id, number);
        for (offset, length) in scanned.damage.iter().filter(|(offset, _)| *offset >= scanned.durable_to) {
            let Some(length) = length.checked_sub(HEAD_LEN as u64).and_then(|length| u32::try_from(length).ok()) else {
                continue;
            };
            let head = Head { length, kind: 0, flags: VOID, durable_to: scanned.durable_to, payload_crc: 0 };
            file.write_at(*offset, &[Bytes::copy_from_slice(&head.encode(seed, *offset))])?;
            failpoint::hit("journal.voided")?;
        }
        file.sync_data()?;
        failpoint::hit("journal.recovery-synced")?;
        self.disk.sync_dir(self.dir)?;
        failpoint::hit("journal.recovered")?;
        Ok(file)
    }

    /// Renames a segment in which nothing can be read, or which does not belong here, and tells of it before any other call.
    fn give_up(&mut self, candidate: &Candidate) -> Result<()> {
        let file = self.dir.join(segment::all_bad_name(candidate.number, &self.disk.list(self.dir)?));
        self.disk.rename(&self.dir.join(segment::name(candidate.number)), &file)?;
        tracing::warn!(journal = self.name, segment = candidate.number, file = %file.display(), "journal segment set aside, as it cannot be read or has no place in the log");
        failpoint::hit("journal.given-up")?;
        self.disk.sync_dir(self.dir)?;
        failpoint::hit("journal.given-up-named")?;
        let length = candidate.end;
        self.set_aside += 1;
        self.quarantined.push(Quarantined { segment: candidate.number, offset: 0, length, file, unconfirmed: false });
        Ok(())
    }

    fn set_aside(&mut self, segment: u64, offset: u64, length: u64, unconfirmed: bool) {
        let (file, now) = quarantine::set_aside(self.disk, self.dir, segment, offset, length);
        self.set_aside += u64::from(now);
        self.quarantined.push(Quarantined { segment, offset, length, file, unconfirmed });
    }
}

fn draw_log_id() -> Result<u128> {
    let mut bytes = [0; 16];
    let drawn = getrandom::fill(&mut bytes);
    drawn.map_err(|error| Error::io("draw", "random bytes", std::io::Error::other(error.to_string())))?;
    Ok(u128::from_le_bytes(bytes))
}
