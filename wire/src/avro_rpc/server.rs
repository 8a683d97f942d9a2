//! The server's side of one connection.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::avro_rpc::{HandshakeRequest, HandshakeResponse, Match, Metadata, Protocol};
use crate::error::WireError;
use crate::reader::Reader;
use crate::writer;

/// What to do about a client whose protocol hash is not ours and who sends no text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownClient {
    /// Answer BOTH: for protocols whose schema never changed, only the spelling of their JSON did. Saves a round trip,
    /// and the client keeps the protocol that it has. Flume's and Spark's are of this kind.
    #[default]
    Accept,
    /// Answer NONE, as Java does: the client sends its call again, with the text.
    AskForProtocol,
}

/// State of one connection to a client.
#[derive(Debug)]
pub struct ServerConnection {
    protocol: Arc<Protocol>,
    unknown_client: UnknownClient,
    established: bool,
}

/// A payload that was received.
#[derive(Debug)]
pub enum Incoming {
    /// A call to execute.
    Call(Request),
    /// Nothing to execute (handshake only): send these parts as the answer.
    Answer(Vec<Bytes>),
}

/// A call, and the way to answer it.
#[derive(Debug)]
pub struct Request {
    /// Call metadata.
    pub meta: Metadata,
    /// Name of the message, as sent: it may be none of ours.
    pub message: String,
    /// The parameters, a slice of the payload.
    pub params: Bytes,
    /// Makes the answer.
    pub responder: Responder,
}

/// Makes the answer to one call, once.
#[derive(Debug)]
#[must_use = "a peer waits for the answer"]
pub struct Responder {
    /// The encoded handshake response, if the call came with a handshake.
    handshake: Option<Bytes>,
}

// === impl ServerConnection ===

impl ServerConnection {
    /// Starts a connection on which no handshake was made yet.
    pub fn new(protocol: Arc<Protocol>, unknown_client: UnknownClient) -> Self {
        Self { protocol, unknown_client, established: false }
    }

    /// Reads a received payload.
    ///
    /// # Errors
    /// What [`Reader`] reports: close the connection, since it cannot be known whether a handshake was meant.
    pub fn request(&mut self, payload: Bytes) -> Result<Incoming, WireError> {
        let mut reader = Reader::new(&payload);
        let mut handshake = None;
        if !self.established {
            let request = HandshakeRequest::decode(&mut reader, &payload)?;
            let response = self.shake(&request);
            let mut out = BytesMut::new();
            response.encode(&mut out);
            let out = out.freeze();
            if response.outcome == Match::None {
                return Ok(Incoming::Answer(vec![out]));
            }
            handshake = Some(out);
        }
        let meta = Metadata::decode(&mut reader, &payload)?;
        let message = reader.text("message name")?.to_owned();
        let params = payload.slice(reader.position()..);
        self.established = true;
        if message.is_empty() {
            // A ping: the answer is the handshake, or nothing at all.
            return Ok(Incoming::Answer(handshake.into_iter().collect()));
        }
        Ok(Incoming::Call(Request { meta, message, params, responder: Responder { handshake } }))
    }

    fn shake(&self, request: &HandshakeRequest) -> HandshakeResponse {
        let ours = self.protocol.md5();
        let accept = self.unknown_client == UnknownClient::Accept;
        let client_known = accept || request.client_hash == ours || request.client_protocol.is_some();
        // Java's first guess is that the server speaks the client's own protocol.
        let guess_holds = request.server_hash == ours || (accept && request.server_hash == request.client_hash);
        let outcome = match (client_known, guess_holds) {
            (true, true) => Match::Both,
            (true, false) => Match::Client,
            (false, _) => Match::None,
        };
        let tell = outcome != Match::Both;
        HandshakeResponse {
            outcome,
            server_protocol: tell.then(|| self.protocol.json().to_owned()),
            server_hash: tell.then_some(ours),
            meta: None,
        }
    }
}

// === impl Responder ===

impl Responder {
    /// The answer `datum`, already encoded in parts.
    pub fn ok(self, meta: &Metadata, datum: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
        let mut parts = vec![self.head(meta, false, None)];
        parts.extend(datum);
        parts
    }

    /// A failure, as text; the client throws it. Java sends the exception's `toString`.
    pub fn error(self, meta: &Metadata, message: &str) -> Vec<Bytes> {
        vec![self.head(meta, true, Some(message))]
    }

    fn head(self, meta: &Metadata, failed: bool, error: Option<&str>) -> Bytes {
        let handshake = self.handshake.unwrap_or_default();
        let error_len = error.map_or(0, |text| 1 + writer::bytes_len(text.len()));
        let mut out = BytesMut::with_capacity(handshake.len() + meta.encoded_len() + 1 + error_len);
        out.extend_from_slice(&handshake);
        meta.encode(&mut out);
        writer::boolean(&mut out, failed);
        if let Some(text) = error {
            writer::long(&mut out, SYSTEM_ERROR_BRANCH);
            writer::bytes(&mut out, text.as_bytes());
        }
        out.freeze()
    }
}

/// Errors are a union whose first branch is always the string.
const SYSTEM_ERROR_BRANCH: i64 = 0;
