#![allow(clippy::unwrap_used, reason = "tests")]
use millstream_core::MetricName;
use millstream_testkit::contract::sink::{FailingHome, Home};
use millstream_testkit::{AvroPeer, TestChannel, failing_sink_contract, setting, sink_contract, start_sink};

use super::*;

struct Peer(AvroPeer);

impl Home for Peer {
    fn spec(&self) -> &'static SinkSpec {
        &SPEC
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("hostname", "127.0.0.1".into()), ("port", self.0.port().to_string())]
    }

    fn delivered(&self) -> Option<Vec<String>> {
        Some(self.0.bodies())
    }
}

impl FailingHome for Peer {
    fn fail(&self, count: usize) {
        self.0.refuse(count);
    }
}

sink_contract!(Peer(AvroPeer::foreign()));
failing_sink_contract!(Peer(AvroPeer::own()));

fn built(port: u16, settings: &[(&str, &str)]) -> BuiltSink {
    let port = port.to_string();
    let settings = [&[("hostname", "127.0.0.1"), ("port", port.as_str())], settings].concat();
    let settings = settings.iter().map(|(key, value)| setting(key, value));
    let (options, unknown) = Options::parse("a1.sinks.k1", SPEC.options, &[], settings).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    (SPEC.build)(&options).unwrap()
}

fn pushed(port: u16, settings: &[(&str, &str)]) -> Box<dyn Sink> {
    let BuiltSink::Push { sink, .. } = built(port, settings) else { panic!("pulls") };
    sink
}

fn one(body: &str) -> Arc<[Batch]> {
    Arc::from([Batch::from_bodies([body])])
}

#[tokio::test]
async fn names_and_low_water_marks_travel_along() {
    let peer = AvroPeer::own();
    let mut sink = pushed(peer.port(), &[]);
    let named = Batch::from_bodies(["a", "b"]).named(7 << 64 | 1, 30).with_low_water([(7 << 64 | 1, 20)]);
    sink.deliver(Arc::from([named, Batch::from_bodies(["c"]).named(7 << 64 | 1, 40)])).await.unwrap();
    let call = &peer.calls()[0];
    let names = call.names.clone().unwrap();
    assert_eq!(names.runs, [(7 << 64 | 1, 30, 2), (7 << 64 | 1, 40, 1)]);
    assert_eq!(names.low_water, [(7 << 64 | 1, 20)]);
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_an_error_that_may_pass_and_found_once_it_comes() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut sink = pushed(free, &[]);
    let error = sink.deliver(one("a")).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("connect 127.0.0.1:{free}: ")), "{error}");
    let peer = AvroPeer::start(free, false);
    sink.deliver(one("a")).await.unwrap();
    drop(peer);
    assert!(sink.deliver(one("b")).await.is_err());
    let peer = AvroPeer::start(free, false);
    sink.deliver(one("b")).await.unwrap();
    assert_eq!(peer.bodies(), ["b"]);
}

#[tokio::test]
async fn an_answer_that_does_not_come_fails_the_delivery_in_time() {
    let peer = AvroPeer::own();
    let mut sink = pushed(peer.port(), &[("request-timeout", "1000")]);
    peer.keep_silent(1);
    let error = sink.deliver(one("a")).await.unwrap_err().to_string();
    assert!(error.starts_with("answer from 127.0.0.1:"), "{error}");
    sink.deliver(one("a")).await.unwrap();
    assert_eq!(peer.bodies(), ["a", "a"], "a peer without memory has it twice");
}

#[tokio::test]
async fn connections_are_counted_under_flumes_names_and_reset_when_asked() {
    let peer = AvroPeer::foreign();
    let channel = TestChannel::new();
    let running = start_sink(built(peer.port(), &[("reset-connection-interval", "1")]), &channel);
    channel.fill(0..10);
    channel.until_committed(10).await;
    assert_eq!(running.counted(MetricName::ConnectionCreatedCount), 1);
    while running.counted(MetricName::ConnectionCreatedCount) < 2 {
        // The sink looks at its age when it has something to deliver.
        let next = channel.committed().len() as u64;
        channel.fill(next..next + 1);
        channel.until_committed(next as usize + 1).await;
    }
    assert_eq!(running.counted(MetricName::ConnectionClosedCount), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn without_waiting_every_event_is_sent_and_what_is_refused_is_counted() {
    let peer = AvroPeer::own();
    let channel = TestChannel::new();
    let running = start_sink(built(peer.port(), &[("ack", "none"), ("batch-size", "5")]), &channel);
    channel.fill(0..200);
    channel.until_committed(200).await;
    while peer.bodies().len() < 200 {
        tokio::task::yield_now().await;
    }
    peer.refuse(1);
    channel.fill(200..205);
    channel.until_committed(205).await;
    channel.fill(205..210);
    channel.until_committed(210).await;
    let running_status = Arc::clone(&running.status);
    running.stop().await.unwrap();
    assert_eq!(running_status.counters().value(MetricName::EventWriteFail), 5);
    assert_eq!(peer.bodies().len(), 205);
}

#[tokio::test]
async fn without_waiting_what_was_under_way_when_the_connection_broke_is_counted() {
    let peer = AvroPeer::own();
    let port = peer.port();
    let channel = TestChannel::new();
    let running = start_sink(built(port, &[("ack", "none"), ("batch-size", "1")]), &channel);
    channel.fill(0..1);
    channel.until_committed(1).await;
    while peer.bodies().is_empty() {
        tokio::task::yield_now().await;
    }
    peer.keep_silent(3);
    for next in 1..4 {
        channel.fill(next..next + 1);
        channel.until_committed(next as usize + 1).await;
    }
    drop(peer);
    let peer = AvroPeer::start(port, true);
    // The first ones may vanish in a connection that is broken without anybody knowing yet.
    let mut next = 4;
    while peer.bodies().is_empty() {
        channel.fill(next..next + 1);
        channel.until_committed(next as usize + 1).await;
        next += 1;
    }
    let lost = running.counted(MetricName::EventWriteFail);
    assert!((3..next).contains(&lost), "{lost} of {next}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_peer_of_ours_has_many_deliveries_open_and_a_foreign_one_has_one() {
    for (own, peer) in [(true, AvroPeer::own()), (false, AvroPeer::foreign())] {
        let mut sink = pushed(peer.port(), &[]);
        assert_eq!(sink.most_open(), 1, "nobody was heard yet");
        sink.deliver(one("a")).await.unwrap();
        assert_eq!(sink.most_open() > 1, own);
    }
}

#[tokio::test]
async fn deliveries_that_are_open_when_the_connection_breaks_fail_together() {
    let peer = AvroPeer::own();
    let mut sink = pushed(peer.port(), &[]);
    sink.deliver(one("a")).await.unwrap();
    peer.keep_silent(3);
    let open: Vec<_> = ["b", "c", "d"].map(|body| tokio::spawn(sink.deliver(one(body)))).into();
    while peer.bodies().len() < 4 {
        tokio::task::yield_now().await;
    }
    drop(peer);
    for delivery in open {
        assert!(delivery.await.unwrap().is_err());
    }
    assert_eq!(sink.most_open(), 1);
}

#[test]
fn a_time_out_that_flume_replaces_is_replaced() {
    let settings = [setting("hostname", "h"), setting("port", "1"), setting("request-timeout", "999")];
    let (options, _) = Options::parse("a1.sinks.k1", SPEC.options, &[], settings).unwrap();
    let sink = AvroSink::from_options(&options).unwrap();
    assert_eq!(sink.sending.unwrap().settings.request_timeout, DEFAULT_TIMEOUT);
}
