//! What every sink does whose peers come and take, over the protocol of Spark's.
//!
//! A sink's tests call [`pull_sink_contract!`](crate::pull_sink_contract) with a [`Subject`].
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests; the names of the cases are their claims")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use millstream_core::{BuiltSink, MetricName, Options, Result, SinkContext, SinkSpec};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::spec::Declared;
use crate::PeerKind::{Foreign, Own};
use crate::{PeerKind, Running, SparkPeer, TestChannel, setting, start_sink};

/// A sink under test.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// The declaration.
    pub spec: &'static SinkSpec,
    /// The key of the address to listen on.
    pub host_key: &'static str,
    /// The key of the port.
    pub port_key: &'static str,
}

/// Tests a sink: `pull_sink_contract!(subject)`, where `subject` is an expression that makes a [`Subject`].
#[macro_export]
macro_rules! pull_sink_contract {
    ($subject:expr) => {
        mod contract {
            use super::*;
            $crate::spec_contract!($crate::contract::pull_sink::declared($subject));
            $crate::pull_sink_contract!(@ $subject;
                events_come_in_order_and_an_ack_commits_them_once
                a_nack_gives_the_events_back_to_the_head
                a_connection_that_ends_gives_back_its_events_at_once
                a_question_of_a_peer_that_left_takes_nothing
                peers_share_the_events_without_overlap
                it_counts_under_flumes_names
                it_ends_when_asked_while_peers_wait
                a_stop_waits_for_the_answer_to_what_is_handed_out
                it_starts_again_on_the_same_port_and_gives_what_was_not_acknowledged
                a_kill_commits_nothing
                a_port_in_use_is_an_error_that_names_the_address
            );
        }
    };
    (@ $subject:expr; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::contract::pull_sink::$case($subject).await;
            }
        )*
    };
}

/// How many free ports are tried.
const PORTS: usize = 16;

/// For the cases about declarations.
pub fn declared(subject: Subject) -> Declared<impl Fn(&Options) -> Result<()>> {
    let given = [(subject.host_key, "127.0.0.1".to_owned()), (subject.port_key, "4711".to_owned())];
    Declared::new(subject.spec, given, move |options| (subject.spec.build)(options).map(drop))
}

/// A sink at work.
struct Serving {
    subject: Subject,
    channel: TestChannel,
    address: SocketAddr,
    running: Running<SinkContext>,
}

impl Subject {
    fn built(self, port: u16) -> BuiltSink {
        let settings = [setting(self.host_key, "127.0.0.1"), setting(self.port_key, &port.to_string())];
        let (options, unknown) = Options::parse("a1.sinks.k1", self.spec.options, &[], settings).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        let built = (self.spec.build)(&options).unwrap();
        assert!(matches!(built, BuiltSink::Pull(_)), "a sink that is delivered to has a contract of its own");
        built
    }
}

impl Serving {
    /// A sink over a channel in which `events` events wait.
    async fn start(subject: Subject, events: u64) -> Self {
        let channel = TestChannel::new();
        channel.fill(0..events);
        for _ in 0..PORTS {
            // Only the sink itself can listen, so its port is one that was free a moment ago; should another program
            // have it by now, the next one will do.
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
            let running = start_sink(subject.built(free.port()), &channel);
            let serving = Self { subject, channel: channel.clone(), address: free, running };
            if serving.listens().await {
                return serving;
            }
        }
        panic!("listens on none of {PORTS} free ports");
    }

    async fn listens(&self) -> bool {
        tokio::select! {
            () = self.running.until_ready() => true,
            () = async { while !self.running.has_ended() { tokio::task::yield_now().await } } => false,
        }
    }

    async fn connect(&self, kind: PeerKind) -> SparkPeer {
        SparkPeer::connect(self.address, kind).await
    }

    /// Stops it, and starts it again at its address.
    async fn restart(self) -> Self {
        let Self { subject, channel, address, running } = self;
        running.stop().await.unwrap();
        let running = start_sink(subject.built(address.port()), &channel);
        let again = Self { subject, channel, address, running };
        assert!(again.listens().await, "its port is taken");
        again
    }
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

pub async fn events_come_in_order_and_an_ack_commits_them_once(subject: Subject) {
    for kind in [Own, Foreign] {
        let sink = Serving::start(subject, 5).await;
        let mut peer = sink.connect(kind).await;
        let batch = peer.poll(3).await;
        assert_eq!((batch.bodies, batch.error.as_str()), (numbers(0..3), ""));
        assert_eq!(batch.names.is_some(), kind == Own, "names come to those only who ask for them");
        assert_eq!(sink.channel.committed(), [""; 0]);
        peer.ack(&batch.sequence_number).await;
        peer.ack(&batch.sequence_number).await;
        assert_eq!(sink.channel.committed(), numbers(0..3));
        assert_eq!(peer.poll(3).await.bodies, numbers(3..5), "a partial batch does not wait");
    }
}

pub async fn a_nack_gives_the_events_back_to_the_head(subject: Subject) {
    for kind in [Own, Foreign] {
        let sink = Serving::start(subject, 4).await;
        let mut peer = sink.connect(kind).await;
        let batch = peer.poll(2).await;
        peer.nack(&batch.sequence_number).await;
        peer.ack(&batch.sequence_number).await;
        assert_eq!(peer.poll(10).await.bodies, numbers(0..4));
        assert_eq!(sink.channel.committed(), [""; 0], "an ack after a nack means nothing");
    }
}

pub async fn a_connection_that_ends_gives_back_its_events_at_once(subject: Subject) {
    for kind in [Own, Foreign] {
        let sink = Serving::start(subject, 4).await;
        let mut dying = sink.connect(kind).await;
        let lost = dying.poll(2).await;
        let mut other = sink.connect(Own).await;
        assert_eq!(other.poll(2).await.bodies, numbers(2..4));
        let died = Instant::now();
        drop(dying);
        assert_eq!(other.poll(9).await.bodies, numbers(0..2));
        assert!(died.elapsed() < Duration::from_secs(1), "{:?}", died.elapsed());
        other.ack(&lost.sequence_number).await;
        assert_eq!(sink.channel.committed(), [""; 0], "what went back is not committed under its old number");
    }
}

pub async fn a_question_of_a_peer_that_left_takes_nothing(subject: Subject) {
    let sink = Serving::start(subject, 0).await;
    let mut dying = sink.connect(Own).await;
    dying.send_poll(10).await;
    sink.channel.until_asked(1).await;
    drop(dying);
    sink.channel.until_asked(0).await;
    sink.channel.fill(0..2);
    assert_eq!(sink.connect(Own).await.poll(10).await.bodies, numbers(0..2));
}

pub async fn peers_share_the_events_without_overlap(subject: Subject) {
    let sink = Serving::start(subject, 100).await;
    let (mut first, mut second) = (sink.connect(Own).await, sink.connect(Foreign).await);
    for _ in 0..5 {
        let (one, two) = tokio::join!(first.poll(10), second.poll(10));
        tokio::join!(first.ack(&one.sequence_number), second.ack(&two.sequence_number));
    }
    let mut committed = sink.channel.committed_sequences();
    committed.sort_unstable();
    assert_eq!(committed, (0..100).collect::<Vec<_>>());
}

pub async fn it_counts_under_flumes_names(subject: Subject) {
    let sink = Serving::start(subject, 5).await;
    let mut peer = sink.connect(Own).await;
    let batch = peer.poll(3).await;
    peer.ack(&batch.sequence_number).await;
    peer.poll(3).await;
    drop(peer);
    sink.running.until_counted(MetricName::ConnectionClosedCount, 1).await;
    sink.running.until_counted(MetricName::EventDrainSuccessCount, 3).await;
    let counted = [
        (MetricName::ConnectionCreatedCount, 1),
        (MetricName::ConnectionClosedCount, 1),
        (MetricName::BatchCompleteCount, 1),
        (MetricName::BatchUnderflowCount, 1),
        (MetricName::EventDrainAttemptCount, 5),
        (MetricName::EventDrainSuccessCount, 3),
    ];
    counted.into_iter().for_each(|(counter, value)| assert_eq!(sink.running.counted(counter), value, "{counter:?}"));
    sink.channel.until_waiting(2).await;
    let mut idle = sink.connect(Own).await;
    idle.poll(2).await;
    idle.send_poll(2).await;
    sink.channel.until(|stored| stored.empty_takes > 0).await;
    sink.running.until_counted(MetricName::BatchEmptyCount, 1).await;
}

pub async fn it_ends_when_asked_while_peers_wait(subject: Subject) {
    let sink = Serving::start(subject, 0).await;
    let (mut first, mut second) = (sink.connect(Own).await, sink.connect(Foreign).await);
    first.send_poll(2).await;
    second.send_poll(2).await;
    sink.channel.until_asked(2).await;
    sink.running.ask_to_stop();
    for peer in [&mut first, &mut second] {
        let refused = peer.receive_batch().await.1;
        assert!(!refused.error.is_empty() && refused.bodies.is_empty(), "{refused:?}");
    }
    sink.running.outcome().await.unwrap();
    assert!(TcpStream::connect(sink.address).await.is_err(), "it listens no longer");
}

pub async fn a_stop_waits_for_the_answer_to_what_is_handed_out(subject: Subject) {
    let sink = Serving::start(subject, 2).await;
    let mut peer = sink.connect(Own).await;
    let batch = peer.poll(2).await;
    sink.running.ask_to_stop();
    assert!(!peer.poll(2).await.error.is_empty(), "asked to stop, it hands out nothing more");
    assert!(!sink.running.has_ended());
    peer.ack(&batch.sequence_number).await;
    sink.running.outcome().await.unwrap();
    assert_eq!(sink.channel.committed(), numbers(0..2));
}

pub async fn it_starts_again_on_the_same_port_and_gives_what_was_not_acknowledged(subject: Subject) {
    let sink = Serving::start(subject, 6).await;
    let mut peer = sink.connect(Foreign).await;
    let (safe, open) = (peer.poll(2).await, peer.poll(2).await);
    peer.ack(&safe.sequence_number).await;
    drop(peer);
    let again = sink.restart().await;
    assert_eq!(again.channel.waiting(), 4);
    let mut peer = again.connect(Foreign).await;
    peer.ack(&open.sequence_number).await;
    assert_eq!(again.channel.committed(), numbers(0..2), "a number of an earlier start means nothing");
    assert_eq!(peer.poll(9).await.bodies, numbers(2..6));
}

pub async fn a_kill_commits_nothing(subject: Subject) {
    let sink = Serving::start(subject, 4).await;
    let mut peer = sink.connect(Own).await;
    peer.poll(2).await;
    let Serving { channel, running, .. } = sink;
    running.kill().await;
    channel.until_waiting(4).await;
    assert_eq!(channel.committed(), [""; 0]);
}

pub async fn a_port_in_use_is_an_error_that_names_the_address(subject: Subject) {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = start_sink(subject.built(port), &TestChannel::new()).outcome().await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("bind 127.0.0.1:{port}: ")), "{error}");
}
