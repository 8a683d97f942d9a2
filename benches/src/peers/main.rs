//! `make bench-peers`: ours, the real Flume and the machine's limits, interleaved in one run.
//!
//! Every round starts each subject afresh, warms it up, and measures wall time of the load and CPU time of the subject alone,
//! from `/proc`. Flume runs in a JVM without the shortcuts of the tests. The clients share the machine with the subject, so
//! rates beside Flume are lower bounds, and CPU per event is what is compared.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot be prepared ends, and says where")]
#![allow(clippy::disallowed_methods, reason = "files of a bench need not outlive it")]

mod caller;
mod files;
mod flat;
mod hops;
mod limits;
mod lives;
mod load;
mod proc;
mod rounds;
mod rpc;
mod subject;

#[path = "../machine.rs"]
mod machine;

use std::process::ExitCode;

use clap::Parser;
use rounds::{NamedCommand, Page};

/// Measures Millstream beside Flume and the machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which rows; all unless some are named.
    names: Vec<String>,
    /// Rounds of each row.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Keeps the page in this file too.
    #[arg(long)]
    write: Option<std::path::PathBuf>,
    /// Another program that takes part where files or lines of a connection become files: `name=command`. The command is one of
    /// `sh`; it reads files put into the directory `$IN`, or lines sent to 127.0.0.1:`$PORT`, and writes them to files in `$OUT`.
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    peers: Vec<NamedCommand>,
    /// Measures also on a machine that others use; the page says so.
    #[arg(long)]
    loaded: bool,
}

type Bench = fn(&mut Page);

/// Every row, in the order of the page.
const BENCHES: &[(&str, Bench)] = &[
    ("avro-memory", rpc::memory),
    ("avro-file", rpc::file),
    ("avro-single", rpc::single),
    ("spool-file", files::spool_to_file),
    ("files", files::files_to_files),
    ("lines", files::lines_to_files),
    ("spark-sink", hops::spark_sink),
    ("avro-hop", hops::avro_hop),
    ("three-hops", hops::three_hops),
    ("connections", flat::connections),
    ("many-files", flat::files),
    ("backlog", flat::backlog),
    ("recovery", lives::recovery),
    ("memory", lives::memory),
];

/// More than this before the start, and somebody else is at work.
const MOST_LOAD: f64 = 0.5;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(unknown) = arguments.names.iter().find(|name| !BENCHES.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("no bench {unknown:?}; there are {}", known.join(", "));
        return ExitCode::from(64);
    }
    let load = proc::load();
    if load > MOST_LOAD && !arguments.loaded {
        eprintln!(
            "the load of the last minute is {load}, more than {MOST_LOAD}: wait until the machine is idle, or say --loaded"
        );
        return ExitCode::from(75);
    }
    let mut page = Page::new(&machine::head("Beside Flume"), arguments.rounds, arguments.peers);
    for (name, bench) in BENCHES {
        if arguments.names.is_empty() || arguments.names.iter().any(|wanted| wanted == name) {
            bench(&mut page);
        }
    }
    let (text, missed) = page.finish();
    if let Some(path) = arguments.write
        && let Err(error) = std::fs::write(&path, text)
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
