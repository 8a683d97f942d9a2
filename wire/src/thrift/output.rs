//! Writes Thrift messages, each in its frame.

use bytes::BufMut;
use millstream_core::{Batch, EventRef};

use super::{APPEND, APPEND_BATCH, CALL, EXCEPTION, Encoding, REPLY, Status};
use crate::writer;

/// The call that brings one event.
pub fn encode_append(encoding: Encoding, sequence: i32, event: EventRef<'_>) -> Vec<u8> {
    framed(|out| {
        encoding.message(out, APPEND, CALL, sequence);
        encoding.field(out, 1, Type::Struct);
        encoding.event(out, event);
        out.push(STOP);
    })
}

/// The call that brings many.
pub fn encode_append_batch(encoding: Encoding, sequence: i32, batches: &[Batch]) -> Vec<u8> {
    framed(|out| {
        encoding.message(out, APPEND_BATCH, CALL, sequence);
        encoding.field(out, 1, Type::List);
        encoding.list_of_structs(out, batches.iter().map(Batch::len).sum());
        batches.iter().flat_map(Batch::iter).for_each(|event| encoding.event(out, event));
        out.push(STOP);
    })
}

/// The answer to a call.
pub fn encode_reply(encoding: Encoding, method: &str, sequence: i32, status: Status) -> Vec<u8> {
    framed(|out| {
        encoding.message(out, method, REPLY, sequence);
        encoding.field(out, 0, Type::I32);
        encoding.int(out, status as i32);
        out.push(STOP);
    })
}

/// The answer to a call that cannot be executed: Thrift's `TApplicationException`.
pub fn encode_exception(encoding: Encoding, method: &str, sequence: i32, text: &str) -> Vec<u8> {
    framed(|out| {
        encoding.message(out, method, EXCEPTION, sequence);
        encoding.field(out, 1, Type::Bytes);
        encoding.bytes(out, text.as_bytes());
        // In compact form the distance from the field before.
        encoding.field(out, if encoding == Encoding::Compact { 1 } else { 2 }, Type::I32);
        encoding.int(out, UNKNOWN_METHOD);
        out.push(STOP);
    })
}

/// Types that are written.
#[derive(Debug, Clone, Copy)]
enum Type {
    I32,
    Bytes,
    List,
    Struct,
    Map,
}

fn framed(message: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; LENGTH_BYTES];
    message(&mut out);
    let length = (out.len() - LENGTH_BYTES) as u32;
    out[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    out
}

impl Encoding {
    fn message(self, out: &mut Vec<u8>, name: &str, message: u8, sequence: i32) {
        match self {
            Self::Compact => {
                out.extend([0x82, 1 | message << 5]);
                writer::unsigned(out, (sequence as u32).into());
                self.bytes(out, name.as_bytes());
            }
            Self::Binary => {
                out.put_u32(0x8001_0000 | u32::from(message));
                self.bytes(out, name.as_bytes());
                out.put_i32(sequence);
            }
        }
    }

    /// The start of a field. In compact form `id` is the distance from the one before, 0 meaning field 0.
    fn field(self, out: &mut Vec<u8>, id: u8, kind: Type) {
        match self {
            Self::Compact if id == 0 => out.extend([kind.compact(), 0]),
            Self::Compact => out.push(id << 4 | kind.compact()),
            Self::Binary => out.extend([kind.binary(), 0, id]),
        }
    }

    fn event(self, out: &mut Vec<u8>, event: EventRef<'_>) {
        self.field(out, 1, Type::Map);
        let count = event.headers().count();
        match self {
            Self::Compact => {
                writer::unsigned(out, count as u64);
                if count > 0 {
                    out.push(Type::Bytes.compact() << 4 | Type::Bytes.compact());
                }
            }
            Self::Binary => {
                out.extend([Type::Bytes.binary(); 2]);
                out.put_u32(count as u32);
            }
        }
        for (key, value) in event.headers() {
            self.bytes(out, key);
            self.bytes(out, value);
        }
        self.field(out, if self == Self::Compact { 1 } else { 2 }, Type::Bytes);
        self.bytes(out, event.body());
        out.push(STOP);
    }

    fn list_of_structs(self, out: &mut Vec<u8>, count: usize) {
        match self {
            Self::Compact if count < 15 => out.push((count as u8) << 4 | Type::Struct.compact()),
            Self::Compact => {
                out.push(0xF0 | Type::Struct.compact());
                writer::unsigned(out, count as u64);
            }
            Self::Binary => {
                out.push(Type::Struct.binary());
                out.put_u32(count as u32);
            }
        }
    }

    fn bytes(self, out: &mut Vec<u8>, bytes: &[u8]) {
        match self {
            Self::Compact => writer::unsigned(out, bytes.len() as u64),
            Self::Binary => out.put_u32(bytes.len() as u32),
        }
        out.extend_from_slice(bytes);
    }

    fn int(self, out: &mut Vec<u8>, value: i32) {
        match self {
            Self::Compact => writer::long(out, value.into()),
            Self::Binary => out.put_i32(value),
        }
    }
}

impl Type {
    fn compact(self) -> u8 {
        match self {
            Self::I32 => 5,
            Self::Bytes => 8,
            Self::List => 9,
            Self::Map => 11,
            Self::Struct => 12,
        }
    }

    fn binary(self) -> u8 {
        match self {
            Self::I32 => 8,
            Self::Bytes => 11,
            Self::Struct => 12,
            Self::Map => 13,
            Self::List => 15,
        }
    }
}

/// Of a frame's length.
const LENGTH_BYTES: usize = 4;
/// Ends a struct.
const STOP: u8 = 0;
/// Thrift's number for a method that is not known.
const UNKNOWN_METHOD: i32 = 1;
