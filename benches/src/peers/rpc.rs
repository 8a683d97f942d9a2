//! avro → memory or file → null: what it costs to take a call and to promise its events.

use crate::hops::{NULL, agent_holding, sample};
use crate::limits;
use crate::load::{Load, Sender, Shape};
use crate::rounds::{Contestant, Page, Row, Sample, Target};
use crate::subject::{Kind, Subject};

/// One round: a fresh agent, warmed up, takes the events and drains them.
pub fn round(kind: Kind, sender: Sender, channel: &str, shape: Shape, warm: u64, events: u64) -> Sample {
    let mut subject = Subject::start(kind, |place| {
        let port = place.port("avro");
        agent_holding(1_000_000, place, port, channel, NULL)
    });
    let dir = tempfile::tempdir().unwrap();
    let mut load = Load::start(sender, dir.path(), subject.port("avro"), shape, warm, events);
    subject.until_drained(warm);
    let before = subject.usage();
    let took = load.run();
    subject.until_drained(warm + events);
    let after = subject.usage();
    sample(events, took, after.cpu - before.cpu, after.peak_mb)
}

fn agents<'a>(channel: &'a str, shape: Shape, warm: u64, [flume, ours]: [u64; 2]) -> Vec<Contestant<'a>> {
    let contestant = |kind: Kind, sender: Sender, client: &str, events: u64| {
        let name = format!("{}, {client}", kind.name());
        Contestant::new(name, move || round(kind, sender, channel, shape, warm, events))
    };
    vec![
        contestant(Kind::Flume, Sender::Sdk, "Flume's client", flume),
        contestant(Kind::Ours, Sender::Sdk, "Flume's client", ours),
        contestant(Kind::Ours, Sender::Native, "native client", ours),
    ]
}

/// Into memory: beside Flume, and beside a loop that only receives.
pub fn memory(page: &mut Page) {
    for clients in [1, 4] {
        let shape = Shape { clients, batch: 1000 };
        // CPU time is counted in steps of 10 ms.
        const EVENTS: u64 = 8_000_000;
        let mut contestants = agents("memory", shape, 400_000, [EVENTS / 4, EVENTS]);
        contestants.push(Contestant::new("bare receive loop, native client", move || {
            let (wall, cpu) = limits::bare_receiver(shape, EVENTS);
            Sample { rate: EVENTS as f64 / wall, cpu: cpu * 1e6 / EVENTS as f64, peak_mb: f64::NAN }
        }));
        page.row(Row {
            title: &format!("avro → memory → null, {clients} × batch 1000"),
            unit: "events/s",
            contestants,
            targets: vec![Target::cpu((1, 0), 1.0 / 15.0), Target::cpu((2, 3), 4.0)],
        });
    }
}

/// Into a file channel, acknowledged once on the disk: beside Flume and the disk.
pub fn file(page: &mut Page) {
    let shapes = [(4, 1000, 1_000_000, 2_000_000), (1, 100, 200_000, 1_000_000)];
    for (clients, batch, flume, ours) in shapes {
        let shape = Shape { clients, batch };
        let mut contestants = agents("file", shape, 100_000, [flume, ours]);
        contestants.push(limits::disk());
        let mut targets = vec![Target::cpu((1, 0), 0.1)];
        if clients == 4 {
            targets.push(Target::rate((2, 3), 0.8));
        }
        let title = format!("avro → file → null, {clients} × batch {batch}");
        page.row(Row { title: &title, unit: "events/s", contestants, targets });
    }
}

/// One event per call, each acknowledged once on the disk: beside single small syncs.
pub fn single(page: &mut Page) {
    let one = |clients: u64, events: u64| {
        Contestant::new(format!("millstream, native client, {clients} × batch 1"), move || {
            round(Kind::Ours, Sender::Native, "file", Shape { clients, batch: 1 }, clients * 100, events)
        })
    };
    let flume = Contestant::new("Flume 1.11, Flume's client, 1 × batch 1", || {
        round(Kind::Flume, Sender::Sdk, "file", Shape { clients: 1, batch: 1 }, 200, 1_000)
    });
    page.row(Row {
        title: "avro → file → null, one event per call",
        unit: "events/s",
        contestants: vec![flume, one(1, 5_000), one(8, 40_000), limits::small_syncs()],
        targets: vec![Target::rate((1, 3), 0.8), Target::rate((2, 1), 5.0)],
    });
}
