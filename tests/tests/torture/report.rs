//! How long each loop runs, and what it reports.
//!
//! | Variable | Says |
//! |---|---|
//! | `TORTURE` | run the long loops: this many percent of them, 100 for all; unset: the short ones |
//! | `TORTURE_SEED` | the seed; otherwise the time |
//! | `TORTURE_REPORT` | a file for the report |

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Rows so far, by the name of their loop.
static ROWS: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());

/// One loop on its way.
pub struct Loop {
    name: &'static str,
    pub seed: u64,
    pub rounds: u32,
    began: Instant,
}

/// What a loop counted.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub acknowledged: u64,
    pub lost: u64,
    pub alien: u64,
    pub stored_twice: u64,
    pub again: u64,
}

// === impl Loop ===

impl Loop {
    /// A loop of so many rounds in `make test`, and so many in `make torture`.
    pub fn begin(name: &'static str, short: u32, long: u32) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = number("TORTURE_SEED").unwrap_or(now);
        let rounds = percent().map_or(short, |percent| (u64::from(long) * percent).div_ceil(100) as u32);
        println!("{name}: seed {seed}, {rounds} rounds");
        Self { name, seed, rounds, began: Instant::now() }
    }

    /// Whether the long loops run.
    pub fn is_long() -> bool {
        percent().is_some()
    }

    /// The loop went well, with these counts; `more` is for the reader of the report.
    pub fn end(self, counts: Counts, more: &str) {
        let Self { name, seed, rounds, began } = self;
        let Counts { acknowledged, lost, alien, stored_twice, again } = counts;
        let seconds = began.elapsed().as_secs();
        let row = format!(
            "| {name} | {rounds} | {seed} | {acknowledged} | {lost} | {alien} | {stored_twice} | {again} | {more} | {seconds} |"
        );
        println!("{row}");
        ROWS.lock().unwrap().insert(name, row);
        write();
    }

    /// The loop cannot run here.
    pub fn skip(self, why: &str) {
        println!("{}: not run, {why}", self.name);
        let row = format!("| {} | 0 | | | | | | | not run: {why} | |", self.name);
        ROWS.lock().unwrap().insert(self.name, row);
        write();
    }
}

/// Writes the rows so far: a loop that fails leaves what went well before it.
fn write() {
    let Some(path) = std::env::var_os("TORTURE_REPORT") else { return };
    let rows: String = ROWS.lock().unwrap().values().map(|row| format!("{row}\n")).collect();
    let percent = percent().unwrap_or_default();
    let today = date(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let text = format!(
        "# Torture, {today}\n\n\
         `make torture` with {percent} % of the rounds of a full run; debug build. Each loop: an agent, avro source → file channel → avro\n\
         sink, and an oracle outside of it. Acknowledged are events of calls that the source answered OK; lost those of them that\n\
         never arrived; alien what was never sent or has other bytes; stored twice what arrived under two names; delivered again\n\
         what arrived again under the name it had, which a receiver of ours trims.\n\n\
         | Loop | Rounds | Seed | Acknowledged | Lost | Alien | Stored twice | Delivered again | Seen | Seconds |\n\
         |---|---|---|---|---|---|---|---|---|---|\n{rows}"
    );
    std::fs::write(path, text).unwrap();
}

fn percent() -> Option<u64> {
    number("TORTURE")
}

pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The day of a time since 1970, as it is written.
pub fn date(since: Duration) -> String {
    // Days of eras of 400 years, which begin on the first of March.
    let days = since.as_secs() / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, next) = (day - (153 * month + 2) / 5 + 1, u64::from(month >= 10));
    format!("{:04}-{:02}-{day:02}", era * 400 + year + next, if month < 10 { month + 3 } else { month - 9 })
}

#[test]
fn a_report_has_the_date_of_its_day() {
    for (seconds, day) in [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_764_063_000, "2025-11-25")] {
        assert_eq!(date(Duration::from_secs(seconds)), day);
    }
}
