//! The client's side of one connection.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::avro_rpc::{HandshakeRequest, HandshakeResponse, Match, Metadata, Protocol};
use crate::error::WireError;
use crate::reader::Reader;
use crate::writer;

/// State of one connection to a server.
#[derive(Debug)]
pub struct ClientConnection {
    protocol: Arc<Protocol>,
    state: State,
    server_protocol: Option<String>,
}

#[derive(Debug)]
enum State {
    /// Nothing was sent.
    Fresh,
    /// The first call went out with a handshake; it is kept in case that the server wants it again.
    Shaking { meta: Metadata, message: String, params: Bytes, resent: bool },
    /// Calls go without handshake, any number at a time.
    Established,
}

/// What a received payload means.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call was answered.
    Answered(Response),
    /// Nothing was executed: send these parts, under a new serial.
    Resend(Vec<Bytes>),
}

/// The answer to a call.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Call metadata.
    pub meta: Metadata,
    /// The encoded answer, a slice of the payload; or the server's error, as text.
    pub result: Result<Bytes, String>,
}

// === impl ClientConnection ===

impl ClientConnection {
    /// Starts a connection on which nothing was sent yet.
    pub fn new(protocol: Arc<Protocol>) -> Self {
        Self { protocol, state: State::Fresh, server_protocol: None }
    }

    /// Whether calls may be pipelined: before that only one call may be open.
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established)
    }

    /// The server's protocol text, if it differs from ours and the server sent it.
    pub fn server_protocol(&self) -> Option<&str> {
        self.server_protocol.as_deref()
    }

    /// Makes the payload of a call, in parts; `params` is not copied. The first call carries the handshake, with the text
    /// of our protocol: about 1 KB once for each connection saves a round trip with a server of another version.
    ///
    /// # Errors
    /// `Sequence` while the first call is not answered: wait for it.
    pub fn call(&mut self, meta: Metadata, message: &str, params: Bytes) -> Result<Vec<Bytes>, WireError> {
        match self.state {
            State::Established => Ok(parts(None, &meta, message, params)),
            State::Shaking { .. } => {
                let problem = "a second call before the first was answered";
                Err(WireError::Sequence { structure: "handshake", problem })
            }
            State::Fresh => {
                let handshake = self.handshake(self.protocol.md5());
                let sent = parts(Some(&handshake), &meta, message, params.clone());
                self.state = State::Shaking { meta, message: message.to_owned(), params, resent: false };
                Ok(sent)
            }
        }
    }

    /// Reads a received payload.
    ///
    /// # Errors
    /// What [`Reader`] reports, and `Sequence` for an answer to nothing or a server that refuses our protocol twice:
    /// close the connection.
    pub fn response(&mut self, payload: Bytes) -> Result<Outcome, WireError> {
        let mut reader = Reader::new(&payload);
        if !self.is_established() {
            let response = HandshakeResponse::decode(&mut reader, &payload)?;
            if let Some(resend) = self.shake(response)? {
                return Ok(Outcome::Resend(resend));
            }
        }
        let meta = Metadata::decode(&mut reader, &payload)?;
        if !reader.boolean("error flag")? {
            let result = Ok(payload.slice(reader.position()..));
            return Ok(Outcome::Answered(Response { meta, result }));
        }
        reader.branch("error", 1)?;
        let text = reader.text("error")?.to_owned();
        reader.finish("error")?;
        Ok(Outcome::Answered(Response { meta, result: Err(text) }))
    }

    /// Follows the server's handshake; gives the parts to send again where it wants that.
    fn shake(&mut self, response: HandshakeResponse) -> Result<Option<Vec<Bytes>>, WireError> {
        let structure = "handshake";
        let State::Shaking { meta, message, params, resent } = std::mem::replace(&mut self.state, State::Fresh) else {
            return Err(WireError::Sequence { structure, problem: "an answer although nothing was asked" });
        };
        if response.server_protocol.is_some() {
            self.server_protocol = response.server_protocol;
        }
        match response.outcome {
            Match::Both | Match::Client => {
                self.state = State::Established;
                Ok(None)
            }
            Match::None if resent => {
                Err(WireError::Sequence { structure, problem: "the server refused our protocol twice" })
            }
            Match::None => {
                let handshake = self.handshake(response.server_hash.unwrap_or(self.protocol.md5()));
                let sent = parts(Some(&handshake), &meta, &message, params.clone());
                self.state = State::Shaking { meta, message, params, resent: true };
                Ok(Some(sent))
            }
        }
    }

    fn handshake(&self, server_hash: [u8; 16]) -> HandshakeRequest {
        HandshakeRequest {
            client_hash: self.protocol.md5(),
            client_protocol: Some(self.protocol.json().to_owned()),
            server_hash,
            meta: Some(Metadata::new()),
        }
    }
}

// === helpers ===

fn parts(handshake: Option<&HandshakeRequest>, meta: &Metadata, message: &str, params: Bytes) -> Vec<Bytes> {
    let mut head = BytesMut::with_capacity(meta.encoded_len() + writer::bytes_len(message.len()));
    if let Some(handshake) = handshake {
        handshake.encode(&mut head);
    }
    meta.encode(&mut head);
    writer::bytes(&mut head, message.as_bytes());
    vec![head.freeze(), params]
}
