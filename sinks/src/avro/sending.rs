//! The connection of an avro sink: makes it, sends calls in order, hears the answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millstream_core::{Error, MetricName, Result, SinkContext};
use millstream_rpc::{Client, ClientSettings};
use millstream_wire::avro_event::{APPEND_BATCH, Status};
use millstream_wire::avro_rpc::Response;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Outgoing;

/// What sends, on a task of its own.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) settings: ClientSettings,
    pub(super) address: String,
    pub(super) reset_after: Option<Duration>,
    /// Whether a call is done only when it is answered.
    pub(super) waits: bool,
    pub(super) queue: mpsc::UnboundedReceiver<Outgoing>,
    /// How many calls the peer takes at once: told to the runner.
    pub(super) most_open: Arc<AtomicUsize>,
    pub(super) connection: Option<Connection>,
    pub(super) cx: Option<SinkContext>,
}

#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    since: Instant,
    /// Calls that are not answered, oldest first.
    open: VecDeque<Unanswered>,
}

/// A call that is sent.
#[derive(Debug)]
struct Unanswered {
    events: u64,
    /// `None` where nobody waits.
    done: Option<oneshot::Sender<Result<()>>>,
}

enum Step {
    Call(Option<Outgoing>),
    Answer(Result<Response>),
    Reset,
}

// === impl Sending ===

impl Sending {
    /// Sends until the sink is closed and everything is answered.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut closed = false;
        loop {
            match self.next(closed).await {
                Step::Call(Some(call)) => self.send(call).await,
                Step::Call(None) => closed = true,
                Step::Answer(Ok(response)) => self.answered(response),
                Step::Answer(Err(error)) => self.lose_connection(&error),
                Step::Reset => self.disconnect().await,
            }
            if closed && self.connection.as_ref().is_none_or(|connection| connection.open.is_empty()) {
                self.disconnect().await;
                return Ok(());
            }
        }
    }

    async fn next(&mut self, closed: bool) -> Step {
        let Some(Connection { client, since, open }) = &mut self.connection else {
            return Step::Call(self.queue.recv().await);
        };
        let due = self.reset_after.map(|after| *since + after);
        let is_due = due.is_some_and(|due| due <= Instant::now());
        if is_due && open.is_empty() {
            return Step::Reset;
        }
        // With `ack = none` a foreign peer is not waited for either.
        let most = if self.waits || !client.is_established() { client.most_open() } else { MOST_UNANSWERED };
        let may_send = !closed && !is_due && open.len() < most;
        tokio::select! {
            response = client.answer(), if !open.is_empty() => Step::Answer(response),
            call = self.queue.recv(), if may_send => Step::Call(call),
            // An idle connection grows old too.
            () = until(due), if open.is_empty() => Step::Reset,
        }
    }

    async fn send(&mut self, call: Outgoing) {
        let Outgoing { meta, params, events, done } = call;
        if let Err(error) = self.connect().await {
            // Whoever stopped waiting knows why.
            let _ = done.send(Err(error));
            return;
        }
        let Some(Connection { client, open, .. }) = &mut self.connection else { return };
        match client.send(meta, APPEND_BATCH, params).await {
            Ok(()) if self.waits => open.push_back(Unanswered { events, done: Some(done) }),
            Ok(()) => {
                open.push_back(Unanswered { events, done: None });
                let _ = done.send(Ok(()));
            }
            Err(error) => {
                self.lose_connection(&error);
                let _ = done.send(Err(error));
            }
        }
    }

    fn answered(&mut self, response: Response) {
        let Some(Connection { client, open, .. }) = &mut self.connection else { return };
        self.most_open.store(client.most_open(), Ordering::Relaxed);
        let Some(Unanswered { events, done }) = open.pop_front() else { return };
        match (self.judge(response), done) {
            (outcome, Some(done)) => drop(done.send(outcome)),
            (Err(error), None) => self.lost(events, &error),
            (Ok(()), None) => {}
        }
    }

    /// What the peer's answer means. After a refusal the connection is as good as before.
    fn judge(&self, response: Response) -> Result<()> {
        let refused = |problem: String| Err(Error::net("deliver to", &self.address, std::io::Error::other(problem)));
        let datum = match response.result {
            Ok(datum) => datum,
            Err(problem) => return refused(format!("the peer answered: {problem}")),
        };
        match Status::decode(&datum)? {
            Status::Ok => Ok(()),
            Status::Failed => refused("the peer answered FAILED: its channel is full or broken".to_owned()),
            Status::Unknown => refused("the peer answered UNKNOWN".to_owned()),
        }
    }

    async fn connect(&mut self) -> Result<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        let connected = Client::connect(&self.settings).await;
        let counter = match connected {
            Ok(_) => MetricName::ConnectionCreatedCount,
            Err(_) => MetricName::ConnectionFailedCount,
        };
        self.count(counter, 1);
        let client = connected?;
        tracing::info!(address = self.address, "connected");
        self.connection = Some(Connection { client, since: Instant::now(), open: VecDeque::new() });
        Ok(())
    }

    /// What was under way fails; where nobody waits it is neither known to be stored nor sent again.
    fn lose_connection(&mut self, error: &Error) {
        let Some(connection) = self.connection.take() else { return };
        self.most_open.store(1, Ordering::Relaxed);
        self.count(MetricName::ConnectionClosedCount, 1);
        let mut lost = 0;
        for Unanswered { events, done } in connection.open {
            match done {
                Some(done) => drop(done.send(Err(error.clone()))),
                None => lost += events,
            }
        }
        if lost > 0 {
            self.lost(lost, error);
        }
    }

    async fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.most_open.store(1, Ordering::Relaxed);
            self.count(MetricName::ConnectionClosedCount, 1);
            connection.client.close().await;
        }
    }

    fn lost(&self, events: u64, error: &Error) {
        self.count(MetricName::EventWriteFail, events);
        tracing::warn!(%error, events, "events were sent without waiting and may be lost (ack = none)");
    }

    fn count(&self, name: MetricName, by: u64) {
        if let Some(cx) = &self.cx {
            cx.status.count(name, by);
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Calls that may be under way with `ack = none`.
const MOST_UNANSWERED: usize = 32;
