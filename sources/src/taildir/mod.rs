//! Follows files that others append to, one event per line.
//!
//! A file group is a directory and a regular expression for the names in it. Lines end with `\n` or `\r\n`; an unfinished
//! line waits for its newline, or until nothing changed for `idleTimeout`. A file is known by its identity (device, inode,
//! time of birth), so it may be renamed while it is read.
//!
//! # Delivery
//! Channels store positions together with the events: after a crash a durable channel gets each line once. The position
//! file is written as Flume writes it, every `writePosInterval` and at the end, and tells where to go on where a channel
//! knows nothing, as a memory channel after a restart. One that Flume left is used, and one that Flume went on with in
//! between counts where it is ahead.
//!
//! A file that is renamed or deleted is read to its end, and let go when nothing changed for `idleTimeout`; one that was
//! renamed within its directory while the source did not run is found. A file that was truncated, or has another content
//! under the same identity, is read from its start; what was not read before is lost, which is logged and counted
//! (`EventReadFail`).
//!
//! # Errors
//! A file or directory that cannot be read is told once, counted (`EventReadFail`) and tried again at every look.
//!
//! # Source
//! `org.apache.flume.source.taildir.TaildirSource` (Flume 1.11).

mod fingerprint;
mod groups;
mod positions;
mod tail;
mod tailing;
mod tails;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{
    Error, Fut, Kind, OptionSpec, Options, Result, Source, SourceContext, SourceSpec, family, optional, required,
};

use crate::line;
use crate::window::{BACKOFF_SLEEP_INCREMENT, MAX_BACKOFF_SLEEP};
use groups::Groups;
use tail::Reading;
use tailing::Tailing;

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "taildir",
    aliases: &["org.apache.flume.source.taildir.TaildirSource"],
    summary: "Follows files that others append to, one event per line.",
    options: OPTIONS,
    build: |options| Ok(Box::new(TailDir::from_options(options)?)),
};

const OPTIONS: &[OptionSpec] = &[
    required("filegroups", Kind::List, "Names of the file groups."),
    family("filegroups.*", Kind::Text, "By group: a path, its last part a regular expression for whole file names."),
    family("headers.*", Kind::Text, "By group and name of a header, as `headers.g1.host`: its value."),
    optional(
        "positionFile",
        Kind::Path,
        "~/.flume/taildir_position.json",
        "Where positions are written; each source needs its own. Another file beside it ends with .millstream.",
    ),
    optional("byteOffsetHeader", Kind::Bool, "false", "Adds a header `byteoffset`: where the line begins in its file."),
    optional("skipToEnd", Kind::Bool, "false", "Files that nothing is known of at the start are read from their end."),
    optional("idleTimeout", Kind::Millis, "120000", "A file that did not change for so long is closed."),
    optional("writePosInterval", Kind::Millis, "3000", "Time between two writes of the position file."),
    optional("batchSize", Kind::Int(1, u32::MAX as i64), "100", "Most events of one batch."),
    optional(
        "maxBatchCount",
        Kind::Int(1, i64::MAX),
        "9223372036854775807",
        "Most batches of one file before the next file's turn.",
    ),
    optional(
        "cachePatternMatching",
        Kind::Bool,
        "true",
        "Lists a directory only when its time changed; false where that time cannot be relied on.",
    ),
    optional("fileHeader", Kind::Bool, "false", "Adds a header with the file's absolute path."),
    optional("fileHeaderKey", Kind::Text, "file", "Name of that header."),
    MAX_BACKOFF_SLEEP,
    BACKOFF_SLEEP_INCREMENT,
    optional("pollDelay", Kind::Millis, "200", "Wait between two looks at the files."),
    optional(
        "maxLineLength",
        Kind::Int(1, i64::MAX),
        "16777216",
        "Longest body in characters, at most 64 Mi; the rest of the line is the next event.",
    ),
];

/// Follows files.
#[derive(Debug)]
struct TailDir {
    /// For errors about the directories, which are looked at only when the source runs.
    options: Options,
    groups: Groups,
    reading: Arc<Reading>,
    position_file: PathBuf,
    skip_to_end: bool,
    most_batches: usize,
    write_interval: Duration,
    poll_delay: Duration,
    max_backoff: Duration,
}

// === impl TailDir ===

impl TailDir {
    fn from_options(options: &Options) -> Result<Self> {
        let file_header = options.bool("fileHeader")?.then_some(options.text("fileHeaderKey")?.to_owned());
        let reading = Reading {
            batch_events: options.int("batchSize")?,
            most_units: options.int::<usize>("maxLineLength")?.min(line::MOST_UNITS),
            idle: options.millis("idleTimeout")?,
            file_header,
            offset_header: options.bool("byteOffsetHeader")?,
        };
        Ok(Self {
            groups: Groups::from_options(options)?,
            reading: Arc::new(reading),
            position_file: in_home(options, "positionFile")?,
            skip_to_end: options.bool("skipToEnd")?,
            most_batches: options.int("maxBatchCount")?,
            write_interval: options.millis("writePosInterval")?,
            poll_delay: options.millis("pollDelay")?,
            max_backoff: options.millis("maxBackoffSleep")?,
            options: options.clone(),
        })
    }

    async fn tail(self, cx: SourceContext) -> Result<()> {
        if let Some(dir) = self.groups.missing_directory() {
            let problem = format!("{} is no directory; create it", dir.display());
            return Err(self.options.refuse("filegroups", problem));
        }
        let mut tailing = Tailing::open(self, cx).await?;
        tailing.run().await
    }
}

impl Source for TailDir {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.tail(cx))
    }
}

/// The path in `key`; `~` at its start is the user's home.
fn in_home(options: &Options, key: &str) -> Result<PathBuf> {
    let path = options.path(key)?;
    let Ok(below) = path.strip_prefix("~") else { return Ok(path) };
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home =
        home.ok_or_else(|| -> Error { options.refuse(key, "~ needs the variable HOME; give an absolute path") })?;
    Ok(PathBuf::from(home).join(below))
}
