//! Headers and frames to bytes and back. The layout is described in `docs/formats/journal.md`.

use crc32c::{crc32c, crc32c_append};

/// First bytes of every segment.
const MAGIC: [u8; 8] = *b"MSJOURNL";
/// The version written; the only one so far.
pub(crate) const VERSION: u32 = 1;
/// Bytes of one copy of the header.
pub(crate) const HEADER_LEN: usize = 64;
/// Where the first frame, the snapshot, begins: behind two copies of the header.
pub(crate) const DATA_START: u64 = 2 * HEADER_LEN as u64;
/// Bytes before the payload.
pub(crate) const HEAD_LEN: usize = 24;
/// Frames begin at multiples of this.
pub(crate) const ALIGN: u64 = 8;
/// Flag of the snapshot.
pub(crate) const SNAPSHOT: u8 = 1;
/// Flag of a frame that covers a hole: its payload is whatever was there.
pub(crate) const VOID: u8 = 2;
const PADDING: [u8; ALIGN as usize] = [0; ALIGN as usize];

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log_id: u128,
    pub(crate) segment: u64,
    /// The segment before, 0 for none.
    pub(crate) previous: u64,
    /// Where the segment before ends.
    pub(crate) previous_end: u64,
}

/// What 64 bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    Valid(Header),
    /// Intact, but of a version that this program does not know.
    Newer(u32),
    Damaged,
}

/// The start value of a segment's checksums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed(u32);

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) durable_to: u64,
    pub(crate) payload_crc: u32,
}

/// Bytes that a payload of `length` takes in a segment, head and padding included.
pub(crate) fn frame_len(length: u64) -> u64 {
    (HEAD_LEN as u64 + length).next_multiple_of(ALIGN)
}

/// The zeros behind a payload of `length`.
pub(crate) fn padding(length: u64) -> &'static [u8] {
    let end = HEAD_LEN as u64 + length;
    &PADDING[..(end.next_multiple_of(ALIGN) - end) as usize]
}

// === impl Header ===

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..32].copy_from_slice(&self.log_id.to_le_bytes());
        out[32..40].copy_from_slice(&self.segment.to_le_bytes());
        out[40..48].copy_from_slice(&self.previous.to_le_bytes());
        out[48..56].copy_from_slice(&self.previous_end.to_le_bytes());
        let crc = crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads one copy; a slice of another length than [`HEADER_LEN`] is damaged.
    pub(crate) fn decode(bytes: &[u8]) -> HeaderRead {
        if bytes.len() != HEADER_LEN || bytes[..8] != MAGIC || crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return HeaderRead::Damaged;
        }
        match u32_at(bytes, 8) {
            VERSION => HeaderRead::Valid(Self {
                log_id: u128::from(u64_at(bytes, 16)) | u128::from(u64_at(bytes, 24)) << 64,
                segment: u64_at(bytes, 32),
                previous: u64_at(bytes, 40),
                previous_end: u64_at(bytes, 48),
            }),
            newer => HeaderRead::Newer(newer),
        }
    }
}

// === impl Seed ===

impl Seed {
    pub(crate) fn new(log_id: u128, segment: u64) -> Self {
        Self(crc32c_append(crc32c(&log_id.to_le_bytes()), &segment.to_le_bytes()))
    }

    fn at(self, offset: u64) -> u32 {
        crc32c_append(self.0, &offset.to_le_bytes())
    }

    /// Checksum of a payload in one or more parts, in a frame at `offset`.
    pub(crate) fn payload_crc<'a>(self, offset: u64, parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
        parts.into_iter().fold(self.at(offset), crc32c_append)
    }
}

// === impl Head ===

impl Head {
    pub(crate) fn encode(&self, seed: Seed, offset: u64) -> [u8; HEAD_LEN] {
        let mut out = [0; HEAD_LEN];
        out[..4].copy_from_slice(&self.length.to_le_bytes());
        out[4] = self.kind;
        out[5] = self.flags;
        out[8..16].copy_from_slice(&self.durable_to.to_le_bytes());
        out[16..20].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c_append(seed.at(offset), &out[..20]);
        out[20..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the head of a frame at `offset`; `None` when there is none.
    pub(crate) fn decode(bytes: &[u8], seed: Seed, offset: u64) -> Option<Self> {
        let bytes = bytes.get(..HEAD_LEN)?;
        // Cheap tests first: this runs at every eighth byte while looking for the next frame.
        if bytes[5] > VOID || bytes[6] != 0 || bytes[7] != 0 {
            return None;
        }
        if crc32c_append(seed.at(offset), &bytes[..20]) != u32_at(bytes, 20) {
            return None;
        }
        Some(Self {
            length: u32_at(bytes, 0),
            kind: bytes[4],
            flags: bytes[5],
            durable_to: u64_at(bytes, 8),
            payload_crc: u32_at(bytes, 16),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const HEADER: Header = Header { log_id: 7 << 70 | 5, segment: 3, previous: 1, previous_end: 4096 };

    #[test]
    fn a_header_with_any_bit_flipped_is_not_read() {
        let good = HEADER.encode();
        assert_eq!(Header::decode(&good), HeaderRead::Valid(HEADER));
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad), HeaderRead::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn an_intact_header_of_a_later_version_is_told_from_damage() {
        let mut later = HEADER.encode();
        later[8] = 2;
        let crc = crc32c(&later[..60]);
        later[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&later), HeaderRead::Newer(2));
    }

    #[test]
    fn a_head_validates_only_in_its_log_its_segment_and_its_place() {
        let head = Head { length: 9, kind: 4, flags: 0, durable_to: 128, payload_crc: 77 };
        let bytes = head.encode(Seed::new(1, 2), 1024);
        assert_eq!(Head::decode(&bytes, Seed::new(1, 2), 1024), Some(head));
        assert_eq!(Head::decode(&bytes, Seed::new(1, 2), 1032), None);
        assert_eq!(Head::decode(&bytes, Seed::new(1, 3), 1024), None);
        assert_eq!(Head::decode(&bytes, Seed::new(2, 2), 1024), None);
    }

    #[test]
    fn frames_begin_at_multiples_of_eight() {
        for length in 0..40 {
            assert_eq!(frame_len(length), HEAD_LEN as u64 + length + padding(length).len() as u64);
            assert_eq!(frame_len(length) % ALIGN, 0);
        }
    }
}
