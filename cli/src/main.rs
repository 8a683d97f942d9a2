//! The `millstream` command: arguments, signals and exit codes. What it does lies in the other crates.

mod commands;
mod exit;
mod logging;
mod signals;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{agent, demo, version};

/// Carries events from sources through channels to sinks, as Apache Flume does.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one agent of a Flume configuration until SIGTERM or Ctrl-C.
    Agent(agent::Arguments),
    /// Counts the words of whatever is put into a directory, from end to end in one process.
    Demo(demo::Arguments),
    /// Prints the version.
    Version,
}

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(Arguments { command: Command::Agent(arguments) }) => agent::run(arguments),
        Ok(Arguments { command: Command::Demo(arguments) }) => demo::run(arguments),
        Ok(Arguments { command: Command::Version }) => version::run(),
        Err(error) => exit::usage(&error),
    }
}
