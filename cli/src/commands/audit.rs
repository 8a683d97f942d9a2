//! `millstream audit`: where every event is, from the disk alone.
//!
//! Channels and jobs are read as their own start would read them, on a picture of the disk in memory; nothing is changed. A
//! channel's own line is its log against its acknowledgements. A job's line is what it committed against the channels that
//! gave its events their names, wherever on the way they wait.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use millstream_channels::file::offline::{self as channels, StoppedChannel};
use millstream_core::{ChannelTotals, Error, IntervalSet, Ledger, Result};
use millstream_streams::offline::{self as jobs, JobAudit};
use serde_json::{Map, Value, json};
use tracing_subscriber::filter::LevelFilter;

use super::output::{Output, print, print_json};
use super::progress::Progress;
use crate::{exit, logging};

/// Where to look.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Directories of file channels and jobs, or some above: all those of a path, so that it adds up.
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What was found.
#[derive(Debug, Default)]
struct Audit {
    channels: Vec<Found<Channel>>,
    jobs: Vec<Found<JobAudit>>,
}

/// A directory, and what it says or why it says nothing.
#[derive(Debug)]
struct Found<T> {
    dir: PathBuf,
    read: Result<T>,
}

/// A channel as the ledger needs it.
#[derive(Debug)]
struct Channel {
    totals: ChannelTotals,
    /// Names that wait.
    waiting: Vec<(u128, std::ops::Range<u64>)>,
    /// Names of dead letters.
    dead_lettered: Vec<(u128, std::ops::Range<u64>)>,
}

/// Prints the ledger.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    // What opening warns of has not happened where one only looks.
    let started = logging::start(None, LevelFilter::ERROR);
    match started.and_then(|()| Audit::read(&arguments.dirs)) {
        Ok(audit) if audit.channels.is_empty() && audit.jobs.is_empty() => {
            let looked: Vec<String> = arguments.dirs.iter().map(|dir| dir.display().to_string()).collect();
            let problem = "no file channel and no job at or below it; name directories of dataDirs and of checkpoints";
            let _ = writeln!(std::io::stderr(), "millstream: {}: {problem}", looked.join(", "));
            ExitCode::from(exit::NO_INPUT)
        }
        Ok(audit) => audit.tell(arguments.output),
        Err(error) => exit::failure(&error),
    }
}

// === impl Audit ===

impl Audit {
    /// Everything at and below `dirs`. One that cannot be read keeps nobody from seeing the others.
    fn read(dirs: &[PathBuf]) -> Result<Self> {
        let mut audit = Self::default();
        for dir in dirs {
            super::find(dir)?;
            for dir in channels::find(dir)? {
                if audit.channels.iter().all(|known| known.dir != dir) {
                    let read = Channel::read(&dir);
                    audit.channels.push(Found { dir, read });
                }
            }
            for dir in jobs::find(dir) {
                if audit.jobs.iter().all(|known| known.dir != dir) {
                    let read = jobs::audit(&dir);
                    audit.jobs.push(Found { dir, read });
                }
            }
        }
        Ok(audit)
    }

    fn tell(&self, output: Output) -> ExitCode {
        let channels = self.channels.iter().map(|found| found.row(|channel| channel.row()));
        let jobs = self.jobs.iter().map(|found| found.row(|job| self.job_row(job)));
        let (channels, jobs): (Vec<Value>, Vec<Value>) = (channels.collect(), jobs.collect());
        match output {
            Output::Json => print_json(&json!({ "channels": channels, "jobs": jobs })),
            Output::Text => {
                channels.iter().for_each(|row| print(&channel_text(row)));
                jobs.iter().for_each(|row| print(&job_text(row)));
            }
        }
        let rows = || channels.iter().chain(&jobs);
        let lost = |row: &Value| row["lost"].as_i64().is_some_and(|lost| lost != 0);
        if rows().any(|row| row["error"].is_string()) || rows().any(lost) {
            ExitCode::from(exit::DATA)
        } else if rows().any(|row| row["in_use_by"].is_string()) {
            ExitCode::from(exit::TEMPORARY)
        } else {
            ExitCode::SUCCESS
        }
    }

    fn job_row(&self, job: &JobAudit) -> Value {
        let read = || self.channels.iter().filter_map(|found| Some((&found.dir, found.read.as_ref().ok()?)));
        let counted = job.committed(&[]).counted;
        let named = |channel: &Channel| channel.totals.store.is_some_and(|store| counted.contains_key(&store));
        let linked: Vec<_> = read().filter(|(_, channel)| named(channel)).collect();
        let stores: Vec<u64> = linked.iter().filter_map(|(_, channel)| channel.totals.store).collect();
        // An event that was handed on and not acknowledged yet is in two channels.
        let mut names: BTreeMap<u128, IntervalSet> = BTreeMap::new();
        for (incarnation, range) in read().flat_map(|(_, channel)| &channel.waiting) {
            if stores.contains(&((incarnation >> 64) as u64)) {
                names.entry(*incarnation).or_default().insert(range.clone());
            }
        }
        let waiting: Vec<_> = names.iter().flat_map(|(id, set)| set.ranges().map(|range| (*id, range))).collect();
        let all = waiting.iter().map(|(_, range)| range.end - range.start).sum();
        let totals: Vec<ChannelTotals> = linked.iter().map(|(_, channel)| channel.totals.clone()).collect();
        let mut ledger = Ledger::balance_all(&totals, all, &job.committed(&waiting));
        let mut dead: BTreeMap<u128, IntervalSet> = BTreeMap::new();
        for (incarnation, range) in read().flat_map(|(_, channel)| &channel.dead_lettered) {
            if stores.contains(&((incarnation >> 64) as u64)) {
                dead.entry(*incarnation).or_default().insert(range.clone());
            }
        }
        ledger.set_aside(dead.values().map(IntervalSet::len).sum());
        let mut row = json!(ledger);
        row["job"] = job.job.clone().into();
        row["last_batch"] = job.last_batch.into();
        row["unnamed"] = job.unnamed.into();
        row["channels"] = linked.iter().map(|(dir, _)| json!(dir)).collect();
        row
    }
}

// === impl Found ===

impl<T> Found<T> {
    fn row(&self, tell: impl FnOnce(&T) -> Value) -> Value {
        let mut row = match &self.read {
            Ok(read) => tell(read),
            Err(Error::InUse { holder, .. }) => json!({ "in_use_by": holder }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        row["dir"] = json!(self.dir);
        row
    }
}

// === impl Channel ===

impl Channel {
    fn read(dir: &Path) -> Result<Self> {
        let channel = StoppedChannel::read_only(dir)?;
        let (log, _) = channel.files()?;
        let mut progress = Progress::start("audit", "bytes", log.bytes);
        // Read as a whole: events whose record is gone do not wait, whatever the numbers of the others say.
        let totals = channel.totals(&mut |bytes| progress.add(bytes))?;
        progress.finish();
        let waiting = channel.view()?.waiting_names();
        let dead_lettered = if totals.dead_lettered > 0 { channel.dead_lettered_names()? } else { Vec::new() };
        Ok(Self { totals, waiting, dead_lettered })
    }

    fn row(&self) -> Value {
        let totals = &self.totals;
        let dropped: Map<String, Value> =
            totals.dropped.iter().map(|(rule, events)| (rule.to_string(), (*events).into())).collect();
        json!({
            "store": totals.store.map(|store| format!("{store:016x}")),
            "in": totals.put_events,
            "out": totals.taken_events - totals.lost_events,
            "waiting": totals.waiting_events(),
            "lost": totals.lost_events,
            "dead_lettered": totals.dead_lettered,
            "dropped": dropped,
            "redelivered": totals.redelivered_events,
            "named_elsewhere": totals.named_elsewhere,
        })
    }
}

fn channel_text(row: &Value) -> String {
    let head = format!("channel {}\n", text(&row["dir"]));
    if let Some(line) = unread(row) {
        return head + &line;
    }
    let out =
        super::channel::out(row["out"].as_u64().unwrap_or_default(), row["dead_lettered"].as_u64().unwrap_or_default());
    let sum = format!("  in {} = out {out} + waiting {} + lost {}\n", row["in"], row["waiting"], row["lost"]);
    let (dropped, redelivered) = (rules(&row["dropped"]), &row["redelivered"]);
    head + &sum + &format!("  dropped: {dropped}; redelivered and known: {redelivered}\n")
}

fn job_text(row: &Value) -> String {
    let head = format!("job {}", text(&row["dir"]));
    if let Some(line) = unread(row) {
        return head + "\n" + &line;
    }
    let mut lines = vec![format!("{head}, {:?}, {} batches", text(&row["job"]), row["last_batch"])];
    let from: Vec<&str> = row["channels"].as_array().into_iter().flatten().map(text).collect();
    let from = if from.is_empty() { "no channel named here".to_owned() } else { from.join(", ") };
    lines.push(format!("  events of {from}; {} without names", row["unnamed"]));
    lines.push(format!(
        "  in {} = counted {} + waiting {} + dead-lettered {} + lost {}",
        row["in"], row["counted"], row["waiting"], row["dead_lettered"], row["lost"]
    ));
    lines.push(format!("  dropped: {}; redelivered and known: {}", rules(&row["dropped"]), row["redelivered"]));
    lines.join("\n") + "\n"
}

fn unread(row: &Value) -> Option<String> {
    if let Some(holder) = row["in_use_by"].as_str() {
        return Some(format!("  in use by {holder}: stop it, or ask its monitoring\n"));
    }
    row["error"].as_str().map(|error| format!("  cannot be read: {error}\n"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn rules(dropped: &Value) -> String {
    let rules: Vec<String> =
        dropped.as_object().into_iter().flatten().map(|(rule, events)| format!("{rule} {events}")).collect();
    if rules.is_empty() { "none".to_owned() } else { rules.join(", ") }
}
