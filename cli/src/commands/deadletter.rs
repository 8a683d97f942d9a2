//! `millstream deadletter`: the events that a job set aside, shown and sent again.
//!
//! # Delivery
//! A letter is marked as replayed, on the disk, once the peer answered or the file is whole. A kill between the two replays it
//! again next time; it then has the name that it had, so an avro source of ours stores it once. `--again` gives new names.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use clap::{ArgGroup, Args, Subcommand};
use millstream_core::Result;
use millstream_streams::offline::{DeadLetters, Letter};
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

use super::events_file::{EventsFile, Format};
use super::output::{Output, body_json, print, print_json, printable, time};
use super::peer::Peer;
use crate::{exit, logging};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows them: batch, time, name, reason, headers and body. The job may run.
    Ls(LsArguments),
    /// Sends those that were not replayed before to an avro source, or writes them into a file. The job may run.
    Replay(ReplayArguments),
}

#[derive(Debug, Args)]
pub(crate) struct LsArguments {
    /// The job's checkpoint directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).args(["to", "to_file"]))]
pub(crate) struct ReplayArguments {
    /// The job's checkpoint directory.
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
    /// Only those of this batch.
    #[arg(long, value_name = "BATCH")]
    batch: Option<u64>,
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
    let letters = letters.letters();
    match arguments.output {
        Output::Json => {
            let rows: Vec<Value> = letters.iter().map(letter_json).collect();
            print_json(&json!({ "dir": arguments.dir, "dead_letters": rows }));
        }
        Output::Text if letters.is_empty() => print(&format!("no dead letters in {}\n", arguments.dir.display())),
        Output::Text => letters.iter().for_each(|letter| print(&letter_text(letter))),
    }
    Ok(())
}

fn replay(arguments: &ReplayArguments) -> Result<()> {
    // Before anything is touched.
    let peer = arguments.to.as_deref().map(|address| Peer::new("deadletter", address)).transpose()?;
    let letters = DeadLetters::open(&arguments.dir)?;
    let wanted = |letter: &&Letter| arguments.batch.is_none_or(|batch| letter.batch == batch);
    let all: Vec<Letter> = letters.letters().iter().filter(wanted).cloned().collect();
    let due: Vec<Letter> = all.iter().filter(|letter| arguments.again || letter.replayed == 0).cloned().collect();
    if !due.is_empty() {
        match (peer, &arguments.to_file) {
            (Some(peer), _) => super::block_on(send(&letters, peer, &due, arguments.again))?,
            (None, Some(path)) => {
                let mut file = EventsFile::create(path, arguments.format)?;
                file.append(&letters.batch(&due, arguments.again))?;
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

async fn send(letters: &DeadLetters, mut peer: Peer, due: &[Letter], again: bool) -> Result<()> {
    peer.start();
    for some in due.chunks(AT_ONCE) {
        peer.deliver(Arc::new([letters.batch(some, again)])).await?;
        letters.mark(some).await?;
    }
    peer.close().await
}

fn name(letter: &Letter) -> Option<String> {
    letter.name.map(|(incarnation, sequence)| format!("{incarnation:032x}:{sequence}"))
}

fn when(letter: &Letter) -> String {
    time(UNIX_EPOCH + Duration::from_millis(letter.time_ms))
}

fn letter_json(letter: &Letter) -> Value {
    let headers: serde_json::Map<String, Value> =
        letter.headers.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    let (key, body) = body_json(&letter.body);
    json!({
        "batch": letter.batch,
        "index": letter.index,
        "time": when(letter),
        "name": name(letter),
        "reason": letter.reason,
        "headers": headers,
        key: body,
        "replayed": letter.replayed,
    })
}

fn letter_text(letter: &Letter) -> String {
    let headers: Vec<String> = letter
        .headers
        .iter()
        .map(|(key, value)| format!("{}={}", printable(key.as_bytes()), printable(value.as_bytes())))
        .collect();
    let replayed = match letter.replayed {
        0 => String::new(),
        1 => ", replayed".to_owned(),
        times => format!(", replayed {times} times"),
    };
    format!(
        "batch {} of {}, {}{replayed}\n  {}\n  {{{}}} {}\n",
        letter.batch,
        when(letter),
        name(letter).unwrap_or_else(|| "no name".to_owned()),
        printable(letter.reason.as_bytes()),
        headers.join(", "),
        printable(&letter.body)
    )
}

/// Letters of one call.
const AT_ONCE: usize = 100;
