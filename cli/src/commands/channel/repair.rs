//! `millstream channel repair`.

use std::process::ExitCode;

use clap::Args;
use millstream_channels::file::offline::StoppedChannel;
use millstream_core::Result;
use millstream_io::view::Change;
use serde_json::json;

use super::OneArguments;
use crate::commands::output::{Output, print, print_json};
use crate::commands::progress::Progress;
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
    let mut steps = Vec::new();
    if !channel.has_acks() {
        steps.push("begin to note anew what is delivered: everything in the log is delivered again".to_owned());
    }
    let (log, _) = channel.files()?;
    let mut progress = Progress::start("look for damage", "bytes", log.bytes);
    let (changes, lost) = channel.repairs(&mut |bytes| progress.add(bytes))?;
    progress.finish();
    steps.extend(changes.iter().map(step));
    if lost > 0 {
        steps.push(format!(
            "note {lost} events as lost, for good: no record that is whole has them; if there is a copy of their segment, bring it back first"
        ));
    }
    let (due, done) = (!steps.is_empty(), arguments.yes && !steps.is_empty());
    // A write that did not finish is how a log ends after a kill: of it nobody was told anything.
    let is_damaged = lost > 0 || !channel.has_acks() || changes.iter().any(|change| !matches!(change, Change::Cut(..)));
    if done {
        let mut progress = Progress::start("repair", "bytes", log.bytes);
        channel.repair(&mut |bytes| progress.add(bytes))?;
        progress.finish();
    }
    match arguments.one.output {
        Output::Json => print_json(&json!({ "dir": dir, "steps": steps, "lost_events": lost, "done": done })),
        Output::Text if !due => print(&format!("{}: nothing to repair\n", dir.display())),
        Output::Text => {
            let verdict = if done { "done" } else { "nothing was changed; add --yes to do it" };
            print(&format!("{}:\n  {}\n{verdict}\n", dir.display(), steps.join("\n  ")));
        }
    }
    Ok(if is_damaged && !done { ExitCode::from(exit::DATA) } else { ExitCode::SUCCESS })
}

fn step(change: &Change) -> String {
    match change {
        Change::Created(path) => format!("make {}", path.display()),
        // A copy gets its name once it is whole.
        Change::Renamed(from, to) if from.extension().is_some_and(|end| end == "tmp") => {
            format!("copy damaged bytes to {}", to.display())
        }
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
