//! Reads files that are put into a directory: one event per line, per record of an Avro container, or per file.
//!
//! A file is read from its start, oldest file first. One that still grows is followed until nothing changed for
//! `quietMillis`; its last line, if no newline ends it, is held until then. While it is followed the next ones wait: a log
//! that never ends belongs to a tailing source. Then the file is renamed (`fileSuffix`), deleted (`deletePolicy`), or stays, with
//! an empty file of its name below `trackerDir` as the mark (`trackingPolicy = tracker_dir`).
//!
//! # Delivery
//! A file is completed only after every required channel has all of it. Positions are stored by the channels together
//! with the events, so after a crash a durable channel gets each event once. Flume's tracker (`trackerDir`) is written too,
//! behind the channels, and read at the start: a file that a Flume agent left half read is taken over where it stood, one
//! of ours likewise by Flume, and a channel that forgets goes on there, as it would with Flume. An Avro container is
//! tracked by its blocks, so that Flume repeats what it had of one.
//!
//! # Errors
//! A bad file does not end the source. It is renamed to, or marked as, `.REJECTED`, counted (`EventReadFail`) and logged with the reason;
//! events before the bad place stay delivered. A file that may not be opened is left where it is and tried again. Flume
//! stops in all these cases.
//!
//! # Source
//! `org.apache.flume.source.SpoolDirectorySource` (Flume 1.11). Different on purpose: an empty file gives no event (there
//! one with an empty body); a file that grows is followed (there an error).

mod completing;
mod container;
mod datum;
mod following;
mod format;
mod listing;
mod schema_type;
mod spooling;
#[cfg(test)]
mod tests;
mod told;
mod tracker;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream_config::Pattern;
use millstream_core::{
    Error, Fut, Kind, OptionSpec, Options, Result, Source, SourceContext, SourceSpec, optional, required, unset,
};
use parking_lot::Mutex;

use crate::blocking::blocking;
use crate::window::{Window, pause};
use completing::{Completing, Markers, Way};
use following::Reading;
use format::{DESERIALIZERS, Format};
use listing::{Listing, Order};
use spooling::Spooling;
use told::Told;
use tracker::Tracker;

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "spooldir",
    aliases: &["org.apache.flume.source.SpoolDirectorySource"],
    summary: "Reads files that are put into a directory: by lines, Avro records, or whole.",
    options: OPTIONS,
    build: |options| Ok(Box::new(SpoolDir::from_options(options)?)),
};

const OPTIONS: &[OptionSpec] = &[
    required("spoolDir", Kind::Path, "The directory; must exist and be writable."),
    optional("fileSuffix", Kind::Text, ".COMPLETED", "What a completed file is renamed to end with."),
    optional("deletePolicy", Kind::Choice(&["never", "immediate"]), "never", "Whether completed files are deleted."),
    optional("fileHeader", Kind::Bool, "false", "Adds a header with the file's absolute path."),
    optional("fileHeaderKey", Kind::Text, "file", "Name of that header."),
    optional("basenameHeader", Kind::Bool, "false", "Adds a header with the file's name."),
    optional("basenameHeaderKey", Kind::Text, "basename", "Name of that header."),
    optional("includePattern", Kind::Text, "^.*$", "Regular expression for the whole name of files to read."),
    optional(
        "ignorePattern",
        Kind::Text,
        "^$",
        "Regular expression for the whole name of files and directories to skip.",
    ),
    optional(
        "trackerDir",
        Kind::Text,
        ".flumespool",
        "Where Flume's tracker and the marks of tracker_dir are; relative: below spoolDir.",
    ),
    optional(
        "trackingPolicy",
        Kind::Choice(&["rename", "tracker_dir"]),
        "rename",
        "Whether completed files are renamed, or stay and are marked below trackerDir.",
    ),
    optional("consumeOrder", Kind::Choice(&["oldest", "youngest", "random"]), "oldest", "Which file comes first."),
    optional("pollDelay", Kind::Millis, "500", "Wait between two looks at the directory."),
    optional("recursiveDirectorySearch", Kind::Bool, "false", "Reads the directories below too."),
    optional("maxBackoff", Kind::Millis, "4000", "Longest wait before a refused batch is offered again."),
    optional("batchSize", Kind::Int(1, u32::MAX as i64), "100", "Most events of one batch."),
    optional(
        "inputCharset",
        Kind::Text,
        "UTF-8",
        "UTF-8, US-ASCII, ISO-8859-1 or another charset that contains ASCII; bodies are UTF-8.",
    ),
    optional(
        "decodeErrorPolicy",
        Kind::Choice(&["FAIL", "REPLACE", "IGNORE"]),
        "FAIL",
        "Bytes that are no characters: set the file aside, replace them by U+FFFD, or drop them.",
    ),
    optional(
        "deserializer",
        Kind::Choice(DESERIALIZERS),
        "LINE",
        "What an event is: a line, a record of an Avro container, or (BLOB) the file.",
    ),
    optional(
        "deserializer.maxLineLength",
        Kind::Int(1, i64::MAX),
        "2048",
        "Longest body of LINE in characters, at most 64 Mi; the rest of the line is the next event.",
    ),
    optional(
        "deserializer.schemaType",
        Kind::Choice(&["HASH", "LITERAL"]),
        "HASH",
        "What AVRO adds as header: the schema's CRC-64-AVRO (flume.avro.schema.hash) or text (flume.avro.schema.literal).",
    ),
    optional(
        "deserializer.maxBlobLength",
        Kind::Int(1, i32::MAX as i64),
        "100000000",
        "Longest body of BLOB in bytes, held in memory; the rest of the file is the next event.",
    ),
    optional("deserializer.outputCharset", Kind::Choice(&["UTF-8", "UTF8"]), "UTF-8", "Only UTF-8 is built in."),
    unset("bufferMaxLines", Kind::Int(1, i64::MAX), "No effect, as in Flume."),
    unset("bufferMaxLineLength", Kind::Int(1, i64::MAX), "Old name of deserializer.maxLineLength; wins over it."),
    optional("quietMillis", Kind::Millis, "200", "A file is whole when nothing changed for so long."),
];

/// Reads the files of a directory.
#[derive(Debug)]
struct SpoolDir {
    /// For errors about the directory, which is looked at only when the source runs.
    options: Options,
    dir: PathBuf,
    tracker_dir: PathBuf,
    listing: Listing,
    reading: Arc<Reading>,
    completing: Completing,
    poll_delay: Duration,
    max_backoff: Duration,
}

// === impl SpoolDir ===

impl SpoolDir {
    fn from_options(options: &Options) -> Result<Self> {
        let suffix = options.text("fileSuffix")?;
        if suffix.is_empty() {
            return Err(
                options.refuse("fileSuffix", "expected a suffix, got none: completed files would be read again")
            );
        }
        let order = match options.text("consumeOrder")?.to_ascii_lowercase().as_str() {
            "youngest" => Order::Youngest,
            "random" => Order::Random,
            _ => Order::Oldest,
        };
        let dir = options.path("spoolDir")?;
        let tracker_dir = dir.join(options.text("trackerDir")?);
        let way = way(options, &dir, &tracker_dir)?;
        let patterns =
            (Pattern::of_the_whole(options, "includePattern")?, Pattern::of_the_whole(options, "ignorePattern")?);
        let recursive = options.bool("recursiveDirectorySearch")?;
        let header = |flag, key| Ok::<_, Error>(options.bool(flag)?.then_some(options.text(key)?.to_owned()));
        let reading = Reading {
            batch_events: options.int("batchSize")?,
            format: Format::from_options(options)?,
            quiet: options.millis("quietMillis")?,
            file_header: header("fileHeader", "fileHeaderKey")?,
            basename_header: header("basenameHeader", "basenameHeaderKey")?,
        };
        let mut listing = Listing::new(dir.clone(), patterns, suffix.to_owned(), recursive, order);
        if let Way::Mark(markers) = &way {
            listing.markers = Some(markers.clone());
        }
        // It may lie below the spool directory, where nobody needs to be told of it.
        listing.told.insert(tracker_dir.clone());
        Ok(Self {
            listing,
            dir,
            tracker_dir,
            reading: Arc::new(reading),
            completing: Completing { way, suffix: suffix.to_owned() },
            poll_delay: options.millis("pollDelay")?,
            max_backoff: options.millis("maxBackoff")?,
            options: options.clone(),
        })
    }

    /// Refuses a directory in which files could not be completed.
    fn check_directory(&self) -> Result<()> {
        let refuse = |problem: String| Err(self.options.refuse("spoolDir", problem));
        let dir = self.dir.display();
        if !self.dir.is_dir() {
            return refuse(format!("expected a directory, but {dir} is not there or is none; create it"));
        }
        if matches!(self.completing.way, Way::Mark(_)) {
            return Ok(());
        }
        let canary = self.dir.join(format!(".flume-spooldir-perm-check-{}.canary", std::process::id()));
        let written = OpenOptions::new().write(true).create(true).truncate(true).open(&canary);
        if let Err(error) = written.and_then(|_| std::fs::remove_file(&canary)) {
            return refuse(format!(
                "cannot write into {dir}: {error}; completed files are renamed there, so permit it"
            ));
        }
        Ok(())
    }

    async fn spool(self, cx: SourceContext) -> Result<()> {
        self.check_directory()?;
        let tracker = Tracker::open(&self.tracker_dir)
            .map_err(|error| self.options.refuse("trackerDir", format!("{error}; permit it, or name another one")))?;
        cx.status.ready();
        let Self { mut listing, reading, completing, poll_delay, max_backoff, .. } = self;
        let window = Window::new(max_backoff);
        let tracker = Arc::new(Mutex::new(tracker));
        let mut spooling = Spooling { cx, window, told: Told::default(), reading, completing, tracker };
        while !spooling.cx.stop.is_stopped() {
            let scanned;
            (listing, scanned) = blocking(&spooling.cx, move || {
                let scanned = listing.scan();
                (listing, scanned)
            })
            .await?;
            let mut files = spooling.told.listed(&spooling.cx, scanned);
            spooling.put_first_what_was_left(&mut files);
            let mut completed = false;
            for file in files {
                if spooling.cx.stop.is_stopped() {
                    break;
                }
                completed |= spooling.take_in(file).await?;
            }
            if !completed {
                pause(&spooling.cx, poll_delay).await;
            }
        }
        spooling.window.settle(&spooling.cx).await?;
        Ok(())
    }
}

impl Source for SpoolDir {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.spool(cx))
    }
}

/// How files are completed, by `deletePolicy` and `trackingPolicy`.
fn way(options: &Options, spool_dir: &Path, tracker_dir: &Path) -> Result<Way> {
    let delete = options.text("deletePolicy")?.eq_ignore_ascii_case("immediate");
    let mark = options.text("trackingPolicy")?.eq_ignore_ascii_case("tracker_dir");
    match (delete, mark) {
        (true, true) => {
            let problem = "tracker_dir marks files that stay, but deletePolicy = immediate deletes them; choose one";
            Err(options.refuse("trackingPolicy", problem))
        }
        (true, false) => Ok(Way::Delete),
        (false, true) => {
            Ok(Way::Mark(Markers { spool_dir: spool_dir.to_owned(), tracker_dir: tracker_dir.to_owned() }))
        }
        (false, false) => Ok(Way::Rename),
    }
}
