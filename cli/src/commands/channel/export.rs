//! `millstream channel export`.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use millstream_channels::file::offline::StoppedChannel;
use millstream_core::{ChannelRef, Error, Result, Take};
use serde_json::json;

use super::{block_on, each_batch};
use crate::commands::events_file::{EventsFile, Format};
use crate::commands::output::{Output, print_json};
use crate::commands::progress::Progress;
use crate::exit;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The channel's directory in dataDirs.
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// File to make; - for standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Avro)]
    format: Format,
    /// How to say how many they were; on standard error where events go to standard output.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let channel = StoppedChannel::read_only(&arguments.dir)?;
    let noted_lost = channel.noted_lost()?;
    let view = channel.view()?;
    let mut file = EventsFile::create(&arguments.file, arguments.format)?;
    let exported = block_on(write_all("export", &view, &mut file)).and_then(|takes| file.finish().map(|()| takes));
    let takes = match exported {
        // A reader that left wants nothing more, and everything is still where it was.
        Err(Error::Io { error, .. }) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        exported => exported?,
    };
    let events = takes.iter().map(Take::events).sum::<usize>() as u64;
    let output = match (arguments.output, arguments.file.as_os_str() == "-") {
        (Output::Json, true) => Told::JsonAside,
        (Output::Json, false) => Told::Json,
        (Output::Text, _) => Told::Text,
    };
    Ok(verdict(&view, events, noted_lost, output))
}

/// How to say what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Text,
    Json,
    /// On standard error.
    JsonAside,
}

/// Says how many events were passed on, and that some could not be read.
pub(super) fn verdict(channel: &ChannelRef, events: u64, noted_lost: u64, told: Told) -> ExitCode {
    let lost = channel.totals().lost_events.saturating_sub(noted_lost);
    let json = json!({ "events": events, "unreadable": lost });
    let mut err = std::io::stderr();
    let mut aside = |line: &str| _ = writeln!(err, "{line}");
    // A reader that left wants nothing more.
    match told {
        Told::Json => print_json(&json),
        Told::JsonAside => aside(&json.to_string()),
        Told::Text => aside(&format!("{events} events")),
    }
    if lost == 0 {
        return ExitCode::SUCCESS;
    }
    if told == Told::Text {
        aside(&format!("millstream: {lost} events could not be read; millstream channel verify says where"));
    }
    ExitCode::from(exit::DATA)
}

/// Writes everything that waits; the takes are still open.
pub(super) async fn write_all(what: &'static str, channel: &ChannelRef, file: &mut EventsFile) -> Result<Vec<Take>> {
    let mut progress = Progress::start(what, "events", channel.totals().waiting_events());
    let takes = each_batch(channel, |batch| {
        file.append(batch)?;
        progress.add(batch.len() as u64);
        Ok(())
    });
    let takes = takes.await;
    progress.finish();
    takes
}
