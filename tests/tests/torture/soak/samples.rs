//! What was measured, and the report of it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::faults::Fault;
use super::hops::Hops;
use super::{JUDGED, WARM_UP};
use crate::report::{Counts, Loop, date};

const MB: f64 = (1 << 20) as f64;
/// Of the first agent's memory, in MB an hour.
const MOST_GROWTH: f64 = 1.0;
/// Of its file descriptors, in an hour: less than one.
const MOST_DESCRIPTORS: f64 = 0.5;
/// Rows of the table of samples.
const ROWS: usize = 24;

/// One look at the agents, at rest.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Since the beginning.
    at: Duration,
    resident: u64,
    descriptors: usize,
    /// Of the second agent.
    behind: u64,
}

/// Of the first agent, at rest after each fault.
#[derive(Debug, Default)]
pub struct Samples(Vec<Sample>);

/// Of one kind of fault: how often, how long in all, and the longest time until everything was through.
#[derive(Debug, Default)]
struct Kind {
    times: u32,
    lasted: Duration,
    longest: Duration,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Story(BTreeMap<Fault, Kind>);

// === impl Samples ===

impl Samples {
    /// Looks, and tells what it saw.
    pub fn add(&mut self, at: Duration, hops: &Hops) -> String {
        let (resident, descriptors, behind) = hops.measured();
        self.0.push(Sample { at, resident, descriptors, behind });
        format!("{:.1} MB, {descriptors} descriptors", resident as f64 / MB)
    }

    /// Those after the warm-up; of a short run, of its last three quarters.
    fn warm(&self) -> &[Sample] {
        let last = self.0.last().map(|sample| sample.at).unwrap_or_default();
        let from = WARM_UP.min(last / 4);
        &self.0[self.0.partition_point(|sample| sample.at < from)..]
    }

    /// Growth in an hour, by least squares.
    fn slope(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        let warm = self.warm();
        let hours = |sample: &Sample| sample.at.as_secs_f64() / 3_600.0;
        let mean = |of: &dyn Fn(&Sample) -> f64| warm.iter().map(of).sum::<f64>() / warm.len() as f64;
        let (at, level) = (mean(&hours), mean(&value));
        let both: f64 = warm.iter().map(|sample| (hours(sample) - at) * (value(sample) - level)).sum();
        let spread: f64 = warm.iter().map(|sample| (hours(sample) - at).powi(2)).sum();
        if spread > 0.0 { both / spread } else { 0.0 }
    }

    fn growth(&self) -> f64 {
        self.slope(|sample| sample.resident as f64 / MB)
    }

    fn more_descriptors(&self) -> f64 {
        self.slope(|sample| sample.descriptors as f64)
    }

    /// In one sentence.
    pub fn summary(&self) -> String {
        let of = |value: fn(&Sample) -> f64| {
            let values = self.warm().iter().map(value);
            (values.clone().fold(f64::MAX, f64::min), values.fold(0.0, f64::max))
        };
        let (least, most) = of(|sample| sample.resident as f64 / MB);
        let (few, many) = of(|sample| sample.descriptors as f64);
        let level = format!("the first one has {least:.1} to {most:.1} MB and {few} to {many} descriptors at rest");
        if self.0.last().is_none_or(|sample| sample.at < JUDGED) {
            return format!("{level}; too short to tell growth");
        }
        format!("{level}: {:+.2} MB and {:+.2} descriptors an hour", self.growth(), self.more_descriptors())
    }

    /// Fails if the first agent grew; its memory counts in a run that is long enough to tell.
    pub fn judge(&self) {
        let (first, last) = (self.warm()[0].descriptors, self.0.last().unwrap().descriptors);
        assert!(last <= first + 1, "{first} descriptors became {last}: {}", self.summary());
        if self.0.last().unwrap().at >= JUDGED {
            assert!(self.growth() < MOST_GROWTH, "{}", self.summary());
            assert!(self.more_descriptors().abs() < MOST_DESCRIPTORS, "{}", self.summary());
        }
    }

    fn table(&self) -> String {
        let row = |sample: &Sample| {
            let (seconds, mb) = (sample.at.as_secs(), |bytes: u64| bytes as f64 / MB);
            let (resident, behind) = (mb(sample.resident), mb(sample.behind));
            format!("| {seconds} | {resident:.1} | {} | {behind:.1} |\n", sample.descriptors)
        };
        self.0.iter().step_by(self.0.len().div_ceil(ROWS).max(1)).map(row).collect()
    }
}

// === impl Story ===

impl Story {
    /// Notes a fault, or several at a time, and tells it.
    pub fn add(&mut self, faults: &[Fault], lasted: Duration, until_through: Duration, events: u64) -> String {
        for fault in faults {
            let kind = self.0.entry(*fault).or_default();
            kind.times += 1;
            kind.lasted += lasted;
            kind.longest = kind.longest.max(until_through);
        }
        let told: Vec<&str> = faults.iter().map(|fault| fault.told()).collect();
        let (told, lasted, through) = (told.join(" + "), lasted.as_secs_f64(), until_through.as_secs_f64());
        format!("{told} for {lasted:.1} s, all through {through:.1} s later, {events} events")
    }

    /// Writes the report, if one is wanted: before anything is judged.
    pub fn write(&self, torture: &Loop, length: Duration, samples: &Samples, counts: &Counts) {
        let Some(path) = std::env::var_os("SOAK_REPORT") else { return };
        let row = |(fault, kind): (&Fault, &Kind)| {
            let (lasted, longest) = (kind.lasted.as_secs(), kind.longest.as_secs_f64());
            format!("| {} | {} | {lasted} | {longest:.1} |\n", fault.told(), kind.times)
        };
        let faults: String = self.0.iter().map(row).collect();
        let today = date(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        let Counts { acknowledged, lost, alien, stored_twice, again } = counts;
        let text = format!(
            "# Soak, {today}\n\n\
             `make soak` of {seconds} s, release build, seed {seed}: producers → agent (avro source → file channel → avro sink) → a link →\n\
             a second agent (the same) → a peer. After one of each in a burst of load, a fault is drawn, sometimes two; then the\n\
             producers pause, and once everything is through, the first agent, which lives all the time, is measured. In the end it is killed with -9 under load, and goes on.\n\
             Both channels' ledgers agree with what was counted outside.\n\n\
             | Acknowledged | Lost | Alien | Stored twice | Delivered again behind the second agent |\n|---|---|---|---|---|\n\
             | {acknowledged} | {lost} | {alien} | {stored_twice} | {again} |\n\n\
             Of {number} samples at rest: {summary}, by least squares after {warm_up} s of warm-up.\n\n\
             | Fault | Times | Seconds in all | Longest until all was through, seconds |\n|---|---|---|---|\n{faults}\n\
             | At second | First agent, MB | Its descriptors | Second agent, MB |\n|---|---|---|---|\n{table}",
            seconds = length.as_secs(),
            seed = torture.seed,
            number = samples.0.len(),
            summary = samples.summary(),
            warm_up = WARM_UP.as_secs(),
            table = samples.table(),
        );
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn growth_is_what_a_line_through_the_samples_says() {
    let sample = |second: u64| Sample {
        at: Duration::from_secs(second),
        resident: (20 << 20) + (second << 20) / 900,
        descriptors: 30 + usize::from(second < 300),
        behind: 0,
    };
    let samples = Samples((0..360).map(|number| sample(number * 10)).collect());
    assert!((samples.growth() - 4.0).abs() < 0.01, "{}", samples.growth());
    assert_eq!(samples.more_descriptors(), 0.0, "what an agent had while it became warm does not count");
}
