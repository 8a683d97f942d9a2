//! A container file of Avro whose records are the bodies: events that carry encoded datums and say their schema.
//!
//! The first event of a file decides on the schema: what its header `flume.avro.schema.url` leads to, else its header
//! `flume.avro.schema.literal`, else the option `schemaURL`. Later events of another schema belong into another file: let
//! the path of the file follow a header. One in this file is told at the 1st, 2nd, 4th, … time.
//!
//! # Source
//! `org.apache.flume.sink.hdfs.AvroEventSerializer` (Flume 1.11).

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_core::{Error, EventRef, Result};
use parking_lot::Mutex;

use super::EventSerializer;
use super::container::{Codec, Container};

/// Writes datums.
#[derive(Debug)]
pub(super) struct AvroDatum {
    container: Container,
    schemas: Arc<Schemas>,
    /// What the first event said of its schema; None before it.
    schema_said: Option<(Vec<u8>, Vec<u8>)>,
    /// Events so far that said something else.
    others: u64,
}

/// Where schemas are found; those that a URL led to are kept.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    default_url: Option<String>,
    read: Mutex<BTreeMap<String, String>>,
}

// === impl AvroDatum ===

impl AvroDatum {
    /// A block ends at `block_bytes` of records.
    pub(super) fn new(codec: Codec, block_bytes: usize, schemas: Arc<Schemas>) -> Self {
        Self { container: Container::new(codec, block_bytes), schemas, schema_said: None, others: 0 }
    }

    fn tell_other(&mut self) {
        self.others += 1;
        if self.others.is_power_of_two() {
            let events = self.others;
            tracing::warn!(
                events,
                "events of another schema than the first one of their file; no reader understands them"
            );
        }
    }
}

impl EventSerializer for AvroDatum {
    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        let said = |key| event.header(key).unwrap_or_default();
        let (url, literal) = (said(URL), said(LITERAL));
        match &self.schema_said {
            Some((first_url, first_literal)) if first_url == url && first_literal == literal => {}
            Some(_) => self.tell_other(),
            None => {
                self.container.begin(&self.schemas.find(url, literal)?, out);
                self.schema_said = Some((url.to_vec(), literal.to_vec()));
            }
        }
        self.container.append(|record| record.extend_from_slice(event.body()), out)
    }

    fn end_transaction(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.container.end_block(out)
    }

    fn abandon_transaction(&mut self) {
        self.container.abandon_block();
    }
}

// === impl Schemas ===

impl Schemas {
    pub(super) fn new(default_url: Option<String>) -> Self {
        Self { default_url, read: Mutex::default() }
    }

    /// # Errors
    /// `Rejected` for an event that names no schema, or one that is none; `Io` when it cannot be read.
    fn find(&self, url: &[u8], literal: &[u8]) -> Result<String> {
        let url = String::from_utf8_lossy(url);
        match (&*url, literal, &self.default_url) {
            ("", [], None) => {
                let reason = format!("the event has neither {URL} nor {LITERAL}; add one, or set schemaURL");
                Err(Error::Rejected { reason })
            }
            ("", [], Some(url)) => self.read(url),
            ("", literal, _) => checked(String::from_utf8_lossy(literal).into_owned()),
            (url, ..) => self.read(url),
        }
    }

    fn read(&self, url: &str) -> Result<String> {
        if let Some(schema) = self.read.lock().get(url) {
            return Ok(schema.clone());
        }
        let path = match url.split_once("://") {
            Some(("file", rest)) => rest.strip_prefix("localhost").unwrap_or(rest),
            Some(_) => {
                let reason = format!("schema {url:?}: only those of file:// can be read");
                return Err(Error::Rejected { reason });
            }
            None => url.strip_prefix("file:").unwrap_or(url),
        };
        let schema = std::fs::read_to_string(path).map_err(|error| Error::io("read the schema", path, error))?;
        let schema = checked(schema)?;
        let mut read = self.read.lock();
        if read.len() >= MOST_SCHEMAS {
            read.clear();
        }
        read.insert(url.to_owned(), schema.clone());
        Ok(schema)
    }
}

/// Whether it is JSON: what is not would make a file that nobody can read.
fn checked(schema: String) -> Result<String> {
    match serde_json::from_str::<serde::de::IgnoredAny>(&schema) {
        Ok(_) => Ok(schema),
        Err(error) => Err(Error::Rejected { reason: format!("the schema is no JSON: {error}") }),
    }
}

const URL: &str = "flume.avro.schema.url";
const LITERAL: &str = "flume.avro.schema.literal";
/// Schemas kept; more would only be memory.
const MOST_SCHEMAS: usize = 1000;
