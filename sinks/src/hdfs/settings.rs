//! What the options say about files.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Options, Result};
use millstream_io::Clock;

use super::codec::{Codec, Compressed};
use super::location::Location;
use super::sequence_file::{SequenceFile, ValueClass};
use super::template::{Template, template};
use crate::serializer::{EventSerializer, SerializerFactory};

/// How files are called, written and completed.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) dir: Template,
    pub(super) prefix: Template,
    /// The configured one, or the codec's.
    pub(super) suffix: String,
    pub(super) in_use_prefix: String,
    pub(super) in_use_suffix: String,
    /// None: never.
    pub(super) roll_interval: Option<Duration>,
    /// 0: never.
    pub(super) roll_bytes: u64,
    /// 0: never.
    pub(super) roll_events: u64,
    /// None: never.
    pub(super) idle_timeout: Option<Duration>,
    pub(super) most_open: usize,
    /// Tries to close and rename; None: as many as it takes.
    pub(super) close_tries: Option<u64>,
    pub(super) retry_interval: Duration,
    format: Format,
    pub(super) clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum Format {
    Stream(SerializerFactory),
    Compressed(SerializerFactory, Codec),
    Sequence(ValueClass, Option<Codec>),
}

// === impl Settings ===

impl Settings {
    pub(super) fn from_options(options: &Options, clock: Arc<dyn Clock>) -> Result<Self> {
        let codec = codec(options)?;
        let format = Format::from_options(options, codec)?;
        let (suffix, codec) = (options.text("hdfs.fileSuffix")?, format.codec());
        let suffix = if suffix.is_empty() { codec.map_or("", Codec::extension) } else { suffix };
        let whole = |duration: Duration| (!duration.is_zero()).then_some(duration);
        let retry_seconds: i64 = options.int("hdfs.retryInterval")?;
        let close_tries: u64 = options.int("hdfs.closeTries")?;
        let tries = if retry_seconds <= 0 { Some(1) } else { (close_tries > 0).then_some(close_tries) };
        let in_use_suffix =
            if options.bool("hdfs.emptyInUseSuffix")? { "" } else { options.text("hdfs.inUseSuffix")? };
        for key in ["hdfs.fileSuffix", "hdfs.inUsePrefix", "hdfs.inUseSuffix"] {
            let value = options.text(key)?;
            if value.contains(['/', '\0']) {
                let problem = format!("expected a part of a file name, without a slash, got {value:?}");
                return Err(options.refuse(key, problem));
            }
        }
        Ok(Self {
            dir: Location::from_options(options)?.template(options)?,
            prefix: template(options, "hdfs.filePrefix", options.text("hdfs.filePrefix")?)?,
            suffix: suffix.to_owned(),
            in_use_prefix: options.text("hdfs.inUsePrefix")?.to_owned(),
            in_use_suffix: in_use_suffix.to_owned(),
            roll_interval: whole(options.seconds("hdfs.rollInterval")?),
            roll_bytes: options.int("hdfs.rollSize")?,
            roll_events: options.int("hdfs.rollCount")?,
            idle_timeout: whole(options.seconds("hdfs.idleTimeout")?),
            most_open: options.int("hdfs.maxOpenFiles")?,
            close_tries: tries,
            retry_interval: Duration::from_secs(retry_seconds.max(0) as u64),
            format,
            clock,
        })
    }

    /// A serializer for a new file.
    pub(super) fn serializer(&self) -> Box<dyn EventSerializer> {
        match &self.format {
            Format::Stream(factory) => factory.make(),
            Format::Compressed(factory, codec) => Box::new(Compressed::new(factory.make(), *codec)),
            Format::Sequence(values, codec) => Box::new(SequenceFile::new(*values, *codec, Arc::clone(&self.clock))),
        }
    }
}

// === impl Format ===

impl Format {
    fn from_options(options: &Options, codec: Option<Codec>) -> Result<Self> {
        let serializer = || SerializerFactory::from_options(options, "serializer");
        match (options.text("hdfs.fileType")?.to_ascii_lowercase().as_str(), codec) {
            ("datastream", None) => Ok(Self::Stream(serializer()?)),
            ("datastream", Some(_)) => {
                Err(options
                    .refuse("hdfs.codeC", "a DataStream is not compressed; set hdfs.fileType = CompressedStream"))
            }
            ("compressedstream", Some(codec)) => Ok(Self::Compressed(serializer()?, codec)),
            ("compressedstream", None) => {
                let problem = "missing; expected how a CompressedStream is compressed: gzip, bzip2, deflate or snappy";
                Err(options.refuse("hdfs.codeC", problem))
            }
            (_, codec) => Ok(Self::Sequence(value_class(options)?, codec)),
        }
    }

    fn codec(&self) -> Option<Codec> {
        match self {
            Self::Stream(_) => None,
            Self::Compressed(_, codec) => Some(*codec),
            Self::Sequence(_, codec) => *codec,
        }
    }
}

// === helpers ===

fn codec(options: &Options) -> Result<Option<Codec>> {
    let Some(name) = options.find("hdfs.codeC").filter(|name| !name.is_empty()) else { return Ok(None) };
    let problem = || format!("expected gzip, bzip2, deflate or snappy, got {name:?}");
    Codec::called(name).map(Some).ok_or_else(|| options.refuse("hdfs.codeC", problem()))
}

fn value_class(options: &Options) -> Result<ValueClass> {
    let name = options.text("hdfs.writeFormat")?;
    let is = |alias: &str, class: &str| name.eq_ignore_ascii_case(alias) || name == class;
    if is("writable", "org.apache.flume.sink.hdfs.HDFSWritableSerializer$Builder") {
        return Ok(ValueClass::BytesWritable);
    }
    if is("text", "org.apache.flume.sink.hdfs.HDFSTextSerializer$Builder") {
        return Ok(ValueClass::Text);
    }
    Err(options.refuse("hdfs.writeFormat", format_args!("expected Writable or Text, got {name:?}")))
}
