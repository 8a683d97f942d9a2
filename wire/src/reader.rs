//! Reads Avro primitives from bytes that nobody vouches for.
//!
//! A [`Reader`] cannot read past its slice, never panics and never allocates. Strings and byte arrays come back as spans
//! (`Range<usize>`, offsets into the slice), so a whole frame is decoded without copying a body.

use std::ops::Range;

use crate::error::WireError;

/// A cursor over one payload. Every method takes the name of the structure being read, for the error.
///
/// # Source
/// Avro 1.11 specification, "Binary Encoding".
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Reads a zigzag `long`: 1 to 10 bytes, 7 bits each, least significant first.
    ///
    /// # Errors
    /// `Truncated`; `Number` above 64 bits.
    #[inline]
    pub fn long(&mut self, structure: &'static str) -> Result<i64, WireError> {
        let unsigned = self.unsigned(structure)?;
        Ok((unsigned >> 1) as i64 ^ -((unsigned & 1) as i64))
    }

    /// Reads a zigzag `int`.
    ///
    /// # Errors
    /// `Truncated`; `Number` above 32 bits.
    pub fn int(&mut self, structure: &'static str) -> Result<i32, WireError> {
        let offset = self.at;
        let value = self.long(structure)?;
        i32::try_from(value).map_err(|_| WireError::Number { structure, offset, bits: 32 })
    }

    /// Reads an unsigned LEB128 number, as our own metadata has it: 1 to 10 bytes.
    ///
    /// # Errors
    /// `Truncated`; `Number` above 64 bits.
    #[inline]
    pub fn unsigned(&mut self, structure: &'static str) -> Result<u64, WireError> {
        let offset = self.at;
        let rest = self.rest();
        let mut value = 0u64;
        for (index, &byte) in rest.iter().take(MAX_VARINT_BYTES).enumerate() {
            if index + 1 == MAX_VARINT_BYTES && byte > 1 {
                return Err(WireError::Number { structure, offset, bits: 64 });
            }
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(self.truncated(structure, rest.len() as u64 + 1))
    }

    /// Reads a boolean: one byte, 0 or 1.
    ///
    /// # Errors
    /// `Truncated`; `Invalid` for any other byte.
    pub fn boolean(&mut self, structure: &'static str) -> Result<bool, WireError> {
        let offset = self.at;
        match self.fixed::<1>(structure)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(WireError::Invalid { structure, offset, seen: other.into(), wanted: "0 or 1" }),
        }
    }

    /// Reads the branch number of a union or the ordinal of an enum, below `branches`.
    ///
    /// # Errors
    /// `Truncated`; `Invalid` outside `0..branches`.
    pub fn branch(&mut self, structure: &'static str, branches: i64) -> Result<i64, WireError> {
        let offset = self.at;
        let seen = self.long(structure)?;
        if (0..branches).contains(&seen) {
            return Ok(seen);
        }
        Err(WireError::Invalid { structure, offset, seen, wanted: "a branch of the schema" })
    }

    /// Reads exactly `N` bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn fixed<const N: usize>(&mut self, structure: &'static str) -> Result<[u8; N], WireError> {
        let Some(bytes) = self.rest().first_chunk::<N>() else { return Err(self.truncated(structure, N as u64)) };
        self.at += N;
        Ok(*bytes)
    }

    /// Reads `bytes` or `string`: a length, then so many bytes. UTF-8 is not checked.
    ///
    /// # Errors
    /// `Truncated`; `Invalid` for a negative length.
    #[inline]
    pub fn span(&mut self, structure: &'static str) -> Result<Range<usize>, WireError> {
        let offset = self.at;
        let seen = self.long(structure)?;
        let wanted = u64::try_from(seen).map_err(|_| WireError::Invalid {
            structure,
            offset,
            seen,
            wanted: "a length of 0 or more",
        })?;
        let left = self.remaining();
        if wanted > left as u64 {
            return Err(WireError::Truncated { structure, offset, wanted, left: left as u64 });
        }
        let start = self.at;
        self.at += wanted as usize;
        Ok(start..self.at)
    }

    /// Reads `string` and checks that it is UTF-8.
    ///
    /// # Errors
    /// As [`Self::span`], and `Text`.
    pub fn text(&mut self, structure: &'static str) -> Result<&'a str, WireError> {
        let span = self.span(structure)?;
        let start = span.start;
        std::str::from_utf8(self.bytes.get(span).unwrap_or_default())
            .map_err(|error| WireError::Text { structure, offset: start + error.valid_up_to() })
    }

    /// Reads the start of a map or array block: how many items follow, `None` after the last block. A negative count
    /// stands for its absolute value and is followed by the block's size in bytes.
    ///
    /// The count is checked against the bytes that are left: each item has at least `least_item_bytes` (1 or more).
    ///
    /// # Errors
    /// `Truncated`; `Number` for a count of -2^63; `Invalid` for a negative size.
    pub fn block(&mut self, structure: &'static str, least_item_bytes: u64) -> Result<Option<u64>, WireError> {
        let offset = self.at;
        let count = self.long(structure)?;
        if count == 0 {
            return Ok(None);
        }
        if count < 0 {
            if count == i64::MIN {
                return Err(WireError::Number { structure, offset, bits: 63 });
            }
            self.block_size(structure)?;
        }
        let wanted = count.unsigned_abs().saturating_mul(least_item_bytes.max(1));
        if wanted > self.remaining() as u64 {
            return Err(self.truncated(structure, wanted));
        }
        Ok(Some(count.unsigned_abs()))
    }

    /// Passes over exactly so many bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn skip(&mut self, structure: &'static str, bytes: usize) -> Result<(), WireError> {
        if bytes > self.remaining() {
            return Err(self.truncated(structure, bytes as u64));
        }
        self.at += bytes;
        Ok(())
    }

    /// Passes over so many bytes, or all that are left.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.at += bytes.min(self.remaining());
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// `Trailing`.
    pub fn finish(self, structure: &'static str) -> Result<(), WireError> {
        match self.remaining() as u64 {
            0 => Ok(()),
            left => Err(WireError::Trailing { structure, offset: self.at, left }),
        }
    }

    fn block_size(&mut self, structure: &'static str) -> Result<(), WireError> {
        let offset = self.at;
        let seen = self.long(structure)?;
        let size = u64::try_from(seen).map_err(|_| WireError::Invalid {
            structure,
            offset,
            seen,
            wanted: "a block size of 0 or more",
        })?;
        if size > self.remaining() as u64 {
            return Err(self.truncated(structure, size));
        }
        Ok(())
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn truncated(&self, structure: &'static str, wanted: u64) -> WireError {
        WireError::Truncated { structure, offset: self.at, wanted, left: self.remaining() as u64 }
    }
}

/// A 64-bit number in groups of 7 bits.
const MAX_VARINT_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::writer;

    proptest! {
        #[test]
        fn numbers_and_spans_survive_the_round_trip(long: i64, int: i32, unsigned: u64, bytes: Vec<u8>, flag: bool) {
            let mut out = Vec::new();
            writer::long(&mut out, long);
            writer::long(&mut out, int.into());
            writer::unsigned(&mut out, unsigned);
            writer::bytes(&mut out, &bytes);
            writer::boolean(&mut out, flag);
            let expected = writer::long_len(long) + writer::long_len(int.into()) + writer::unsigned_len(unsigned)
                + writer::bytes_len(bytes.len()) + 1;
            prop_assert_eq!(out.len(), expected);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.long("a"), Ok(long));
            prop_assert_eq!(reader.int("b"), Ok(int));
            prop_assert_eq!(reader.unsigned("c"), Ok(unsigned));
            let span = reader.span("d").unwrap();
            prop_assert_eq!(&out[span], &bytes[..]);
            prop_assert_eq!(reader.boolean("e"), Ok(flag));
            prop_assert_eq!(reader.finish("f"), Ok(()));
        }
    }

    #[test]
    fn a_number_above_64_bits_is_refused() {
        let mut bytes = [0xFF; 11];
        assert!(matches!(Reader::new(&bytes).long("n"), Err(WireError::Number { bits: 64, .. })));
        bytes[9] = 0x01;
        assert_eq!(Reader::new(&bytes).unsigned("n"), Ok(u64::MAX));
        bytes[9] = 0x02;
        assert!(matches!(Reader::new(&bytes).unsigned("n"), Err(WireError::Number { .. })));
    }

    #[test]
    fn a_block_with_a_negative_count_carries_its_size() {
        let mut out = Vec::new();
        writer::long(&mut out, -2);
        writer::long(&mut out, 4);
        out.extend([2, b'k', 2, b'v']);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.block("map", 2), Ok(Some(2)));
        assert_eq!(reader.remaining(), 4);
    }

    #[test]
    fn a_claimed_count_is_held_against_the_bytes_left() {
        for count in [1i64 << 31, -(1 << 31), i64::MAX, i64::MIN, -1] {
            let mut out = Vec::new();
            writer::long(&mut out, count);
            writer::long(&mut out, 0);
            assert!(Reader::new(&out).block("array", 2).is_err(), "{count}");
        }
    }

    #[test]
    fn negative_and_huge_lengths_are_refused() {
        for length in [-1, i64::MIN, 1 << 31, i64::MAX] {
            let mut out = Vec::new();
            writer::long(&mut out, length);
            out.push(0);
            assert!(Reader::new(&out).span("body").is_err(), "{length}");
        }
    }
}
