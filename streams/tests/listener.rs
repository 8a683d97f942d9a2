//! What a job tells its listeners.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millstream_core::{Batch, BatchInfo};
use millstream_streams::{FlumeUtils, Job, ReceiverInfo, StreamingContext, StreamingListener};

/// Everything that was told, in order.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    #[track_caller]
    fn until(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.all().iter().any(|heard| heard.starts_with(what)) {
            assert!(Instant::now() < deadline, "{what} was not told: {:?}", self.all());
            std::thread::yield_now();
        }
    }
}

impl StreamingListener for Heard {
    fn on_streaming_started(&self) {
        self.note("streaming started");
    }

    fn on_receiver_started(&self, receiver: &ReceiverInfo) {
        self.note(format!("receiver {} started", receiver.stream_id));
    }

    fn on_receiver_error(&self, receiver: &ReceiverInfo) {
        let message = receiver.last_error_message.clone().unwrap_or_default();
        self.note(format!("receiver {} error: {message}", receiver.stream_id));
    }

    fn on_receiver_stopped(&self, receiver: &ReceiverInfo) {
        self.note(format!("receiver {} stopped", receiver.stream_id));
    }

    fn on_batch_submitted(&self, info: &BatchInfo) {
        if info.num_records > 0 {
            self.note(format!("batch of {} submitted", info.num_records));
        }
    }

    fn on_batch_started(&self, info: &BatchInfo) {
        if info.num_records > 0 {
            self.note(format!("batch of {} started", info.num_records));
        }
    }

    fn on_batch_completed(&self, info: &BatchInfo) {
        if info.num_records > 0 {
            self.note(format!("batch of {} completed", info.num_records));
        }
    }
}

fn start(dir: &std::path::Path, prepare: impl FnOnce(&mut StreamingContext)) -> Job {
    let mut ssc = StreamingContext::new("listened", Duration::from_millis(10));
    ssc.checkpoint(dir);
    prepare(&mut ssc);
    ssc.start().unwrap()
}

#[test]
fn a_batch_is_submitted_started_and_completed() {
    let (dir, heard) = (tempfile::tempdir().unwrap(), Heard::default());
    let mut queue = None;
    let job = start(dir.path(), |ssc| {
        ssc.add_streaming_listener(heard.clone());
        let (input, events) = ssc.queue_stream("in");
        queue = Some(input);
        events.count().for_each_batch(|_, _| Ok(()));
    });
    queue.unwrap().push(Batch::from_bodies(["a", "b"])).unwrap().blocking_recv().unwrap();
    heard.until("batch of 2 completed");
    job.stop().unwrap();
    let wanted = ["streaming started", "batch of 2 submitted", "batch of 2 started", "batch of 2 completed"];
    assert_eq!(heard.all(), wanted);
}

#[test]
fn a_receiver_that_cannot_listen_is_told_and_again_once_it_can() {
    let (dir, heard) = (tempfile::tempdir().unwrap(), Heard::default());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let job = start(dir.path(), |ssc| {
        ssc.add_streaming_listener(heard.clone());
        FlumeUtils::create_stream(ssc, "127.0.0.1", port).count().for_each_batch(|_, _| Ok(()));
    });
    heard.until(&format!("receiver 0 error: bind 127.0.0.1:{port}: Address already in use"));
    drop(taken);
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{:?}", heard.all());
        std::thread::yield_now();
    }
    job.stop().unwrap();
    let heard = heard.all();
    assert!(heard.iter().filter(|told| *told == "receiver 0 started").count() >= 2, "{heard:?}");
    assert_eq!(heard.last().unwrap(), "receiver 0 stopped");
}
