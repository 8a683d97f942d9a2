//! `millstream channel`: file channels whose agent is stopped.
//!
//! Everything but `repair` and `drain` changes nothing: the channel is opened as an agent would open it, on a picture of the
//! disk in memory. While a command looks, an agent that wants the channel is refused, and the other way round.

mod drain;
mod export;
mod inspect;
mod ls;
mod repair;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use millstream_core::{Batch, ChannelRef, Limit, Result, Take};
use tracing_subscriber::filter::LevelFilter;

use super::block_on;
use super::output::Output;
use crate::{exit, logging};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the channels at and below a directory: bytes, what waits, what is set aside.
    Ls(LsArguments),
    /// Shows one channel: totals, positions, names, and the first events that wait.
    Inspect(inspect::Arguments),
    /// Reads every byte of a channel and says what is damaged, where, and what to do; 65 if something is.
    Verify(OneArguments),
    /// Does now what the next start would do about damage; says what, and does it with --yes.
    Repair(repair::Arguments),
    /// Copies what waits into a file; the channel stays as it is.
    Export(export::Arguments),
    /// Sends what waits to an avro source, or moves it into a file.
    Drain(drain::Arguments),
}

#[derive(Debug, Args)]
pub(crate) struct LsArguments {
    /// A directory of dataDirs, or one above.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// One channel.
#[derive(Debug, Args)]
pub(crate) struct OneArguments {
    /// The channel's directory in dataDirs.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> ExitCode {
    // What opening warns of has not happened where one only looks; the commands say it themselves.
    if let Err(error) = logging::start(None, LevelFilter::ERROR) {
        return exit::failure(&error);
    }
    let found = super::find(match &command {
        Command::Ls(LsArguments { dir, .. })
        | Command::Inspect(inspect::Arguments { one: OneArguments { dir, .. }, .. })
        | Command::Verify(OneArguments { dir, .. })
        | Command::Repair(repair::Arguments { one: OneArguments { dir, .. }, .. })
        | Command::Export(export::Arguments { dir, .. })
        | Command::Drain(drain::Arguments { dir, .. }) => dir,
    });
    let outcome = found.and_then(|()| match command {
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Repair(arguments) => repair::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Drain(arguments) => drain::run(&arguments),
    });
    outcome.unwrap_or_else(|error| exit::failure(&error))
}

/// How many events went out, and how many of them nowhere.
pub(super) fn out(events: u64, dead_lettered: u64) -> String {
    match dead_lettered {
        0 => events.to_string(),
        1 => format!("{events} (1 of them a dead letter)"),
        several => format!("{events} ({several} of them dead letters)"),
    }
}

/// The next events of a channel into which nobody puts; `None` when nothing waits.
async fn next(channel: &ChannelRef, limit: Limit) -> Result<Option<Take>> {
    // What turns out to be lost is given up while it is read, and then no longer waits.
    while channel.totals().waiting_events() > 0 {
        let take = channel.take(limit).await?;
        if !take.is_empty() {
            return Ok(Some(take));
        }
    }
    Ok(None)
}

/// Gives everything that waits to `tell`, batch by batch; the takes stay open and are given back.
async fn each_batch(channel: &ChannelRef, mut tell: impl FnMut(&Batch) -> Result<()>) -> Result<Vec<Take>> {
    let mut takes: Vec<Take> = Vec::new();
    let mut left = channel.totals().waiting_events();
    while left > 0 {
        let lost_before = channel.totals().lost_events;
        let mut take = channel.take(EVENTS).await?;
        take.batches().iter().try_for_each(&mut tell)?;
        left = left.saturating_sub(take.events() as u64 + channel.totals().lost_events - lost_before);
        // The memory is not needed any more, only which events they were.
        take.release();
        takes.push(take);
    }
    Ok(takes)
}

/// At once.
const EVENTS: Limit = Limit { events: 10_000, bytes: 4 << 20 };
