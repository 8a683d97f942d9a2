//! Rounds: every contestant once, one after the other, then all of them again.
//!
//! What swings from one minute to the next swings for all of them. Shown are the median and the range; ratios are taken
//! within a round.

use std::fmt::Write as _;

/// What a contestant did in one round.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Of the work's unit per second.
    pub rate: f64,
    /// CPU seconds of the subject per million events.
    pub cpu: f64,
    /// The most memory of the subject, in MB; not a number where there is no process of its own.
    pub peak_mb: f64,
}

/// One who does the work of a row.
pub struct Contestant<'a> {
    /// As shown.
    pub name: String,
    /// Does the work once.
    pub round: Box<dyn FnMut() -> Sample + 'a>,
}

/// A bound on the median of a figure, or of a ratio within the rounds.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Whose figure it is: an index of a contestant.
    pub whose: usize,
    /// Whose figure it is divided by, if any.
    pub beside: Option<usize>,
    /// Which figure.
    pub of: Figure,
    /// At most this, or at least.
    pub bound: Bound,
}

/// A figure of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// [`Sample::rate`].
    Rate,
    /// [`Sample::cpu`].
    Cpu,
}

/// What a ratio is held to.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// Good below.
    AtMost(f64),
    /// Good above.
    AtLeast(f64),
}

/// A row of the page: work that several do.
pub struct Row<'a> {
    /// The work.
    pub title: &'a str,
    /// The unit of the rate.
    pub unit: &'a str,
    /// Who does it.
    pub contestants: Vec<Contestant<'a>>,
    /// What is wanted.
    pub targets: Vec<Target>,
}

/// A page under way.
#[derive(Debug)]
pub struct Page {
    text: String,
    rounds: usize,
    missed: usize,
    peers: Vec<NamedCommand>,
}

/// Another program that does a row's work: `name=command`.
#[derive(Debug, Clone)]
pub struct NamedCommand {
    /// As shown.
    pub name: String,
    /// For a shell, with `IN`, `OUT` and `PORT` in its environment.
    pub command: String,
}

// === impl NamedCommand ===

impl std::str::FromStr for NamedCommand {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, command) = text.split_once('=').ok_or("wanted: name=command")?;
        Ok(Self { name: name.to_owned(), command: command.to_owned() })
    }
}

// === impl Contestant ===

impl<'a> Contestant<'a> {
    /// One of this name.
    pub fn new(name: impl Into<String>, round: impl FnMut() -> Sample + 'a) -> Self {
        Self { name: name.into(), round: Box::new(round) }
    }
}

// === impl Target ===

impl Target {
    /// CPU per event of one contestant beside that of another.
    pub fn cpu((whose, beside): (usize, usize), most: f64) -> Self {
        Self { whose, beside: Some(beside), of: Figure::Cpu, bound: Bound::AtMost(most) }
    }

    /// CPU seconds per million events of a contestant.
    pub fn cpu_alone(whose: usize, most: f64) -> Self {
        Self { whose, beside: None, of: Figure::Cpu, bound: Bound::AtMost(most) }
    }

    /// The rate of one beside that of another.
    pub fn rate((whose, beside): (usize, usize), least: f64) -> Self {
        Self { whose, beside: Some(beside), of: Figure::Rate, bound: Bound::AtLeast(least) }
    }
}

// === impl Sample ===

impl Sample {
    fn figure(&self, figure: Figure) -> f64 {
        match figure {
            Figure::Rate => self.rate,
            Figure::Cpu => self.cpu,
        }
    }
}

// === impl Page ===

impl Page {
    /// Begins with `head`; `peers` take part where lines become files.
    pub fn new(head: &str, rounds: usize, peers: Vec<NamedCommand>) -> Self {
        let mut page = Self { text: String::new(), rounds, missed: 0, peers };
        page.write(head);
        page
    }

    /// Runs the rounds of a row and shows them. The samples of each contestant.
    pub fn row(&mut self, mut row: Row<'_>) -> Vec<Vec<Sample>> {
        let mut samples: Vec<Vec<Sample>> = row.contestants.iter().map(|_| Vec::new()).collect();
        for round in 0..self.rounds {
            for (contestant, samples) in row.contestants.iter_mut().zip(&mut samples) {
                let sample = (contestant.round)();
                eprintln!("{} round {}: {}: {sample:.3?}", row.title, round + 1, contestant.name);
                samples.push(sample);
            }
        }
        self.write(&format!("\n## {}\n", row.title));
        self.write(&format!("| who | {} | CPU-s per million events | peak MB |\n|---|---|---|---|", row.unit));
        for (contestant, samples) in row.contestants.iter().zip(&samples) {
            let of = |figure: fn(&Sample) -> f64| shown(samples.iter().map(figure).collect());
            let (rate, cpu, peak) = (of(|sample| sample.rate), of(|sample| sample.cpu), of(|sample| sample.peak_mb));
            self.write(&format!("| {} | {rate} | {cpu} | {peak} |", contestant.name));
        }
        self.write("");
        for target in row.targets {
            let below = |round: usize| target.beside.map_or(1.0, |beside| samples[beside][round].figure(target.of));
            let figures = samples[target.whose].iter().enumerate();
            let figures: Vec<f64> = figures.map(|(round, sample)| sample.figure(target.of) / below(round)).collect();
            let middle = median(figures.clone());
            let (bound, met) = match target.bound {
                Bound::AtMost(most) => (format!("at most {most:.3}"), middle <= most),
                Bound::AtLeast(least) => (format!("at least {least:.2}"), middle >= least),
            };
            self.missed += usize::from(!met);
            let what = match (target.of, target.beside) {
                (Figure::Cpu, Some(_)) => "CPU per event",
                (Figure::Cpu, None) => "CPU-s per million events",
                (Figure::Rate, _) => "rate",
            };
            let beside = target.beside.map(|beside| format!(" / {}", row.contestants[beside].name)).unwrap_or_default();
            let (name, verdict) = (&row.contestants[target.whose].name, if met { "met" } else { "**missed**" });
            self.write(&format!("- {what}, {name}{beside}: {} (wanted: {bound}): {verdict}", shown(figures)));
        }
        samples
    }

    /// A line of its own.
    pub fn write(&mut self, line: &str) {
        println!("{line}");
        let _ = writeln!(self.text, "{line}");
    }

    /// A single figure with a bound.
    pub fn figure(&mut self, what: &str, values: Vec<f64>, most: f64, unit: &str) {
        let met = median(values.clone()) <= most;
        self.missed += usize::from(!met);
        let verdict = if met { "met" } else { "**missed**" };
        self.write(&format!("- {what}: {} {unit} (wanted: at most {most} {unit}): {verdict}", shown(values)));
    }

    /// Figures without a bound.
    pub fn show(&mut self, what: &str, values: Vec<f64>, unit: &str) {
        self.write(&format!("- {what}: {} {unit}", shown(values)));
    }

    /// The page, and how many targets were missed.
    pub fn finish(self) -> (String, usize) {
        (self.text, self.missed)
    }

    /// Who takes part besides.
    pub fn peers(&self) -> Vec<NamedCommand> {
        self.peers.clone()
    }

    /// How often each contestant works.
    pub fn rounds(&self) -> usize {
        self.rounds
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `median (least to most)`.
fn shown(values: Vec<f64>) -> String {
    if values.iter().any(|value| value.is_nan()) {
        return "–".to_owned();
    }
    let (least, most) =
        values.iter().fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
    format!("{} ({} to {})", number(median(values)), number(least), number(most))
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..0.1 => format!("{value:.4}"),
        0.1..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round_and_a_missed_target_is_counted() {
        let mut page = Page::new("# page", 3, Vec::new());
        let contestant = |name: &str, rates: [f64; 3]| {
            let mut rates = rates.into_iter();
            Contestant::new(name, move || Sample { rate: rates.next().unwrap(), cpu: 1.0, peak_mb: f64::NAN })
        };
        page.row(Row {
            title: "work",
            unit: "events/s",
            contestants: vec![contestant("a", [10.0, 200.0, 30.0]), contestant("b", [20.0, 100.0, 10.0])],
            targets: vec![
                Target::rate((0, 1), 2.0),
                Target::rate((0, 1), 2.1),
                Target::cpu((0, 1), 0.5),
                Target::cpu_alone(1, 1.0),
            ],
        });
        let (text, missed) = page.finish();
        assert!(text.contains("| a | 30.0 (10.0 to 200) | 1.00 (1.00 to 1.00) | – |"), "{text}");
        assert!(text.contains("- rate, a / b: 2.00 (0.50 to 3.00) (wanted: at least 2.00): met"), "{text}");
        assert!(
            text.contains("- CPU-s per million events, b: 1.00 (1.00 to 1.00) (wanted: at most 1.000): met"),
            "{text}"
        );
        assert_eq!(missed, 2, "{text}");
    }
}
