//! Reading every frame of a log without opening it: what is whole, and what is not.

use std::path::Path;

use bytes::Bytes;
use millstream_core::Result;
use millstream_io::ViewDisk;

use crate::format::{DATA_START, HEADER_LEN, SNAPSHOT, Seed};
use crate::journal::Location;
use crate::quarantine;
use crate::recovery::{Candidate, Opening, Record};
use crate::scan::{Found, Scanner};
use crate::segment;

/// What stands in a log, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A segment begins.
    Segment {
        /// Its number.
        number: u64,
        /// Name of its file.
        file: String,
        /// Where it ends: what the segment behind it says, or the end of the file.
        bytes: u64,
    },
    /// The snapshot with which the segment begins.
    Snapshot(u64, Bytes),
    /// A record.
    Record(Record),
    /// Something is wrong.
    Damage(Damage),
}

/// A place that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: u64,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What it is.
    pub kind: DamageKind,
    /// It was set aside before: nothing is left to be done about it.
    pub known: bool,
}

/// What is wrong with a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// Bytes that are no frame, with frames behind them or where some should be.
    Frames,
    /// The end of the newest segment: a write that did not finish, of which nobody was told that it did.
    Torn,
    /// One of the two copies of the segment's header.
    Header,
    /// The snapshot of the segment.
    Snapshot,
    /// Nothing in the segment says to which log it belongs.
    Unreadable,
    /// The segments around it were written without it: it was brought back too late.
    Stray,
    /// The segment is not there.
    Gone,
    /// A segment that was being made when the process ended, and holds nothing.
    Unfinished,
}

/// Reads the log in `dir` from its oldest segment on and tells everything that is found, in order. The log's identity;
/// `None` where nothing names it.
///
/// # Errors
/// Those of opening it, of reading, and of `tell`.
pub fn survey(disk: &ViewDisk, dir: &Path, tell: &mut dyn FnMut(Finding) -> Result<()>) -> Result<Option<u128>> {
    let name = dir.display().to_string();
    let mut opening = Opening::new(disk, dir, &name);
    let all = opening.candidates()?;
    let numbers: Vec<u64> = all.iter().map(|candidate| candidate.number).collect();
    let log_id = opening.log_id(&all)?;
    let mut surveying = Surveying { disk, dir, tell };
    let Some(log_id) = log_id else {
        for candidate in &all {
            surveying.whole(candidate.number, candidate.end, DamageKind::Unreadable)?;
        }
        return Ok(None);
    };
    let chain = opening.chain(all);
    for number in numbers.into_iter().filter(|number| chain.iter().all(|candidate| candidate.number != *number)) {
        match opening.strays.iter().find(|stray| stray.number == number) {
            Some(stray) => surveying.whole(number, stray.end, DamageKind::Stray)?,
            None => surveying.whole(number, 0, DamageKind::Unfinished)?,
        }
    }
    let newest = chain.last().map(|candidate| candidate.number);
    let mut before: Option<u64> = None;
    for candidate in &chain {
        if let Some((header, before)) = candidate.header.zip(before)
            && header.previous != before
        {
            surveying.whole(header.previous, 0, DamageKind::Gone)?;
        }
        before = Some(candidate.number);
        surveying.segment(log_id, candidate, newest == Some(candidate.number))?;
    }
    Ok(Some(log_id))
}

struct Surveying<'a> {
    disk: &'a ViewDisk,
    dir: &'a Path,
    tell: &'a mut dyn FnMut(Finding) -> Result<()>,
}

// === impl Surveying ===

impl Surveying<'_> {
    fn segment(&mut self, log_id: u128, candidate: &Candidate, newest: bool) -> Result<()> {
        let (number, bytes) = (candidate.number, candidate.end);
        (self.tell)(Finding::Segment { number, file: segment::name(number), bytes })?;
        for (copy, damaged) in candidate.damaged_copies.iter().enumerate() {
            if *damaged {
                self.damage(number, (copy * HEADER_LEN) as u64, HEADER_LEN as u64, DamageKind::Header)?;
            }
        }
        let file = millstream_io::Disk::open(self.disk, &self.dir.join(segment::name(number)))?;
        let mut scanner = Scanner::new(file, Seed::new(log_id, number), DATA_START);
        // Whether anything can be read in it: opening begins anew behind a newest segment of which nothing can.
        let mut readable = false;
        loop {
            match scanner.next(bytes)? {
                Found::Frame { head, payload, .. } if head.flags == SNAPSHOT => {
                    readable = true;
                    (self.tell)(Finding::Snapshot(number, payload))?;
                }
                Found::Frame { offset, head, payload } => {
                    readable = true;
                    let location = Location { segment: number, offset };
                    (self.tell)(Finding::Record(Record { location, kind: head.kind, payload }))?;
                }
                Found::Damage { offset: DATA_START, length } => {
                    self.damage(number, DATA_START, length, DamageKind::Snapshot)?;
                }
                Found::Damage { offset, length } => self.damage(number, offset, length, DamageKind::Frames)?,
                Found::Tail { offset, length } => {
                    let kind = if newest && readable { DamageKind::Torn } else { DamageKind::Frames };
                    self.damage(number, offset, length, kind)?;
                }
                Found::End => return Ok(()),
            }
        }
    }

    fn whole(&mut self, number: u64, length: u64, kind: DamageKind) -> Result<()> {
        let damage = Damage { segment: number, offset: 0, length, kind, known: false };
        (self.tell)(Finding::Damage(damage))
    }

    fn damage(&mut self, number: u64, offset: u64, length: u64, kind: DamageKind) -> Result<()> {
        let known = quarantine::is_known(self.disk, self.dir, number, offset, length)?;
        (self.tell)(Finding::Damage(Damage { segment: number, offset, length, kind, known }))
    }
}
