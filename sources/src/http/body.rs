//! Bodies of requests, read whole. What they hold, and how fast they have to come, is what [`millstream_io::memory`] says.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use millstream_io::{Memory, Share};
use tokio::time::timeout;

use super::Refusal;
use crate::socket::SHARE_BYTES;

/// Held by the bodies of all requests that are under way.
const ALL_BYTES: usize = 256 << 20;
/// Longest body where the handler does not cut it.
pub(super) const MOST_BYTES: usize = 128 << 20;
/// A small body has so long to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// A body that finds no room waits so long for it.
const ROOM_WAIT: Duration = Duration::from_secs(3);

/// Reads bodies, within bounds.
#[derive(Debug)]
pub(super) struct Bodies(Memory);

/// A body, counted for as long as it lives.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// More came than the handler takes.
    pub(super) is_cut: bool,
    _held: Share,
}

// === impl Bodies ===

impl Bodies {
    pub(super) fn new() -> Self {
        Self(Memory::new(ALL_BYTES))
    }

    /// Reads a body of at most `most_bytes`.
    ///
    /// # Errors
    /// For one that does not come, or finds no room, or is longer, unless that is passed over.
    pub(super) async fn read(&self, mut body: Incoming, most_bytes: usize, passes_over: bool) -> Result<Body, Refusal> {
        let (mut bytes, mut share, mut is_cut) = (BytesMut::new(), self.0.share(Some(PATIENCE)), false);
        if !passes_over && body.size_hint().lower() > most_bytes as u64 {
            return Err(too_large(most_bytes));
        }
        share.hold(0).await.map_err(|error| too_slow(&error))?;
        while let Some(frame) =
            share.within(async { Ok(body.frame().await) }).await.map_err(|error| too_slow(&error))?
        {
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
            let room = timeout(ROOM_WAIT, share.hold((bytes.len() + taken).saturating_sub(SHARE_BYTES))).await;
            room.map_err(|_| Refusal {
                status: StatusCode::SERVICE_UNAVAILABLE,
                text: "too many bodies are under way, send it again".into(),
            })?
            .map_err(|error| too_slow(&error))?;
            share.came(taken);
            bytes.extend_from_slice(&data[..taken]);
        }
        share.finish();
        Ok(Body { bytes: bytes.freeze(), is_cut, _held: share })
    }
}

fn too_large(most_bytes: usize) -> Refusal {
    let text = format!("expected at most {most_bytes} bytes; send the events in several requests");
    Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, text }
}

fn too_slow(error: &io::Error) -> Refusal {
    Refusal { status: StatusCode::REQUEST_TIMEOUT, text: error.to_string() }
}
