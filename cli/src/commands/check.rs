//! `millstream check`: says of every key of a configuration what becomes of it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use millstream_agent::{Agent, AgentReport, Report, Standing};

use super::agent::property;
use crate::exit;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Property files; of several, later ones win.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Name of one agent; all of the file if not given.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    name: String,
    /// Variable ${sys:key}; a key of the agent itself is replaced.
    #[arg(short = 'D', value_name = "key=value", value_parser = property)]
    properties: Vec<(String, String)>,
    /// Lists also the keys that are honoured, and what differs beside the keys.
    #[arg(short, long)]
    all: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line per key.
    Text,
    /// One object.
    Json,
}

/// Prints the report; the exit code says whether something of it cannot run.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let Arguments { files, name, properties, all, output } = arguments;
    let builder = Agent::builder().name(name).overrides(properties);
    let report = match files.into_iter().fold(builder, |builder, file| builder.config_file(file)).check() {
        Ok(report) => report,
        Err(error) => return exit::failure(&error),
    };
    let text = match output {
        Output::Text => text(&report, all),
        Output::Json => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
    };
    // A reader that left wants nothing more; the exit code is for others.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if report.is_broken() { ExitCode::from(exit::CONFIG) } else { ExitCode::SUCCESS }
}

fn text(report: &Report, all: bool) -> String {
    report.agents.iter().map(|agent| agent_text(agent, all)).collect::<Vec<_>>().join("\n")
}

fn agent_text(agent: &AgentReport, all: bool) -> String {
    let mut lines = vec![format!("agent {}", agent.name)];
    for key in agent.keys.iter().filter(|key| all || key.standing != Standing::Honoured) {
        let reason = if key.reason.is_empty() { String::new() } else { format!(": {}", key.reason) };
        lines.push(format!("  {:<10} {}: {}{reason}", word(key.standing), key.place, key.key));
    }
    for problem in &agent.problems {
        lines.push(format!("  {:<9}  {problem}", word(Standing::Broken)));
    }
    for warning in &agent.warnings {
        lines.push(format!("  {:<9}  {warning}", "warning"));
    }
    for found in agent.differences.iter().filter(|_| all) {
        lines.push(format!(
            "  {:<9}  {} ({}): {}",
            "note",
            found.component,
            found.type_name,
            found.difference.sentence()
        ));
    }
    if !all && !agent.differences.is_empty() {
        lines.push(format!("  {:<9}  {}", "note", elsewhere(agent)));
    }
    lines.push(format!("  {}", counts(agent)));
    lines.join("\n") + "\n"
}

/// What differs in these components and is about none of these keys, on one line.
fn elsewhere(agent: &AgentReport) -> String {
    let types: BTreeSet<&str> = agent.differences.iter().map(|found| found.type_name).collect();
    let ways: BTreeSet<&str> = agent.differences.iter().map(|found| found.difference.id.as_str()).collect();
    let (ways, types) = (ways.len(), types.into_iter().collect::<Vec<_>>().join(", "));
    format!("{ways} more differences from Flume, of {types}, concern none of these keys: docs/compat.md, or --all")
}

/// `17 keys: 14 honoured, 1 different, …`; what there is none of is left out.
fn counts(agent: &AgentReport) -> String {
    let standings = [
        Standing::Honoured,
        Standing::Different,
        Standing::Ignored,
        Standing::Unknown,
        Standing::NotJudged,
        Standing::Broken,
    ];
    let counted = standings.into_iter().filter_map(|standing| {
        let keys = agent.keys.iter().filter(|key| key.standing == standing).count();
        let more = if standing == Standing::Broken { agent.problems.len() } else { 0 };
        (keys + more > 0).then(|| format!("{} {}", keys + more, word(standing)))
    });
    format!("{} keys: {}", agent.keys.len(), counted.collect::<Vec<_>>().join(", "))
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Honoured => "honoured",
        Standing::Different => "different",
        Standing::Ignored => "ignored",
        Standing::Unknown => "unknown",
        Standing::NotJudged => "not judged",
        Standing::Broken => "broken",
    }
}
