#![allow(clippy::unwrap_used, reason = "tests")]
use millstream_agent::Agent;
use millstream_core::Limit;
use millstream_testkit::{AvroPeer, PATIENCE};
use tracing::subscriber::with_default;
use tracing_subscriber::prelude::*;

use super::*;

/// Logs through `layer` alone.
fn logging<T>(layer: FlumeLayer, log: impl FnOnce() -> T) -> T {
    with_default(tracing_subscriber::registry().with(layer), log)
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_has_the_headers_of_flumes_log4j_appender() {
    let port = free_port();
    let config = format!(
        "a1.sources = r1\na1.channels = c1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}
        a1.sources.r1.channels = c1\na1.channels.c1.type = memory\n"
    );
    let agent = Agent::builder().name("a1").config_text(config).start().await.unwrap();
    agent.ready().await;
    let before_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    tokio::task::block_in_place(|| {
        let (layer, guard) = FlumeLayer::to("127.0.0.1", port).start().unwrap();
        logging(layer, || {
            tracing::warn!(target: "shop::orders", order = 7, by = "ann", "order {} is late", "A");
            tracing::trace!(size = 1);
        });
        assert_eq!(guard.dropped(), 0);
    });
    let take = agent.channel("c1").unwrap().take(Limit { events: 10, bytes: u64::MAX }).await.unwrap();
    let events: Vec<_> = take.batches().iter().flat_map(|batch| batch.iter()).collect();
    let header = |event: usize, key: &str| {
        let value = events[event].header(&format!("flume.client.log4j.{key}"));
        value.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    assert_eq!(events[0].body(), b"order A is late order=7 by=\"ann\"");
    assert_eq!(header(0, "logger.name").as_deref(), Some("shop::orders"));
    assert_eq!(header(0, "log.level").as_deref(), Some("30000"));
    assert_eq!(header(0, "message.encoding").as_deref(), Some("UTF8"));
    assert_eq!(header(0, "address"), LocalHost::look_up().ok().map(|host| host.address.to_string()));
    let stamp: u128 = header(0, "timestamp").unwrap().parse().unwrap();
    assert!((before_ms..before_ms + PATIENCE.as_millis()).contains(&stamp), "{stamp}");
    assert_eq!((events[1].body(), header(1, "log.level").as_deref()), (&b"size=1"[..], Some("5000")));
    assert_eq!(header(1, "logger.name").as_deref(), Some(module_path!()));
    drop(take);
    agent.stop().await.unwrap();
}

#[test]
fn what_waits_is_sent_when_the_guard_goes_and_what_comes_later_is_dropped() {
    let peer = AvroPeer::foreign();
    let (layer, guard) = FlumeLayer::to("127.0.0.1", peer.port()).start().unwrap();
    let queue = Arc::clone(&guard.queue);
    logging(layer, || {
        (0..1000).for_each(|number| tracing::info!("{number}"));
        drop(guard);
        assert_eq!(peer.bodies().len(), 1000);
        tracing::info!("too late");
    });
    assert_eq!((queue.dropped(), peer.bodies().last().unwrap().as_str()), (1, "999"));
}

#[test]
fn lines_wait_for_an_agent_that_comes_later_and_go_on_to_one_that_was_away() {
    let port = free_port();
    let (layer, guard) = FlumeLayer::to("127.0.0.1", port).start().unwrap();
    logging(layer, || {
        tracing::info!("early");
        let peer = AvroPeer::start(port, true);
        until("the line arrives", || peer.bodies() == ["early"]);
        peer.refuse(2);
        tracing::info!("refused twice");
        until("it arrives after all", || peer.bodies().len() == 2);
        drop(peer);
        tracing::info!("away");
        let peer = AvroPeer::start(port, true);
        until("the line arrives", || peer.bodies() == ["away"]);
    });
    assert_eq!(guard.dropped(), 0);
}

#[test]
fn a_full_queue_drops_counts_and_tells_the_agent_once() {
    let port = free_port();
    let (layer, guard) = FlumeLayer::to("127.0.0.1", port).capacity(5).start().unwrap();
    logging(layer, || {
        tracing::info!("first");
        until("the first one is taken", || guard.queue.waiting() == 1 && guard.queue.next_len() == 0);
        (0..8).for_each(|number| tracing::info!("{number}"));
    });
    assert_eq!(guard.dropped(), 3);
    let peer = AvroPeer::start(port, true);
    drop(guard);
    let told = "3 log lines were dropped here: the queue to the agent was full";
    assert_eq!(peer.bodies(), ["first", "0", "1", "2", "3", "4", told]);
}

#[test]
fn with_block_the_program_waits_and_nothing_is_dropped() {
    let port = free_port();
    let layer = FlumeLayer::to("127.0.0.1", port).capacity(5).when_full(WhenFull::Block);
    let (layer, guard) = layer.start().unwrap();
    let program = std::thread::spawn(|| logging(layer, || (0..100).for_each(|number| tracing::info!("{number}"))));
    until("the queue is full", || guard.queue.next_len() == 5);
    assert!(!program.is_finished());
    let peer = AvroPeer::start(port, true);
    program.join().unwrap();
    assert_eq!(guard.dropped(), 0);
    drop(guard);
    assert_eq!(peer.bodies(), (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_guard_without_an_agent_gives_up_in_its_time_and_knows_what_is_left() {
    let (layer, guard) =
        FlumeLayer::to("127.0.0.1", free_port()).flush_limit(Duration::from_millis(100)).start().unwrap();
    let queue = Arc::clone(&guard.queue);
    logging(layer, || tracing::info!("nobody hears it"));
    let began = Instant::now();
    drop(guard);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(queue.waiting(), 1);
}

#[test]
fn properties_are_judged_at_the_start() {
    let error = FlumeLayer::with_properties([("hosts", "a"), ("hosts.a", "b")]).start().unwrap_err().to_string();
    assert!(error.starts_with("hosts.a: expected host:port"), "{error}");
}
