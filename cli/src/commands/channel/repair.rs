//! `millstream channel repair`.

use std::process::ExitCode;

use clap::Args;
use millstream_channels::file::offline::StoppedChannel;
use millstream_core::Result;
use millstream_io::view::Change;
use serde_json::json;

use super::OneArguments;
use crate::commands::output::{Output, print, print_json};
use crate::exit;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) one: OneArguments,
    /// Does it.
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (channel, dir) = if arguments.yes {
        let channel = StoppedChannel::exclusive(&arguments.one.dir)?;
        let dir = channel.data_dir().to_owned();
        (channel, dir)
    } else {
        let channel = StoppedChannel::read_only(&arguments.one.dir)?;
        let dir = channel.data_dir().to_owned();
        (channel, dir)
    };
    let (changes, lost) = channel.repairs()?;
    let mut steps: Vec<String> = changes.iter().map(step).collect();
    if lost > 0 {
        steps.push(format!("note {lost} events as lost: no record that is whole has them"));
    }
    let (due, done) = (!steps.is_empty(), arguments.yes && !steps.is_empty());
    if done {
        channel.repair()?;
    }
    match arguments.one.output {
        Output::Json => print_json(&json!({ "dir": dir, "steps": steps, "lost_events": lost, "done": done })),
        Output::Text if !due => print(&format!("{}: nothing to repair\n", dir.display())),
        Output::Text => {
            let verdict = if done { "done" } else { "nothing was changed; add --yes to do it" };
            print(&format!("{}:\n  {}\n{verdict}\n", dir.display(), steps.join("\n  ")));
        }
    }
    Ok(if due && !done { ExitCode::from(exit::DATA) } else { ExitCode::SUCCESS })
}

fn step(change: &Change) -> String {
    match change {
        Change::Created(path) => format!("copy damaged bytes to {}", path.display()),
        Change::Renamed(from, to) => {
            format!("set {} aside as {}: nothing in it can be read", from.display(), to.display())
        }
        Change::Removed(path) => format!("remove {}", path.display()),
        Change::Cut(path, from, to) => {
            format!("cut {} bytes off {}, from byte {to} on: a write that did not finish", from - to, path.display())
        }
        Change::Written(path, bytes) => format!("write {bytes} bytes of {} again", path.display()),
    }
}
