//! `millstream completions` and `millstream man`: written from the declaration of the arguments, so they are never behind.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;
use millstream_core::Error;

use crate::exit;

/// For which shell.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The shell; for bash: source <(millstream completions bash)
    #[arg(value_enum)]
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Directory for the pages of all commands; without it the first page goes to standard output.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Prints the completions of `command`.
pub(crate) fn run(arguments: Arguments, mut command: Command) -> ExitCode {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    // A reader that left wants nothing more.
    let _ = std::io::stdout().write_all(&script);
    ExitCode::SUCCESS
}

/// Prints the manual page of `command`, or writes those of all its commands.
pub(crate) fn run_man(arguments: ManArguments, command: Command) -> ExitCode {
    let Some(dir) = arguments.dir else {
        let mut page = Vec::new();
        return match clap_mangen::Man::new(command).render(&mut page) {
            Ok(()) => {
                // A reader that left wants nothing more.
                let _ = std::io::stdout().write_all(&page);
                ExitCode::SUCCESS
            }
            Err(error) => exit::failure(&Error::io("write the page for", "standard output", error)),
        };
    };
    match clap_mangen::generate_to(command, &dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::failure(&Error::io("write the pages into", dir, error)),
    }
}
