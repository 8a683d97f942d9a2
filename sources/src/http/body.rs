//! Bodies of requests, read whole.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Refusal;

/// Held by the bodies of all requests that are under way.
const ALL_BYTES: usize = 256 << 20;
/// Longest body where the handler does not cut it.
const MOST_BYTES: usize = 128 << 20;
/// A peer is given up when so long nothing of a body comes.
const STALL: Duration = Duration::from_secs(60);

/// Reads bodies, within bounds.
#[derive(Debug)]
pub(super) struct Bodies(Arc<Semaphore>);

/// A body, counted for as long as it lives.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// More came than the handler takes.
    pub(super) is_cut: bool,
    _held: Option<OwnedSemaphorePermit>,
}

// === impl Bodies ===

impl Bodies {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ALL_BYTES)))
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// For one that is too large, does not come, or finds no room.
    pub(super) async fn read(&self, body: Incoming) -> Result<Body, Refusal> {
        let read = self.read_up_to(body, MOST_BYTES).await?;
        if read.is_cut {
            let text = format!("expected at most {MOST_BYTES} bytes; send the events in several requests");
            return Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, text });
        }
        Ok(read)
    }

    /// Reads a body, at most so many bytes of it; the rest is passed over.
    ///
    /// # Errors
    /// As [`Self::read`], but for its length.
    pub(super) async fn read_up_to(&self, mut body: Incoming, most_bytes: usize) -> Result<Body, Refusal> {
        let (mut bytes, mut held, mut is_cut) = (BytesMut::new(), None::<OwnedSemaphorePermit>, false);
        // A claim is believed only as far as bytes come.
        let claims_too_much = body.size_hint().lower() > most_bytes.max(MOST_BYTES) as u64;
        if claims_too_much {
            return Ok(Body { bytes: Bytes::new(), is_cut: true, _held: held });
        }
        loop {
            let frame = match timeout(STALL, body.frame()).await {
                Ok(None) => return Ok(Body { bytes: bytes.freeze(), is_cut, _held: held }),
                Ok(Some(frame)) => frame.map_err(|error| Refusal::bad(format!("the body does not come: {error}")))?,
                Err(_) => {
                    let text = format!("nothing of the body came for {} s", STALL.as_secs());
                    return Err(Refusal { status: StatusCode::REQUEST_TIMEOUT, text });
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            let taken = data.len().min(most_bytes - bytes.len());
            is_cut |= taken < data.len();
            // Of what is passed over, no more than a body's length is waited for.
            if is_cut && most_bytes == MOST_BYTES {
                return Ok(Body { bytes: Bytes::new(), is_cut, _held: held });
            }
            if taken == 0 {
                continue;
            }
            let more = Arc::clone(&self.0).try_acquire_many_owned(taken as u32).map_err(|_| Refusal {
                status: StatusCode::SERVICE_UNAVAILABLE,
                text: "too many bodies are under way, send it again".into(),
            })?;
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
            bytes.extend_from_slice(&data[..taken]);
        }
    }
}
