//! The handshake: two peers learn each other's protocol, by MD5 where they can and by text where they must.
//!
//! # Layout
//! | Request field | Encoding | Response field | Encoding |
//! |---|---|---|---|
//! | clientHash | 16 bytes | match | enum BOTH 0, CLIENT 1, NONE 2 |
//! | clientProtocol | union {null, string} | serverProtocol | union {null, string} |
//! | serverHash | 16 bytes | serverHash | union {null, 16 bytes} |
//! | meta | union {null, map of bytes} | meta | union {null, map of bytes} |

use std::borrow::Cow;

use bytes::{BufMut, Bytes};
use md5::{Digest, Md5};

use crate::avro_rpc::Metadata;
use crate::error::WireError;
use crate::reader::Reader;
use crate::writer;

/// A protocol as its JSON text, known to peers by its MD5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    json: Cow<'static, str>,
    md5: [u8; 16],
}

impl Protocol {
    /// Takes the text as the peers have it: another spelling of the same protocol has another hash.
    pub fn new(json: impl Into<Cow<'static, str>>) -> Self {
        let json = json.into();
        let md5 = Md5::digest(json.as_bytes()).into();
        Self { json, md5 }
    }

    /// The JSON text.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// MD5 of the text.
    pub fn md5(&self) -> [u8; 16] {
        self.md5
    }
}

/// What a client says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeRequest {
    /// MD5 of the client's protocol.
    pub client_hash: [u8; 16],
    /// Its text, where the client thinks that the server does not know it.
    pub client_protocol: Option<String>,
    /// MD5 of what the client takes for the server's protocol.
    pub server_hash: [u8; 16],
    /// Connection metadata; unused by every known peer. Java sends an empty map, not null.
    pub meta: Option<Metadata>,
}

/// How far two protocols are known to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Both are known: the connection is established.
    Both,
    /// The server knows the client's; its own follows. The connection is established.
    Client,
    /// The client's is not known: nothing was executed, the call must be sent again with the text.
    None,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeResponse {
    /// Outcome.
    pub outcome: Match,
    /// The server's protocol text, unless BOTH.
    pub server_protocol: Option<String>,
    /// Its MD5, unless BOTH.
    pub server_hash: Option<[u8; 16]>,
    /// Connection metadata; unused by every known peer.
    pub meta: Option<Metadata>,
}

// === impl HandshakeRequest ===

impl HandshakeRequest {
    /// Writes the request.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.client_hash);
        encode_optional_text(out, self.client_protocol.as_deref());
        out.put_slice(&self.server_hash);
        encode_optional_meta(out, self.meta.as_ref());
    }

    /// Reads a request from `reader`, which must read `payload`.
    ///
    /// # Errors
    /// What [`Reader`] reports.
    pub fn decode(reader: &mut Reader<'_>, payload: &Bytes) -> Result<Self, WireError> {
        Ok(Self {
            client_hash: reader.fixed("handshake client hash")?,
            client_protocol: decode_optional_text(reader, "handshake client protocol")?,
            server_hash: reader.fixed("handshake server hash")?,
            meta: decode_optional_meta(reader, payload)?,
        })
    }
}

// === impl HandshakeResponse ===

impl HandshakeResponse {
    /// Writes the response.
    pub fn encode(&self, out: &mut impl BufMut) {
        let ordinal = match self.outcome {
            Match::Both => 0,
            Match::Client => 1,
            Match::None => 2,
        };
        writer::long(out, ordinal);
        encode_optional_text(out, self.server_protocol.as_deref());
        writer::long(out, self.server_hash.is_some().into());
        out.put_slice(self.server_hash.as_ref().map_or(&[], |hash| &hash[..]));
        encode_optional_meta(out, self.meta.as_ref());
    }

    /// Reads a response from `reader`, which must read `payload`.
    ///
    /// # Errors
    /// What [`Reader`] reports.
    pub fn decode(reader: &mut Reader<'_>, payload: &Bytes) -> Result<Self, WireError> {
        let outcome = match reader.branch("handshake match", 3)? {
            0 => Match::Both,
            1 => Match::Client,
            _ => Match::None,
        };
        let server_protocol = decode_optional_text(reader, "handshake server protocol")?;
        let server_hash = match reader.branch("handshake server hash", 2)? {
            0 => None,
            _ => Some(reader.fixed("handshake server hash")?),
        };
        Ok(Self { outcome, server_protocol, server_hash, meta: decode_optional_meta(reader, payload)? })
    }
}

// === helpers ===

fn encode_optional_text(out: &mut impl BufMut, text: Option<&str>) {
    writer::long(out, text.is_some().into());
    if let Some(text) = text {
        writer::bytes(out, text.as_bytes());
    }
}

fn decode_optional_text(reader: &mut Reader<'_>, structure: &'static str) -> Result<Option<String>, WireError> {
    match reader.branch(structure, 2)? {
        0 => Ok(None),
        _ => Ok(Some(reader.text(structure)?.to_owned())),
    }
}

fn encode_optional_meta(out: &mut impl BufMut, meta: Option<&Metadata>) {
    writer::long(out, meta.is_some().into());
    if let Some(meta) = meta {
        meta.encode(out);
    }
}

fn decode_optional_meta(reader: &mut Reader<'_>, payload: &Bytes) -> Result<Option<Metadata>, WireError> {
    match reader.branch("handshake metadata", 2)? {
        0 => Ok(None),
        _ => Ok(Some(Metadata::decode(reader, payload)?)),
    }
}
