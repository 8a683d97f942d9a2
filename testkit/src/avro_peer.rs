//! Somebody else's avro source: keeps what it is sent, and answers as a test tells it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use millstream_core::{Fut, Stopper, stop_token};
use millstream_io::listen::listen;
use millstream_rpc::{Call, Pending, Reply, Server, ServerLimits, Service, Wrapping, introduce};
use millstream_wire::EventLimits;
use millstream_wire::avro_event::{self, Status};
use millstream_wire::avro_rpc::{Metadata, Protocol};
use millstream_wire::names::Names;
use parking_lot::Mutex;
use tokio::sync::watch;

/// A server on a thread of its own. Dropped, it stops.
pub struct AvroPeer {
    received: Arc<Received>,
    port: u16,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

/// A call as it was understood.
#[derive(Debug, Clone)]
pub struct SentCall {
    /// Bodies of its events.
    pub bodies: Vec<String>,
    /// What the events are called, if the sender said.
    pub names: Option<Names>,
}

struct Received {
    /// Whether it introduces itself as one of ours.
    own: bool,
    /// Whether answers wait.
    held: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: Vec<SentCall>,
    refuse: usize,
    silent: usize,
    /// Until it refuses everything.
    takes: Option<usize>,
}

// === impl AvroPeer ===

impl AvroPeer {
    /// A foreign peer on a free port.
    pub fn foreign() -> Self {
        Self::start(0, false)
    }

    /// One that takes calls as ours does.
    pub fn own() -> Self {
        Self::start(0, true)
    }

    /// On a certain port.
    pub fn start(port: u16, own: bool) -> Self {
        let received = Arc::new(Received { own, held: watch::Sender::new(false), state: Mutex::default() });
        let (stopper, stop) = stop_token();
        let (bound, told) = std::sync::mpsc::channel();
        let service = Arc::clone(&received);
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = listen("127.0.0.1", port).await.unwrap();
                // Whoever is to be kept waiting is not waited for at the end.
                let limits = ServerLimits { stop: Duration::from_millis(50), ..ServerLimits::default() };
                let server = Server::new(listener, Wrapping::default(), limits);
                bound.send(server.address().unwrap().port()).unwrap();
                server.serve(service, stop).await;
            });
        };
        let thread = std::thread::spawn(serve);
        Self { received, port: told.recv().unwrap(), stopper, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers FAILED to the next `count` calls, of which nothing is kept.
    pub fn refuse(&self, count: usize) {
        self.received.state.lock().refuse = count;
    }

    /// Takes so many calls, and answers FAILED to all that follow.
    pub fn refuse_after(&self, calls: usize) {
        self.received.state.lock().takes = Some(calls);
    }

    /// Keeps the events of the next `count` calls and never answers.
    pub fn keep_silent(&self, count: usize) {
        self.received.state.lock().silent = count;
    }

    /// Keeps the events of all calls, and answers them once this is called with `false`.
    pub fn hold(&self, held: bool) {
        self.received.held.send_replace(held);
    }

    /// The calls whose events were kept.
    pub fn calls(&self) -> Vec<SentCall> {
        self.received.state.lock().calls.clone()
    }

    /// The calls whose events were kept, which are forgotten here.
    pub fn take_calls(&self) -> Vec<SentCall> {
        std::mem::take(&mut self.received.state.lock().calls)
    }

    /// Bodies of all events kept.
    pub fn bodies(&self) -> Vec<String> {
        self.calls().into_iter().flat_map(|call| call.bodies).collect()
    }
}

impl Drop for AvroPeer {
    fn drop(&mut self) {
        self.stopper.stop();
        // A thread that panicked has told why.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Service for Received {
    fn protocol(&self) -> Arc<Protocol> {
        avro_event::protocol()
    }

    fn execute(self: Arc<Self>, call: Call) -> Fut<'static, Pending> {
        let batch = avro_event::decode_params(&call.message, &call.params, &EventLimits::default()).unwrap().unwrap();
        let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
        let bodies = batch.iter().map(|event| text(event.body())).collect();
        let names = Names::from_meta(&call.meta).unwrap();
        let mut state = self.state.lock();
        let mut meta = Metadata::new();
        if self.own {
            introduce(&mut meta, false);
        }
        let refused = state.refuse > 0 || state.takes == Some(0);
        let status = if refused { Status::Failed } else { Status::Ok };
        state.refuse = state.refuse.saturating_sub(1);
        if !refused {
            state.takes = state.takes.map(|takes| takes - 1);
            state.calls.push(SentCall { bodies, names });
        }
        let silent = state.silent > 0;
        state.silent = state.silent.saturating_sub(1);
        let reply = Reply { meta, result: Ok(status.encode()) };
        let mut held = self.held.subscribe();
        let pending = if silent {
            Pending::new(std::future::pending())
        } else {
            Pending::new(async move {
                // Its sender is in `self`, which the service outlives.
                let _ = held.wait_for(|held| !held).await;
                reply
            })
        };
        Box::pin(std::future::ready(pending))
    }
}
