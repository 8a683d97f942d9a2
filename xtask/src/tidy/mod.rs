//! The rules of the house that a program can check: one file each.

mod budget;
mod compat;
mod dependencies;
mod examples;
mod fresh;
mod links;
mod registry;
mod sleeps;

use std::fmt;

use crate::tree::Tree;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `file`, or `file:line`.
    place: String,
    /// What is there, the rule, and what to do.
    problem: String,
    /// Told, but nothing fails by it.
    only_warns: bool,
}

/// Runs every check and tells what it found; whether nothing fails.
pub(crate) fn run(tree: &Tree) -> Result<bool, String> {
    let mut findings = dependencies::check(tree, &dependencies::metadata()?);
    for check in CHECKS {
        findings.extend(check(tree));
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    let failures = findings.iter().filter(|finding| !finding.only_warns).count();
    match failures {
        0 => println!("tidy"),
        _ => eprintln!("{failures} of {} findings fail", findings.len()),
    }
    Ok(failures == 0)
}

/// The checks that look at files alone.
const CHECKS: &[fn(&Tree) -> Vec<Finding>] =
    &[registry::check, budget::check, fresh::check, sleeps::check, links::check, examples::check, compat::check];

// === impl Finding ===

impl Finding {
    fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { place: place.to_string(), problem: problem.to_string(), only_warns: false }
    }

    fn warning(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { only_warns: true, ..Self::new(place, problem) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.only_warns { "warning: " } else { "" };
        write!(f, "{level}{}: {}", self.place, self.problem)
    }
}
