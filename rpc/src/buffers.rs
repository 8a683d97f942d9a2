//! Buffers of several frames, for one vectored write.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// What is still to be written, none of it empty.
#[derive(Debug, Default)]
pub(crate) struct Buffers(VecDeque<Bytes>);

impl Buffers {
    pub(crate) fn extend(&mut self, frame: Vec<Bytes>) {
        self.0.extend(frame.into_iter().filter(|buffer| !buffer.is_empty()));
    }
}

impl Buf for Buffers {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |buffer| buffer)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.0);
        filled.map(|(slice, buffer)| *slice = IoSlice::new(buffer)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.0.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advance_may_end_anywhere() {
        let mut buffers = Buffers::default();
        buffers.extend(vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"cde")]);
        assert_eq!((buffers.remaining(), buffers.chunk()), (5, &b"ab"[..]));
        buffers.advance(3);
        assert_eq!((buffers.remaining(), buffers.chunk()), (2, &b"de"[..]));
        buffers.advance(2);
        assert!(!buffers.has_remaining());
    }
}
