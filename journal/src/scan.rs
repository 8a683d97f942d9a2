//! Walking the frames of one segment, over damage.

use bytes::Bytes;
use millstream_core::Result;
use millstream_io::DiskFile;

use crate::format::{ALIGN, HEAD_LEN, Head, Seed, VOID, frame_len};

/// Bytes read at once. Larger frames are read by themselves.
const WINDOW: usize = 256 << 10;

/// Reads frames forward from a position.
#[derive(Debug)]
pub(crate) struct Scanner {
    file: Box<dyn DiskFile>,
    seed: Seed,
    position: u64,
    window: Vec<u8>,
    /// Offset of the window's first byte.
    window_at: u64,
    /// Bytes of the window that are filled.
    filled: usize,
    /// Where the file was found to end, before the end it should have.
    file_end: Option<u64>,
}

/// What stands next.
#[derive(Debug)]
pub(crate) enum Found {
    Frame {
        offset: u64,
        head: Head,
        payload: Bytes,
    },
    /// Bytes that are no frame, with a frame behind them.
    Damage {
        offset: u64,
        length: u64,
    },
    /// Bytes that are no frame, up to the end.
    Tail {
        offset: u64,
        length: u64,
    },
    End,
}

enum At {
    Frame(Head, Bytes),
    /// A hole that an earlier opening dealt with.
    Void(Head),
    /// The head is whole, the payload is not.
    BadPayload(Head),
    Nothing,
}

// === impl Scanner ===

impl Scanner {
    pub(crate) fn new(file: Box<dyn DiskFile>, seed: Seed, position: u64) -> Self {
        Self { file, seed, position, window: Vec::new(), window_at: 0, filled: 0, file_end: None }
    }

    /// Offset of what [`Self::next`] looks at.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Gives the next thing before `end` and steps over it. `end` may grow between calls, as the segment does.
    ///
    /// # Errors
    /// A failed read; the position stays.
    pub(crate) fn next(&mut self, end: u64) -> Result<Found> {
        let mut start = self.position;
        let mut at = start;
        loop {
            if start >= end {
                return Ok(Found::End);
            }
            match self.look(at, end)? {
                At::Void(head) if at == start => {
                    at += frame_len(u64::from(head.length));
                    start = at;
                    self.position = at;
                    continue;
                }
                At::Frame(head, payload) if at == start => {
                    self.position = at + frame_len(u64::from(head.length));
                    return Ok(Found::Frame { offset: at, head, payload });
                }
                At::Frame(..) | At::Void(_) => {
                    self.position = at;
                    return Ok(Found::Damage { offset: start, length: at - start });
                }
                At::BadPayload(head) => at += frame_len(u64::from(head.length)),
                At::Nothing => at += ALIGN,
            }
            if at >= end {
                self.position = end;
                return Ok(Found::Tail { offset: start, length: end - start });
            }
        }
    }

    fn look(&mut self, at: u64, end: u64) -> Result<At> {
        let seed = self.seed;
        let Some(head) = Head::decode(self.bytes(at, HEAD_LEN, end)?, seed, at) else { return Ok(At::Nothing) };
        let length = head.length as usize;
        if end - at < HEAD_LEN as u64 + u64::from(head.length) {
            return Ok(At::BadPayload(head));
        }
        if head.flags == VOID {
            return Ok(At::Void(head));
        }
        let payload = if HEAD_LEN + length > WINDOW {
            let mut payload = vec![0; length];
            let read = self.file.read_at(at + HEAD_LEN as u64, &mut payload)?;
            payload.truncate(read);
            Bytes::from(payload)
        } else {
            // A copy: a slice would keep the whole window in memory for as long as one small record lives.
            let frame = self.bytes(at, HEAD_LEN + length, end)?;
            Bytes::copy_from_slice(frame.get(HEAD_LEN..).unwrap_or_default())
        };
        if payload.len() != length || seed.payload_crc(at, [&payload[..]]) != head.payload_crc {
            return Ok(At::BadPayload(head));
        }
        Ok(At::Frame(head, payload))
    }

    /// The `length` bytes at `at`, fewer at the end. `length` is at most [`WINDOW`].
    fn bytes(&mut self, at: u64, length: usize, end: u64) -> Result<&[u8]> {
        let length = length.min((end - at) as usize);
        let inside = at >= self.window_at && at + length as u64 <= self.window_at + self.filled as u64;
        // Without this, every step over the missing end of a file would be a read.
        let missing = self.file_end.is_some_and(|file_end| at >= file_end);
        if missing {
            return Ok(&[]);
        }
        if !inside {
            let want = (end - at).min(WINDOW as u64) as usize;
            if self.window.len() < want {
                self.window.resize(want, 0);
            }
            self.filled = 0;
            self.window_at = at;
            self.filled = self.file.read_at(at, &mut self.window[..want])?;
            if self.filled < want {
                self.file_end = Some(at + self.filled as u64);
            }
        }
        let from = (at - self.window_at) as usize;
        let to = (from + length).min(self.filled);
        Ok(self.window.get(from..to).unwrap_or_default())
    }
}
