//! What a page begins with: the date, the commit, the machine and its load.

use std::process::Command;

/// The head of a page.
pub fn head(title: &str) -> String {
    let model = first_line_with("/proc/cpuinfo", "model name").unwrap_or_default();
    let memory = first_line_with("/proc/meminfo", "MemTotal").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (date, commit) = (output("date", &["+%F"]), output("git", &["rev-parse", "--short", "HEAD"]));
    let (memory, kernel) = (memory.trim(), output("uname", &["-r"]));
    format!(
        "# {title}, {date} at {commit}\n\nMachine: {cores} ×{model}, {memory} memory; Linux {kernel}.\n\
         Load before the run: {}. Release build.",
        load.trim()
    )
}

fn first_line_with(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
