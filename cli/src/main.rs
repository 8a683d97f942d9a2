//! The `millstream` command: arguments, signals and exit codes. What it does lies in the other crates.

mod allocator;
mod ask;
mod commands;
mod exit;
mod logging;
mod signals;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use commands::{agent, audit, avro_client, channel, check, completions, deadletter, demo, tap, version, why};

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
    /// Sends lines of a file, a directory or standard input to an avro source.
    AvroClient(avro_client::Arguments),
    /// Says of every key of a Flume configuration whether it is honoured, different, ignored or unknown; 78 if a part cannot run.
    Check(check::Arguments),
    /// Looks into file channels of agents that are stopped, and repairs or empties them.
    #[command(subcommand)]
    Channel(channel::Command),
    /// Adds up where every event is, from the directories of channels and jobs that are stopped; 65 if some are lost.
    Audit(audit::Arguments),
    /// Shows the events that a job set aside because its program failed on them, and sends them again.
    #[command(subcommand)]
    Deadletter(deadletter::Command),
    /// Asks a running agent what holds its events up.
    Why(why::Arguments),
    /// Shows the events that pass a component of a running agent.
    Tap(tap::Arguments),
    /// Counts the words of whatever is put into a directory, from end to end in one process.
    Demo(demo::Arguments),
    /// Prints the completions of a shell.
    Completions(completions::Arguments),
    /// Prints the manual page.
    Man(completions::ManArguments),
    /// Prints the version.
    Version,
}

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    match Arguments::try_parse() {
        Ok(Arguments { command: Command::Agent(arguments) }) => agent::run(arguments),
        Ok(Arguments { command: Command::AvroClient(arguments) }) => avro_client::run(arguments),
        Ok(Arguments { command: Command::Demo(arguments) }) => demo::run(arguments),
        Ok(Arguments { command: Command::Check(arguments) }) => check::run(arguments),
        Ok(Arguments { command: Command::Channel(command) }) => channel::run(command),
        Ok(Arguments { command: Command::Audit(arguments) }) => audit::run(&arguments),
        Ok(Arguments { command: Command::Deadletter(command) }) => deadletter::run(command),
        Ok(Arguments { command: Command::Why(arguments) }) => why::run(arguments),
        Ok(Arguments { command: Command::Tap(arguments) }) => tap::run(arguments),
        Ok(Arguments { command: Command::Completions(arguments) }) => completions::run(arguments, Arguments::command()),
        Ok(Arguments { command: Command::Man(arguments) }) => completions::run_man(arguments, Arguments::command()),
        Ok(Arguments { command: Command::Version }) => version::run(),
        Err(error) => exit::usage(&error),
    }
}
