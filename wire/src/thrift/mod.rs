//! Flume's Thrift service: calls that bring events, and their answers.
//!
//! # Layout
//! Each message stands in a frame, whose length comes first: 4 bytes, most significant first. The service, in either of
//! Thrift's encodings:
//!
//! ```text
//! enum Status { OK = 0, FAILED = 1, ERROR = 2, UNKNOWN = 3 }
//! struct ThriftFlumeEvent { 1: required map<string, string> headers, 2: required binary body }
//! service ThriftSourceProtocol {
//!   Status append(1: ThriftFlumeEvent event),
//!   Status appendBatch(1: list<ThriftFlumeEvent> events),
//! }
//! ```
//!
//! Fields that are not known are passed over, as Thrift asks.
//!
//! # Source
//! `flume.thrift` (Flume 1.11); "Thrift binary protocol" and "Thrift compact protocol" (Apache Thrift 0.14).

mod input;
mod output;

use bytes::Bytes;
use millstream_core::{Batch, SlabBuilder};

use crate::error::WireError;
use crate::events::EventLimits;
use input::{Input, Kind};
pub use output::{encode_append, encode_append_batch, encode_exception, encode_reply};

/// How messages are encoded: what both sides must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Numbers take as many bytes as they need: Flume's default.
    Compact,
    /// Numbers have fixed widths.
    Binary,
}

/// Outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The events are stored.
    Ok = 0,
    /// They are not: send them again.
    Failed = 1,
    /// The server cannot go on.
    Error = 2,
    /// Nobody knows.
    Unknown = 3,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Number that the answer repeats.
    pub sequence: i32,
    /// Whether an answer is expected.
    pub is_answered: bool,
}

/// What is called.
#[derive(Debug)]
pub enum Method {
    /// One event.
    Append(Batch),
    /// Many.
    AppendBatch(Batch),
    /// None of the service's.
    Unknown(String),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Number of the call.
    pub sequence: i32,
    /// Its outcome, or the text of an exception.
    pub outcome: Result<Status, String>,
}

// === decoding ===

/// Reads a call from a frame without its length. The batch shares the frame.
///
/// # Errors
/// Where the frame is no call.
pub fn decode_call(encoding: Encoding, frame: &Bytes, limits: &EventLimits) -> Result<Call, WireError> {
    let mut input = Input::new(encoding, frame);
    let (name, message, sequence) = input.message()?;
    let is_answered = match message {
        CALL => true,
        ONE_WAY => false,
        seen => {
            let (seen, wanted) = (seen.into(), "a call");
            return Err(WireError::Invalid { structure: "thrift message type", offset: 0, seen, wanted });
        }
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let is_batch = name == APPEND_BATCH;
    if !is_batch && name != APPEND {
        return Ok(Call { method: Method::Unknown(name), sequence, is_answered });
    }
    let mut table = Table { builder: SlabBuilder::new(frame.clone()), limits, events: 0, headers: 0 };
    let mut last = 0;
    while let Some((id, kind)) = input.field(&mut last)? {
        match (id, kind) {
            (1, Kind::List) if is_batch => table.read_events(&mut input)?,
            (1, Kind::Struct) if !is_batch => table.read_event(&mut input)?,
            (_, kind) => input.skip(kind, 0)?,
        }
    }
    if !is_batch && table.events != 1 {
        return Err(WireError::Sequence { structure: "thrift append", problem: "the call has no event" });
    }
    let batch = table.builder.finish();
    input.finish()?;
    let method = if is_batch { Method::AppendBatch(batch) } else { Method::Append(batch) };
    Ok(Call { method, sequence, is_answered })
}

/// Reads an answer from a frame without its length.
///
/// # Errors
/// Where the frame is no answer.
pub fn decode_answer(encoding: Encoding, frame: &[u8]) -> Result<Answer, WireError> {
    let mut input = Input::new(encoding, frame);
    let (_, message, sequence) = input.message()?;
    let mut outcome = None;
    let mut last = 0;
    while let Some((id, kind)) = input.field(&mut last)? {
        match (message, id, kind) {
            (REPLY, 0, Kind::I32) => outcome = Some(Ok(status(input.int()?))),
            (EXCEPTION, 1, Kind::Bytes) => {
                let text = input.bytes("thrift exception")?;
                outcome = Some(Err(String::from_utf8_lossy(&frame[text]).into_owned()));
            }
            (_, _, kind) => input.skip(kind, 0)?,
        }
    }
    input.finish()?;
    match outcome {
        Some(outcome) => Ok(Answer { sequence, outcome }),
        None if message == EXCEPTION => Ok(Answer { sequence, outcome: Err(String::new()) }),
        None => Err(WireError::Sequence { structure: "thrift answer", problem: "it has no status" }),
    }
}

fn status(number: i32) -> Status {
    match number {
        0 => Status::Ok,
        1 => Status::Failed,
        2 => Status::Error,
        _ => Status::Unknown,
    }
}

fn wrong(structure: &'static str, problem: &'static str) -> WireError {
    WireError::Sequence { structure, problem }
}

/// Counts what goes into the builder.
struct Table<'a> {
    builder: SlabBuilder,
    limits: &'a EventLimits,
    events: u64,
    headers: u64,
}

impl Table<'_> {
    fn read_events(&mut self, input: &mut Input<'_>) -> Result<(), WireError> {
        let (kind, count) = input.list()?;
        if kind != Kind::Struct && count > 0 {
            return Err(wrong("thrift events", "they are no list of structs"));
        }
        for _ in 0..count {
            self.read_event(input)?;
        }
        Ok(())
    }

    fn read_event(&mut self, input: &mut Input<'_>) -> Result<(), WireError> {
        self.events += 1;
        input.check_limit("thrift events", self.events, self.limits.max_events)?;
        let (mut has_headers, mut body) = (false, None);
        let mut last = 0;
        while let Some((id, kind)) = input.field(&mut last)? {
            match (id, kind) {
                (1, Kind::Map) if !has_headers => {
                    has_headers = true;
                    self.read_headers(input)?;
                }
                (2, Kind::Bytes) => body = Some(input.bytes("event body")?),
                (_, kind) => input.skip(kind, 0)?,
            }
        }
        match body {
            Some(body) if has_headers => self.builder.row(body),
            _ => return Err(wrong("thrift event", "it lacks headers or a body")),
        }
        Ok(())
    }

    fn read_headers(&mut self, input: &mut Input<'_>) -> Result<(), WireError> {
        let (key, value, count) = input.map()?;
        if count > 0 && (key, value) != (Kind::Bytes, Kind::Bytes) {
            return Err(wrong("event headers", "they are no map of strings"));
        }
        self.headers = self.headers.saturating_add(count);
        input.check_limit("event headers", self.headers, self.limits.max_headers)?;
        for _ in 0..count {
            let key = input.bytes("event header key")?;
            self.builder.header(key, input.bytes("event header value")?);
        }
        Ok(())
    }
}

/// Method names.
const APPEND: &str = "append";
const APPEND_BATCH: &str = "appendBatch";

/// Message types.
const CALL: u8 = 1;
const REPLY: u8 = 2;
const EXCEPTION: u8 = 3;
const ONE_WAY: u8 = 4;

#[cfg(test)]
mod tests;
