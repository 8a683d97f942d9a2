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
pub(super) const MOST_BYTES: usize = 128 << 20;
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

    /// Reads a body of at most `most_bytes`.
    ///
    /// # Errors
    /// For one that does not come, or finds no room, or is longer, unless that is passed over.
    pub(super) async fn read(&self, mut body: Incoming, most_bytes: usize, passes_over: bool) -> Result<Body, Refusal> {
        let (mut bytes, mut held, mut is_cut) = (BytesMut::new(), None::<OwnedSemaphorePermit>, false);
        if !passes_over && body.size_hint().lower() > most_bytes as u64 {
            return Err(too_large(most_bytes));
        }
        while let Some(frame) = timeout(STALL, body.frame()).await.map_err(|_| stalled())? {
            let frame = frame.map_err(|error| Refusal::bad(format!("the body does not come: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            let taken = data.len().min(most_bytes - bytes.len());
            is_cut |= taken < data.len();
            if is_cut && !passes_over {
                return Err(too_large(most_bytes));
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
        Ok(Body { bytes: bytes.freeze(), is_cut, _held: held })
    }
}

fn too_large(most_bytes: usize) -> Refusal {
    let text = format!("expected at most {most_bytes} bytes; send the events in several requests");
    Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, text }
}

fn stalled() -> Refusal {
    let text = format!("nothing of the body came for {} s", STALL.as_secs());
    Refusal { status: StatusCode::REQUEST_TIMEOUT, text }
}
