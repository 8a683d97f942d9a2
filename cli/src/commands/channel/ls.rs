//! `millstream channel ls`.

use std::path::Path;
use std::process::ExitCode;

use millstream_channels::file::offline::{self, StoppedChannel};
use millstream_core::{Error, Result};
use serde_json::{Value, json};

use super::LsArguments;
use crate::commands::output::{Output, bytes, print, print_json, time};
use crate::exit;

pub(super) fn run(arguments: &LsArguments) -> Result<ExitCode> {
    let found = offline::find(&arguments.dir)?;
    let rows: Vec<Value> = found.iter().map(|dir| row(dir)).collect();
    match arguments.output {
        Output::Json => print_json(&json!({ "channels": rows })),
        Output::Text if rows.is_empty() => {
            print(&format!("no file channel at or below {}\n", arguments.dir.display()));
        }
        Output::Text => rows.iter().for_each(|row| print(&text(row))),
    }
    Ok(match &rows[..] {
        [] => ExitCode::from(exit::NO_INPUT),
        rows if rows.iter().any(|row| !row["error"].is_null()) => ExitCode::from(exit::DATA),
        _ => ExitCode::SUCCESS,
    })
}

/// One channel. One that runs, or cannot be read, keeps nobody from seeing the others.
fn row(dir: &Path) -> Value {
    let looked = StoppedChannel::read_only(dir).and_then(|channel| {
        let (log, acks) = channel.files()?;
        let totals = channel.view()?.totals();
        let waiting = channel.contents()?.waiting;
        let written = log.written.map(|(first, last)| [time(first), time(last)]);
        Ok(json!({
            "dir": dir,
            "segments": log.segments,
            "bytes": log.bytes + acks.bytes,
            "waiting_events": totals.waiting_events(),
            "waiting_bytes": totals.waiting_bytes,
            "oldest_waiting": waiting.first().map(|range| range.start),
            "newest_waiting": waiting.last().map(|range| range.end - 1),
            "oldest_written": written.as_ref().map(|[first, _]| first),
            "newest_written": written.as_ref().map(|[_, last]| last),
            "lost_events": totals.lost_events,
            "quarantined": log.quarantined + acks.quarantined,
        }))
    });
    looked.unwrap_or_else(|error| match error {
        Error::InUse { holder, .. } => json!({ "dir": dir, "in_use_by": holder }),
        error => json!({ "dir": dir, "error": error.to_string() }),
    })
}

fn text(row: &Value) -> String {
    let dir = row["dir"].as_str().unwrap_or_default();
    let number = |key: &str| row[key].as_u64().unwrap_or_default();
    if let Some(holder) = row["in_use_by"].as_str() {
        return format!("{dir}\n  in use by {holder}: ask its monitoring, or stop it\n");
    }
    if let Some(error) = row["error"].as_str() {
        return format!("{dir}\n  cannot be opened: {error}\n");
    }
    let waiting = match number("waiting_events") {
        0 => "nothing waits".to_owned(),
        events => format!(
            "{events} events wait ({}, from {} to {})",
            bytes(number("waiting_bytes")),
            number("oldest_waiting"),
            number("newest_waiting")
        ),
    };
    let written = match (row["oldest_written"].as_str(), row["newest_written"].as_str()) {
        (Some(first), Some(last)) => format!(", written {first} to {last}"),
        _ => String::new(),
    };
    let (segments, aside) = (number("segments"), number("quarantined"));
    let size = bytes(number("bytes"));
    format!("{dir}\n  {waiting}; {segments} segments, {size}{written}; {aside} pieces set aside\n")
}
