#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_agent::{Agent, RunningAgent};
use millstream_core::Limit;
use millstream_testkit::{AvroPeer, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn numbered(range: std::ops::Range<u64>) -> Vec<Event> {
    range.map(|number| Event::from(number.to_string())).collect()
}

fn texts(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// A client of these ports with more properties.
async fn client_of(ports: &[u16], more: &[(&str, &str)]) -> RpcClient {
    RpcClientFactory::get_instance(properties(ports, more)).await.unwrap()
}

fn properties(ports: &[u16], more: &[(&str, &str)]) -> Vec<(String, String)> {
    let names: Vec<String> = (1..=ports.len()).map(|number| format!("h{number}")).collect();
    let mut properties = vec![("hosts".to_owned(), names.join(" "))];
    properties
        .extend(names.iter().zip(ports).map(|(name, port)| (format!("hosts.{name}"), format!("127.0.0.1:{port}"))));
    properties.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    properties
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// An agent that listens; what it stores goes on to `next`, or stays in its channel.
async fn agent(next: Option<u16>) -> (RunningAgent, u16) {
    let port = free_port().await;
    (agent_at(port, "type = avro", next).await, port)
}

/// As [`agent`], with a source of these keys at this port.
async fn agent_at(port: u16, source: &str, next: Option<u16>) -> RunningAgent {
    let sink = next.map_or(String::new(), |next| {
        format!("a1.sinks = k1\na1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {next}\na1.sinks.k1.channel = c1\n")
    });
    let config = format!(
        "a1.sources = r1\na1.channels = c1\na1.sources.r1.{}\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}
        a1.sources.r1.channels = c1\na1.channels.c1.type = memory\na1.channels.c1.capacity = 100000\na1.channels.c1.transactionCapacity = 100000\n{sink}",
        source.replace('\n', "\na1.sources.r1.")
    );
    let agent = Agent::builder().name("a1").config_text(config).start().await.unwrap();
    agent.ready().await;
    agent
}

/// What waits in the agent's channel.
async fn stored(agent: &RunningAgent) -> Vec<String> {
    let channel = agent.channel("c1").unwrap();
    let take = channel.take(Limit { events: 100_000, bytes: u64::MAX }).await.unwrap();
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    take.batches().iter().flat_map(|batch| batch.iter().map(|event| text(event.body())).collect::<Vec<_>>()).collect()
}

/// Passes everything on to `target`, and answers only while `answers`.
async fn deaf_link(target: u16) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&answers);
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut near_in, &mut far_out).await });
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                let mut chunk = [0; 4096];
                while let Ok(len @ 1..) = far_in.read(&mut chunk).await {
                    if told.load(Ordering::SeqCst) && near_out.write_all(&chunk[..len]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, answers)
}

#[tokio::test]
async fn a_default_client_sends_in_calls_of_its_batch_size_and_headers_arrive() {
    let peer = AvroPeer::foreign();
    let mut client = client_of(&[peer.port()], &[("batch-size", "4")]).await;
    assert_eq!(client.batch_size(), 4);
    client.append(Event::from("one")).await.unwrap();
    client.append_batch(numbered(0..10)).await.unwrap();
    client.append_batch(vec![]).await.unwrap();
    let sizes: Vec<usize> = peer.calls().iter().map(|call| call.bodies.len()).collect();
    assert_eq!(sizes, [1, 4, 4, 2]);
    client.close().await;
    assert!(!client.is_active());
    let error = client.append(Event::from("late")).await.unwrap_err().to_string();
    assert!(error.ends_with("the client is closed"), "{error}");
}

#[tokio::test]
async fn headers_and_empty_bodies_arrive_at_an_agent() {
    let (agent, port) = agent(None).await;
    let mut client = RpcClientFactory::get_default_instance("127.0.0.1", port).await.unwrap();
    let event = Event::default().with_headers([("host", "a"), ("größe", "5 µm")]);
    client.append_batch(vec![event, Event::from("b")]).await.unwrap();
    let take = agent.channel("c1").unwrap().take(Limit { events: 2, bytes: u64::MAX }).await.unwrap();
    let first = take.batches()[0].event(0);
    assert_eq!((first.header("host"), first.header("größe")), (Some(&b"a"[..]), Some("5 µm".as_bytes())));
    assert!(first.body().is_empty());
    drop(take);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_default_client_whose_call_failed_is_of_no_further_use() {
    let peer = AvroPeer::own();
    let mut client = client_of(&[peer.port()], &[("batch-size", "5")]).await;
    client.append_batch(numbered(0..5)).await.unwrap();
    peer.refuse(1);
    let undelivered = client.append_batch(numbered(5..20)).await.unwrap_err();
    assert!(
        undelivered.to_string().ends_with("the peer answered FAILED: its channel is full or broken"),
        "{undelivered}"
    );
    assert_eq!(undelivered.events.len(), 15);
    assert!(!client.is_active());
    let error = client.append(Event::from("x")).await.unwrap_err().to_string();
    assert!(error.ends_with("get another client from RpcClientFactory"), "{error}");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_an_error_of_the_factory() {
    let port = free_port().await;
    let error = RpcClientFactory::get_default_instance("127.0.0.1", port).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("connect 127.0.0.1:{port}: ")), "{error}");
}

#[tokio::test]
async fn only_what_was_not_answered_comes_back_and_keeps_its_names_with_another_client() {
    let peer = AvroPeer::own();
    let settings = [("batch-size", "5"), ("request-timeout", "1000")];
    let mut first = client_of(&[peer.port()], &settings).await;
    first.append_batch(numbered(0..5)).await.unwrap();
    peer.keep_silent(1);
    let undelivered = first.append_batch(numbered(5..15)).await.unwrap_err();
    assert_eq!(undelivered.events, numbered(5..15));
    let mut second = client_of(&[peer.port()], &settings).await;
    second.append(Event::from("other")).await.unwrap();
    second.append_batch(undelivered.events).await.unwrap();
    let calls = peer.calls();
    let names: Vec<_> = calls.iter().map(|call| call.names.clone().unwrap()).collect();
    let (one, two) = (names[0].runs[0].0, names[2].runs[0].0);
    assert_eq!(calls.len(), 5);
    assert_eq!(names[1].runs, [(one, 5, 5)], "its answer was lost");
    assert_eq!(names[3].runs, names[1].runs);
    assert_eq!(names[3].low_water, [(two, 1), (one, 5)], "the mark stays below what was not answered");
    assert_eq!(names[4].runs, [(two, 1, 5)]);
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_stored_once_by_our_own_agent() {
    let (agent, port) = agent(None).await;
    let (link, answers) = deaf_link(port).await;
    let settings = [("batch-size", "10"), ("request-timeout", "1000")];
    let mut client = client_of(&[link], &settings).await;
    client.append_batch(numbered(0..10)).await.unwrap();
    answers.store(false, Ordering::SeqCst);
    let undelivered = client.append_batch(numbered(10..30)).await.unwrap_err();
    assert!(undelivered.to_string().contains("answer from 127.0.0.1:"), "{undelivered}");
    answers.store(true, Ordering::SeqCst);
    let mut client = client_of(&[link], &settings).await;
    client.append_batch(undelivered.events).await.unwrap();
    assert_eq!(stored(&agent).await, texts(0..30));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_that_fails_over_after_a_lost_answer_is_stored_once_where_both_ways_end() {
    let (agent, port) = agent(None).await;
    let (link, answers) = deaf_link(port).await;
    answers.store(false, Ordering::SeqCst);
    for kind in ["default_failover", "default_loadbalance"] {
        let mut client = client_of(&[link, port], &[("client.type", kind), ("request-timeout", "1000")]).await;
        client.append_batch(numbered(0..50)).await.unwrap();
        assert!(client.is_active());
    }
    assert_eq!(stored(&agent).await, [texts(0..50), texts(0..50)].concat(), "once of each client");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn every_event_arrives_once_over_two_agents_whose_links_are_cut_again_and_again() {
    let (last, last_port) = agent(None).await;
    let (one, one_port) = agent(Some(last_port)).await;
    let (two, two_port) = agent(Some(last_port)).await;
    let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let links = [Proxy::to(here(one_port)).await, Proxy::to(here(two_port)).await];
    let ports = links.each_ref().map(|link| link.address.port());
    let mut number = 0;
    for kind in ["default_failover", "default_loadbalance"] {
        let mut client = client_of(&ports, &[("client.type", kind), ("batch-size", "20")]).await;
        for round in 0..20 {
            let (from, until) = (number, number + 200);
            number = until;
            let mut waiting = numbered(from..until);
            let sending = async {
                while let Err(undelivered) = client.append_batch(std::mem::take(&mut waiting)).await {
                    waiting = undelivered.events;
                }
            };
            let cutting = async {
                for link in 0..3 {
                    tokio::task::yield_now().await;
                    links[(round + link) % 2].cut();
                }
            };
            tokio::join!(sending, cutting);
        }
    }
    let channel = last.channel("c1").unwrap();
    let arrived = async {
        while channel.totals().waiting_events() < number {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(millstream_testkit::PATIENCE, arrived).await.unwrap();
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    let all = stored(&last).await;
    assert_eq!(all.len() as u64, number, "nothing twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), texts(0..number).into_iter().collect());
    last.stop().await.unwrap();
}

#[tokio::test]
async fn failover_stays_with_a_host_until_it_is_gone_and_comes_around() {
    let (one, two) = (AvroPeer::foreign(), AvroPeer::foreign());
    let ports = [one.port(), two.port()];
    let mut client = client_of(&ports, &[("client.type", "default_failover"), ("batch-size", "10")]).await;
    client.append_batch(numbered(0..20)).await.unwrap();
    assert_eq!((one.calls().len(), two.calls().len()), (2, 0));
    drop(one);
    client.append_batch(numbered(20..40)).await.unwrap();
    assert_eq!(two.bodies(), texts(20..40));
    let one = AvroPeer::start(ports[0], false);
    client.append_batch(numbered(40..50)).await.unwrap();
    assert_eq!(two.bodies().len(), 30, "it stays");
    two.refuse(1);
    client.append_batch(numbered(50..60)).await.unwrap();
    assert_eq!(one.bodies(), texts(50..60));
    drop((one, two));
    let undelivered = client.append_batch(numbered(60..70)).await.unwrap_err();
    assert_eq!(undelivered.events.len(), 10);
    assert!(client.is_active(), "the next call tries again");
}

#[tokio::test]
async fn failover_makes_no_more_attempts_than_it_may() {
    let peers = [AvroPeer::foreign(), AvroPeer::foreign()];
    let ports = peers.each_ref().map(AvroPeer::port);
    let settings = [("client.type", "default_failover"), ("max-attempts", "1")];
    let mut client = client_of(&ports, &settings).await;
    peers[0].refuse(1);
    assert!(client.append(Event::from("a")).await.is_err());
    client.append(Event::from("b")).await.unwrap();
    assert_eq!(peers[1].bodies(), ["b"]);
}

#[tokio::test]
async fn load_is_spread_in_turn_or_at_random() {
    for selector in ["ROUND_ROBIN", "RANDOM"] {
        let peers = [AvroPeer::foreign(), AvroPeer::own(), AvroPeer::foreign()];
        let ports = peers.each_ref().map(AvroPeer::port);
        let settings = [("client.type", "default_loadbalance"), ("host-selector", selector), ("batch-size", "1")];
        let mut client = client_of(&ports, &settings).await;
        client.append_batch(numbered(0..90)).await.unwrap();
        let counts = peers.each_ref().map(|peer| peer.calls().len());
        match selector {
            "RANDOM" => assert!(counts.iter().all(|count| (10..60).contains(count)), "{counts:?}"),
            _ => assert_eq!(counts, [30, 30, 30]),
        }
    }
}

#[tokio::test]
async fn without_backoff_a_host_that_failed_is_tried_again_every_time() {
    let peers = [AvroPeer::foreign(), AvroPeer::foreign()];
    let ports = peers.each_ref().map(AvroPeer::port);
    let mut client = client_of(&ports, &[("client.type", "default_loadbalance"), ("batch-size", "1")]).await;
    peers[0].refuse(3);
    client.append_batch(numbered(0..8)).await.unwrap();
    assert_eq!(peers[1].bodies(), ["0", "1", "2", "3", "4", "5", "7"], "three were refused, one was not");
    assert_eq!(peers[0].bodies(), ["6"]);
}

#[tokio::test]
async fn when_every_host_failed_the_events_come_back() {
    let ports = [free_port().await, free_port().await];
    let mut client = client_of(&ports, &[("client.type", "default_loadbalance")]).await;
    let undelivered = client.append_batch(numbered(0..3)).await.unwrap_err();
    assert!(undelivered.to_string().starts_with("events not delivered: 3: connect 127.0.0.1:"), "{undelivered}");
    let _peer = AvroPeer::start(ports[1], false);
    client.append_batch(undelivered.events).await.unwrap();
}

#[tokio::test]
async fn a_call_that_was_dropped_does_not_give_its_answer_to_the_next_one() {
    let peer = AvroPeer::own();
    let mut client = client_of(&[peer.port(), peer.port()], &[("client.type", "default_failover")]).await;
    client.append(Event::from("a")).await.unwrap();
    peer.keep_silent(1);
    let dropped = tokio::time::timeout(std::time::Duration::from_millis(50), client.append(Event::from("b")));
    assert!(dropped.await.is_err());
    peer.refuse(2);
    assert!(client.append(Event::from("c")).await.is_err(), "refused by both");
    client.append(Event::from("d")).await.unwrap();
    assert_eq!(peer.bodies(), ["a", "b", "d"]);
}

#[test]
fn the_blocking_client_does_the_same() {
    let peer = AvroPeer::own();
    let mut client = blocking::RpcClientFactory::get_default_instance("127.0.0.1", peer.port()).unwrap();
    client.append(Event::from("a")).unwrap();
    client.append_batch(numbered(0..3)).unwrap();
    assert_eq!((client.is_active(), client.batch_size()), (true, 100));
    assert_eq!(peer.bodies(), ["a", "0", "1", "2"]);
    client.close();
    assert!(!client.is_active());
}

#[tokio::test]
async fn tls_and_compression_are_what_the_agent_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let pair = rcgen::generate_simple_self_signed(vec!["somewhere.else".into()]).unwrap();
    std::fs::write(path("server.pem"), pair.signing_key.serialize_pem() + &pair.cert.pem()).unwrap();
    std::fs::write(path("trust.pem"), pair.cert.pem()).unwrap();
    let port = free_port().await;
    let ssl = format!("ssl = true\nkeystore = {}", path("server.pem"));
    let agent = agent_at(port, &format!("type = avro\ncompression-type = deflate\n{ssl}"), None).await;
    let deflate = [("compression-type", "deflate"), ("compression-level", "9"), ("ssl", "true")];
    let error = RpcClientFactory::get_instance(properties(&[port], &deflate)).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("connect 127.0.0.1:{port}: invalid peer certificate")), "{error}");
    let trust = path("trust.pem");
    let mut client = client_of(&[port], &[&deflate[..], &[("truststore", &trust)]].concat()).await;
    client.append_batch(numbered(0..50)).await.unwrap();
    assert_eq!(stored(&agent).await, texts(0..50));
    agent.stop().await.unwrap();

    let port = free_port().await;
    let agent = agent_at(port, &format!("type = thrift\n{ssl}"), None).await;
    let thrift = [("client.type", "thrift"), ("ssl", "true")];
    let undelivered = client_of(&[port], &thrift).await.append(Event::from("x")).await.unwrap_err().to_string();
    assert!(undelivered.contains("invalid peer certificate"), "{undelivered}");
    let mut client = client_of(&[port], &[&thrift[..], &[("truststore", &trust)]].concat()).await;
    client.append_batch(numbered(0..50)).await.unwrap();
    assert_eq!(stored(&agent).await, texts(0..50));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_thrift_client_speaks_either_encoding_and_connects_again_after_a_call_that_failed() {
    for (protocol, kind) in [("compact", "thrift"), ("binary", "org.apache.flume.api.ThriftRpcClient")] {
        let port = free_port().await;
        let source = format!("type = thrift\nprotocol = {protocol}");
        let agent = agent_at(port, &source, None).await;
        let settings = [("client.type", kind), ("protocol", protocol), ("batch-size", "4")];
        let mut client = client_of(&[port], &settings).await;
        client.append(Event::from("alone").with_header("größe", "5 µm")).await.unwrap();
        client.append_batch(numbered(0..10)).await.unwrap();
        let take = agent.channel("c1").unwrap().take(Limit { events: 1, bytes: u64::MAX }).await.unwrap();
        assert_eq!(take.batches()[0].event(0).header("größe"), Some("5 µm".as_bytes()), "{protocol}");
        drop(take);
        assert_eq!(stored(&agent).await, [vec!["alone".to_owned()], texts(0..10)].concat(), "{protocol}");
        agent.stop().await.unwrap();

        let undelivered = client.append_batch(numbered(10..20)).await.unwrap_err();
        assert_eq!(undelivered.events.len(), 10, "{undelivered}");
        assert!(client.is_active(), "as Flume's");
        let agent = agent_at(port, &source, None).await;
        client.append_batch(undelivered.events).await.unwrap();
        assert_eq!(stored(&agent).await, texts(10..20));
        agent.stop().await.unwrap();
        client.close().await;
        let error = client.append(Event::from("late")).await.unwrap_err().to_string();
        assert!(error.ends_with("the client is closed"), "{error}");
    }
}

#[tokio::test]
async fn a_thrift_client_that_is_refused_keeps_its_events_and_its_connection() {
    let port = free_port().await;
    let agent = agent_at(port, "type = thrift", None).await;
    let mut client = client_of(&[port], &[("client.type", "thrift"), ("batch-size", "200000")]).await;
    // More than the channel takes in one transaction.
    let undelivered = client.append_batch(numbered(0..100_001)).await.unwrap_err();
    assert!(undelivered.to_string().contains("the peer answered FAILED"), "{undelivered}");
    assert_eq!(undelivered.events.len(), 100_001);
    client.append_batch(numbered(0..3)).await.unwrap();
    assert_eq!(stored(&agent).await, texts(0..3));
    agent.stop().await.unwrap();
}
