//! The events of one batch, before they are computed on.

use std::sync::Arc;

use millstream_core::Batch;

use crate::commit::record::{DeadLetter, InputRanges};
use crate::receiver::Block;

/// Most events in one unit of parallel work: enough to make stealing cheap, few enough to keep two threads busy.
const CHUNK_EVENTS: usize = 4096;

/// Of an event that is set aside, what the log shows.
const SHOWN_BYTES: usize = 1000;

/// Per input stream, its chunks in order of arrival.
#[derive(Debug, Clone, Default)]
pub(crate) struct Input(pub(crate) Vec<Vec<Arc<Batch>>>);

/// An event on which the program fails.
pub(crate) struct Poison {
    stream: usize,
    event: Arc<Batch>,
    reason: String,
}

// === impl Input ===

impl Input {
    pub(crate) fn of(blocks: &[Vec<Block>]) -> Self {
        let chunks = |blocks: &Vec<Block>| blocks.iter().flat_map(|block| &block.batches).flat_map(chunks).collect();
        Self(blocks.iter().map(chunks).collect())
    }

    pub(crate) fn events(&self) -> u64 {
        self.0.iter().flatten().map(|chunk| chunk.len() as u64).sum()
    }

    /// The first half of the events and the rest.
    pub(crate) fn halves(&self) -> (Self, Self) {
        let mut left = (self.events() / 2) as usize;
        let (mut first, mut second) = (Self::default(), Self::default());
        for chunks in &self.0 {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for chunk in chunks {
                let cut = left.min(chunk.len());
                left -= cut;
                if cut > 0 {
                    a.push(Arc::new(chunk.slice(0..cut)));
                }
                if cut < chunk.len() {
                    b.push(Arc::new(chunk.slice(cut..chunk.len())));
                }
            }
            first.0.push(a);
            second.0.push(b);
        }
        (first, second)
    }

    /// The only event, set aside for `reason`.
    pub(crate) fn into_poison(self, reason: &str) -> Option<Poison> {
        let (stream, event) =
            self.0.into_iter().enumerate().find_map(|(i, chunks)| Some((i, chunks.into_iter().next()?)))?;
        Some(Poison { stream, event, reason: reason.to_owned() })
    }

    /// What the commit record says of these events and of those set aside.
    pub(crate) fn ranges(&self, poison: &[Poison]) -> Vec<InputRanges> {
        let mut ranges: Vec<InputRanges> = self.0.iter().map(|_| InputRanges::default()).collect();
        let set_aside = poison.iter().map(|poison| (poison.stream, &poison.event));
        let chunks =
            self.0.iter().enumerate().flat_map(|(stream, chunks)| chunks.iter().map(move |chunk| (stream, chunk)));
        for (stream, chunk) in chunks.chain(set_aside) {
            let known = &mut ranges[stream];
            if !chunk.has_names() {
                known.unnamed += chunk.len() as u64;
            }
            for (incarnation, range) in chunk.name_ranges() {
                match known.names.last_mut() {
                    Some((last, before)) if *last == incarnation && before.end == range.start => before.end = range.end,
                    _ => known.names.push((incarnation, range)),
                }
            }
        }
        ranges
    }
}

impl Poison {
    /// Its name and the beginning of its body, for the log.
    pub(crate) fn shown(&self) -> (String, String) {
        let event = self.event.event(0);
        let name =
            event.name().map_or("none".to_owned(), |name| format!("{:032x}:{}", name.incarnation, name.sequence));
        let body = &event.body()[..event.body().len().min(SHOWN_BYTES)];
        (name, String::from_utf8_lossy(body).into_owned())
    }

    /// As it is kept in the commit record.
    pub(crate) fn letter(&self) -> DeadLetter {
        let event = self.event.event(0);
        let name = event.name().map(|name| (name.incarnation, name.sequence));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let headers = event.headers().map(|(key, value)| (text(key), text(value))).collect();
        DeadLetter { reason: self.reason.clone(), name, headers, body: event.body().to_vec() }
    }
}

fn chunks(batch: &Batch) -> impl Iterator<Item = Arc<Batch>> + '_ {
    (0..batch.len()).step_by(CHUNK_EVENTS).map(|start| {
        let end = (start + CHUNK_EVENTS).min(batch.len());
        Arc::new(if end - start == batch.len() { batch.clone() } else { batch.slice(start..end) })
    })
}
