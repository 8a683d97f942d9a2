//! `SparkFlumeProtocol`: a client polls batches of events from a sink, and says for each whether it is safe.
//!
//! # Layout
//! | Message | Parameters | Answer |
//! |---|---|---|
//! | `getEventBatch` | n: int, most events wanted | errorMsg: string · sequenceNumber: string · events: array |
//! | `ack`, `nack` | sequenceNumber: string | null: no bytes |
//!
//! # Delivery
//! A batch with an `errorMsg` has no events and must be neither acked nor nacked. A valid batch may be empty. A sequence
//! number that the sink does not know is ignored, and answered.
//!
//! # Source
//! `spark-streaming-flume-sink` 2.4.7, `sparkflume.avdl`, package `org.apache.spark.streaming.flume.sink`.

use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use millstream_core::Batch;

use crate::avro_rpc::Protocol;
use crate::error::WireError;
use crate::events::{EventLimits, decode_events, encode_events, events_len};
use crate::reader::Reader;
use crate::writer;

/// The protocol with the text of Spark 2.x, whose MD5 its peers know. Other releases have the same schema.
pub fn protocol() -> Arc<Protocol> {
    static PROTOCOL: LazyLock<Arc<Protocol>> = LazyLock::new(|| Arc::new(Protocol::new(PROTOCOL_JSON)));
    Arc::clone(&PROTOCOL)
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Hands out up to `n` events; the answer may wait until there are some.
    GetEventBatch {
        /// Most events wanted, as sent: it may be 0 or negative.
        n: i32,
    },
    /// The batch is safe: commit it.
    Ack {
        /// Which batch.
        sequence_number: String,
    },
    /// The batch was not stored: give it back.
    Nack {
        /// Which batch.
        sequence_number: String,
    },
}

/// The answer to `getEventBatch`.
#[derive(Debug, Clone)]
pub struct EventBatch {
    /// Why there is no batch; empty when there is one.
    pub error_msg: String,
    /// What to ack or nack.
    pub sequence_number: String,
    /// The events, in the received payload.
    pub events: Batch,
}

// === impl Call ===

impl Call {
    /// Name of the message.
    pub fn message(&self) -> &'static str {
        match self {
            Self::GetEventBatch { .. } => GET_EVENT_BATCH,
            Self::Ack { .. } => ACK,
            Self::Nack { .. } => NACK,
        }
    }

    /// Encodes the parameters.
    pub fn encode_params(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::GetEventBatch { n } => writer::long(&mut out, (*n).into()),
            Self::Ack { sequence_number } | Self::Nack { sequence_number } => {
                writer::bytes(&mut out, sequence_number.as_bytes());
            }
        }
        out.freeze()
    }

    /// Decodes the parameters of `message`; `None` for a message that the protocol does not have.
    ///
    /// # Errors
    /// What [`Reader`] reports; `Trailing` for bytes after the parameters.
    pub fn decode(message: &str, params: &[u8]) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(params);
        let call = match message {
            GET_EVENT_BATCH => Self::GetEventBatch { n: reader.int("getEventBatch n")? },
            ACK => Self::Ack { sequence_number: reader.text("ack sequenceNumber")?.to_owned() },
            NACK => Self::Nack { sequence_number: reader.text("nack sequenceNumber")?.to_owned() },
            _ => return Ok(None),
        };
        reader.finish("parameters")?;
        Ok(Some(call))
    }
}

// === answers ===

/// Encodes a batch to hand out, in one allocation of the exact size.
pub fn encode_event_batch(sequence_number: &str, batches: &[Batch]) -> Bytes {
    encode("", sequence_number, batches)
}

/// Encodes an error batch: no sequence number, no events.
pub fn encode_error_batch(error_msg: &str) -> Bytes {
    encode(error_msg, "", &[])
}

/// Decodes the answer to `getEventBatch`. The events are spans of `datum`, which they keep.
///
/// # Errors
/// What [`Reader`] reports; `TooLarge` above `limits`; `Trailing` for bytes after the batch.
pub fn decode_event_batch(datum: &Bytes, limits: &EventLimits) -> Result<EventBatch, WireError> {
    let mut reader = Reader::new(datum);
    let error_msg = reader.text("EventBatch errorMsg")?.to_owned();
    let sequence_number = reader.text("EventBatch sequenceNumber")?.to_owned();
    let events = decode_events(&mut reader, datum, limits)?;
    reader.finish("EventBatch")?;
    Ok(EventBatch { error_msg, sequence_number, events })
}

/// Checks the answer to `ack` and `nack`: null, so no bytes.
///
/// # Errors
/// `Trailing`.
pub fn decode_null(datum: &[u8]) -> Result<(), WireError> {
    Reader::new(datum).finish("null")
}

fn encode(error_msg: &str, sequence_number: &str, batches: &[Batch]) -> Bytes {
    let texts = writer::bytes_len(error_msg.len()) + writer::bytes_len(sequence_number.len());
    let mut out = BytesMut::with_capacity(texts + events_len(batches));
    writer::bytes(&mut out, error_msg.as_bytes());
    writer::bytes(&mut out, sequence_number.as_bytes());
    encode_events(&mut out, batches);
    out.freeze()
}

const GET_EVENT_BATCH: &str = "getEventBatch";
const ACK: &str = "ack";
const NACK: &str = "nack";
/// As `SparkFlumeProtocol.PROTOCOL.toString()` gives it, licence and all.
const PROTOCOL_JSON: &str = include_str!("protocols/spark_flume_protocol.json");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::events::tests::{any_events, batch_of, plain};

    proptest! {
        #[test]
        fn calls_survive_the_round_trip(n: i32, sequence_number in ".{0,20}") {
            let acked = sequence_number.clone();
            let calls = [Call::GetEventBatch { n }, Call::Ack { sequence_number: acked }, Call::Nack { sequence_number }];
            for call in calls {
                prop_assert_eq!(Call::decode(call.message(), &call.encode_params()), Ok(Some(call)));
            }
        }

        #[test]
        fn batches_survive_the_round_trip(sequence_number in ".{0,20}", events in any_events()) {
            let datum = encode_event_batch(&sequence_number, &[batch_of(&events)]);
            let batch = decode_event_batch(&datum, &EventLimits::default()).unwrap();
            prop_assert_eq!((batch.error_msg, batch.sequence_number), (String::new(), sequence_number));
            prop_assert_eq!(plain(&batch.events), events);
            for end in 0..datum.len() {
                prop_assert!(decode_event_batch(&datum.slice(..end), &EventLimits::default()).is_err());
            }
        }

        #[test]
        fn error_batches_survive_the_round_trip(error_msg in ".{0,60}") {
            let batch = decode_event_batch(&encode_error_batch(&error_msg), &EventLimits::default()).unwrap();
            prop_assert_eq!((batch.error_msg, batch.sequence_number.as_str(), batch.events.len()), (error_msg, "", 0));
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            for message in [GET_EVENT_BATCH, ACK, NACK, "other"] {
                let _ = Call::decode(message, &bytes);
            }
            let _ = decode_event_batch(&bytes.into(), &EventLimits::default());
        }
    }

    #[test]
    fn an_error_batch_has_no_events() {
        let datum = encode_error_batch("Spark sink has been stopped!");
        let batch = decode_event_batch(&datum, &EventLimits::default()).unwrap();
        assert_eq!(batch.error_msg, "Spark sink has been stopped!");
        assert!(batch.sequence_number.is_empty() && batch.events.is_empty());
    }

    #[test]
    fn bytes_after_the_parameters_are_refused() {
        assert!(matches!(Call::decode(ACK, b"\x02ab"), Err(WireError::Trailing { .. })));
        assert_eq!(Call::decode("append", b""), Ok(None));
    }
}
