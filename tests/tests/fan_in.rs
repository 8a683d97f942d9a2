//! Agents that send to jobs over links that are cut: many into one receiver, one that fails over between two receivers, one
//! that spreads over both. Every event is counted once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::outputs::Value;
use millstream::receiver::{Ack, PushReceiver};
use millstream::{Agent, FlumeUtils, Job, RunningAgent, StreamingContext};
use millstream_testkit::Proxy;

/// How often each body was counted.
type Counted = Arc<Mutex<BTreeMap<String, u64>>>;

const EVENTS: usize = 20_000;
const CUTS: usize = 25;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A job that listens on these ports, and what it counted.
async fn job(dir: &Path, ports: &[u16]) -> (Job, Counted) {
    let (dir, ports) = (dir.to_owned(), ports.to_owned());
    // Blocks while the log is read.
    tokio::task::spawn_blocking(move || started(&dir, &ports)).await.unwrap()
}

fn started(dir: &Path, ports: &[u16]) -> (Job, Counted) {
    let mut ssc = StreamingContext::new("fan-in", Duration::from_millis(20));
    // So little that a batch takes a few hundred events: there is time to cut.
    ssc.checkpoint(dir.join("job")).memory_bytes(40_000);
    let counted = Counted::default();
    for port in ports {
        let receiver = PushReceiver { ack: Ack::Commit, ..PushReceiver::new("127.0.0.1", *port) };
        let lines = FlumeUtils::create_stream_from(&ssc, receiver);
        let all = Arc::clone(&counted);
        let bodies = lines.map(|event| event.text().into_owned());
        bodies.for_each_batch(move |_, rows| {
            let mut all = all.lock().unwrap();
            for row in 0..rows.len() {
                let Value::Text(body) = rows.value(row, 0) else { panic!("a text") };
                *all.entry(body.to_owned()).or_default() += 1;
            }
            Ok(())
        });
    }
    (ssc.start().unwrap(), counted)
}

/// An agent whose events are `name` and a number, by `sinks`.
async fn agent(dir: &Path, name: &str, sinks: &str) -> RunningAgent {
    let dir = dir.display();
    let config = format!(
        "a1.sources = r1
         a1.channels = c1
         a1.sources.r1.type = seq
         a1.sources.r1.totalEvents = {EVENTS}
         a1.sources.r1.batchSize = 100
         a1.sources.r1.channels = c1
         a1.sources.r1.interceptors = i1
         a1.sources.r1.interceptors.i1.type = search_replace
         a1.sources.r1.interceptors.i1.searchPattern = ^
         a1.sources.r1.interceptors.i1.replaceString = {name}-
         a1.channels.c1.type = file
         a1.channels.c1.checkpointDir = {dir}/{name}/checkpoint
         a1.channels.c1.dataDirs = {dir}/{name}/data
         {sinks}"
    );
    Agent::builder().name("a1").config_text(config).start().await.unwrap()
}

fn avro(name: &str, address: SocketAddr) -> String {
    format!(
        "a1.sinks.{name}.type = avro
         a1.sinks.{name}.channel = c1
         a1.sinks.{name}.hostname = 127.0.0.1
         a1.sinks.{name}.port = {}\n",
        address.port()
    )
}

fn group(processor: &str, one: SocketAddr, two: SocketAddr) -> String {
    let sinks = avro("k1", one) + &avro("k2", two);
    format!(
        "a1.sinks = k1 k2
         a1.sinkgroups = g1
         a1.sinkgroups.g1.sinks = k1 k2
         a1.sinkgroups.g1.processor.type = {processor}
         {sinks}"
    )
}

/// Cuts the links over and over while events pass, until everything of `names` is counted; each event once.
async fn assert_each_once(counted: &Counted, proxies: &[&Proxy], names: &[&str]) {
    let wanted = EVENTS * names.len();
    let (mut cuts, mut seen_then) = (0, 0);
    let all_counted = async {
        loop {
            let seen = counted.lock().unwrap().len();
            if seen >= wanted {
                break;
            }
            // Something passed since the last cut.
            if cuts < CUTS && seen > seen_then {
                proxies[cuts % proxies.len()].cut();
                (cuts, seen_then) = (cuts + 1, seen);
            }
            tokio::time::sleep(Duration::from_millis(3)).await; // sleeps: between two looks at a counter that wakes nobody
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), all_counted).await;
    let counted = counted.lock().unwrap();
    assert!(in_time.is_ok(), "{} of {wanted} counted after {cuts} cuts", counted.len());
    let twice: Vec<_> = counted.iter().filter(|(_, count)| **count != 1).take(5).collect();
    assert!(twice.is_empty(), "counted more than once: {twice:?}");
    let missing = names.iter().flat_map(|name| (0..EVENTS).map(move |n| format!("{name}-{n}")));
    assert_eq!(missing.filter(|body| !counted.contains_key(body)).count(), 0);
    assert!(cuts >= CUTS / 2, "only {cuts} cuts while events passed: this run proves too little");
}

/// Blocks, and so is not for the runtime's thread.
async fn stop(job: Job) -> u64 {
    tokio::task::spawn_blocking(move || {
        let redelivered = job.committed(&[]).redelivered;
        job.stop().unwrap();
        redelivered
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_fan_into_one_receiver_over_links_that_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let (one, two) = (Proxy::to(local(port)).await, Proxy::to(local(port)).await);
    let (job, counted) = job(dir.path(), &[port]).await;
    let first = agent(dir.path(), "first", &format!("a1.sinks = k1\n{}", avro("k1", one.address))).await;
    let second = agent(dir.path(), "second", &format!("a1.sinks = k1\n{}", avro("k1", two.address))).await;
    assert_each_once(&counted, &[&one, &two], &["first", "second"]).await;
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    assert!(stop(job).await > 0, "nothing came again: this run proves nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_fails_over_between_two_receivers_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port()];
    let (one, two) = (Proxy::to(local(ports[0])).await, Proxy::to(local(ports[1])).await);
    let (job, counted) = job(dir.path(), &ports).await;
    let processor = "failover\na1.sinkgroups.g1.processor.maxpenalty = 100";
    let agent = agent(dir.path(), "only", &group(processor, one.address, two.address)).await;
    assert_each_once(&counted, &[&one, &two], &["only"]).await;
    agent.stop().await.unwrap();
    assert!(stop(job).await > 0, "nothing came again: this run proves nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_spreads_over_two_receivers_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port()];
    let (one, two) = (Proxy::to(local(ports[0])).await, Proxy::to(local(ports[1])).await);
    let (job, counted) = job(dir.path(), &ports).await;
    let agent = agent(dir.path(), "only", &group("load_balance", one.address, two.address)).await;
    assert_each_once(&counted, &[&one, &two], &["only"]).await;
    agent.stop().await.unwrap();
    assert!(stop(job).await > 0, "nothing came again: this run proves nothing");
}

/// The middle one of Flume's reliability levels: memory while the peer is there, the disk while it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_waits_on_the_disk_and_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let link = Proxy::to(local(port)).await;
    let (job, counted) = job(dir.path(), &[port]).await;
    let at = dir.path().display();
    let sinks = format!(
        "a1.sinks = k1
         a1.sinkgroups = g1
         a1.sinkgroups.g1.sinks = k1
         a1.sinkgroups.g1.processor.type = store_on_failure
         a1.sinkgroups.g1.processor.channel = spool
         a1.sinkgroups.g1.processor.maxpenalty = 100
         a1.channels = c1 spool
         a1.channels.spool.type = file
         a1.channels.spool.checkpointDir = {at}/spool/checkpoint
         a1.channels.spool.dataDirs = {at}/spool/data
         {}",
        avro("k1", link.address)
    );
    let agent = agent(dir.path(), "only", &sinks).await;
    assert_each_once(&counted, &[&link], &["only"]).await;
    assert!(agent.channel("spool").unwrap().totals().put_events > 0, "nothing was stored: this run proves nothing");
    agent.stop().await.unwrap();
    stop(job).await;
}
