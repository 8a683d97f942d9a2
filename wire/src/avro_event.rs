//! `AvroSourceProtocol`: what Flume's avro sink and RPC clients send to an avro source.
//!
//! # Layout
//! | Message | Parameters | Answer |
//! |---|---|---|
//! | `append` | one event | status: enum OK 0, FAILED 1, UNKNOWN 2 |
//! | `appendBatch` | array of events | the same |
//!
//! # Source
//! `flume-ng-sdk` 1.11.0, `flume.avdl`, package `org.apache.flume.source.avro`.

use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use millstream_core::{Batch, EventRef};

use crate::avro_rpc::{Metadata, Protocol};
use crate::error::WireError;
use crate::events::{EventLimits, decode_event, decode_events, encode_event, encode_events, event_len, events_len};
use crate::names::Names;
use crate::reader::Reader;

/// The protocol with the text of Flume 1.11, whose MD5 its peers know. Every release since 1.0 has the same schema.
pub fn protocol() -> Arc<Protocol> {
    static PROTOCOL: LazyLock<Arc<Protocol>> = LazyLock::new(|| Arc::new(Protocol::new(PROTOCOL_JSON)));
    Arc::clone(&PROTOCOL)
}

/// How the server took the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Stored.
    Ok,
    /// Not stored; the client sends them again.
    Failed,
    /// Not known; no server of Flume's sends it.
    Unknown,
}

/// Message that carries one event.
pub const APPEND: &str = "append";
/// Message that carries many.
pub const APPEND_BATCH: &str = "appendBatch";

/// Encodes the parameters of `append`.
pub fn encode_append(event: EventRef<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(event_len(event));
    encode_event(&mut out, event);
    out.freeze()
}

/// Encodes the parameters of `appendBatch`, in one allocation of the exact size.
pub fn encode_append_batch(batches: &[Batch]) -> Bytes {
    let mut out = BytesMut::with_capacity(events_len(batches));
    encode_events(&mut out, batches);
    out.freeze()
}

/// Decodes the events of `message`; `None` for a message that the protocol does not have. The events are spans of
/// `params`, which they keep.
///
/// # Errors
/// What [`Reader`] reports; `TooLarge` above `limits`; `Trailing` for bytes after the parameters.
pub fn decode_params(message: &str, params: &Bytes, limits: &EventLimits) -> Result<Option<Batch>, WireError> {
    let mut reader = Reader::new(params);
    let events = match message {
        APPEND => decode_event(&mut reader, params, limits)?,
        APPEND_BATCH => decode_events(&mut reader, params, limits)?,
        _ => return Ok(None),
    };
    reader.finish("parameters")?;
    Ok(Some(events))
}

/// As [`decode_params`], the events under the names and with the low-water marks that came along in `meta`.
///
/// # Errors
/// As [`decode_params`] and [`Names::from_meta`]; `Invalid` for another number of names than of events.
pub fn decode_call(
    meta: &Metadata,
    message: &str,
    params: &Bytes,
    limits: &EventLimits,
) -> Result<Option<Batch>, WireError> {
    let Some(batch) = decode_params(message, params, limits)? else { return Ok(None) };
    Ok(Some(match Names::from_meta(meta)? {
        Some(names) => names.name(batch)?.with_low_water(names.low_water),
        None => batch,
    }))
}

// === impl Status ===

impl Status {
    /// Encodes the answer.
    pub fn encode(self) -> Bytes {
        match self {
            Self::Ok => Bytes::from_static(&[0]),
            Self::Failed => Bytes::from_static(&[2]),
            Self::Unknown => Bytes::from_static(&[4]),
        }
    }

    /// Decodes the answer.
    ///
    /// # Errors
    /// What [`Reader`] reports; `Trailing` for bytes after it.
    pub fn decode(datum: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(datum);
        let status = match reader.branch("Status", 3)? {
            0 => Self::Ok,
            1 => Self::Failed,
            _ => Self::Unknown,
        };
        reader.finish("Status")?;
        Ok(status)
    }
}

/// As `AvroSourceProtocol.PROTOCOL.toString()` gives it, licence and all.
const PROTOCOL_JSON: &str = include_str!("protocols/avro_source_protocol.json");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::events::tests::{any_events, batch_of, plain};

    proptest! {
        #[test]
        fn events_survive_the_round_trip(events in any_events()) {
            let batch = batch_of(&events);
            let limits = EventLimits::default();
            let params = encode_append_batch(std::slice::from_ref(&batch));
            prop_assert_eq!(plain(&decode_params(APPEND_BATCH, &params, &limits).unwrap().unwrap()), events.clone());
            for (index, event) in events.into_iter().enumerate() {
                let params = encode_append(batch.event(index));
                prop_assert_eq!(plain(&decode_params(APPEND, &params, &limits).unwrap().unwrap()), [event]);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Status::decode(&bytes);
            let bytes = Bytes::from(bytes);
            for message in [APPEND, APPEND_BATCH, "other"] {
                let _ = decode_params(message, &bytes, &EventLimits::default());
            }
        }
    }

    #[test]
    fn a_status_is_one_zigzag_number() {
        for status in [Status::Ok, Status::Failed, Status::Unknown] {
            assert_eq!(Status::decode(&status.encode()), Ok(status));
        }
        for wrong in [&[][..], &[1], &[6], &[0, 0]] {
            assert!(Status::decode(wrong).is_err(), "{wrong:?}");
        }
    }
}
