//! What a process has used, from `/proc`.

use std::fs;
use std::io::{Error, Result};

/// So far, over all its threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// User and system time, in seconds; counted by the kernel in steps of 10 ms.
    pub cpu: f64,
    /// The most memory it had at a time, in MB (`VmHWM`).
    pub peak_mb: f64,
    /// Memory now, in MB (`VmRSS`).
    pub rss_mb: f64,
}

// === impl Usage ===

impl Usage {
    /// Of the process with this id.
    pub fn of(id: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name, in parentheses, may hold anything.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |index: usize| rest.split_whitespace().nth(index).and_then(|field| field.parse::<u64>().ok());
        // Fields 14 and 15 of proc(5); the rest begins with field 3.
        let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
        let ticks = ticks.ok_or_else(|| Error::other(format!("not a stat: {stat}")))?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let memory = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            let kib: f64 = line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or(f64::NAN);
            kib * 1024.0 / 1e6
        };
        Ok(Self { cpu: ticks as f64 / TICKS_PER_S, peak_mb: memory("VmHWM:"), rss_mb: memory("VmRSS:") })
    }
}

/// `USER_HZ`: 100 on every Linux of today.
const TICKS_PER_S: f64 = 100.0;

/// The load of the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}
