//! One event, seen in its batch.

use super::{Batch, HeaderSpan, Names};

/// What an event is called, wherever it travels: given by the first channel that stored it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Id drawn by that channel when it was opened, so that a name never means two events: high half random per store
    /// (its directory's life), low half random per opening.
    pub incarnation: u128,
    /// Place in that channel's order.
    pub sequence: u64,
}

/// Names of consecutive rows: row `first_row + k` is (`incarnation`, `first + k`), up to the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameRun {
    /// First row of the run.
    pub first_row: u32,
    /// The naming channel's incarnation.
    pub incarnation: u128,
    /// Sequence of that first row.
    pub first: u64,
}

/// A view of one event.
#[derive(Debug, Clone, Copy)]
pub struct EventRef<'a> {
    pub(super) batch: &'a Batch,
    /// Row in the slab.
    pub(super) row: usize,
}

impl<'a> EventRef<'a> {
    /// The body, as received.
    pub fn body(self) -> &'a [u8] {
        let row = self.batch.slab.rows[self.row];
        &self.batch.slab.buffer[row.body as usize..(row.body + row.body_len) as usize]
    }

    /// The headers, UTF-8 by convention: the event's own, then those common to the batch.
    pub fn headers(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let common = self.batch.common_headers();
        let added = self.common_headers_shown().map(|index| (common[index].key.as_ref(), common[index].value.as_ref()));
        self.headers_before_common().chain(added)
    }

    /// The event's own headers that no common one replaces.
    pub(super) fn headers_before_common(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let common = self.batch.common_headers();
        self.own_headers().filter(|(key, _)| !common.iter().any(|c| c.key == *key && !c.keep_existing))
    }

    /// Which of the common headers this event has, by index.
    pub(super) fn common_headers_shown(self) -> impl Iterator<Item = usize> + 'a {
        let common = self.batch.common_headers();
        (0..common.len())
            .filter(move |&at| !common[at].keep_existing || !self.own_headers().any(|(key, _)| common[at].key == key))
    }

    /// The value of header `key`, if it has one.
    pub fn header(self, key: &str) -> Option<&'a [u8]> {
        self.headers().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    /// What the event is called, once a channel stored it.
    pub fn name(self) -> Option<Name> {
        match &self.batch.names {
            Names::None => None,
            Names::Run { incarnation, base } => {
                Some(Name { incarnation: *incarnation, sequence: base.wrapping_add(self.row as u64) })
            }
            Names::Runs(runs) => {
                let after = runs.partition_point(|run| run.first_row as usize <= self.row);
                let run = runs.get(after.checked_sub(1)?)?;
                let sequence = run.first + (self.row as u64 - u64::from(run.first_row));
                Some(Name { incarnation: run.incarnation, sequence })
            }
        }
    }

    /// Position in the origin just after this event.
    pub fn end(self) -> Option<u64> {
        self.batch.slab.ends.get(self.row).copied()
    }

    fn own_headers(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let buffer = &self.batch.slab.buffer;
        self.header_spans().iter().map(move |span| {
            let key = &buffer[span.key as usize..(span.key + span.key_len) as usize];
            (key, &buffer[span.value as usize..(span.value + span.value_len) as usize])
        })
    }

    pub(super) fn header_spans(self) -> &'a [HeaderSpan] {
        let rows = &self.batch.slab.rows;
        let start = if self.row == 0 { 0 } else { rows[self.row - 1].headers_end as usize };
        &self.batch.slab.headers[start..rows[self.row].headers_end as usize]
    }

    /// Bytes of body and own headers in the slab.
    pub(super) fn own_bytes(self) -> usize {
        let headers: usize = self.header_spans().iter().map(|span| (span.key_len + span.value_len) as usize).sum();
        self.body().len() + headers
    }
}
