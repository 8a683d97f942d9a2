//! Reading everything a channel has on disk, and holding it against itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_core::{IntervalSet, Result};
use millstream_io::ViewDisk;
use millstream_journal::{Damage, DamageKind, Finding, survey};

use super::super::format::{AckSnapshot, LogSnapshot};
use super::super::letters::{self, LETTERS};
use super::super::recovery::{ACKS, LOG};

/// What reading everything showed.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// Segments of both logs.
    pub segments: u64,
    /// Records of puts that are whole.
    pub puts: u64,
    /// Records of acknowledgements that are whole.
    pub acks: u64,
    /// Events ever stored.
    pub stored: u64,
    /// Of these, delivered.
    pub delivered: u64,
    /// Of these, noted as lost earlier.
    pub lost: u64,
    /// Of these, waiting, in records that are whole.
    pub waiting: u64,
    /// Of these, waiting and in no record that is whole.
    pub unreadable: u64,
    /// What is not as it should be, in the order of the files.
    pub problems: Vec<Problem>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// First byte, where it is a place.
    pub offset: Option<u64>,
    /// Bytes.
    pub length: u64,
    /// What it is.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Part of how logs end and begin, or set aside already.
    Note,
    /// Damage.
    Damage,
}

/// Everything in the store at `dir`; `progress` is told the bytes read.
pub(super) fn verify(dir: &Path, progress: &mut dyn FnMut(u64)) -> Result<Verified> {
    let disk = ViewDisk::default();
    let mut log = LogReading::new(dir.join(LOG), progress);
    survey(&disk, &dir.join(LOG), &mut |finding| log.found(finding))?;
    let LogReading { mut verified, running, whole, oldest, .. } = log;
    if running.is_none() {
        verified.problems.iter_mut().filter(|problem| problem.severity == Severity::Damage).for_each(|problem| {
            problem.remedy = NOTHING_LEFT;
        });
    }
    let mut acks = AckReading { dir: dir.join(ACKS), read: AckSnapshot::default(), seen: false, problems: Vec::new() };
    let mut counts = (0, 0);
    let mut tell = |finding: Finding| {
        counts.0 += u64::from(matches!(finding, Finding::Segment { .. }));
        counts.1 += u64::from(matches!(finding, Finding::Record(_)));
        if let Finding::Segment { bytes, .. } = finding {
            progress(bytes);
        }
        acks.found(&finding)
    };
    if dir.join(ACKS).is_dir() {
        survey(&disk, &dir.join(ACKS), &mut tell)?;
    } else {
        let what = "what was delivered is not noted anywhere: the directory is not there".to_owned();
        acks.problem(what, "bring it back from a copy; without it everything in the log is delivered again");
    }
    let letters = dir.join(LETTERS);
    if letters.is_dir() {
        survey(&disk, &letters, &mut |finding| {
            verify_letters(&letters, finding, &mut verified.problems);
            Ok(())
        })?;
    }
    verified.segments += counts.0;
    verified.acks = counts.1;
    acks.balance(&mut verified, &running, &whole, oldest);
    Ok(verified)
}

/// A dead letter that cannot be read is a letter less: nothing else rests on it.
fn verify_letters(dir: &Path, finding: Finding, problems: &mut Vec<Problem>) {
    let read = match finding {
        Finding::Damage(damage) => return problems.push(described(dir, &damage, "of dead letters")),
        Finding::Record(record) => letters::Letter::decode(&record).map(drop),
        Finding::Snapshot(_, bytes) => letters::Kept::decode(&bytes).map(drop),
        Finding::Segment { .. } => Ok(()),
    };
    if let Err(error) = read {
        let (file, what) = (dir.to_owned(), error.to_string());
        problems.push(Problem { file, offset: None, length: 0, what, remedy: REPORT, severity: Severity::Damage });
    }
}

/// The log, record by record.
struct LogReading<'a> {
    dir: PathBuf,
    progress: &'a mut dyn FnMut(u64),
    verified: Verified,
    /// What all records so far add up to; `None` before the first snapshot.
    running: Option<LogSnapshot>,
    /// Sequences in records that are whole.
    whole: IntervalSet,
    /// First sequence that the log still has.
    oldest: Option<u64>,
    file: PathBuf,
    /// Whether something between the last snapshot and here could not be read.
    damaged: bool,
}

// === impl LogReading ===

impl<'a> LogReading<'a> {
    fn new(dir: PathBuf, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            file: dir.clone(),
            dir,
            progress,
            verified: Verified::default(),
            running: None,
            whole: IntervalSet::new(),
            oldest: None,
            damaged: false,
        }
    }

    fn found(&mut self, finding: Finding) -> Result<()> {
        match finding {
            Finding::Segment { file, bytes, .. } => {
                self.file = self.dir.join(file);
                self.verified.segments += 1;
                (self.progress)(bytes);
            }
            Finding::Snapshot(_, bytes) => self.snapshot(&bytes),
            Finding::Record(record) => {
                let offset = record.location.offset;
                let running = self.running.get_or_insert_default();
                let expected = running.next;
                match running.replay(&record) {
                    Ok(Some(put)) => {
                        if put.first < expected && self.oldest.is_some() {
                            let what = format!(
                                "the record of events {}..{} gives {} a second time",
                                put.first,
                                put.end(),
                                put.first
                            );
                            self.problem(Some(offset), what, REPORT);
                        }
                        self.oldest.get_or_insert(put.first);
                        self.whole.insert(put.first..put.end());
                        self.verified.puts += 1;
                    }
                    Ok(None) => {}
                    Err(error) => self.problem(Some(offset), error.to_string(), REPORT),
                }
            }
            Finding::Damage(damage) => {
                self.damaged |= !matches!(damage.kind, DamageKind::Torn | DamageKind::Unfinished);
                self.verified.segments += u64::from(damage.kind == DamageKind::Unreadable);
                self.verified.problems.push(described(&self.dir, &damage, "of puts"));
            }
        }
        Ok(())
    }

    /// Holds a snapshot against what the records before it add up to.
    fn snapshot(&mut self, bytes: &[u8]) {
        let snapshot = match LogSnapshot::decode(bytes) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.problem(None, error.to_string(), REPORT),
        };
        if let Some(running) = &self.running {
            let mut differences = Vec::new();
            if running.store != snapshot.store {
                differences.push(format!("store {:016x} instead of {:016x}", snapshot.store, running.store));
            }
            // It may know of more: what is missing between is found by the acks.
            if snapshot.next < running.next {
                differences.push(format!("next event {} instead of {}", snapshot.next, running.next));
            }
            if !self.damaged && snapshot.body_bytes != running.body_bytes {
                differences.push(format!("{} bytes of bodies instead of {}", snapshot.body_bytes, running.body_bytes));
            }
            if !self.damaged && snapshot.dropped != running.dropped {
                differences.push(format!("dropped events {:?} instead of {:?}", snapshot.dropped, running.dropped));
            }
            if !self.damaged && snapshot.origins != running.origins {
                differences.push("other positions of origins".to_owned());
            }
            if !differences.is_empty() {
                let what = format!(
                    "the snapshot does not say what the records before it add up to: {}",
                    differences.join(", ")
                );
                self.problem(None, what, REPORT);
            }
        }
        self.oldest.get_or_insert(snapshot.next);
        self.damaged = false;
        self.running = Some(snapshot);
    }

    fn problem(&mut self, offset: Option<u64>, what: String, remedy: &'static str) {
        let file = self.file.clone();
        self.verified.problems.push(Problem { file, offset, length: 0, what, remedy, severity: Severity::Damage });
    }
}

/// The acks, record by record.
struct AckReading {
    dir: PathBuf,
    read: AckSnapshot,
    seen: bool,
    problems: Vec<Problem>,
}

// === impl AckReading ===

impl AckReading {
    fn found(&mut self, finding: &Finding) -> Result<()> {
        match finding {
            Finding::Segment { .. } => {}
            Finding::Snapshot(_, bytes) => match AckSnapshot::decode(bytes) {
                Ok(snapshot) => {
                    self.seen = true;
                    self.read = snapshot;
                }
                Err(error) => self.problem(error.to_string(), REPORT),
            },
            Finding::Record(record) => {
                if let Err(error) = self.read.replay(record) {
                    self.problem(error.to_string(), REPORT);
                }
            }
            Finding::Damage(damage) => self.problems.push(described(&self.dir, damage, "of acknowledgements")),
        }
        Ok(())
    }

    fn problem(&mut self, what: String, remedy: &'static str) {
        let file = self.dir.clone();
        self.problems.push(Problem { file, offset: None, length: 0, what, remedy, severity: Severity::Damage });
    }

    /// Holds acks against records: in = delivered + lost + waiting.
    fn balance(mut self, verified: &mut Verified, log: &Option<LogSnapshot>, whole: &IntervalSet, oldest: Option<u64>) {
        let log = log.clone().unwrap_or_default();
        if self.seen && self.read.store != log.store {
            let what =
                format!("the acknowledgements are of store {:016x}, the log of {:016x}", self.read.store, log.store);
            self.problem(what, "bring the acks of this channel back; else everything in the log is delivered again");
            self.read = AckSnapshot::default();
        }
        let AckSnapshot { mut acked, lost, .. } = std::mem::take(&mut self.read);
        acked.insert(0..oldest.unwrap_or(log.next));
        verified.stored = log.next.max(acked.ranges().next_back().map_or(0, |last| last.end));
        let beyond: u64 = acked.overlaps(log.next..u64::MAX).map(|range| range.end - range.start).sum();
        if beyond > 0 {
            let what = format!("{beyond} events from {} on are acknowledged and not in the log", log.next);
            self.problem(what, "nothing: their records were lost with a power cut after they were delivered");
        }
        if let Some(strange) = lost.ranges().find(|range| !acked.gaps(range.clone()).is_empty()) {
            self.problem(format!("events {}..{} are lost and not acknowledged", strange.start, strange.end), REPORT);
        }
        verified.lost = lost.len();
        verified.delivered = acked.len() - lost.len();
        let waiting = acked.gaps(0..verified.stored);
        let missing: Vec<_> = waiting.iter().flat_map(|gap| whole.gaps(gap.clone())).collect();
        verified.unreadable = missing.iter().map(|gap| gap.end - gap.start).sum();
        verified.waiting = waiting.iter().map(|gap| gap.end - gap.start).sum::<u64>() - verified.unreadable;
        if let Some(first) = missing.first() {
            let what = format!(
                "{} events that wait, the first one {}, are in no record that is whole",
                verified.unreadable, first.start
            );
            let file = self.dir.with_file_name(LOG);
            let severity = Severity::Damage;
            let problem = Problem { file, offset: None, length: 0, what, remedy: REPAIR, severity };
            verified.problems.push(problem);
        }
        if missing.is_empty() {
            // Somebody knows by now what was in it.
            verified.problems.iter_mut().filter(|problem| problem.remedy == BRING_BACK).for_each(|problem| {
                (problem.severity, problem.remedy) = (Severity::Note, ALL_KNOWN);
            });
        }
        verified.problems.append(&mut self.problems);
    }
}

fn described(dir: &Path, damage: &Damage, of: &str) -> Problem {
    let Damage { segment, offset, length, kind, known } = *damage;
    let file = dir.join(format!("{segment:010}.log"));
    let (what, remedy): (Arc<str>, _) = match kind {
        _ if known => (format!("{length} damaged bytes {of}, set aside earlier").into(), KNOWN),
        DamageKind::Frames => (format!("{length} bytes {of} whose checksum is wrong").into(), REPAIR),
        DamageKind::Torn => (
            format!("a write of {length} bytes that did not finish, of which nobody was told that it did").into(),
            NEXT,
        ),
        DamageKind::Header => ("one copy of the header is damaged, the other one serves".into(), REPAIR),
        DamageKind::Snapshot => (
            format!("the snapshot is damaged, {length} bytes: an older one and the records since serve").into(),
            REPAIR,
        ),
        DamageKind::Unreadable => ("nothing in it says to which log it belongs".into(), REPAIR),
        DamageKind::Stray => {
            ("the segments around it were written without it: it was brought back too late".into(), REPAIR)
        }
        DamageKind::Gone => ("the segment is not there, and the one behind it says that it was".into(), BRING_BACK),
        DamageKind::Unfinished => {
            ("a segment that was being made when the process ended, and holds nothing".into(), NEXT)
        }
    };
    let harmless = known || matches!(kind, DamageKind::Torn | DamageKind::Unfinished);
    let severity = if harmless { Severity::Note } else { Severity::Damage };
    let offset = (!matches!(kind, DamageKind::Gone | DamageKind::Unfinished)).then_some(offset);
    Problem { file, offset, length, what: what.to_string(), remedy, severity }
}

const BRING_BACK: &str =
    "bring it back from a copy, before an agent or a repair notes its events as lost; the others are delivered";
const ALL_KNOWN: &str = "nothing: each of its events was delivered or is noted as lost, which a copy would not change";
const NOTHING_LEFT: &str =
    "bring a copy back: none of its events can be read; a repair, or a start, sets it aside and begins anew";
const REPAIR: &str = "millstream channel repair, or start the agent: it is set aside, and the rest is delivered";
const NEXT: &str = "nothing: the next start removes it";
const KNOWN: &str = "nothing: the rest is delivered; the *.bad file may go when nobody wants to look at it";
const REPORT: &str = "keep a copy of the directory and report it: the program did not write this";
