//! Reads Thrift's two encodings from bytes that nobody vouches for.

use std::ops::Range;

use super::Encoding;
use crate::error::WireError;
use crate::reader::Reader;

/// Types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Compact fields carry their value in the type.
    Flag,
    Bool,
    Byte,
    I16,
    I32,
    I64,
    Double,
    Bytes,
    Struct,
    Map,
    /// A set has the same bytes.
    List,
}

/// A cursor over one message.
#[derive(Debug)]
pub(super) struct Input<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
    reader: Reader<'a>,
}

/// Structs within structs, at most.
const MOST_DEPTH: u32 = 64;

// === impl Input ===

impl<'a> Input<'a> {
    pub(super) fn new(encoding: Encoding, bytes: &'a [u8]) -> Self {
        Self { encoding, bytes, reader: Reader::new(bytes) }
    }

    /// The start of a message: name, type, sequence number.
    pub(super) fn message(&mut self) -> Result<(&'a [u8], u8, i32), WireError> {
        match self.encoding {
            Encoding::Compact => {
                let [protocol, version] = self.reader.fixed("thrift message")?;
                if protocol != COMPACT_PROTOCOL || version & 0x1F != COMPACT_VERSION {
                    let seen = i64::from(protocol) << 8 | i64::from(version);
                    let wanted = "the compact protocol, version 1; is the other side set to binary?";
                    return Err(WireError::Invalid { structure: "thrift message", offset: 0, seen, wanted });
                }
                let sequence = self.reader.unsigned("thrift sequence")? as u32 as i32;
                let name = self.bytes("thrift method")?;
                Ok((&self.bytes[name], version >> 5, sequence))
            }
            Encoding::Binary => {
                let start = self.i32("thrift message")?;
                // Older writers have no version: the name's length comes first.
                let (name, message) = if start < 0 {
                    if start as u32 & 0xFFFF_0000 != BINARY_VERSION {
                        let wanted = "the binary protocol, version 1; is the other side set to compact?";
                        let seen = start.into();
                        return Err(WireError::Invalid { structure: "thrift message", offset: 0, seen, wanted });
                    }
                    (self.bytes("thrift method")?, start as u8)
                } else {
                    let name = self.taken("thrift method", start as u64)?;
                    (name, self.byte("thrift message")?)
                };
                Ok((&self.bytes[name], message, self.i32("thrift sequence")?))
            }
        }
    }

    /// The next field of a struct: number and type; `None` at its end. `last` is the field's number before, 0 at first.
    pub(super) fn field(&mut self, last: &mut i16) -> Result<Option<(i16, Kind)>, WireError> {
        let byte = self.byte("thrift field")?;
        match self.encoding {
            Encoding::Compact => {
                if byte & 0x0F == 0 {
                    return Ok(None);
                }
                let kind = self.compact_kind(byte & 0x0F)?;
                let kind = if kind == Kind::Bool { Kind::Flag } else { kind };
                *last = match byte >> 4 {
                    0 => self.reader.int("thrift field")? as i16,
                    delta => last.wrapping_add(i16::from(delta)),
                };
                Ok(Some((*last, kind)))
            }
            Encoding::Binary => {
                if byte == 0 {
                    return Ok(None);
                }
                let kind = self.binary_kind(byte)?;
                Ok(Some((i16::from_be_bytes(self.reader.fixed("thrift field")?), kind)))
            }
        }
    }

    /// The start of a list: type and count of its items, which is no more than the bytes that are left.
    pub(super) fn list(&mut self) -> Result<(Kind, u64), WireError> {
        let byte = self.byte("thrift list")?;
        let (kind, count) = match self.encoding {
            Encoding::Compact => {
                let kind = self.compact_kind(byte & 0x0F)?;
                let count = match byte >> 4 {
                    15 => self.reader.unsigned("thrift list")?,
                    few => few.into(),
                };
                (kind, count)
            }
            Encoding::Binary => (self.binary_kind(byte)?, self.length("thrift list")?),
        };
        self.check_left("thrift list", count)?;
        Ok((kind, count))
    }

    /// The start of a map: types of keys and values, count of its entries.
    pub(super) fn map(&mut self) -> Result<(Kind, Kind, u64), WireError> {
        let (key, value, count) = match self.encoding {
            Encoding::Compact => {
                let count = self.reader.unsigned("thrift map")?;
                if count == 0 {
                    return Ok((Kind::Bytes, Kind::Bytes, 0));
                }
                let kinds = self.byte("thrift map")?;
                (self.compact_kind(kinds >> 4)?, self.compact_kind(kinds & 0x0F)?, count)
            }
            Encoding::Binary => {
                let [key, value] = self.reader.fixed("thrift map")?;
                let count = self.length("thrift map")?;
                if count == 0 {
                    // Writers leave the types of an empty map open.
                    return Ok((Kind::Bytes, Kind::Bytes, 0));
                }
                (self.binary_kind(key)?, self.binary_kind(value)?, count)
            }
        };
        self.check_left("thrift map", count.saturating_mul(2))?;
        Ok((key, value, count))
    }

    /// A string or binary.
    pub(super) fn bytes(&mut self, structure: &'static str) -> Result<Range<usize>, WireError> {
        let length = match self.encoding {
            Encoding::Compact => self.reader.unsigned(structure)?,
            Encoding::Binary => self.length(structure)?,
        };
        self.taken(structure, length)
    }

    /// A 32 bit number.
    pub(super) fn int(&mut self) -> Result<i32, WireError> {
        match self.encoding {
            Encoding::Compact => self.reader.int("thrift number"),
            Encoding::Binary => self.i32("thrift number"),
        }
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, kind: Kind, depth: u32) -> Result<(), WireError> {
        const STRUCTURE: &str = "unknown thrift field";
        if depth >= MOST_DEPTH {
            let (claimed, limit) = (depth.into(), MOST_DEPTH.into());
            return Err(WireError::TooLarge { structure: STRUCTURE, offset: self.reader.position(), claimed, limit });
        }
        let is_compact = self.encoding == Encoding::Compact;
        match kind {
            Kind::Flag => {}
            Kind::Bool | Kind::Byte => _ = self.byte(STRUCTURE)?,
            Kind::I16 | Kind::I32 | Kind::I64 if is_compact => _ = self.reader.unsigned(STRUCTURE)?,
            Kind::I16 => _ = self.reader.fixed::<2>(STRUCTURE)?,
            Kind::I32 => _ = self.reader.fixed::<4>(STRUCTURE)?,
            Kind::I64 | Kind::Double => _ = self.reader.fixed::<8>(STRUCTURE)?,
            Kind::Bytes => _ = self.bytes(STRUCTURE)?,
            Kind::Struct => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
            }
            Kind::Map => {
                let (key, value, count) = self.map()?;
                for _ in 0..count {
                    self.skip(key, depth + 1)?;
                    self.skip(value, depth + 1)?;
                }
            }
            Kind::List => {
                let (kind, count) = self.list()?;
                for _ in 0..count {
                    self.skip(kind, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// Checks that nothing is left.
    pub(super) fn finish(self) -> Result<(), WireError> {
        self.reader.finish("thrift message")
    }

    /// # Errors
    /// When there are more than the limit allows.
    pub(super) fn check_limit(&self, structure: &'static str, claimed: u64, limit: u64) -> Result<(), WireError> {
        match claimed <= limit {
            true => Ok(()),
            false => Err(WireError::TooLarge { structure, offset: self.reader.position(), claimed, limit }),
        }
    }

    fn check_left(&self, structure: &'static str, wanted: u64) -> Result<(), WireError> {
        let left = self.reader.remaining() as u64;
        match wanted <= left {
            true => Ok(()),
            false => Err(WireError::Truncated { structure, offset: self.reader.position(), wanted, left }),
        }
    }

    fn taken(&mut self, structure: &'static str, length: u64) -> Result<Range<usize>, WireError> {
        self.check_left(structure, length)?;
        let start = self.reader.position();
        let end = start + length as usize;
        self.reader.advance(length as usize);
        Ok(start..end)
    }

    fn byte(&mut self, structure: &'static str) -> Result<u8, WireError> {
        self.reader.fixed::<1>(structure).map(|[byte]| byte)
    }

    fn i32(&mut self, structure: &'static str) -> Result<i32, WireError> {
        self.reader.fixed(structure).map(i32::from_be_bytes)
    }

    /// Of a binary string, list or map.
    fn length(&mut self, structure: &'static str) -> Result<u64, WireError> {
        let offset = self.reader.position();
        let seen = self.i32(structure)?;
        let wanted = "a length of 0 or more";
        u64::try_from(seen).map_err(|_| WireError::Invalid { structure, offset, seen: seen.into(), wanted })
    }

    fn compact_kind(&self, number: u8) -> Result<Kind, WireError> {
        Ok(match number {
            1 | 2 => Kind::Bool,
            3 => Kind::Byte,
            4 => Kind::I16,
            5 => Kind::I32,
            6 => Kind::I64,
            7 => Kind::Double,
            8 => Kind::Bytes,
            9 | 10 => Kind::List,
            11 => Kind::Map,
            12 => Kind::Struct,
            _ => return Err(self.unknown_kind(number)),
        })
    }

    fn binary_kind(&self, number: u8) -> Result<Kind, WireError> {
        Ok(match number {
            2 => Kind::Bool,
            3 => Kind::Byte,
            4 => Kind::Double,
            6 => Kind::I16,
            8 => Kind::I32,
            10 => Kind::I64,
            11 => Kind::Bytes,
            12 => Kind::Struct,
            13 => Kind::Map,
            14 | 15 => Kind::List,
            _ => return Err(self.unknown_kind(number)),
        })
    }

    fn unknown_kind(&self, number: u8) -> WireError {
        let offset = self.reader.position();
        WireError::Invalid { structure: "thrift type", offset, seen: number.into(), wanted: "a type of the protocol" }
    }
}

const COMPACT_PROTOCOL: u8 = 0x82;
const COMPACT_VERSION: u8 = 1;
const BINARY_VERSION: u32 = 0x8001_0000;
