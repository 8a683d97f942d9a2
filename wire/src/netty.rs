//! Framing of Avro's Netty transceiver: a serial number and a list of buffers, which together are one payload.
//!
//! # Layout
//! | Size | Field | Encoding |
//! |---|---|---|
//! | 4 | serial, chosen by the client, repeated in the answer | big endian |
//! | 4 | n, number of buffers, 1 or more | big endian |
//! | n times: 4 + L | length L, then L bytes | big endian |
//!
//! Where one buffer ends and the next starts means nothing: Java cuts at 8 KiB, in the middle of a number if need be.
//!
//! # Source
//! `org.apache.avro.ipc.NettyTransportCodec` (Avro 1.7 to 1.11, later `org.apache.avro.ipc.netty`).

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::WireError;

/// What a peer may send in one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest payload, in bytes. Default 64 MiB: Java has no limit, and its largest usual batch is below 1 MiB.
    pub max_frame_bytes: usize,
    /// Most buffers. Default 65,536: eight times what Java needs for 64 MiB in 8 KiB pieces.
    pub max_buffers: u32,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { max_frame_bytes: 64 << 20, max_buffers: 1 << 16 }
    }
}

/// One received payload, its buffers joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Matches an answer with its request.
    pub serial: u32,
    /// The joined buffers.
    pub payload: Bytes,
}

/// Takes received chunks as they come and gives whole frames. After an error the connection cannot go on.
#[derive(Debug)]
pub struct FrameDecoder {
    limits: FrameLimits,
    /// Chunks not consumed yet, each with the length that it had when pushed.
    chunks: VecDeque<(Bytes, usize)>,
    /// Bytes of the fixed-size field being collected.
    field: [u8; HEAD_BYTES],
    field_len: usize,
    state: State,
    /// What came of the current frame's payload, unless it was shared.
    joined: Vec<u8>,
    /// The whole payload as a slice of one chunk, where that was possible.
    shared: Option<Bytes>,
    /// Bytes of the current frame consumed, for error offsets.
    frame_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Length { serial: u32, buffers_left: u32 },
    Body { serial: u32, buffers_left: u32, bytes_left: usize },
}

// === impl FrameDecoder ===

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new(FrameLimits::default())
    }
}

impl FrameDecoder {
    /// Starts between two frames.
    pub fn new(limits: FrameLimits) -> Self {
        Self {
            limits,
            chunks: VecDeque::new(),
            field: [0; HEAD_BYTES],
            field_len: 0,
            state: State::Head,
            joined: Vec::new(),
            shared: None,
            frame_bytes: 0,
        }
    }

    /// Adds bytes as read from the socket. Ask for frames until there is none before pushing more: chunks are kept. A chunk
    /// should own no more memory than its length, since a large payload may stay a slice of it.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            let len = chunk.len();
            self.chunks.push_back((chunk, len));
        }
    }

    /// Whether the connection may end here without cutting a frame.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Head) && self.field_len == 0 && self.chunks.is_empty()
    }

    /// The next whole frame, `None` until more bytes are pushed.
    ///
    /// A payload that came in one buffer within one chunk, and is at least half of it, is a slice of the chunk; any other
    /// is copied, so that a small payload does not keep a large chunk. Memory grows with what was received, never with
    /// what a length claims.
    ///
    /// # Errors
    /// `Invalid` for no buffers, `TooLarge` above the limits: close the connection.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            match self.state {
                State::Head => {
                    let Some(head) = self.collect::<HEAD_BYTES>() else { return Ok(None) };
                    self.state = self.read_head(head)?;
                }
                State::Length { serial, buffers_left: 0 } => {
                    self.state = State::Head;
                    return Ok(Some(Frame { serial, payload: self.take_payload() }));
                }
                State::Length { serial, buffers_left } => {
                    let Some(length) = self.collect::<LENGTH_BYTES>() else { return Ok(None) };
                    let bytes_left = self.read_length(length)?;
                    self.state = State::Body { serial, buffers_left, bytes_left };
                }
                State::Body { serial, buffers_left, bytes_left: 0 } => {
                    self.state = State::Length { serial, buffers_left: buffers_left - 1 };
                }
                State::Body { serial, buffers_left, bytes_left } => {
                    let Some(taken) = self.take_body(bytes_left, buffers_left == 1) else { return Ok(None) };
                    self.state = State::Body { serial, buffers_left, bytes_left: bytes_left - taken };
                }
            }
        }
    }

    fn read_head(&mut self, head: [u8; HEAD_BYTES]) -> Result<State, WireError> {
        let mut head = &head[..];
        let (serial, buffers_left) = (head.get_u32(), head.get_u32());
        if buffers_left == 0 {
            let structure = "netty frame: number of buffers";
            return Err(WireError::Invalid { structure, offset: LENGTH_BYTES, seen: 0, wanted: "1 or more" });
        }
        let limit = self.limits.max_buffers;
        if buffers_left > limit {
            return Err(WireError::TooLarge {
                structure: "netty frame: number of buffers",
                offset: LENGTH_BYTES,
                claimed: buffers_left.into(),
                limit: limit.into(),
            });
        }
        Ok(State::Length { serial, buffers_left })
    }

    fn read_length(&self, length: [u8; LENGTH_BYTES]) -> Result<usize, WireError> {
        let claimed = u64::from(u32::from_be_bytes(length));
        let limit = (self.limits.max_frame_bytes - self.joined.len()) as u64;
        if claimed > limit {
            let offset = self.frame_bytes - LENGTH_BYTES;
            return Err(WireError::TooLarge { structure: "netty frame: buffer", offset, claimed, limit });
        }
        Ok(claimed as usize)
    }

    /// Gathers a field of `N` bytes over as many chunks as it takes.
    fn collect<const N: usize>(&mut self) -> Option<[u8; N]> {
        while self.field_len < N {
            let piece = self.take_chunk(N - self.field_len)?.0;
            self.field.get_mut(self.field_len..self.field_len + piece.len())?.copy_from_slice(&piece);
            self.field_len += piece.len();
        }
        self.field_len = 0;
        self.field.first_chunk::<N>().copied()
    }

    /// Moves what the first chunk has of a buffer into the payload; says how much.
    fn take_body(&mut self, wanted: usize, last: bool) -> Option<usize> {
        let (piece, chunk_len) = self.take_chunk(wanted)?;
        let taken = piece.len();
        let whole = last && taken == wanted && self.joined.is_empty();
        if whole && taken.saturating_mul(2) >= chunk_len {
            self.shared = Some(piece);
        } else {
            if self.joined.is_empty() {
                self.joined.reserve(wanted.min(READ_AHEAD_BYTES));
            }
            self.joined.extend_from_slice(&piece);
        }
        Some(taken)
    }

    /// Up to `limit` bytes of the first chunk, and the length with which that chunk was pushed.
    fn take_chunk(&mut self, limit: usize) -> Option<(Bytes, usize)> {
        let (chunk, len) = self.chunks.front_mut()?;
        let (piece, len) = (chunk.split_to(limit.min(chunk.len())), *len);
        if chunk.is_empty() {
            self.chunks.pop_front();
        }
        self.frame_bytes += piece.len();
        Some((piece, len))
    }

    fn take_payload(&mut self) -> Bytes {
        self.frame_bytes = 0;
        if let Some(shared) = self.shared.take() {
            return shared;
        }
        let mut joined = std::mem::take(&mut self.joined);
        // The batch decoded from it counts its length as memory, so the slack of growing must not stay.
        if joined.capacity() - joined.len() > joined.len() / 4 {
            joined.shrink_to_fit();
        }
        joined.into()
    }
}

// === encoding ===

/// Frames a payload given in parts, for a vectored write. Each part becomes one buffer and is not copied; a part above
/// 1 GiB becomes several.
pub fn encode_frame(serial: u32, parts: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    let mut buffers: Vec<Bytes> = Vec::new();
    for mut part in parts {
        while part.len() > MAX_BUFFER_BYTES {
            buffers.push(part.split_to(MAX_BUFFER_BYTES));
        }
        if !part.is_empty() {
            buffers.push(part);
        }
    }
    if buffers.is_empty() {
        buffers.push(Bytes::new()); // Java never answers a frame without buffers.
    }
    let mut fields = BytesMut::with_capacity(HEAD_BYTES + buffers.len() * LENGTH_BYTES);
    fields.put_u32(serial);
    fields.put_u32(buffers.len() as u32);
    buffers.iter().for_each(|buffer| fields.put_u32(buffer.len() as u32));
    let mut fields = fields.freeze();
    let mut out = Vec::with_capacity(buffers.len() * 2);
    for (index, buffer) in buffers.into_iter().enumerate() {
        out.push(fields.split_to(if index == 0 { HEAD_BYTES + LENGTH_BYTES } else { LENGTH_BYTES }));
        out.push(buffer);
    }
    out
}

/// Serial and number of buffers.
const HEAD_BYTES: usize = 8;
/// One length.
const LENGTH_BYTES: usize = 4;
/// Memory taken on the word of a length: what a connection may cost before it sent anything.
const READ_AHEAD_BYTES: usize = 64 << 10;
/// Java's lengths are signed, and it allocates a buffer whole.
const MAX_BUFFER_BYTES: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(serial: u32, parts: &[Vec<u8>]) -> Vec<u8> {
        encode_frame(serial, parts.iter().cloned().map(Bytes::from)).concat()
    }

    proptest! {
        #[test]
        fn frames_survive_any_buffers_and_any_chunks(
            frames in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<Vec<u8>>(), 0..4)), 1..5),
            chunk_len in 1usize..64,
        ) {
            let wire: Vec<u8> = frames.iter().flat_map(|(serial, parts)| joined(*serial, parts)).collect();
            let mut decoder = FrameDecoder::default();
            let mut seen = Vec::new();
            for chunk in wire.chunks(chunk_len) {
                decoder.push(Bytes::copy_from_slice(chunk));
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push((frame.serial, frame.payload.to_vec()));
                }
            }
            let sent: Vec<_> = frames.into_iter().map(|(serial, parts)| (serial, parts.concat())).collect();
            prop_assert_eq!(seen, sent);
            prop_assert!(decoder.is_between_frames());
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let mut decoder = FrameDecoder::new(FrameLimits { max_frame_bytes: 1 << 10, max_buffers: 4 });
            decoder.push(bytes.into());
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }

    #[test]
    fn a_frame_is_the_example_of_the_documentation() {
        assert_eq!(joined(1, &[b"abc".to_vec()]), [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, b'a', b'b', b'c']);
    }

    #[test]
    fn claimed_sizes_are_refused_before_anything_is_kept() {
        for (buffers, length) in [(0u32, 0u32), (u32::MAX, 0), (1 << 31, 1), (1, 1 << 31), (1, u32::MAX), (1, 65 << 20)]
        {
            let mut decoder = FrameDecoder::default();
            decoder.push([&7u32.to_be_bytes()[..], &buffers.to_be_bytes(), &length.to_be_bytes()].concat().into());
            assert!(decoder.next_frame().is_err(), "{buffers} {length}");
            assert_eq!(decoder.joined.capacity(), 0);
        }
    }

    #[test]
    fn the_limit_counts_all_buffers_of_a_frame() {
        let mut decoder = FrameDecoder::new(FrameLimits { max_frame_bytes: 5, max_buffers: 9 });
        decoder.push(joined(1, &[vec![1; 3], vec![2; 3]]).into());
        let error = decoder.next_frame().unwrap_err();
        assert_eq!(error.to_string(), "netty frame: buffer at byte 15: 3 exceeds the limit of 2");
    }

    #[test]
    fn a_large_claim_takes_little_memory_until_bytes_come() {
        let mut decoder = FrameDecoder::default();
        decoder
            .push([&7u32.to_be_bytes()[..], &1u32.to_be_bytes(), &(60u32 << 20).to_be_bytes(), &[1]].concat().into());
        assert_eq!(decoder.next_frame(), Ok(None));
        assert!(decoder.joined.capacity() <= READ_AHEAD_BYTES);
        assert!(!decoder.is_between_frames());
    }

    #[test]
    fn a_payload_is_shared_with_its_chunk_only_if_it_is_most_of_it() {
        let mut wire = joined(1, &[vec![1; 1000]]);
        wire.extend(joined(2, &[vec![2; 10]]));
        let chunk = Bytes::from(wire);
        let range = chunk.as_ptr_range();
        let mut decoder = FrameDecoder::default();
        decoder.push(chunk.clone());
        let large = decoder.next_frame().unwrap().unwrap().payload;
        let small = decoder.next_frame().unwrap().unwrap().payload;
        assert!(range.contains(&large.as_ptr()), "copied");
        assert!(!range.contains(&small.as_ptr()), "shared");
    }
}
