//! How sources and decoders make a batch: spans into a buffer that was read once.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Batch, HeaderSpan, Names, Row, Selection, Slab};

/// Builds a [`Batch`] over one buffer. Spans are offsets into the buffer and must lie within it; buffers stay below 4 GiB.
#[derive(Debug)]
pub struct SlabBuilder {
    slab: Slab,
}

impl SlabBuilder {
    /// Starts a batch whose bodies and headers lie in `buffer`.
    pub fn new(buffer: Bytes) -> Self {
        Self::with_capacity(buffer, 0)
    }

    /// As [`Self::new`], with room for `rows` events.
    pub fn with_capacity(buffer: Bytes, rows: usize) -> Self {
        assert!(u32::try_from(buffer.len()).is_ok(), "a slab's buffer stays below 4 GiB");
        let slab = Slab { buffer, rows: Vec::with_capacity(rows), headers: Vec::new(), ends: Vec::new() };
        Self { slab }
    }

    /// Adds a header to the next row.
    pub fn header(&mut self, key: Range<usize>, value: Range<usize>) {
        self.check(&key);
        self.check(&value);
        self.slab.headers.push(HeaderSpan {
            key: key.start as u32,
            key_len: key.len() as u32,
            value: value.start as u32,
            value_len: value.len() as u32,
        });
    }

    /// Ends a row: the headers added since the last one, and this body.
    pub fn row(&mut self, body: Range<usize>) {
        self.check(&body);
        let headers_end = self.slab.headers.len() as u32;
        self.slab.rows.push(Row { body: body.start as u32, body_len: body.len() as u32, headers_end });
    }

    /// Ends a row that has a position: `end` is the origin's offset just after it, greater than the row's before it.
    pub fn row_ending_at(&mut self, body: Range<usize>, end: u64) {
        self.row(body);
        self.slab.ends.push(end);
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.slab.rows.len()
    }

    /// Whether there is no row yet.
    pub fn is_empty(&self) -> bool {
        self.slab.rows.is_empty()
    }

    /// The finished batch.
    pub fn finish(self) -> Batch {
        let slab = self.slab;
        assert!(slab.ends.is_empty() || slab.ends.len() == slab.rows.len(), "every row has a position, or none has");
        let selection = Selection::Range(0..slab.rows.len() as u32);
        Batch { slab: Arc::new(slab), selection, overlay: None, names: Names::None, coverage: None, low_water: None }
    }

    fn check(&self, span: &Range<usize>) {
        assert!(span.start <= span.end && span.end <= self.slab.buffer.len(), "span {span:?} leaves the buffer");
    }
}

impl Batch {
    /// Builds a batch from bodies without headers: for tests, examples and small sources. Copies the bodies once.
    pub fn from_bodies<B: AsRef<[u8]>>(bodies: impl IntoIterator<Item = B>) -> Self {
        let mut buffer = Vec::new();
        let mut spans = Vec::new();
        for body in bodies {
            let start = buffer.len();
            buffer.extend_from_slice(body.as_ref());
            spans.push(start..buffer.len());
        }
        let mut builder = SlabBuilder::with_capacity(buffer.into(), spans.len());
        spans.into_iter().for_each(|span| builder.row(span));
        builder.finish()
    }
}
