//! `millstream deadletter`: the events that a job or a channel set aside, shown and sent again.
//!
//! # Delivery
//! A letter is marked as replayed, on the disk, once the peer answered or the file is whole. A kill between the two replays it
//! again next time; it then has the name that it had, so an avro source of ours stores it once. `--again` gives new names.

mod letters;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use millstream_core::Result;
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

use super::events_file::{EventsFile, Format};
use super::output::{Output, print, print_json};
use super::peer::Peer;
use crate::{exit, logging};
use letters::{DeadLetters, Row};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows them: batch or number, time, name, reason, headers and body. The job or agent may run.
    Ls(LsArguments),
    /// Sends those that were not replayed before to an avro source, or writes them into a file. The job or agent may run.
    Replay(ReplayArguments),
}

#[derive(Debug, Args)]
pub(crate) struct LsArguments {
    /// The job's checkpoint directory, or one of the channel's dataDirs.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).args(["to", "to_file"]))]
pub(crate) struct ReplayArguments {
    /// The job's checkpoint directory, or one of the channel's dataDirs.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// An avro source, of ours or of Flume's.
    #[arg(long, value_name = "HOST:PORT")]
    to: Option<String>,
    /// File to make, for example in a spooling directory.
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
    /// What to write into the file.
    #[arg(long, value_enum, default_value_t = Format::Lines)]
    format: Format,
    /// Only those of this batch of a job.
    #[arg(long, value_name = "BATCH")]
    batch: Option<u64>,
    /// Only that one of a channel.
    #[arg(long, value_name = "NUMBER", conflicts_with = "batch")]
    number: Option<u64>,
    /// Those too that were replayed before.
    #[arg(long)]
    again: bool,
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> ExitCode {
    let started = logging::start(None, LevelFilter::ERROR).and_then(|()| {
        super::find(match &command {
            Command::Ls(LsArguments { dir, .. }) | Command::Replay(ReplayArguments { dir, .. }) => dir,
        })
    });
    let outcome = started.and_then(|()| match command {
        Command::Ls(arguments) => list(&arguments),
        Command::Replay(arguments) => replay(&arguments),
    });
    outcome.map_or_else(|error| exit::failure(&error), |()| ExitCode::SUCCESS)
}

fn list(arguments: &LsArguments) -> Result<()> {
    let letters = DeadLetters::read(&arguments.dir)?;
    let rows = letters.rows();
    match arguments.output {
        Output::Json => {
            let rows: Vec<Value> = rows.into_iter().map(|row| row.json).collect();
            print_json(&json!({ "dir": arguments.dir, "dead_letters": rows }));
        }
        Output::Text if rows.is_empty() => print(&format!("no dead letters in {}\n", arguments.dir.display())),
        Output::Text => rows.iter().for_each(|row| print(&row.text)),
    }
    Ok(())
}

fn replay(arguments: &ReplayArguments) -> Result<()> {
    // Before anything is touched.
    let peer = arguments.to.as_deref().map(|address| Peer::new("deadletter", address)).transpose()?;
    let letters = DeadLetters::open(&arguments.dir)?;
    letters.check(arguments.batch, arguments.number)?;
    let wanted = |row: &Row| {
        let is = |wanted: Option<u64>, value: Option<u64>| wanted.is_none() || wanted == value;
        is(arguments.batch, row.batch) && is(arguments.number, row.number)
    };
    let all: Vec<Row> = letters.rows().into_iter().filter(wanted).collect();
    let due = all.iter().filter(|row| arguments.again || row.replayed == 0);
    let due: Vec<usize> = due.map(|row| row.place).collect();
    if !due.is_empty() {
        match (peer, &arguments.to_file) {
            (Some(peer), _) => super::block_on(send(&letters, peer, &due, arguments.again))?,
            (None, Some(path)) => {
                let mut file = EventsFile::create(path, arguments.format)?;
                letters.batches(&due, arguments.again).iter().try_for_each(|batch| file.append(batch))?;
                file.finish()?;
                super::block_on(letters.mark(&due))?;
            }
            (None, None) => {}
        }
    }
    let before = all.len() - due.len();
    let told = if before > 0 { format!("; {before} were before, and come with --again") } else { String::new() };
    print(&format!("replayed {}{told}\n", due.len()));
    Ok(())
}

async fn send(letters: &DeadLetters, mut peer: Peer, due: &[usize], again: bool) -> Result<()> {
    peer.start();
    for some in due.chunks(AT_ONCE) {
        peer.deliver(letters.batches(some, again).into()).await?;
        letters.mark(some).await?;
    }
    peer.close().await
}

/// Letters of one call.
const AT_ONCE: usize = 100;
