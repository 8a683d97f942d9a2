//! From agent to agent, and from an agent to a stream.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use millstream_core::Batch;
use millstream_testkit::AvroPeer;
use millstream_testkit::peer::Place;
use millstream_wire::avro_event;

use crate::caller::{Caller, Poller};
use crate::limits;
use crate::load::{BODY_BYTES, Load, Sender, Shape};
use crate::rounds::{Contestant, Page, Row, Sample, Target};
use crate::subject::{Kind, Subject};

/// Taken before the measurement begins.
const WARM: u64 = 100_000;
/// In the channel besides: as much as Flume's heap holds, and enough of ours for a CPU time counted in steps of 10 ms.
const fn events(kind: Kind) -> u64 {
    match kind {
        Kind::Flume => 400_000,
        Kind::Ours => 1_900_000,
    }
}
/// On the disk.
const WARM_FILE: u64 = 40_000;
const FOUR: Shape = Shape { clients: 4, batch: 1000 };

/// An avro source at `port`, a channel, and a sink.
pub fn agent(place: &Place, port: u16, channel: &str, sink: &str) -> String {
    agent_holding(2_000_000, place, port, channel, sink)
}

/// The same with a memory channel for so many events.
pub fn agent_holding(events: u64, place: &Place, port: u16, channel: &str, sink: &str) -> String {
    let dir = place.dir().display();
    let channel = match channel {
        "file" => format!(
            "type = file\na1.channels.c1.checkpointDir = {dir}/checkpoint\na1.channels.c1.dataDirs = {dir}/data\n\
             a1.channels.c1.capacity = 100000000"
        ),
        _ => {
            let bytes = 2 * BODY_BYTES as u64 * events;
            format!("type = memory\na1.channels.c1.byteCapacity = {bytes}\na1.channels.c1.capacity = {events}")
        }
    };
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\na1.sources.r1.channels = c1\n\
         a1.channels.c1.{channel}\na1.channels.c1.transactionCapacity = 10000\n\
         a1.sinks.k1.{sink}\na1.sinks.k1.channel = c1\n"
    )
}

/// The sink that hands on to an avro source at `port`.
pub fn avro_to(port: u16) -> String {
    format!("type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\na1.sinks.k1.batch-size = 1000")
}

/// The sink that drops everything.
pub const NULL: &str = "type = null\na1.sinks.k1.batchSize = 1000";

/// A port on which nobody listens yet.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Puts so many events into the agent at `port`.
pub fn fill(port: u16, events: u64) {
    let dir = tempfile::tempdir().unwrap();
    Load::start(Sender::Native, dir.path(), port, FOUR, 0, events).run();
}

/// What is in the channel goes to a receiver that asks with one connection: only the sink is at work.
pub fn spark_sink(page: &mut Page) {
    let round = |kind: Kind| {
        let sink = "type = org.apache.spark.streaming.flume.sink.SparkSink\na1.sinks.k1.hostname = 127.0.0.1";
        let mut subject = Subject::start(kind, |place| {
            let (port, spark) = (place.port("avro"), place.port("spark"));
            agent(place, port, "memory", &format!("{sink}\na1.sinks.k1.port = {spark}"))
        });
        fill(subject.port("avro"), WARM + events(kind));
        let mut poller = Poller::connect(subject.port("spark"));
        let warm = poller.take(WARM);
        let (before, begun) = (subject.usage(), Instant::now());
        let taken = poller.take(WARM + events(kind) - warm);
        let (took, after) = (begun.elapsed(), subject.usage());
        sample(taken, took, after.cpu - before.cpu, after.peak_mb)
    };
    page.row(Row {
        title: "memory → SparkSink → receiver, one connection, batches of 1000",
        unit: "events/s",
        contestants: [Kind::Flume, Kind::Ours].map(|kind| Contestant::new(kind.name(), move || round(kind))).into(),
        targets: vec![Target::cpu((1, 0), 0.1)],
    });
}

/// What is in the channel goes to an avro source of ours: several calls are under way where both are ours.
pub fn avro_hop(page: &mut Page) {
    let round = |kind: Kind| {
        let to = free_port();
        let mut sender = Subject::start(kind, |place| {
            let port = place.port("avro");
            agent(place, port, "memory", &avro_to(to))
        });
        fill(sender.port("avro"), WARM + events(kind));
        let receiver = Subject::start(Kind::Ours, |place| agent(place, to, "memory", NULL));
        let warm = receiver.until_taken(WARM);
        let (before, begun) = (sender.usage(), Instant::now());
        receiver.until_drained(WARM + events(kind));
        let (took, after) = (begun.elapsed(), sender.usage());
        sample(WARM + events(kind) - warm, took, after.cpu - before.cpu, after.peak_mb)
    };
    page.row(Row {
        title: "memory → avro sink → avro source, batches of 1000",
        unit: "events/s",
        contestants: [Kind::Flume, Kind::Ours].map(|kind| Contestant::new(kind.name(), move || round(kind))).into(),
        targets: vec![Target::cpu((1, 0), 0.1)],
    });
}

/// client → avro → file → avro → file → null: every event is on the disk twice.
pub fn three_hops(page: &mut Page) {
    let round = |kind: Kind, events: u64| {
        let mut last = Subject::start(kind, |place| {
            let port = place.port("avro");
            agent(place, port, "file", NULL)
        });
        let to = last.port("avro");
        let mut first = Subject::start(kind, |place| {
            let port = place.port("avro");
            agent(place, port, "file", &avro_to(to))
        });
        fill(first.port("avro"), WARM_FILE);
        last.until_drained(WARM_FILE);
        let (before, begun) = ([first.usage(), last.usage()], Instant::now());
        fill(first.port("avro"), events);
        last.until_drained(WARM_FILE + events);
        let (took, after) = (begun.elapsed(), [first.usage(), last.usage()]);
        let cpu = (0..2).map(|agent| after[agent].cpu - before[agent].cpu).sum();
        sample(events, took, cpu, after[0].peak_mb + after[1].peak_mb)
    };
    let samples = page.row(Row {
        title: "avro → file → avro → file → null, two agents, 4 × batch 1000",
        unit: "events/s",
        contestants: vec![
            Contestant::new("Flume 1.11, both", move || round(Kind::Flume, 200_000)),
            Contestant::new("millstream, both", move || round(Kind::Ours, 2_000_000)),
            limits::disk(),
        ],
        targets: vec![Target::cpu((1, 0), 0.1)],
    });
    let bytes = |sample: &Sample| sample.rate * BODY_BYTES as f64;
    page.show("bodies through both", samples[1].iter().map(|ours| bytes(ours) / 1e6).collect(), "MB/s");
    let share = samples[1].iter().zip(&samples[2]).map(|(ours, disk)| 2.0 * ours.rate / disk.rate).collect();
    page.show("bodies on the disk, each twice / the disk's sequential rate", share, "times");
    let (mut middle, mut high) = (Vec::new(), Vec::new());
    for _ in 0..page.rounds() {
        let mut delays = delays(Duration::from_secs(10));
        delays.sort_by(f64::total_cmp);
        middle.push(delays[delays.len() / 2]);
        high.push(delays[delays.len() * 99 / 100]);
    }
    page.show("event latency over both agents at 10,000 events/s, p50", middle, "ms");
    page.show("the same, p99", high, "ms");
}

/// Milliseconds from when an event was due at the client until it is seen behind both agents, of every event.
fn delays(time: Duration) -> Vec<f64> {
    let peer = AvroPeer::own();
    let start = |to: u16| {
        Subject::start(Kind::Ours, |place| {
            let port = place.port("avro");
            agent(place, port, "file", &avro_to(to))
        })
    };
    let last = start(peer.port());
    let first = start(last.port("avro"));
    let calls = (time.as_millis() / CALL_EVERY.as_millis()) as u32;
    let mut delays = Vec::with_capacity((calls * CALL_EVENTS) as usize);
    std::thread::scope(|scope| {
        let begun = Instant::now();
        for sender in 0..SENDERS {
            let port = first.port("avro");
            scope.spawn(move || {
                let mut caller = Caller::connect(port, avro_event::protocol());
                for call in (sender..calls).step_by(SENDERS as usize) {
                    let due = CALL_EVERY * call;
                    std::thread::sleep(due.saturating_sub(begun.elapsed()));
                    let body = format!("{:<width$}", due.as_micros(), width = BODY_BYTES);
                    caller.append(&[Batch::from_bodies((0..CALL_EVENTS).map(|_| body.as_bytes()))]);
                }
            });
        }
        while delays.len() < (calls * CALL_EVENTS) as usize {
            std::thread::sleep(Duration::from_micros(500));
            let now = begun.elapsed().as_micros() as f64;
            let bodies = peer.take_calls().into_iter().flat_map(|call| call.bodies);
            delays.extend(bodies.map(|body| (now - body.trim().parse::<f64>().unwrap()) / 1e3));
            assert!(begun.elapsed() < time + millstream_testkit::PATIENCE, "{} events arrived", delays.len());
        }
    });
    delays
}

/// Together 10,000 events a second.
const CALL_EVERY: Duration = Duration::from_millis(10);
const CALL_EVENTS: u32 = 100;
/// So many calls may be under way.
const SENDERS: u32 = 4;

/// Of so many events in this time.
pub fn sample(events: u64, took: Duration, cpu: f64, peak_mb: f64) -> Sample {
    Sample { rate: events as f64 / took.as_secs_f64(), cpu: cpu * 1e6 / events as f64, peak_mb }
}
