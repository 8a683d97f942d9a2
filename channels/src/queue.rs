//! Events that can be taken, in sequence order, and what a transaction takes of them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use millstream_core::{Batch, Limit};

/// Consecutive events of one batch under the channel's own count.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Sequence of the first event.
    pub(crate) first: u64,
    /// The events; never empty.
    pub(crate) batch: Batch,
}

/// What waits in memory. Nothing is done per event, except where a limit cuts through a batch.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Given back by takes, or cut off by them, by first sequence.
    returned: BTreeMap<u64, Batch>,
    /// Stored, or read back, and not taken since; ascending.
    ready: VecDeque<Piece>,
    /// Retained by `ready`.
    ready_bytes: u64,
}

// === impl Piece ===

impl Piece {
    /// The sequences of the events.
    pub(crate) fn range(&self) -> Range<u64> {
        self.first..self.first + self.batch.len() as u64
    }

    /// The events below `end`, if there are any.
    pub(crate) fn before(self, end: u64) -> Option<Self> {
        let events = end.saturating_sub(self.first);
        match usize::try_from(events) {
            Ok(0) => None,
            Ok(events) if events < self.batch.len() => Some(self.slice(0..events)),
            _ => Some(self),
        }
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { first: self.first + range.start as u64, batch: self.batch.slice(range) }
    }
}

// === impl Queue ===

impl Queue {
    /// Adds events behind all others.
    pub(crate) fn push(&mut self, piece: Piece) {
        debug_assert!(!piece.batch.is_empty(), "a piece has events");
        self.ready_bytes += piece.batch.retained_bytes();
        self.ready.push_back(piece);
    }

    /// Bytes retained by what was never taken.
    pub(crate) fn ready_bytes(&self) -> u64 {
        self.ready_bytes
    }

    /// Takes from the head as much as `limit` allows: at least one event, if there is one.
    pub(crate) fn take(&mut self, limit: Limit) -> Vec<Piece> {
        let mut taken = Vec::new();
        let mut left = Limit { events: limit.events.max(1), ..limit };
        while left.events > 0
            && let Some(piece) = self.pop()
        {
            let (mut events, bytes) = fitting(&piece.batch, left);
            if events == 0 && taken.is_empty() {
                (events, left.events) = (1, 1);
            }
            let whole = events == piece.batch.len();
            if whole {
                left = Limit { events: left.events - events, bytes: left.bytes - bytes.min(left.bytes) };
                taken.push(piece);
                continue;
            }
            let rest = piece.slice(events..piece.batch.len());
            self.returned.insert(rest.first, rest.batch);
            if events > 0 {
                taken.push(piece.slice(0..events));
            }
            break;
        }
        taken
    }

    /// How many events before `end` can be taken, counted as far as `most`. No piece lies across `end`.
    pub(crate) fn events_below(&self, end: u64, most: u64) -> u64 {
        let returned = self.returned.range(..end).map(|(_, batch)| batch.len() as u64);
        let ready = self.ready.iter().take_while(|piece| piece.first < end).map(|piece| piece.batch.len() as u64);
        let mut events = 0;
        for more in returned.chain(ready) {
            events += more;
            if events >= most {
                break;
            }
        }
        events
    }

    /// Gives back what was taken and not delivered: it comes first again, in sequence order.
    pub(crate) fn give_back(&mut self, pieces: Vec<Piece>) {
        self.returned.extend(pieces.into_iter().map(|piece| (piece.first, piece.batch)));
    }

    /// Forgets everything from `first` on, which is on disk and will be read back. No piece lies across it.
    pub(crate) fn forget_from(&mut self, first: u64) {
        self.returned.split_off(&first);
        while self.ready.back().is_some_and(|piece| piece.first >= first) {
            let piece = self.ready.pop_back();
            self.ready_bytes -= piece.map_or(0, |piece| piece.batch.retained_bytes());
        }
    }

    fn pop(&mut self) -> Option<Piece> {
        // What was read back after one take was given back may come before what another one gives back.
        let ready = self.ready.front().map_or(u64::MAX, |piece| piece.first);
        if let Some(returned) = self.returned.first_entry().filter(|returned| *returned.key() < ready) {
            let (first, batch) = returned.remove_entry();
            return Some(Piece { first, batch });
        }
        let piece = self.ready.pop_front()?;
        self.ready_bytes -= piece.batch.retained_bytes();
        Some(piece)
    }
}

/// How many events at the head of `batch` fit into `limit`, and the bytes of their bodies.
fn fitting(batch: &Batch, limit: Limit) -> (usize, u64) {
    if limit.bytes == u64::MAX {
        return (batch.len().min(limit.events), 0);
    }
    let bytes = batch.body_bytes();
    if batch.len() <= limit.events && bytes <= limit.bytes {
        return (batch.len(), bytes);
    }
    let mut bytes = 0;
    for (index, event) in batch.iter().take(limit.events).enumerate() {
        let body = event.body().len() as u64;
        if bytes + body > limit.bytes {
            return (index, bytes);
        }
        bytes += body;
    }
    (batch.len().min(limit.events), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(pieces: &[(u64, &[&str])]) -> Queue {
        let mut queue = Queue::default();
        pieces
            .iter()
            .for_each(|(first, bodies)| queue.push(Piece { first: *first, batch: Batch::from_bodies(*bodies) }));
        queue
    }

    fn texts(pieces: &[Piece]) -> Vec<String> {
        let events = pieces.iter().flat_map(|piece| piece.batch.iter());
        events.map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect()
    }

    fn take(queue: &mut Queue, events: usize, bytes: u64) -> Vec<Piece> {
        queue.take(Limit { events, bytes })
    }

    #[test]
    fn a_take_spans_batches_and_cuts_where_the_limit_is() {
        let mut queue = queue(&[(0, &["a", "b", "c"]), (3, &["d", "e"])]);
        assert_eq!(texts(&take(&mut queue, 4, u64::MAX)), ["a", "b", "c", "d"]);
        assert_eq!(queue.ready_bytes(), 0);
        assert_eq!(texts(&take(&mut queue, 4, u64::MAX)), ["e"]);
        assert!(take(&mut queue, 4, u64::MAX).is_empty());
    }

    #[test]
    fn bytes_bound_a_take_but_one_event_always_passes() {
        let mut queue = queue(&[(0, &["aaaa", "bb", "cc"]), (3, &["dd"])]);
        assert_eq!(texts(&take(&mut queue, 10, 1)), ["aaaa"]);
        assert_eq!(texts(&take(&mut queue, 10, 5)), ["bb", "cc"]);
        assert_eq!(texts(&take(&mut queue, 10, 0)), ["dd"]);
        queue.push(Piece { first: 4, batch: Batch::from_bodies(["eeee"]) });
        queue.push(Piece { first: 5, batch: Batch::from_bodies(["f"]) });
        assert_eq!(texts(&take(&mut queue, 10, 1)), ["eeee"], "nothing comes along with an event that is too large");
    }

    #[test]
    fn a_batch_of_which_nothing_fits_any_more_stays_whole_at_the_head() {
        let mut queue = queue(&[(0, &["aa"]), (1, &["bbbb", "c"])]);
        assert_eq!(texts(&take(&mut queue, 10, 3)), ["aa"]);
        assert_eq!(texts(&take(&mut queue, 10, 10)), ["bbbb", "c"]);
    }

    #[test]
    fn what_is_given_back_comes_first_in_sequence_order() {
        let mut queue = queue(&[(0, &["a", "b", "c", "d"])]);
        let (first, second) = (take(&mut queue, 1, u64::MAX), take(&mut queue, 2, u64::MAX));
        queue.give_back(second);
        queue.give_back(first);
        let all = take(&mut queue, 10, u64::MAX);
        assert_eq!(texts(&all), ["a", "b", "c", "d"]);
        assert_eq!(all.iter().map(|piece| piece.first).collect::<Vec<_>>(), [0, 1, 3]);
    }
}
