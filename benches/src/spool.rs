//! (a) Spooling directory → file channel → null: how near a durable channel comes to the disk.
//!
//! Input: 400 MB of 200-byte lines in four files, batchSize 1000. Unit: MB/s, from the start of the agent until the sink has
//! everything. Limit: sequential write + fdatasync of 1 MiB blocks on the same disk, before and after each round.

use std::time::{Duration, Instant};

use millstream::Agent;
use nix::sys::resource::UsageWho;

use crate::corpus::lines;
use crate::measure::{cpu, disk_mb_per_s, failed, mb, percentile};
use crate::report::Report;

const BYTES: usize = 400_000_000;
const FILES: usize = 4;
const WIDTH: usize = 200;
const ROUNDS: usize = 5;

/// Measures it, in rounds: both rates swing from one second to the next.
pub fn run(report: &mut Report) -> millstream::Result<()> {
    report.section(
        "(a) spooldir → file → null",
        &format!("{} MB of {WIDTH}-byte lines in {FILES} files, batchSize 1000; {ROUNDS} rounds", mb(BYTES)),
    );
    let (mut rates, mut limits, mut shares, mut cpus) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir_in(".").map_err(failed)?;
        fill(dir.path())?;
        let before = disk_mb_per_s(dir.path(), 100).map_err(failed)?;
        let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
        let (started, cpu_before) = (Instant::now(), cpu(UsageWho::RUSAGE_SELF));
        runtime.block_on(drain(dir.path(), (BYTES / WIDTH) as u64))?;
        let (wall, cpu) = (started.elapsed(), cpu(UsageWho::RUSAGE_SELF) - cpu_before);
        let after = disk_mb_per_s(dir.path(), 100).map_err(failed)?;
        let (rate, limit) = (mb(BYTES) / wall.as_secs_f64(), f64::midpoint(before, after));
        rates.push(rate);
        limits.extend([before, after]);
        shares.push(rate / limit);
        cpus.push(cpu.as_secs_f64() / (BYTES / WIDTH) as f64 * 1e6);
    }
    let range = |values: &mut Vec<f64>| {
        let median = percentile(values, 50);
        format!("{:.0} to {:.0}, median {median:.0} MB/s", values[0], values[values.len() - 1])
    };
    report.row("write + fdatasync, 1 MiB blocks, around each round", &range(&mut limits));
    report.row("spooldir → file → null", &range(&mut rates));
    report.row("events, median", &format!("{:.2} M/s", percentile(&mut rates, 50) / WIDTH as f64));
    report.row("CPU, median", &format!("{:.2} s per million events", percentile(&mut cpus, 50)));
    report.target_at_least("share of the disk's rate, median", percentile(&mut shares, 50), 0.6, "of it");
    Ok(())
}

fn fill(dir: &std::path::Path) -> millstream::Result<()> {
    let spool = dir.join("spool");
    std::fs::create_dir(&spool).map_err(failed)?;
    for file in 0..FILES {
        std::fs::write(spool.join(format!("file{file}")), lines(BYTES / FILES, WIDTH)).map_err(failed)?;
    }
    // What was just written is on its way to the disk, and would be in the way.
    std::process::Command::new("sync").status().map_err(failed)?;
    Ok(())
}

async fn drain(dir: &std::path::Path, events: u64) -> millstream::Result<()> {
    let at = dir.display();
    let config = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1
         a1.sources.r1.type = spooldir\na1.sources.r1.spoolDir = {at}/spool\na1.sources.r1.batchSize = 1000
         a1.sources.r1.channels = c1\na1.sources.r1.pollDelay = 10
         a1.channels.c1.type = file\na1.channels.c1.checkpointDir = {at}/checkpoint\na1.channels.c1.dataDirs = {at}/data
         a1.sinks.k1.type = null\na1.sinks.k1.channel = c1\na1.sinks.k1.batchSize = 1000\n"
    );
    let agent = Agent::builder().name("a1").config_text(config).start().await?;
    let channel = agent.channel("c1").ok_or_else(|| millstream::Error::config("a1.channels.c1", "not built"))?;
    while channel.totals().taken_events < events {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    agent.stop().await
}
