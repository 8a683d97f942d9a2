//! Call metadata: a map of bytes that travels with every request and answer, and that every peer ignores if unknown.

use bytes::{BufMut, Bytes};

use crate::error::WireError;
use crate::reader::Reader;
use crate::writer;

/// Call metadata, in the order of the wire. Values are slices of the received payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    entries: Vec<(String, Bytes)>,
}

impl Metadata {
    /// No entries: what foreign peers send.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of `key`; the last one, should a peer repeat it.
    pub fn value(&self, key: &str) -> Option<&Bytes> {
        self.entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Adds an entry, or replaces its value.
    pub fn insert(&mut self, key: &str, value: impl Into<Bytes>) {
        let value = value.into();
        match self.entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key.to_owned(), value)),
        }
    }

    /// Bytes that [`Self::encode`] writes.
    pub fn encoded_len(&self) -> usize {
        let entries: usize =
            self.entries.iter().map(|(key, value)| writer::bytes_len(key.len()) + writer::bytes_len(value.len())).sum();
        if entries == 0 { 1 } else { writer::long_len(self.entries.len() as i64) + entries + 1 }
    }

    /// Writes the map as one block.
    pub fn encode(&self, out: &mut impl BufMut) {
        if !self.entries.is_empty() {
            writer::long(out, self.entries.len() as i64);
            for (key, value) in &self.entries {
                writer::bytes(out, key.as_bytes());
                writer::bytes(out, value);
            }
        }
        writer::long(out, 0);
    }

    /// Reads a map from `reader`, which must read `payload`.
    ///
    /// # Errors
    /// What [`Reader`] reports; `TooLarge` above 256 entries.
    pub fn decode(reader: &mut Reader<'_>, payload: &Bytes) -> Result<Self, WireError> {
        let mut entries = Vec::new();
        while let Some(count) = reader.block("call metadata", 2)? {
            let claimed = (entries.len() as u64).saturating_add(count);
            if claimed > MAX_ENTRIES {
                let (structure, offset) = ("call metadata", reader.position());
                return Err(WireError::TooLarge { structure, offset, claimed, limit: MAX_ENTRIES });
            }
            for _ in 0..count {
                let key = reader.text("call metadata key")?.to_owned();
                entries.push((key, payload.slice(reader.span("call metadata value")?)));
            }
        }
        Ok(Self { entries })
    }
}

/// Far above the handful that anyone sends.
const MAX_ENTRIES: u64 = 256;
