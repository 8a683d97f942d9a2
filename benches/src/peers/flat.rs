//! What an event costs when there is much of everything else: connections, files, a backlog.

use std::path::Path;
use std::time::Instant;

use crate::hops::{NULL, agent, avro_to, fill, free_port, sample};
use crate::load::{BODY_BYTES, Sender, Shape};
use crate::rounds::{Contestant, Page, Row, Sample, Target};
use crate::rpc;
use crate::subject::{Kind, Subject};

/// At most this times the cost of few.
const FLAT: f64 = 1.3;

/// One connection and a thousand that send the same between them, in batches of Flume's default size.
pub fn connections(page: &mut Page) {
    let contestant = |clients: u64| {
        let shape = Shape { clients, batch: 100 };
        Contestant::new(format!("millstream, {clients} connections"), move || {
            rpc::round(Kind::Ours, Sender::Native, "memory", shape, 200_000, 4_000_000)
        })
    };
    page.row(Row {
        title: "avro → memory → null, batch 100, the same over more connections",
        unit: "events/s",
        contestants: vec![contestant(1), contestant(1000)],
        targets: vec![Target::cpu((1, 0), FLAT)],
    });
}

/// Small files that wait in the spool when the agent starts, in memory: what the disk takes to rename one is not ours. Once: a
/// million files take a while to make.
pub fn files(page: &mut Page) {
    page.write(&format!("\n## spooldir → memory → null, files of {LINES} lines\n"));
    let mean = |files: u64| (0..STARTS).map(|_| of_files(files).cpu).sum::<f64>() / f64::from(STARTS);
    let (start, few, many) = (mean(1), mean(FEW), of_files(MANY));
    let [few, cpu] = [(few, FEW), (many.cpu, MANY)].map(|(cpu, files)| (cpu - start) * 1e6 / (files - 1) as f64);
    page.write(&format!("- {FEW} files: {few:.1} CPU-µs per file, over {STARTS} starts of {:.0} CPU-ms", start * 1e3));
    page.write(&format!(
        "- {MANY} files: {cpu:.1} CPU-µs per file, {:.0} files/s, peak {:.1} MB",
        many.rate, many.peak_mb
    ));
    page.figure(&format!("CPU per file, {MANY} files / {FEW}"), vec![cpu / few], FLAT, "times");
}

const LINES: u64 = 10;
const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
/// Of agents with few files, as CPU time is counted in steps of 10 ms.
const STARTS: u32 = 20;

/// Files per second, and CPU seconds in all.
fn of_files(files: u64) -> Sample {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut subject = Subject::prepared(|_| {
        let spool = memory.path().join("in");
        std::fs::create_dir_all(&spool).unwrap();
        let text = [&[b'x'; BODY_BYTES - 1][..], b"\n"].concat().repeat(LINES as usize);
        (0..files).for_each(|file| std::fs::write(spool.join(format!("{file:07}")), &text).unwrap());
        spool_agent(&spool)
    });
    let begun = Instant::now();
    subject.restart();
    subject.until_drained(files * LINES);
    let (took, usage) = (begun.elapsed(), subject.usage());
    Sample { rate: files as f64 / took.as_secs_f64(), cpu: usage.cpu, peak_mb: usage.peak_mb }
}

fn spool_agent(spool: &Path) -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = spooldir\na1.sources.r1.spoolDir = {}\na1.sources.r1.batchSize = 1000\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\na1.channels.c1.capacity = 1000000\na1.channels.c1.transactionCapacity = 10000\n\
         a1.sinks.k1.{NULL}\na1.sinks.k1.channel = c1\n",
        spool.display()
    )
}

/// A backlog of 200 MB and one of 10 GB, over a kill: until the first event is out, and what each costs on its way out. Once.
pub fn backlog(page: &mut Page) {
    page.write("\n## A backlog in a file channel, kill -9, and a sink whose peer is there again\n");
    let (few, _) = drained(1_000_000);
    let (many, first) = drained(50_000_000);
    page.write(&format!("- 1,000,000 events: {:.0} events/s, {:.2} CPU-s per million", few.rate, few.cpu));
    page.write(&format!(
        "- 50,000,000 events: {:.0} events/s, {:.2} CPU-s per million, peak {:.1} MB",
        many.rate, many.cpu, many.peak_mb
    ));
    page.figure("CPU per event, 50,000,000 / 1,000,000", vec![many.cpu / few.cpu], FLAT, "times");
    page.figure("50,000,000 events (10 GB), exec to first event out", vec![first], 1.0, "s");
}

/// What draining a backlog costs, and the seconds until its first event is out.
fn drained(events: u64) -> (Sample, f64) {
    let to = free_port();
    let mut subject = Subject::start(Kind::Ours, |place| {
        let port = place.port("avro");
        agent(place, port, "file", &avro_to(to))
    });
    fill(subject.port("avro"), events);
    subject.kill();
    let receiver = Subject::start(Kind::Ours, |place| agent(place, to, "memory", NULL));
    let begun = Instant::now();
    subject.restart();
    receiver.until_taken(1);
    let first = begun.elapsed().as_secs_f64();
    receiver.until_drained(events);
    let (took, usage) = (begun.elapsed(), subject.usage());
    (sample(events, took, usage.cpu, usage.peak_mb), first)
}
