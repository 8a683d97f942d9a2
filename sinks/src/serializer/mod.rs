//! How events become the bytes of a file: Flume's serializers.
//!
//! A serializer writes into memory; the sink brings that to the file at the end of a transaction, all of it or nothing. So
//! every file consists of whole transactions, and each of them can be read by itself.
//!
//! | name | bytes |
//! |---|---|
//! | `text` | bodies, one per line |
//! | `header_and_text` | headers and body, one event per line |
//! | `avro_event` | a container file of Avro with headers and bodies |
//! | `org.apache.flume.sink.hdfs.AvroEventSerializer$Builder` | a container file of Avro whose records are the bodies |

mod avro_datum;
mod avro_event;
mod container;
mod header_and_text;
mod text;

use std::sync::Arc;

use millstream_core::{EventRef, Options, Result, Setting};

use avro_datum::{AvroDatum, Schemas};
use avro_event::AvroEvent;
use container::Codec;
use header_and_text::HeaderAndText;
use text::Text;

/// Writes the events of one file.
pub(crate) trait EventSerializer: Send + std::fmt::Debug {
    /// What a new file begins with.
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    /// Writes an event, or keeps it until the transaction ends.
    ///
    /// # Errors
    /// The event cannot be written: nothing of the transaction is.
    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<()>;

    /// Writes what was kept, so that a reader finds every event.
    ///
    /// # Errors
    /// As above.
    fn end_transaction(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    /// Forgets what was kept.
    fn abandon_transaction(&mut self) {}
}

/// Makes a serializer for each file.
#[derive(Clone)]
pub(crate) struct SerializerFactory(Arc<dyn Fn() -> Box<dyn EventSerializer> + Send + Sync>);

/// A container file of Avro with headers and bodies, as the serializer `avro_event` writes it, for who writes one alone.
#[derive(Debug)]
pub struct EventFile(AvroEvent);

// === impl EventFile ===

impl EventFile {
    /// Begins a file in `out`.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        let mut events = AvroEvent::new(Codec::Null, EVENT_FILE_BLOCK_BYTES);
        events.begin(out);
        Self(events)
    }

    /// Adds an event; `out` grows now and then.
    ///
    /// # Errors
    /// The event cannot be written.
    pub fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        self.0.append(event, out)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// As above.
    pub fn end(mut self, out: &mut Vec<u8>) -> Result<()> {
        self.0.end_transaction(out)
    }
}

/// Bytes of one block.
const EVENT_FILE_BLOCK_BYTES: usize = 256 << 10;

// === impl SerializerFactory ===

impl SerializerFactory {
    /// The serializer that the value of `key` names; its own options are below the same key and a dot.
    ///
    /// # Errors
    /// `Config`, at its place.
    pub(crate) fn from_options(options: &Options, key: &'static str) -> Result<Self> {
        let name = options.text(key)?;
        let own = Own { options, prefix: format!("{key}.") };
        let is = |alias: &str, class: &str| name.eq_ignore_ascii_case(alias) || name == class;
        if is("text", "org.apache.flume.serialization.BodyTextEventSerializer$Builder") {
            let newline = own.bool("appendNewline", true)?;
            own.tell_unknown(&["appendNewline"]);
            return Ok(Self::new(move || Text::new(newline)));
        }
        if is("header_and_text", "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder") {
            let newline = own.bool("appendNewline", true)?;
            own.tell_unknown(&["appendNewline"]);
            return Ok(Self::new(move || HeaderAndText::new(newline)));
        }
        if is("avro_event", "org.apache.flume.serialization.FlumeEventAvroEventSerializer$Builder") {
            let block_bytes = own.int("syncIntervalBytes", 2_048_000)?;
            let codec = own.codec("compressionCodec")?;
            own.tell_unknown(&["syncIntervalBytes", "compressionCodec"]);
            return Ok(Self::new(move || AvroEvent::new(codec, block_bytes)));
        }
        if name == AVRO_DATUM {
            let block_bytes = own.int("syncIntervalBytes", 2_048_000)?;
            let codec = own.codec("compressionCodec")?;
            let schemas = Arc::new(Schemas::new(own.find("schemaURL").map(|setting| setting.value)));
            own.tell_unknown(&["syncIntervalBytes", "compressionCodec", "schemaURL"]);
            return Ok(Self::new(move || AvroDatum::new(codec, block_bytes, Arc::clone(&schemas))));
        }
        let wanted = format!("expected text, header_and_text, avro_event or {AVRO_DATUM}");
        Err(options.refuse(key, format_args!("{wanted}, got {name:?}")))
    }

    fn new<S: EventSerializer + 'static>(make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || Box::new(make())))
    }

    /// A serializer for a new file.
    pub(crate) fn make(&self) -> Box<dyn EventSerializer> {
        (self.0)()
    }
}

impl std::fmt::Debug for SerializerFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SerializerFactory").field(&self.make()).finish()
    }
}

/// A serializer's own options.
struct Own<'a> {
    options: &'a Options,
    prefix: String,
}

// === impl Own ===

impl Own<'_> {
    fn find(&self, key: &str) -> Option<Setting> {
        self.options.under(&self.prefix).find(|setting| setting.key == key)
    }

    fn bool(&self, key: &str, default: bool) -> Result<bool> {
        let Some(Setting { value, place, .. }) = self.find(key) else { return Ok(default) };
        match value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(millstream_core::Error::config(place, format_args!("expected true or false, got {value:?}"))),
        }
    }

    fn int(&self, key: &str, default: usize) -> Result<usize> {
        let Some(Setting { value, place, .. }) = self.find(key) else { return Ok(default) };
        let number = value.parse().ok().filter(|&number| number > 0);
        let problem = || format!("expected a whole number of at least 1, got {value:?}");
        number.ok_or_else(|| millstream_core::Error::config(place, problem()))
    }

    fn codec(&self, key: &str) -> Result<Codec> {
        let Some(Setting { value, place, .. }) = self.find(key) else { return Ok(Codec::Null) };
        let problem = || format!("expected null, deflate, snappy or bzip2, got {value:?}");
        Codec::called(&value).ok_or_else(|| millstream_core::Error::config(place, problem()))
    }

    /// A key that the serializer does not have is told and ignored, as everywhere.
    fn tell_unknown(&self, known: &[&str]) {
        for Setting { key, place, .. } in self.options.under(&self.prefix) {
            if !known.contains(&key.as_str()) {
                self.options.tell_unknown(&place, &format!("this serializer has {}", known.join(", ")));
            }
        }
    }
}

const AVRO_DATUM: &str = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";

#[cfg(test)]
mod tests;
