//! The unit of everything: many events in one buffer.
//!
//! A [`Batch`] shares one *slab* (the received bytes and the spans of every body and header in them), shows a *selection*
//! of its rows, and may carry an *overlay* of headers given to all. Cloning and slicing cost a reference count, whatever the
//! size; a row costs 12 bytes beside its body, a header 16, a position 8. What differs from event to event, changed bodies
//! and headers of its own, is written into a new slab by a [`Rewriter`]: one copy per batch, and none without a change.
//!
//! Names cost nothing per event: they are runs of (incarnation, first sequence).

mod builder;
mod coverage;
mod event;
mod flat;
mod rewriter;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

pub use builder::SlabBuilder;
pub use coverage::Coverage;
pub use event::{EventRef, Name, NameRun};
pub use rewriter::Rewriter;

/// Fixed cost of a batch beside its rows: the slab, its vectors and the queue entry that holds it.
const BATCH_OVERHEAD_BYTES: usize = 256;
/// A slab this small is never worth compacting.
const COMPACT_MIN_BYTES: usize = 4096;

/// One row: where its body lies in the slab's buffer, and where its headers end in the header table.
#[derive(Debug, Clone, Copy)]
struct Row {
    body: u32,
    body_len: u32,
    headers_end: u32,
}

/// One header: spans of key and value in the slab's buffer, UTF-8 by convention.
#[derive(Debug, Clone, Copy)]
struct HeaderSpan {
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
}

/// Received bytes and the spans of every event in them. Never changed once built.
#[derive(Debug)]
struct Slab {
    buffer: Bytes,
    rows: Vec<Row>,
    headers: Vec<HeaderSpan>,
    /// Position in the origin just after each row, ascending; empty when the rows have no origin.
    ends: Vec<u64>,
}

/// Which rows of the slab a batch shows.
#[derive(Debug, Clone)]
enum Selection {
    Range(Range<u32>),
    /// `rows[shown]` are the slab's rows, ascending.
    Rows {
        rows: Arc<[u32]>,
        shown: Range<u32>,
    },
}

/// What the events are called.
#[derive(Debug, Clone)]
enum Names {
    None,
    /// Slab row `r` is (incarnation, base + r), wrapping.
    Run {
        incarnation: u128,
        base: u64,
    },
    /// `first_row` counts slab rows, ascending, the first is 0.
    Runs(Arc<[NameRun]>),
}

/// A header given to every event of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonHeader {
    /// UTF-8 key.
    pub key: Bytes,
    /// UTF-8 value.
    pub value: Bytes,
    /// An event that already has the key keeps its own value.
    pub keep_existing: bool,
}

/// Many events in one buffer. See the module's page.
#[derive(Debug, Clone)]
pub struct Batch {
    slab: Arc<Slab>,
    selection: Selection,
    overlay: Option<Arc<Vec<CommonHeader>>>,
    names: Names,
    coverage: Option<Arc<Coverage>>,
    low_water: Option<Arc<[(u128, u64)]>>,
}

// === impl Batch ===

impl Batch {
    /// A batch without events: what carries the [`Coverage`] of a range in which nothing is left.
    pub fn empty() -> Self {
        SlabBuilder::new(Bytes::new()).finish()
    }

    /// How many events.
    pub fn len(&self) -> usize {
        match &self.selection {
            Selection::Range(range) => range.len(),
            Selection::Rows { shown, .. } => shown.len(),
        }
    }

    /// Whether it has no event.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slab row of event `index`.
    fn row(&self, index: usize) -> usize {
        match &self.selection {
            Selection::Range(range) => range.start as usize + index,
            Selection::Rows { rows, shown } => rows[shown.start as usize + index] as usize,
        }
    }

    /// Event `index`, counted from 0. Panics when out of range, as a slice does.
    pub fn event(&self, index: usize) -> EventRef<'_> {
        assert!(index < self.len(), "event {index} of {}", self.len());
        EventRef { batch: self, row: self.row(index) }
    }

    /// The events, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> + '_ {
        (0..self.len()).map(|index| EventRef { batch: self, row: self.row(index) })
    }

    /// Events `range` of this batch, in O(1). Coverage and low-water
    /// marks stay with the whole: they say what was put, not what is shown.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "slice {range:?} of {}", self.len());
        let (low, high) = (range.start as u32, range.end as u32);
        let selection = match &self.selection {
            Selection::Range(all) => Selection::Range(all.start + low..all.start + high),
            Selection::Rows { rows, shown } => {
                Selection::Rows { rows: Arc::clone(rows), shown: shown.start + low..shown.start + high }
            }
        };
        Self { selection, coverage: None, low_water: None, ..self.clone() }
    }

    /// Only the events for which `keep(index)` holds.
    pub fn filter(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let rows: Vec<u32> = (0..self.len()).filter(|&index| keep(index)).map(|index| self.row(index) as u32).collect();
        if rows.len() == self.len() {
            return self.clone();
        }
        let shown = 0..rows.len() as u32;
        Self { selection: Selection::Rows { rows: rows.into(), shown }, ..self.clone() }
    }

    /// Bytes of the bodies shown.
    pub fn body_bytes(&self) -> u64 {
        match &self.selection {
            Selection::Range(range) => {
                self.slab.rows[range.start as usize..range.end as usize].iter().map(|row| u64::from(row.body_len)).sum()
            }
            Selection::Rows { .. } => self.iter().map(|event| event.body().len() as u64).sum(),
        }
    }

    /// What this batch keeps in memory: the whole slab, however few of its rows are shown. Every bound counts this.
    pub fn retained_bytes(&self) -> u64 {
        let slab = &self.slab;
        (BATCH_OVERHEAD_BYTES
            + slab.buffer.len()
            + slab.rows.len() * size_of::<Row>()
            + slab.headers.len() * size_of::<HeaderSpan>()
            + slab.ends.len() * size_of::<u64>()) as u64
    }

    /// Gives every event a header.
    pub fn with_common_header(mut self, header: CommonHeader) -> Self {
        let mut overlay = self.overlay.as_deref().cloned().unwrap_or_default();
        if header.keep_existing && overlay.iter().any(|other| other.key == header.key) {
            // Every event has it already.
            return self;
        }
        overlay.retain(|other| other.key != header.key);
        overlay.push(header);
        self.overlay = Some(Arc::new(overlay));
        self
    }

    /// Headers that every event carries, in the order in which they were added.
    pub fn common_headers(&self) -> &[CommonHeader] {
        self.overlay.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The same events with the origin range that they cover.
    pub fn with_coverage(mut self, coverage: Coverage) -> Self {
        self.coverage = Some(Arc::new(coverage));
        self
    }

    /// The origin range that was read to make this batch, if it has an origin.
    pub fn coverage(&self) -> Option<&Coverage> {
        self.coverage.as_deref()
    }

    /// The same events with the sender's low-water marks: see [`crate::Take::low_water`].
    pub fn with_low_water(mut self, marks: impl Into<Arc<[(u128, u64)]>>) -> Self {
        self.low_water = Some(marks.into());
        self
    }

    /// What the sender said of names that cannot come again; empty when it said nothing.
    pub fn low_water(&self) -> &[(u128, u64)] {
        self.low_water.as_deref().unwrap_or_default()
    }

    /// Names every event: the first shown is (`incarnation`, `first`), the next one more. Only for batches without holes.
    pub fn named(mut self, incarnation: u128, first: u64) -> Self {
        let Selection::Range(range) = &self.selection else {
            return self.dense().named(incarnation, first);
        };
        self.names = Names::Run { incarnation, base: first.wrapping_sub(u64::from(range.start)) };
        self
    }

    /// The same events under names received from elsewhere; `first_row` counts the events of this batch.
    pub fn with_names(self, runs: Vec<NameRun>) -> Self {
        let mut batch = self.dense();
        let start = match &batch.selection {
            Selection::Range(range) => range.start,
            Selection::Rows { .. } => 0,
        };
        batch.names = match runs.as_slice() {
            [] => Names::None,
            [run] if run.first_row == 0 => {
                Names::Run { incarnation: run.incarnation, base: run.first.wrapping_sub(u64::from(start)) }
            }
            _ => Names::Runs(runs.into_iter().map(|run| NameRun { first_row: run.first_row + start, ..run }).collect()),
        };
        batch
    }

    /// Whether the events have names.
    pub fn has_names(&self) -> bool {
        !matches!(self.names, Names::None)
    }

    /// The names as runs over the events of this batch, holes closed; empty when there are none.
    pub fn names(&self) -> Vec<NameRun> {
        let mut runs: Vec<NameRun> = Vec::new();
        if let (Names::Run { incarnation, base }, Selection::Range(range)) = (&self.names, &self.selection) {
            if !range.is_empty() {
                let first = base.wrapping_add(u64::from(range.start));
                runs.push(NameRun { first_row: 0, incarnation: *incarnation, first });
            }
            return runs;
        }
        for index in 0..self.len() {
            let Some(name) = self.event(index).name() else { return runs };
            let goes_on = runs.last().is_some_and(|run| {
                run.incarnation == name.incarnation
                    && run.first + u64::from(index as u32 - run.first_row) == name.sequence
            });
            if !goes_on {
                let first_row = index as u32;
                runs.push(NameRun { first_row, incarnation: name.incarnation, first: name.sequence });
            }
        }
        runs
    }

    /// The names as (incarnation, sequences) ranges, in row order.
    pub fn name_ranges(&self) -> Vec<(u128, Range<u64>)> {
        let runs = self.names();
        let ends = runs.iter().skip(1).map(|run| run.first_row).chain([self.len() as u32]);
        runs.iter()
            .zip(ends)
            .map(|(run, end)| (run.incarnation, run.first..run.first + u64::from(end - run.first_row)))
            .collect()
    }

    /// Drops the leading events whose position is at or below `end`: those that a channel stored already.
    pub fn without_covered(&self, end: u64) -> Self {
        let covered = (0..self.len()).take_while(|&i| self.event(i).end().is_some_and(|at| at <= end)).count();
        let mut rest = self.slice(covered..self.len());
        rest.coverage = self.coverage.clone();
        rest
    }

    /// Closes the holes of a selection: same buffer, new row table. A batch without holes is returned as it is.
    pub fn dense(&self) -> Self {
        if matches!(self.selection, Selection::Range(_)) {
            return self.clone();
        }
        self.rebuilt(self.slab.buffer.clone(), |span| span)
    }

    /// Copies the live bytes out when they are less than half of what the slab retains, so that a 10-byte survivor never
    /// pins a 10 MB frame. Otherwise as [`Self::dense`].
    pub fn compact(&self) -> Self {
        let live = self.live_bytes();
        if self.slab.buffer.len() < COMPACT_MIN_BYTES || live * 2 >= self.slab.buffer.len() {
            return self.dense();
        }
        let mut buffer = Vec::with_capacity(live);
        let source = self.slab.buffer.clone();
        let rebuilt = self.rebuilt(Bytes::new(), |(at, len)| {
            let start = buffer.len();
            buffer.extend_from_slice(&source[at as usize..(at + len) as usize]);
            (start as u32, len)
        });
        let Self { slab, selection, overlay, names, coverage, low_water } = rebuilt;
        let slab = Arc::into_inner(slab).expect("the slab was built just now");
        Self { slab: Arc::new(Slab { buffer: buffer.into(), ..slab }), selection, overlay, names, coverage, low_water }
    }

    /// Bytes of bodies and own headers shown.
    fn live_bytes(&self) -> usize {
        let Selection::Range(range) = &self.selection else {
            return self.iter().map(|event| event.own_bytes()).sum();
        };
        let (start, end) = (range.start as usize, range.end as usize);
        let rows = &self.slab.rows;
        let headers_end =
            |rows_before: usize| rows_before.checked_sub(1).map_or(0, |last| rows[last].headers_end as usize);
        let headers = &self.slab.headers[headers_end(start)..headers_end(end)];
        let bodies: usize = rows[start..end].iter().map(|row| row.body_len as usize).sum();
        bodies + headers.iter().map(|header| (header.key_len + header.value_len) as usize).sum::<usize>()
    }

    /// A new slab with just the rows shown, every span mapped by `place`.
    fn rebuilt(&self, buffer: Bytes, mut place: impl FnMut((u32, u32)) -> (u32, u32)) -> Self {
        let runs = self.names();
        let mut slab = Slab { buffer, rows: Vec::with_capacity(self.len()), headers: Vec::new(), ends: Vec::new() };
        for event in self.iter() {
            for span in event.header_spans() {
                let (key, key_len) = place((span.key, span.key_len));
                let (value, value_len) = place((span.value, span.value_len));
                slab.headers.push(HeaderSpan { key, key_len, value, value_len });
            }
            let row = self.slab.rows[event.row];
            let (body, body_len) = place((row.body, row.body_len));
            slab.rows.push(Row { body, body_len, headers_end: slab.headers.len() as u32 });
            slab.ends.extend(event.end());
        }
        let names = if runs.is_empty() { Names::None } else { Names::Runs(runs.into()) };
        let selection = Selection::Range(0..slab.rows.len() as u32);
        Self { slab: Arc::new(slab), selection, names, ..self.clone() }
    }
}

#[cfg(test)]
mod tests;
