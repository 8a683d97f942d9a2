#![allow(clippy::unwrap_used, reason = "tests")]
use std::path::Path;

use bytes::Bytes;
use millstream_core::{ComponentStatus, RoomKeeper, State, Stopper, stop_token};
use millstream_io::SystemDisk;
use millstream_rpc::{Client, ClientSettings, introduce};
use millstream_wire::avro_event::{APPEND_BATCH, encode_append_batch};
use millstream_wire::avro_rpc::Metadata;
use millstream_wire::names::Names;
use tempfile::TempDir;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use super::super::names::SeenNames;
use super::super::{Block, Committed, Intake};
use super::*;

/// A receiver at work, and the job behind it.
struct Job {
    intake: Arc<Intake>,
    status: Arc<ComponentStatus>,
    stopper: Stopper,
    running: JoinHandle<Result<()>>,
    port: u16,
}

struct Given {
    dir: TempDir,
    receiver: PushReceiver,
    budget_bytes: u64,
    seen: SeenNames,
}

impl Given {
    fn new(ack: Ack) -> Self {
        let receiver = PushReceiver { ack, ..PushReceiver::new("127.0.0.1", 0) };
        Self { dir: tempfile::tempdir().unwrap(), receiver, budget_bytes: 64 << 20, seen: SeenNames::default() }
    }

    async fn start(&self) -> Job {
        let intake = Intake::new(RoomKeeper::new(u64::MAX, self.budget_bytes), self.seen.clone(), 1);
        let status = ComponentStatus::new("receiver", "input".into(), "push".into());
        let (stopper, stop) = stop_token();
        let directory: Arc<Path> = self.dir.path().join("log").into();
        let disk = Arc::new(SystemDisk);
        let cx = ReceiverContext { inbox: intake.inbox(0), status: Arc::clone(&status), stop, directory, disk };
        let listener = listen("127.0.0.1", 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = self.receiver.clone();
        let running = tokio::spawn(async move { receiver.serve_on(listener, cx).await });
        assert_eq!(status.settled().await, State::Running);
        Job { intake, status, stopper, running, port }
    }
}

impl Job {
    /// Waits for the next blocks that bring events.
    async fn blocks(&self) -> Vec<Block> {
        let some = async {
            while self.intake.is_empty() {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), some).await.expect("a block in time");
        self.intake.drain().into_iter().flatten().collect()
    }

    fn commit(&self, blocks: Vec<Block>) -> Vec<String> {
        let mut bodies = Vec::new();
        for block in blocks {
            for batch in &block.batches {
                bodies.extend(batch.iter().map(|event| String::from_utf8_lossy(event.body()).into_owned()));
                self.intake.with_seen(|seen| seen.commit(&batch.name_ranges()));
            }
            // Whoever left listens no longer.
            let _ = block.done.send(Committed);
        }
        bodies
    }

    /// The committed part of what was seen, as the commit log keeps it.
    fn seen(&self) -> SeenNames {
        SeenNames::restore(self.intake.with_seen(|seen| seen.snapshot()))
    }

    async fn agent(&self) -> Client {
        let settings = ClientSettings {
            host: "127.0.0.1".into(),
            port: self.port,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(20),
            wrapping: Wrapping::default(),
            protocol: avro_event::protocol(),
        };
        Client::connect(&settings).await.unwrap()
    }

    async fn stop(self) {
        self.stopper.stop();
        self.intake.close();
        timeout(Duration::from_secs(10), self.running).await.expect("in time").unwrap().unwrap();
    }
}

async fn send(agent: &mut Client, own: bool, batch: Batch) {
    let mut meta = Metadata::new();
    if own {
        introduce(&mut meta, false);
    }
    if let Some(names) = Names::of(std::slice::from_ref(&batch)).filter(|names| !names.runs.is_empty()) {
        names.insert_into(&mut meta);
    }
    agent.send(meta, APPEND_BATCH, encode_append_batch(&[batch])).await.unwrap();
}

async fn answer(agent: &mut Client) -> Status {
    let response = timeout(Duration::from_secs(20), agent.answer()).await.expect("in time").unwrap();
    Status::decode(&response.result.unwrap()).unwrap()
}

async fn is_silent(agent: &mut Client) -> bool {
    timeout(Duration::from_millis(60), agent.answer()).await.is_err()
}

fn foreign(bodies: &[&str]) -> Batch {
    Batch::from_bodies(bodies)
}

fn own(first: u64, bodies: &[&str]) -> Batch {
    Batch::from_bodies(bodies).named(9 << 64 | 1, first)
}

#[tokio::test]
async fn with_commit_ok_is_answered_once_the_job_has_committed_and_not_before() {
    let given = Given::new(Ack::Commit);
    let job = given.start().await;
    let mut agent = job.agent().await;
    send(&mut agent, false, foreign(&["a", "b"])).await;
    let blocks = job.blocks().await;
    assert!(is_silent(&mut agent).await);
    assert_eq!(job.commit(blocks), ["a", "b"]);
    assert_eq!(answer(&mut agent).await, Status::Ok);
    assert!(!given.dir.path().join("log").exists(), "nothing is stored");
    job.stop().await;
}

#[tokio::test]
async fn a_job_that_ends_without_committing_answers_failed() {
    let job = Given::new(Ack::Commit).start().await;
    let mut agent = job.agent().await;
    send(&mut agent, false, foreign(&["a"])).await;
    drop(job.blocks().await);
    assert_eq!(answer(&mut agent).await, Status::Failed);
    job.stop().await;
}

#[tokio::test]
async fn our_own_agent_has_many_batches_open_and_what_it_sends_again_is_trimmed() {
    let job = Given::new(Ack::Auto).start().await;
    let mut agent = job.agent().await;
    send(&mut agent, true, own(0, &["a", "b"])).await;
    let first = job.blocks().await;
    job.commit(first);
    assert_eq!(answer(&mut agent).await, Status::Ok);
    send(&mut agent, true, own(2, &["c"])).await;
    send(&mut agent, true, own(1, &["b", "c", "d"])).await;
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        bodies.extend(job.commit(job.blocks().await));
    }
    assert_eq!(bodies, ["c", "d"]);
    assert_eq!((answer(&mut agent).await, answer(&mut agent).await), (Status::Ok, Status::Ok));
    job.stop().await;
}

#[tokio::test]
async fn a_foreign_agent_hears_ok_once_its_events_are_on_the_disk() {
    let given = Given::new(Ack::Auto);
    let job = given.start().await;
    let mut agent = job.agent().await;
    for body in ["a", "b"] {
        send(&mut agent, false, foreign(&[body])).await;
        assert_eq!(answer(&mut agent).await, Status::Ok);
    }
    // The job ends as by kill -9: nothing is committed.
    job.running.abort();
    let _ = job.running.await;
    let again = given.start().await;
    let mut bodies = again.commit(again.blocks().await);
    while bodies.len() < 2 {
        bodies.extend(again.commit(again.blocks().await));
    }
    assert_eq!(bodies, ["a", "b"]);
    again.stop().await;
}

#[tokio::test]
async fn what_was_stored_and_committed_is_not_computed_twice_after_a_restart() {
    let mut given = Given::new(Ack::Stored);
    let job = given.start().await;
    let mut agent = job.agent().await;
    send(&mut agent, false, foreign(&["a", "b"])).await;
    assert_eq!(answer(&mut agent).await, Status::Ok);
    assert_eq!(job.commit(job.blocks().await), ["a", "b"]);
    send(&mut agent, false, foreign(&["c"])).await;
    assert_eq!(answer(&mut agent).await, Status::Ok);
    let _uncommitted = job.blocks().await;
    given.seen = job.seen();
    job.running.abort();
    let _ = job.running.await;
    for _ in 0..2 {
        // The second time nothing is left that was not committed, and new names must not have made it forget.
        let again = given.start().await;
        let mut agent = again.agent().await;
        send(&mut agent, false, foreign(&["new"])).await;
        assert_eq!(answer(&mut agent).await, Status::Ok);
        let mut bodies = again.commit(again.blocks().await);
        while bodies.last().is_none_or(|last| last != "new") {
            bodies.extend(again.commit(again.blocks().await));
        }
        let expected: &[&str] = if given.seen.counted().values().sum::<u64>() == 2 { &["c", "new"] } else { &["new"] };
        assert_eq!(bodies, expected);
        given.seen = again.seen();
        again.running.abort();
        let _ = again.running.await;
    }
}

#[tokio::test]
async fn in_memory_alone_ok_is_answered_at_once() {
    let mut given = Given::new(Ack::Stored);
    given.receiver.storage_level = StorageLevel::MEMORY_ONLY;
    let job = given.start().await;
    let mut agent = job.agent().await;
    send(&mut agent, false, foreign(&["a"])).await;
    assert_eq!(answer(&mut agent).await, Status::Ok);
    assert_eq!(job.commit(job.blocks().await), ["a"]);
    assert!(!given.dir.path().join("log").exists());
    job.stop().await;
}

#[tokio::test]
async fn while_the_jobs_memory_is_spent_an_agent_waits_for_its_answer() {
    let mut given = Given::new(Ack::Stored);
    given.budget_bytes = 10_000;
    let job = given.start().await;
    let mut agent = job.agent().await;
    let large = "x".repeat(9_000);
    send(&mut agent, false, foreign(&[&large])).await;
    assert_eq!(answer(&mut agent).await, Status::Ok);
    send(&mut agent, false, foreign(&[&large])).await;
    assert!(is_silent(&mut agent).await);
    job.commit(job.blocks().await);
    assert_eq!(answer(&mut agent).await, Status::Ok);
    job.commit(job.blocks().await);
    job.stop().await;
}

#[tokio::test]
async fn agents_fan_in_and_are_counted_under_flumes_names() {
    let job = Given::new(Ack::Commit).start().await;
    let (mut one, mut two) = (job.agent().await, job.agent().await);
    send(&mut one, false, foreign(&["1", "2"])).await;
    send(&mut two, false, foreign(&["3"])).await;
    let mut bodies = Vec::new();
    while bodies.len() < 3 {
        bodies.extend(job.commit(job.blocks().await));
    }
    bodies.sort();
    assert_eq!(bodies, ["1", "2", "3"]);
    assert_eq!((answer(&mut one).await, answer(&mut two).await), (Status::Ok, Status::Ok));
    let counted = |name| job.status.counters().value(name);
    assert_eq!(counted(MetricName::EventReceivedCount), 3);
    assert_eq!((counted(MetricName::ConnectionCreatedCount), counted(MetricName::OpenConnectionCount)), (2, 2));
    job.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_text_and_counted() {
    let job = Given::new(Ack::Commit).start().await;
    let mut agent = job.agent().await;
    for (message, params) in [("appendAll", Bytes::new()), (APPEND_BATCH, Bytes::from_static(&[9, 9]))] {
        let refused = agent.call(Metadata::new(), message, params).await.unwrap();
        assert!(refused.result.is_err(), "{message}");
    }
    assert_eq!(job.status.counters().value(MetricName::EventReadFail), 1);
    job.stop().await;
}
