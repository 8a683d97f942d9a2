//! `millstream channel verify`.

use std::process::ExitCode;

use millstream_channels::file::offline::{Problem, Severity, StoppedChannel};
use millstream_core::Result;
use serde_json::{Value, json};

use super::OneArguments;
use crate::commands::output::{Output, print, print_json};
use crate::commands::progress::Progress;
use crate::exit;

pub(super) fn run(arguments: &OneArguments) -> Result<ExitCode> {
    let channel = StoppedChannel::read_only(&arguments.dir)?;
    let (log, acks) = channel.files()?;
    let mut progress = Progress::start("verify", "bytes", log.bytes + acks.bytes);
    let verified = channel.verify(&mut |bytes| progress.add(bytes))?;
    progress.finish();
    let damaged = verified.problems.iter().any(|problem| problem.severity == Severity::Damage);
    if arguments.output == Output::Json {
        let problems: Vec<Value> = verified.problems.iter().map(problem_json).collect();
        print_json(&json!({
            "dir": channel.data_dir(),
            "clean": !damaged,
            "segments": verified.segments,
            "put_records": verified.puts,
            "ack_records": verified.acks,
            "in": verified.stored,
            "out": verified.delivered,
            "waiting": verified.waiting,
            "unreadable": verified.unreadable,
            "lost": verified.lost,
            "problems": problems,
        }));
    } else {
        let mut lines: Vec<String> = verified.problems.iter().map(problem_text).collect();
        lines.push(format!(
            "{}: {} segments, {} records of puts and {} of acknowledgements read",
            channel.data_dir().display(),
            verified.segments,
            verified.puts,
            verified.acks
        ));
        lines.push(format!(
            "in {} = out {} + waiting {} + unreadable {} + lost {}",
            verified.stored, verified.delivered, verified.waiting, verified.unreadable, verified.lost
        ));
        lines.push(if damaged { "damaged" } else { "clean" }.to_owned());
        print(&(lines.join("\n") + "\n"));
    }
    Ok(if damaged { ExitCode::from(exit::DATA) } else { ExitCode::SUCCESS })
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "file": problem.file,
        "offset": problem.offset,
        "length": problem.length,
        "what": problem.what,
        "remedy": problem.remedy,
        "severity": severity(problem),
    })
}

fn problem_text(problem: &Problem) -> String {
    let offset = problem.offset.map_or_else(String::new, |offset| format!(" at byte {offset}"));
    format!("{}: {}{offset}: {}; {}", severity(problem), problem.file.display(), problem.what, problem.remedy)
}

fn severity(problem: &Problem) -> &'static str {
    match problem.severity {
        Severity::Note => "note",
        Severity::Damage => "damage",
    }
}
