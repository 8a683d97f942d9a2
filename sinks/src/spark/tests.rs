use std::sync::Arc;
use std::time::Duration;

use millstream_core::{ComponentStatus, MetricName, SinkContext, Stopper, stop_token};
use millstream_testkit::PeerKind::{self, Foreign, Own};
use millstream_testkit::contract::pull_sink::Subject;
use millstream_testkit::{SparkPeer, TestChannel, pull_sink_contract};
use millstream_wire::names::Names;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;

pull_sink_contract!(Subject { spec: &SPEC, host_key: "hostname", port_key: "port" });

/// A sink at work.
struct Running {
    address: std::net::SocketAddr,
    channel: TestChannel,
    status: Arc<ComponentStatus>,
    stopper: Stopper,
    served: JoinHandle<Result<()>>,
}

impl Running {
    async fn start(transaction_capacity: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let channel = TestChannel::with_transaction_capacity(transaction_capacity);
        let status = ComponentStatus::new("sink", "k1".into(), "spark".into());
        let (stopper, stop) = stop_token();
        let cx = SinkContext { name: "k1".into(), status: Arc::clone(&status), stop, spool: None };
        let sink = SparkSink {
            hostname: "127.0.0.1".into(),
            port: 0,
            foreign_batches: 2,
            timeout: Duration::from_secs(60),
            backoff: Duration::from_millis(200),
        };
        let served = tokio::spawn(sink.serve_on(listener, channel.shared(), cx));
        Self { address, channel, status, stopper, served }
    }

    async fn connect(&self, kind: PeerKind) -> SparkPeer {
        SparkPeer::connect(self.address, kind).await
    }

    fn counted(&self, name: MetricName) -> u64 {
        self.status.counters().value(name)
    }
}

#[tokio::test]
async fn events_come_in_order_with_their_names_and_an_ack_commits_them() {
    let sink = Running::start(100).await;
    sink.channel.fill(0..5);
    let mut client = sink.connect(Own).await;
    let batch = client.poll(3).await;
    assert_eq!((batch.bodies.as_slice(), batch.error.as_str()), (&["0", "1", "2"].map(String::from)[..], ""));
    let names = batch.names.expect("asked for");
    assert_eq!(
        names,
        Names { runs: vec![(TestChannel::INCARNATION, 0, 3)], low_water: vec![(TestChannel::INCARNATION, 0)] }
    );
    client.ack(&batch.sequence_number).await;
    assert_eq!(sink.channel.committed(), ["0", "1", "2"]);
    assert_eq!(client.poll(3).await.bodies, ["3", "4"], "a partial batch does not wait");
    let counted = [
        MetricName::ConnectionCreatedCount,
        MetricName::BatchCompleteCount,
        MetricName::BatchUnderflowCount,
        MetricName::EventDrainAttemptCount,
        MetricName::EventDrainSuccessCount,
    ];
    assert_eq!(counted.map(|name| sink.counted(name)), [1, 1, 1, 5, 3]);
}

#[tokio::test]
async fn an_ack_over_another_connection_counts_and_a_stranger_is_ignored() {
    let sink = Running::start(100).await;
    sink.channel.fill(0..2);
    let (mut first, mut second) = (sink.connect(Own).await, sink.connect(Own).await);
    let batch = first.poll(2).await;
    second.ack("00000000" /* of another start */).await;
    second.nack("").await;
    assert!(sink.channel.committed().is_empty());
    second.ack(&batch.sequence_number).await;
    assert_eq!(sink.channel.committed(), ["0", "1"]);
    first.ack(&batch.sequence_number).await;
    assert_eq!(sink.channel.committed(), ["0", "1"]);
}

#[tokio::test]
async fn many_polls_of_one_connection_are_answered_each_under_its_serial() {
    let sink = Running::start(100).await;
    let mut client = sink.connect(Own).await;
    client.nack("").await; // Shakes hands.
    let mut serials = Vec::new();
    for _ in 0..8 {
        serials.push(client.send_poll(1).await);
    }
    sink.channel.until_asked(8).await;
    sink.channel.fill(0..8);
    let mut bodies = Vec::new();
    for _ in 0..8 {
        let (serial, batch) = client.receive_batch().await;
        serials.retain(|other| *other != serial);
        bodies.extend(batch.bodies);
    }
    bodies.sort();
    assert_eq!((serials.len(), bodies.len()), (0, 8));
    assert_eq!(bodies, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[tokio::test]
async fn a_request_beyond_the_transaction_capacity_is_clamped() {
    let sink = Running::start(3).await;
    sink.channel.fill(0..10);
    let mut client = sink.connect(Foreign).await;
    assert_eq!(client.poll(1000).await.bodies.len(), 3);
    assert_eq!(client.poll(-7).await.bodies.len(), 1);
}

#[tokio::test]
async fn a_question_to_an_empty_channel_stays_open_until_a_put() {
    let sink = Running::start(100).await;
    let mut client = sink.connect(Foreign).await;
    client.send_poll(10).await;
    sink.channel.until(|stored| stored.empty_takes >= 2).await;
    sink.channel.until_asked(1).await;
    let put = Instant::now();
    sink.channel.fill(0..1);
    assert_eq!(client.receive_batch().await.1.bodies, ["0"]);
    assert!(put.elapsed() < Duration::from_millis(150), "{:?}", put.elapsed());
    assert!(sink.counted(MetricName::BatchEmptyCount) >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_batch_goes_back_after_the_timeout_and_a_late_ack_is_ignored() {
    let sink = Running::start(100).await;
    sink.channel.fill(0..2);
    let mut client = sink.connect(Foreign).await;
    let asked = Instant::now();
    let batch = client.poll(2).await;
    assert_eq!(client.poll(2).await.bodies, ["0", "1"]);
    let waited = asked.elapsed();
    assert!((Duration::from_secs(60)..Duration::from_secs(70)).contains(&waited), "{waited:?}");
    client.ack(&batch.sequence_number).await;
    assert!(sink.channel.committed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn our_own_peer_keeps_its_batch_as_long_as_it_is_connected() {
    let sink = Running::start(100).await;
    sink.channel.fill(0..2);
    let mut client = sink.connect(Own).await;
    let batch = client.poll(2).await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    client.ack(&batch.sequence_number).await;
    assert_eq!(sink.channel.committed(), ["0", "1"]);
}

#[tokio::test]
async fn foreign_peers_hold_no_more_batches_than_threads() {
    let sink = Running::start(100).await;
    sink.channel.fill(0..9);
    let (mut first, mut second) = (sink.connect(Foreign).await, sink.connect(Foreign).await);
    let batch = first.poll(1).await;
    second.poll(1).await;
    second.send_poll(1).await;
    let mut own = sink.connect(Own).await;
    assert_eq!(own.poll(1).await.bodies, ["2"], "ours are not counted, and the third foreign one got nothing");
    first.ack(&batch.sequence_number).await;
    assert_eq!(second.receive_batch().await.1.bodies, ["3"]);
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let sink = Running::start(100).await;
    let mut good = sink.connect(Own).await;
    good.nack("").await;
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xFF; 100], &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7]] {
        let mut stream = TcpStream::connect(sink.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut rest = Vec::new();
        // Ends; by a reset where bytes were left unread.
        let ended = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
        let _ = timeout(Duration::from_secs(5), ended).await.expect("closed by the sink");
        assert!(rest.is_empty());
    }
    sink.channel.fill(0..1);
    assert_eq!(good.poll(1).await.bodies, ["0"]);
}

#[tokio::test]
async fn a_sink_that_stops_refuses_polls_and_still_takes_acks() {
    let sink = Running::start(100).await;
    sink.channel.fill(0..2);
    let mut client = sink.connect(Own).await;
    let batch = client.poll(2).await;
    client.send_poll(2).await;
    sink.channel.until_asked(1).await;
    sink.stopper.stop();
    let refused = client.receive_batch().await.1;
    assert_eq!((refused.error.as_str(), refused.sequence_number.as_str()), ("Spark sink has been stopped!", ""));
    assert_eq!(client.poll(2).await.error, "Spark sink has been stopped!");
    client.ack(&batch.sequence_number).await;
    sink.served.await.unwrap().unwrap();
    assert_eq!(sink.channel.committed(), ["0", "1"]);
    assert_eq!(sink.status.counters().value(MetricName::EventDrainSuccessCount), 2);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_stops_gives_back_what_nobody_answers_for() {
    let sink = Running::start(100).await;
    sink.channel.fill(0..2);
    let mut client = sink.connect(Own).await;
    client.poll(2).await;
    sink.stopper.stop();
    let asked = Instant::now();
    sink.served.await.unwrap().unwrap();
    assert!(asked.elapsed() <= Duration::from_secs(3));
    assert_eq!(sink.channel.waiting(), 2);
}
