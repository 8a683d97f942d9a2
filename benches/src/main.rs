//! Whole runs, each beside its physical limit or its bare loop, in one process after the other.
//!
//! `cargo run --release -p millstream-benches [-- NAME…] [--write]`: without names all of them; `--write` commits the page
//! to `benches/results/`.

mod batches;
mod corpus;
mod demo;
mod machine;
mod measure;
mod parts;
mod report;
mod spool;
mod word_count;

use std::process::ExitCode;

use clap::Parser;
use report::Report;

/// Measures Millstream.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which benches; all unless some are named.
    names: Vec<String>,
    /// Keeps the page in this file too.
    #[arg(long)]
    write: Option<std::path::PathBuf>,
}

type Bench = fn(&mut Report) -> millstream::Result<()>;

/// Every bench, in the order of the page.
const BENCHES: &[(&str, Bench)] = &[
    ("spool", spool::run),
    ("path", demo::path),
    ("word-count", word_count::corpus),
    ("distinct-words", word_count::distinct),
    ("parts", parts::run),
    ("empty-batches", batches::run),
    ("landing", demo::landing),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(unknown) = arguments.names.iter().find(|name| !BENCHES.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("no bench {unknown:?}; there are {}", known.join(", "));
        return ExitCode::from(64);
    }
    let mut report = Report::new();
    for (name, bench) in BENCHES {
        if (arguments.names.is_empty() || arguments.names.iter().any(|wanted| wanted == name))
            && let Err(error) = bench(&mut report)
        {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    let (page, missed) = report.finish();
    if let Some(path) = arguments.write
        && let Err(error) = std::fs::write(&path, page)
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
