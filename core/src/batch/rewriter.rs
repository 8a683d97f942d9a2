//! The same events with other headers or bodies: how interceptors change them.

use std::sync::Arc;

use bytes::Bytes;

use super::{Batch, EventRef, HeaderSpan, Names, Row, Selection, Slab};
use crate::error::{Error, Result};

/// Rebuilds a batch event by event: each one is kept, or gets other headers, or another body. Names, positions and the
/// coverage stay.
///
/// Nothing is copied before the first change, so a batch without one costs nothing. From then on, what is shown is copied
/// into one new buffer; headers common to the batch become the events' own there, their bytes shared.
#[derive(Debug)]
pub struct Rewriter<'a> {
    from: &'a Batch,
    /// Events of `from` that are decided.
    decided: usize,
    /// None until something changes.
    new: Option<New>,
}

/// The slab to be.
#[derive(Debug)]
struct New {
    buffer: Vec<u8>,
    rows: Vec<Row>,
    headers: Vec<HeaderSpan>,
    ends: Vec<u64>,
    /// Where key and value of each common header lie in `buffer`.
    common: Vec<HeaderSpan>,
}

// === impl Batch ===

impl Batch {
    /// Begins a batch of the same events, some of them changed.
    pub fn rewriter(&self) -> Rewriter<'_> {
        Rewriter { from: self, decided: 0, new: None }
    }
}

// === impl Rewriter ===

impl<'a> Rewriter<'a> {
    /// The event to be decided next; `None` after the last one.
    pub fn next(&self) -> Option<EventRef<'a>> {
        (self.decided < self.from.len()).then(|| self.from.event(self.decided))
    }

    /// The next event stays as it is.
    pub fn keep(&mut self) {
        let event = self.from.event(self.decided);
        if let Some(new) = &mut self.new {
            new.copy_headers(event, |_| true);
            new.end_row(event, event.body());
        }
        self.decided += 1;
    }

    /// The next event has these headers beside (or instead of) its own: a key that it has gets the new value.
    pub fn set_headers(&mut self, headers: &[(&[u8], &[u8])]) {
        let event = self.from.event(self.decided);
        let new = self.changed();
        new.copy_headers(event, |key| !headers.iter().any(|(other, _)| *other == key));
        for (key, value) in headers {
            let span = new.header(key, value);
            new.headers.push(span);
        }
        new.end_row(event, event.body());
        self.decided += 1;
    }

    /// The next event has only those of its headers for whose key `keep` holds.
    pub fn retain_headers(&mut self, keep: impl FnMut(&[u8]) -> bool) {
        let event = self.from.event(self.decided);
        let new = self.changed();
        new.copy_headers(event, keep);
        new.end_row(event, event.body());
        self.decided += 1;
    }

    /// The next event has this body.
    pub fn set_body(&mut self, body: &[u8]) {
        let event = self.from.event(self.decided);
        let new = self.changed();
        new.copy_headers(event, |_| true);
        new.end_row(event, body);
        self.decided += 1;
    }

    /// The batch. Events that were not decided stay as they are.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the changed events do not fit into one buffer of 4 GiB.
    pub fn finish(mut self) -> Result<Batch> {
        while self.new.is_some() && self.next().is_some() {
            self.keep();
        }
        let Some(new) = self.new else { return Ok(self.from.clone()) };
        if u32::try_from(new.buffer.len()).is_err() {
            let reason = format!("the changed events take {} bytes; a batch has less than 4 GiB", new.buffer.len());
            return Err(Error::Rejected { reason });
        }
        let names = self.from.names();
        let names = if names.is_empty() { Names::None } else { Names::Runs(names.into()) };
        let selection = Selection::Range(0..new.rows.len() as u32);
        let New { mut buffer, rows, headers, ends, .. } = new;
        // Room that was made for bodies that became shorter would be retained and not counted.
        buffer.shrink_to_fit();
        let slab = Arc::new(Slab { buffer: Bytes::from(buffer), rows, headers, ends });
        Ok(Batch { slab, selection, overlay: None, names, ..self.from.clone() })
    }

    /// The new slab, with all that was decided before the first change.
    fn changed(&mut self) -> &mut New {
        let (from, decided) = (self.from, self.decided);
        self.new.get_or_insert_with(|| {
            let mut new = New::with_room_for(from);
            for index in 0..decided {
                let event = from.event(index);
                new.copy_headers(event, |_| true);
                new.end_row(event, event.body());
            }
            new
        })
    }
}

// === impl New ===

impl New {
    fn with_room_for(from: &Batch) -> Self {
        let common_headers = from.common_headers();
        let mut new = Self {
            buffer: Vec::with_capacity(from.live_bytes()),
            rows: Vec::with_capacity(from.len()),
            headers: Vec::with_capacity(from.len() * common_headers.len()),
            ends: Vec::with_capacity(from.slab.ends.len().min(from.len())),
            common: Vec::new(),
        };
        new.common = common_headers.iter().map(|header| new.header(&header.key, &header.value)).collect();
        new
    }

    /// Gives the row under way the headers of `event` whose key passes, the common ones among them.
    fn copy_headers(&mut self, event: EventRef<'_>, mut keep: impl FnMut(&[u8]) -> bool) {
        for (key, value) in event.headers_before_common() {
            if keep(key) {
                let span = self.header(key, value);
                self.headers.push(span);
            }
        }
        for index in event.common_headers_shown() {
            if keep(&event.batch.common_headers()[index].key) {
                self.headers.push(self.common[index]);
            }
        }
    }

    fn header(&mut self, key: &[u8], value: &[u8]) -> HeaderSpan {
        let (key, key_len) = self.bytes(key);
        let (value, value_len) = self.bytes(value);
        HeaderSpan { key, key_len, value, value_len }
    }

    fn end_row(&mut self, event: EventRef<'_>, body: &[u8]) {
        let (body, body_len) = self.bytes(body);
        self.rows.push(Row { body, body_len, headers_end: self.headers.len() as u32 });
        self.ends.extend(event.end());
    }

    /// Offsets that do not fit are found at the end, when the buffer is too long.
    fn bytes(&mut self, bytes: &[u8]) -> (u32, u32) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        (start as u32, bytes.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{CommonHeader, Coverage, Name, SlabBuilder};

    /// Three events, of which the first has a header `k`; all have the common headers `c` and, unless they have their
    /// own, `k`.
    fn sample() -> Batch {
        let mut builder = SlabBuilder::new("kvonetwothree".into());
        builder.header(0..1, 1..2);
        builder.row_ending_at(2..5, 10);
        builder.row_ending_at(5..8, 20);
        builder.row_ending_at(8..13, 30);
        let common = |key: &'static str, keep_existing| CommonHeader {
            key: key.into(),
            value: Bytes::from_static(b"common"),
            keep_existing,
        };
        let coverage = Coverage::new("o".into(), 0, 31);
        let batch = builder.finish().named(7, 100).with_coverage(coverage);
        batch.with_common_header(common("c", false)).with_common_header(common("k", true))
    }

    fn shown(batch: &Batch) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let event = |event: EventRef<'_>| {
            let mut headers: Vec<String> = event.headers().map(|(k, v)| format!("{}={}", text(k), text(v))).collect();
            headers.sort();
            format!("{} {}", text(event.body()), headers.join(","))
        };
        batch.iter().map(event).collect()
    }

    #[test]
    fn a_batch_without_a_change_is_the_same_buffer() {
        let batch = sample();
        let mut rewriter = batch.rewriter();
        while rewriter.next().is_some() {
            rewriter.keep();
        }
        let same = rewriter.finish().expect("small");
        assert!(Arc::ptr_eq(&same.slab, &batch.slab));
    }

    #[test]
    fn changed_and_unchanged_events_keep_name_position_and_coverage() {
        let batch = sample().filter(|index| index != 1);
        let mut rewriter = batch.rewriter();
        rewriter.keep();
        rewriter.set_body(b"other");
        let new = rewriter.finish().expect("small");
        assert_eq!(shown(&new), ["one c=common,k=v", "other c=common,k=common"]);
        assert_eq!(new.event(1).name(), Some(Name { incarnation: 7, sequence: 102 }));
        assert_eq!(new.iter().map(EventRef::end).collect::<Vec<_>>(), [Some(10), Some(30)]);
        assert_eq!(new.coverage(), batch.coverage());
        let (meta, bytes) = new.flatten();
        let back = Batch::unflatten(&Bytes::from([meta, bytes].concat())).expect("a batch");
        assert_eq!(shown(&back), shown(&new));
        assert_eq!(back.name_ranges(), [(7, 100..101), (7, 102..103)]);
    }

    #[test]
    fn headers_are_set_over_own_and_common_ones_and_taken_away_from_both() {
        let batch = sample();
        let mut rewriter = batch.rewriter();
        rewriter.set_headers(&[(b"k", b"new"), (b"x", b"y")]);
        rewriter.set_headers(&[(b"c", b"own")]);
        rewriter.retain_headers(|key| key != b"k");
        let new = rewriter.finish().expect("small");
        assert_eq!(shown(&new), ["one c=common,k=new,x=y", "two c=own,k=common", "three c=common"]);
        assert!(new.common_headers().is_empty());
    }

    #[test]
    fn what_is_left_undecided_stays() {
        let batch = sample();
        let mut rewriter = batch.rewriter();
        rewriter.set_body(b"");
        assert_eq!(
            shown(&rewriter.finish().expect("small")),
            [" c=common,k=v", "two c=common,k=common", "three c=common,k=common"]
        );
    }

    #[test]
    fn a_changed_event_retains_what_it_has_and_not_what_it_had() {
        let batch = Batch::from_bodies([vec![b'x'; 1 << 20]]);
        let mut rewriter = batch.rewriter();
        rewriter.set_body(b"short");
        let new = rewriter.finish().expect("small");
        assert!(new.retained_bytes() < 1024, "{} bytes retained", new.retained_bytes());
        let buffer = Vec::from(Arc::into_inner(new.slab).expect("alone").buffer);
        assert_eq!(buffer.capacity(), 5, "what is counted is what is kept");
    }
}
