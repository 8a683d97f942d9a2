//! CPU time, memory, and the physical limits beside which a figure stands.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// User and system time of a process so far, or of its children that ended.
pub fn cpu(who: UsageWho) -> Duration {
    let Ok(usage) = getrusage(who) else { return Duration::ZERO };
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    of(usage.user_time()) + of(usage.system_time())
}

/// Runs `work`; returns what it gave, the wall time and this process's CPU time.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration, Duration) {
    let (wall, before) = (Instant::now(), cpu(UsageWho::RUSAGE_SELF));
    let value = work();
    (value, wall.elapsed(), cpu(UsageWho::RUSAGE_SELF) - before)
}

/// Sequential write + fdatasync of 1 MiB blocks into a growing file: MB/s. The limit of everything durable.
pub fn disk_mb_per_s(dir: &Path, megabytes: usize) -> std::io::Result<f64> {
    let mut file = tempfile::tempfile_in(dir)?;
    let block = vec![0x5a_u8; 1 << 20];
    let started = Instant::now();
    for _ in 0..megabytes {
        file.write_all(&block)?;
        file.sync_data()?;
    }
    Ok(mb(megabytes << 20) / started.elapsed().as_secs_f64())
}

/// A failed call of the bench's own.
pub fn failed(error: std::io::Error) -> millstream::Error {
    millstream::Error::io("prepare", "the bench", error)
}

/// Bytes as MB.
pub fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// The `percent`th percentile of `values`, which are sorted here.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or(f64::NAN)
}
