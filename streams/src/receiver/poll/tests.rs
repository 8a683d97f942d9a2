use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Batch, ComponentStatus, Options, RoomKeeper, Setting, SinkContext, State, Stopper, stop_token};
use millstream_sinks::spark::{REPLY_BYTES, SPEC, SparkSink};
use millstream_testkit::{Proxy, TestChannel};
use millstream_wire::avro_rpc::{Incoming, Metadata, ServerConnection, UnknownClient};
use millstream_wire::netty::{FrameDecoder, encode_frame};
use millstream_wire::spark_sink::{self, Call};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, yield_now};

use super::super::names::SeenNames;
use super::super::{Block, Committed, Intake};
use super::*;

/// A sink at work.
struct Agent {
    address: SocketAddr,
    _stopper: Stopper,
    _served: JoinHandle<Result<()>>,
}

impl Agent {
    async fn start(channel: &TestChannel) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), channel)
    }

    fn start_on(listener: TcpListener, channel: &TestChannel) -> Self {
        let port = Setting { key: "port".into(), value: "0".into(), place: "test".into() };
        let (options, _) = Options::parse("a1.sinks.k1", SPEC.options, &[], [port]).unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stop) = stop_token();
        let status = ComponentStatus::new("sink", "k1".into(), "spark".into());
        let cx = SinkContext { name: "k1".into(), status, stop, spool: None };
        let sink = SparkSink::from_options(&options).unwrap();
        let served = tokio::spawn(sink.serve_on(listener, channel.shared(), cx));
        Self { address, _stopper: stopper, _served: served }
    }
}

/// A receiver at work, and the job behind it.
struct Job {
    intake: Arc<Intake>,
    status: Arc<ComponentStatus>,
    stopper: Stopper,
    running: JoinHandle<Result<()>>,
    /// Sequences of what came in, in order of arrival.
    received: Vec<u64>,
}

impl Job {
    fn start(addresses: &[SocketAddr], max_batch_size: u32) -> Self {
        Self::start_within(64 << 20, addresses, max_batch_size)
    }

    fn start_within(budget_bytes: u64, addresses: &[SocketAddr], max_batch_size: u32) -> Self {
        let addresses = addresses.iter().map(|address| (address.ip().to_string(), address.port())).collect();
        let intake = Intake::new(RoomKeeper::new(u64::MAX, budget_bytes), SeenNames::default(), 1);
        let status = ComponentStatus::new("source", "input".into(), "poll".into());
        let (stopper, stop) = stop_token();
        let directory = std::path::Path::new("unused").into();
        let disk = Arc::new(millstream_io::SystemDisk);
        let cx = ReceiverContext { inbox: intake.inbox(0), status: Arc::clone(&status), stop, directory, disk };
        let mut receiver = PollReceiver { max_batch_size, ..PollReceiver::new(addresses) };
        let running = tokio::spawn(async move { receiver.run(cx).await });
        Self { intake, status, stopper, running, received: Vec::new() }
    }

    /// Waits for the next blocks, and notes what they bring.
    async fn blocks(&mut self) -> Vec<Block> {
        let some = async {
            while self.intake.is_empty() {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), some).await.expect("a block in time");
        let blocks: Vec<Block> = self.intake.drain().into_iter().flatten().collect();
        for event in blocks.iter().flat_map(|block| &block.batches).flat_map(Batch::iter) {
            let sequence = std::str::from_utf8(event.body()).unwrap().parse().unwrap();
            if let Some(name) = event.name() {
                assert!([7, 8].contains(&name.incarnation));
                assert_eq!(name.sequence, sequence);
            }
            self.received.push(sequence);
        }
        blocks
    }

    async fn commit_until(&mut self, events: usize) {
        while self.received.len() < events {
            let blocks = self.blocks().await;
            self.commit(blocks);
        }
    }

    fn commit(&self, blocks: Vec<Block>) {
        for block in blocks {
            for batch in &block.batches {
                self.intake.with_seen(|seen| seen.commit(&batch.name_ranges()));
            }
            // A connection that was cut listens no longer.
            let _ = block.done.send(Committed);
        }
    }

    async fn stop(self) {
        self.stopper.stop();
        timeout(Duration::from_secs(10), self.running).await.expect("in time").unwrap().unwrap();
    }
}

fn in_order(mut sequences: Vec<u64>) -> Vec<u64> {
    sequences.sort_unstable();
    sequences
}

#[test]
fn the_room_for_a_reply_is_what_our_sink_may_send() {
    let room = connection::REPLY_BYTES;
    assert!(room >= REPLY_BYTES);
}

#[test]
fn parallelism_is_shared_out_and_every_connection_has_some() {
    let polls = |parallelism, connections: usize| -> Vec<usize> {
        let receiver = PollReceiver { parallelism, ..PollReceiver::new(vec![(String::new(), 1); connections]) };
        (0..connections).map(|index| receiver.polls(index)).collect()
    };
    assert_eq!(polls(5, 1), [5]);
    assert_eq!(polls(5, 2), [3, 2]);
    assert_eq!(polls(2, 3), [1, 1, 1]);
    assert_eq!(polls(0, 1), [1]);
}

#[tokio::test]
async fn a_job_that_has_ended_gives_back_what_it_held_and_asks_no_more() {
    let channel = TestChannel::new();
    channel.fill(0..10);
    let agent = Agent::start(&channel).await;
    let mut job = Job::start(&[agent.address], 100);
    let blocks = job.blocks().await;
    job.intake.close();
    drop(blocks);
    // The five questions that are open get the events again, one after the other.
    channel.until(|stored| stored.asked == 0).await;
    channel.until_waiting(10).await;
    let received = job.status.counters().value(MetricName::EventReceivedCount);
    assert!(received <= 10 * (1 + 5), "{received}");
    job.stop().await;
    channel.until_waiting(10).await;
}

#[tokio::test]
async fn all_events_of_all_agents_arrive_once_with_their_names() {
    let channels = [TestChannel::of_incarnation(7, 70), TestChannel::of_incarnation(8, 1000)];
    channels[0].fill(0..2500);
    channels[1].fill(2500..5000);
    let agents = [Agent::start(&channels[0]).await, Agent::start(&channels[1]).await];
    let mut job = Job::start(&agents.each_ref().map(|agent| agent.address), 100);
    job.commit_until(5000).await;
    assert_eq!(in_order(job.received.clone()), (0..5000).collect::<Vec<_>>());
    channels[0].until_committed(2500).await;
    channels[1].until_committed(2500).await;
    let counters = job.status.counters();
    assert_eq!(counters.value(MetricName::EventReceivedCount), 5000);
    assert_eq!(counters.value(MetricName::ConnectionCreatedCount), 2);
    assert_eq!(job.status.state(), State::Running);
    job.stop().await;
}

#[tokio::test]
async fn agents_that_have_nothing_keep_no_room_from_one_that_has() {
    // A budget for less than one answer; most agents are idle, each with its questions open.
    let idle = [TestChannel::of_incarnation(7, 100), TestChannel::of_incarnation(7, 100)];
    let busy = TestChannel::of_incarnation(8, 100);
    let agents = [Agent::start(&idle[0]).await, Agent::start(&idle[1]).await, Agent::start(&busy).await];
    let mut job = Job::start_within(1 << 20, &agents.each_ref().map(|agent| agent.address), 100);
    for (channel, questions) in idle.iter().chain([&busy]).zip([2, 2, 1]) {
        channel.until_asked(questions).await;
    }
    busy.fill(0..500);
    job.commit_until(500).await;
    busy.until_committed(500).await;
    job.stop().await;
}

#[tokio::test]
async fn nothing_is_acknowledged_before_its_verdict() {
    let channel = TestChannel::with_transaction_capacity(100);
    channel.fill(0..20);
    let agent = Agent::start(&channel).await;
    let mut job = Job::start(&[agent.address], 10);
    let mut blocks = job.blocks().await;
    while job.received.len() < 20 {
        blocks.extend(job.blocks().await);
    }
    assert!(channel.committed().is_empty());
    job.commit(blocks);
    channel.until_committed(20).await;
    job.stop().await;
}

#[tokio::test]
async fn a_block_that_failed_is_given_back() {
    let channel = TestChannel::with_transaction_capacity(100);
    channel.fill(0..10);
    let agent = Agent::start(&channel).await;
    let mut job = Job::start(&[agent.address], 10);
    drop(job.blocks().await);
    let again = job.blocks().await;
    assert_eq!(job.intake.with_seen(|seen| seen.redelivered()), 10, "pending still, so trimmed");
    job.commit(again);
    channel.until_committed(10).await;
    job.stop().await;
}

#[tokio::test]
async fn a_cut_connection_loses_nothing_and_doubles_nothing() {
    let channel = TestChannel::with_transaction_capacity(100);
    let agent = Agent::start(&channel).await;
    let proxy = Proxy::to(agent.address).await;
    let mut job = Job::start(&[proxy.address], 10);
    let mut held = Vec::new();
    for round in 0..4 {
        channel.fill(round * 50..(round + 1) * 50);
        held.extend(job.blocks().await);
        proxy.cut();
    }
    while job.received.len() < 200 {
        held.extend(job.blocks().await);
    }
    job.commit(held);
    // What came again is in blocks of its own, trimmed, and acknowledged with them.
    let all = timeout(Duration::from_secs(20), async {
        while channel.committed().len() < 200 {
            if job.intake.is_empty() {
                yield_now().await;
            } else {
                let blocks = job.blocks().await;
                job.commit(blocks);
            }
        }
    });
    all.await.expect("acknowledged in time");
    assert_eq!(in_order(job.received.clone()), (0..200).collect::<Vec<_>>());
    assert_eq!(in_order(channel.committed_sequences()), (0..200).collect::<Vec<_>>());
    assert!(job.intake.with_seen(|seen| seen.redelivered()) > 0);
    assert!(job.status.counters().value(MetricName::ConnectionCreatedCount) > 1);
    job.stop().await;
}

#[tokio::test]
async fn a_job_that_starts_first_finds_its_agent_later() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let mut job = Job::start(&[address], 10);
    let status = Arc::clone(&job.status);
    let refused = async {
        while status.counters().value(MetricName::ConnectionFailedCount) == 0 {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), refused).await.expect("tried in time");
    assert!(job.status.last_error().expect("said").starts_with(&format!("connect {address}: ")));
    let channel = TestChannel::with_transaction_capacity(100);
    channel.fill(0..10);
    let _agent = Agent::start_on(TcpListener::bind(address).await.unwrap(), &channel);
    job.commit_until(10).await;
    channel.until_committed(10).await;
    job.stop().await;
}

#[tokio::test]
async fn a_job_that_stops_acknowledges_what_is_committed_meanwhile_and_leaves_the_rest() {
    let channel = TestChannel::with_transaction_capacity(100);
    channel.fill(0..10);
    let agent = Agent::start(&channel).await;
    let mut job = Job::start(&[agent.address], 10);
    let blocks = job.blocks().await;
    channel.until_asked(5).await;
    job.stopper.stop();
    // Questions that are open bring events that nobody takes any more.
    channel.fill(10..15);
    job.commit(blocks);
    job.stop().await;
    assert_eq!(in_order(channel.committed_sequences()), (0..10).collect::<Vec<_>>());
    channel.until_waiting(5).await;
}

/// Answers as Spark's sink does: first an error batch, then one of an event, then nothing. Tells what it was asked.
async fn serve_as_spark(listener: TcpListener, asked: mpsc::UnboundedSender<Call>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut rpc = ServerConnection::new(spark_sink::protocol(), UnknownClient::AskForProtocol);
    let (mut frames, mut chunk, mut polls) = (FrameDecoder::default(), vec![0; 4096], 0);
    loop {
        while let Some(frame) = frames.next_frame().unwrap() {
            let Incoming::Call(request) = rpc.request(frame.payload).unwrap() else { panic!("no call") };
            let call = Call::decode(&request.message, &request.params).unwrap().unwrap();
            let datum = match call {
                Call::GetEventBatch { .. } => {
                    polls += 1;
                    match polls {
                        1 => Some(spark_sink::encode_error_batch("Unknown Error")),
                        2 => Some(spark_sink::encode_event_batch("abcdefgh2", &[Batch::from_bodies(["7"])])),
                        _ => None,
                    }
                }
                Call::Ack { .. } | Call::Nack { .. } => Some(bytes::Bytes::new()),
            };
            asked.send(call).unwrap();
            if let Some(datum) = datum {
                let reply = encode_frame(frame.serial, request.responder.ok(&Metadata::new(), [datum]));
                stream.write_all(&reply.concat()).await.unwrap();
            }
        }
        let len = stream.read(&mut chunk).await.unwrap();
        if len == 0 {
            return;
        }
        frames.push(bytes::Bytes::copy_from_slice(&chunk[..len]));
    }
}

#[tokio::test]
async fn a_foreign_sink_is_asked_one_thing_after_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut asked) = mpsc::unbounded_channel();
    let served = tokio::spawn(serve_as_spark(listener, sender));
    let mut job = Job::start(&[address], 10);
    let blocks = job.blocks().await;
    assert_eq!(job.received, [7]);
    let poll = Call::GetEventBatch { n: 10 };
    let shake = Call::Nack { sequence_number: String::new() };
    for wanted in [shake, poll.clone(), poll.clone()] {
        assert_eq!(asked.recv().await, Some(wanted));
    }
    job.commit(blocks);
    let ack = Call::Ack { sequence_number: "abcdefgh2".into() };
    assert_eq!([asked.recv().await, asked.recv().await], [Some(ack), Some(poll)]);
    job.stop().await;
    served.await.unwrap();
}
