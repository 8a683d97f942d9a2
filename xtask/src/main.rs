//! `cargo xtask tidy` holds the tree against the rules of the house; `cargo xtask docs` writes the reference pages.

mod compat;
mod reference;
mod tidy;
mod tree;

use std::process::ExitCode;

use tree::Tree;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => Tree::of_checkout().and_then(|tree| tidy::run(&tree)),
        ["docs"] => Tree::of_checkout().and_then(|tree| reference::write(&tree)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "\
cargo xtask tidy   holds the tree against the rules of the house
cargo xtask docs   writes docs/components from the declarations of the components, docs/compat.md from the tests
                   and docs/differences";
