//! Writes Avro primitives into any growing buffer (`Vec<u8>`, `BytesMut`), and says beforehand how long each will be.

use bytes::BufMut;

/// Writes a zigzag `long` (an `int` has the same bytes).
#[inline]
pub fn long(out: &mut impl BufMut, value: i64) {
    unsigned(out, zigzag(value));
}

/// Writes an unsigned LEB128 number.
#[inline]
pub fn unsigned(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes a boolean.
pub fn boolean(out: &mut impl BufMut, value: bool) {
    out.put_u8(value.into());
}

/// Writes `bytes` or `string`: the length, then the bytes.
#[inline]
pub fn bytes(out: &mut impl BufMut, value: &[u8]) {
    long(out, value.len() as i64);
    out.put_slice(value);
}

/// Bytes that [`long`] writes.
#[inline]
pub fn long_len(value: i64) -> usize {
    unsigned_len(zigzag(value))
}

/// Bytes that [`unsigned`] writes: one for each 7 bits.
#[inline]
pub fn unsigned_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Bytes that [`bytes()`] writes for a value of `len` bytes.
#[inline]
pub fn bytes_len(len: usize) -> usize {
    long_len(len as i64) + len
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longs_have_the_bytes_of_the_specification() {
        for (value, expected) in [(0, &[0x00][..]), (-1, &[0x01]), (1, &[0x02]), (-64, &[0x7F]), (64, &[0x80, 0x01])] {
            let mut out = Vec::new();
            long(&mut out, value);
            assert_eq!(out, expected, "{value}");
            assert_eq!(long_len(value), expected.len());
        }
    }
}
