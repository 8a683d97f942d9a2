//! What a run of the benches says: on the screen, and as a page to be committed.

use std::fmt::Write as _;

use crate::machine;

/// A page of sections with rows.
#[derive(Debug, Default)]
pub struct Report {
    page: String,
    missed: Vec<String>,
}

// === impl Report ===

impl Report {
    /// Begins with the machine and its load.
    pub fn new() -> Self {
        let mut report = Self::default();
        report.write(&machine::head("Benches"));
        report
    }

    /// Begins a section: a title, and what the input is.
    pub fn section(&mut self, title: &str, input: &str) {
        self.write(&format!("\n## {title}\n\nInput: {input}.\n\n| what | measured |\n|---|---|"));
    }

    /// A measured figure.
    pub fn row(&mut self, what: &str, measured: &str) {
        self.write(&format!("| {what} | {measured} |"));
    }

    /// A figure with a bound: at most `most`.
    pub fn target(&mut self, what: &str, value: f64, most: f64, unit: &str) {
        let bound = if most.is_finite() { format!(" (target: at most {most} {unit})") } else { String::new() };
        self.row(what, &format!("{value:.2} {unit}{bound}"));
        if value > most {
            self.missed.push(format!("{what}: {value:.2}, target at most {most} {unit}"));
        }
    }

    /// A figure with a bound: at least `least`.
    pub fn target_at_least(&mut self, what: &str, value: f64, least: f64, unit: &str) {
        self.row(what, &format!("{value:.2} {unit} (target: at least {least} {unit})"));
        if value < least {
            self.missed.push(format!("{what}: {value:.2}, target at least {least} {unit}"));
        }
    }

    /// The page, and the targets that were missed.
    pub fn finish(mut self) -> (String, Vec<String>) {
        let verdict = if self.missed.is_empty() {
            "All targets were met.".to_owned()
        } else {
            format!("Missed: {}.", self.missed.join("; "))
        };
        self.write(&format!("\n{verdict}"));
        (self.page, self.missed)
    }

    fn write(&mut self, line: &str) {
        println!("{line}");
        let _ = writeln!(self.page, "{line}");
    }
}
