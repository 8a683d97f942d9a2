//! Which shape of a batch costs what: the measurements behind ADR 1.
//!
//! Question: what does one event cost when 1000 events of 200 bytes are built, given a header, copied to a second channel,
//! sliced, filtered and forwarded as one record; in our slab, in a list of events that own their bytes (Flume's shape), and
//! in a list of events that share the received buffer? And what does a boxed future or a ticket cost, per batch or per
//! event? Unit: nanoseconds per event, median of rounds in which the shapes take turns.
//!
//! `cargo bench -p millstream-core --bench batch`
#![allow(missing_docs, reason = "a program")]

use std::collections::HashMap;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_core::{Batch, CommonHeader, Fut, Result, SlabBuilder, ticket};

const EVENTS: usize = 1000;
const BODY_BYTES: usize = 200;
const ROUNDS: usize = 301;

/// Flume's event: everything its own.
#[derive(Clone)]
struct Owned {
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// An event that shares what was received.
#[derive(Clone)]
struct Shared {
    headers: Vec<(Bytes, Bytes)>,
    body: Bytes,
}

/// One thing to measure: its name, and per shape what it does to all events.
struct Case<'a> {
    name: &'static str,
    shapes: Vec<Box<dyn Fn() + 'a>>,
}

impl<'a> Case<'a> {
    fn new(name: &'static str) -> Self {
        Self { name, shapes: Vec::new() }
    }

    /// What it makes is dropped within the measurement: that costs too.
    fn shape<R>(mut self, run: impl Fn() -> R + 'a) -> Self {
        self.shapes.push(Box::new(move || drop(black_box(Some(run())))));
        self
    }
}

fn main() {
    let received = Bytes::from(vec![b'x'; EVENTS * BODY_BYTES]);
    let (slab, owned, shared) = (slab(&received), owned(&received), shared(&received));
    let bodies: u64 = slab.iter().map(|event| event.body().len() as u64).sum();
    assert_eq!(bodies, owned.iter().map(|event| event.body.len() as u64).sum());
    assert_eq!(bodies, shared.iter().map(|event| event.body.len() as u64).sum());

    println!("{EVENTS} events of {BODY_BYTES} bytes, {ROUNDS} rounds, nanoseconds per event (median)\n");
    println!("| | slab | events that own | events that share |\n|---|---|---|---|");
    shapes(&received, &slab, &owned, &shared).iter().for_each(measure);
    println!("\n| | per batch | per event |\n|---|---|---|");
    [futures(), tickets()].iter().for_each(measure);
}

fn shapes<'a>(received: &'a Bytes, slab: &'a Batch, owned: &'a [Owned], shared: &'a [Shared]) -> Vec<Case<'a>> {
    let header = || CommonHeader { key: "timestamp".into(), value: "1700000000123".into(), keep_existing: false };
    vec![
        Case::new("build from one received buffer")
            .shape(|| self::slab(received))
            .shape(|| self::owned(received))
            .shape(|| self::shared(received)),
        Case::new("build, and give each a header")
            .shape(move || self::slab(received).with_common_header(header()))
            .shape(|| {
                let mut events = self::owned(received);
                for event in &mut events {
                    event.headers.insert("timestamp".into(), "1700000000123".into());
                }
                events
            })
            .shape(move || {
                let (mut events, header) = (self::shared(received), header());
                events.iter_mut().for_each(|event| event.headers.push((header.key.clone(), header.value.clone())));
                events
            }),
        Case::new("copy for a second channel")
            .shape(|| slab.clone())
            .shape(|| owned.to_vec())
            .shape(|| shared.to_vec()),
        Case::new("take half, keep the whole for a roll-back")
            .shape(|| slab.slice(0..EVENTS / 2))
            .shape(|| owned[..EVENTS / 2].to_vec())
            .shape(|| shared[..EVENTS / 2].to_vec()),
        Case::new("keep every second event")
            .shape(|| slab.filter(|index| index % 2 == 0))
            .shape(|| owned.iter().step_by(2).cloned().collect::<Vec<_>>())
            .shape(|| shared.iter().step_by(2).cloned().collect::<Vec<_>>()),
        Case::new("forward as one record")
            .shape(|| slab.flatten())
            .shape(|| record(owned.iter().map(|event| event.body.as_slice())))
            .shape(|| record(shared.iter().map(|event| event.body.as_ref()))),
        Case::new("read every body")
            .shape(|| slab.iter().map(|event| last(event.body())).sum::<u64>())
            .shape(|| owned.iter().map(|event| last(&event.body)).sum::<u64>())
            .shape(|| shared.iter().map(|event| last(&event.body)).sum::<u64>()),
    ]
}

/// An async trait method costs one box per call.
fn futures() -> Case<'static> {
    fn deliver(events: usize) -> Fut<'static, Result<()>> {
        Box::pin(async move {
            black_box(events);
            Ok(())
        })
    }
    let run = |calls: usize| {
        let all = async move {
            for _ in 0..calls {
                let _ = black_box(deliver(EVENTS / calls).await);
            }
        };
        ready(all);
    };
    Case::new("boxed future").shape(move || run(1)).shape(move || run(EVENTS))
}

/// A promise of durability: made, resolved, awaited.
fn tickets() -> Case<'static> {
    let run = |calls: usize| {
        for _ in 0..calls {
            let (resolver, ticket) = black_box(ticket());
            resolver.resolve(Ok(()));
            let _ = black_box(ready(ticket));
        }
    };
    Case::new("ticket").shape(move || run(1)).shape(move || run(EVENTS))
}

/// The output of a future that never waits.
fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn measure(case: &Case<'_>) {
    let mut times = vec![Vec::with_capacity(ROUNDS); case.shapes.len()];
    for _ in 0..ROUNDS {
        for (run, times) in case.shapes.iter().zip(&mut times) {
            let began = Instant::now();
            run();
            times.push(began.elapsed().as_nanos() as f64 / EVENTS as f64);
        }
    }
    print!("| {} |", case.name);
    for times in &mut times {
        times.sort_by(f64::total_cmp);
        print!(" {:.2} |", times[ROUNDS / 2]);
    }
    println!();
}

fn slab(received: &Bytes) -> Batch {
    let mut builder = SlabBuilder::with_capacity(received.clone(), EVENTS);
    (0..EVENTS).for_each(|event| builder.row(event * BODY_BYTES..(event + 1) * BODY_BYTES));
    builder.finish()
}

fn owned(received: &Bytes) -> Vec<Owned> {
    received.chunks(BODY_BYTES).map(|body| Owned { headers: HashMap::new(), body: body.to_vec() }).collect()
}

fn shared(received: &Bytes) -> Vec<Shared> {
    let body = |event: usize| received.slice(event * BODY_BYTES..(event + 1) * BODY_BYTES);
    (0..EVENTS).map(|event| Shared { headers: Vec::new(), body: body(event) }).collect()
}

/// Lengths and bodies, one behind the other.
fn record<'a>(bodies: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut record = BytesMut::with_capacity(EVENTS * (BODY_BYTES + 4));
    for body in bodies {
        record.put_u32_le(body.len() as u32);
        record.extend_from_slice(body);
    }
    record.freeze()
}

fn last(body: &[u8]) -> u64 {
    body.last().copied().unwrap_or_default().into()
}
