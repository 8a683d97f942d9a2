//! The client that programs hold.

use std::fmt;
use std::path::Path;

use millstream_core::{Error, Result, Setting};

use super::Event;
use super::call::{Call, next_len};
use super::host::Host;
use super::properties::{self, Plan, Way};
use super::series::{self, Series};

/// Makes clients, under the names that Flume's factory has.
#[derive(Debug)]
pub struct RpcClientFactory;

/// Sends events to one agent or several.
#[derive(Debug)]
pub struct RpcClient {
    way: Way,
    batch_size: usize,
    series: Series,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    /// A call of a default client failed.
    Failed,
    Closed,
}

/// Events that were not answered OK, in their order, and why.
///
/// Give them to [`RpcClient::append_batch`] again, of this client or of another: they go under the names that they had, so
/// that an agent of ours that stored them before the answer was lost does not store them twice.
#[derive(Debug)]
pub struct Undelivered {
    /// What was not answered OK; what was, is not among them.
    pub events: Vec<Event>,
    /// Why.
    pub error: Error,
}

// === impl RpcClientFactory ===

impl RpcClientFactory {
    /// A client of one host. Connects.
    ///
    /// # Errors
    /// `Net`.
    pub async fn get_default_instance(host: &str, port: u16) -> Result<RpcClient> {
        RpcClient::open(properties::of_host(host, port)).await
    }

    /// The client that these properties describe, with Flume's keys. One of type `default` connects at once, the others
    /// with their first call.
    ///
    /// # Errors
    /// `Config` at the property that cannot be used; `Net`.
    pub async fn get_instance<K: Into<String>, V: Into<String>>(
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> Result<RpcClient> {
        RpcClient::open(properties::settings(properties)).await
    }

    /// As [`Self::get_instance`], from a property file.
    ///
    /// # Errors
    /// `Io`; `Config` with file and line; `Net`.
    pub async fn get_instance_from_file(path: impl AsRef<Path>) -> Result<RpcClient> {
        RpcClient::open(properties::load(path.as_ref())?).await
    }
}

// === impl RpcClient ===

impl RpcClient {
    pub(super) async fn open(settings: Vec<Setting>) -> Result<Self> {
        Self::start(Plan::of(settings)?).await
    }

    async fn start(plan: Plan) -> Result<Self> {
        let Plan { batch_size, mut way } = plan;
        if let Way::Default(host) = &mut way {
            host.connect().await?;
        }
        Ok(Self { way, batch_size, series: Series::draw()?, state: State::Active })
    }

    /// Sends one event and waits until it is stored.
    ///
    /// # Errors
    /// As [`Self::append_batch`].
    pub async fn append(&mut self, event: Event) -> Result<(), Undelivered> {
        self.send(vec![event], true).await
    }

    /// Sends events in calls of at most [`Self::batch_size`] and waits until all are stored.
    ///
    /// # Errors
    /// [`Undelivered`], with what remains: `Net` when a host cannot be reached, refuses or does not answer in time. A
    /// default client is of no further use then, as in Flume; the others go on with the next call.
    ///
    /// # Cancel safety
    /// Dropped, some of the events may be stored, and the others are gone with it.
    pub async fn append_batch(&mut self, events: Vec<Event>) -> Result<(), Undelivered> {
        self.send(events, false).await
    }

    /// Whether it takes events: not once it is closed, and one of type `default` not after a call that failed.
    pub fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// Most events of one call.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Ends its connections. What was sent is stored already; a second time it does nothing.
    pub async fn close(&mut self) {
        for host in self.hosts_mut() {
            host.close().await;
        }
        self.state = State::Closed;
    }

    async fn send(&mut self, mut events: Vec<Event>, alone: bool) -> Result<(), Undelivered> {
        let mut sent = 0;
        while sent < events.len() {
            if let Err(error) = self.send_some(&mut events[sent..], alone).await.map(|count| sent += count) {
                events.drain(..sent);
                return Err(Undelivered { events, error });
            }
        }
        Ok(())
    }

    /// Sends the first ones of `events` in one call; returns how many.
    async fn send_some(&mut self, events: &mut [Event], alone: bool) -> Result<usize> {
        match self.state {
            State::Active => {}
            State::Failed => return Err(self.inactive("a call failed; get another client from RpcClientFactory")),
            State::Closed => return Err(self.inactive("the client is closed")),
        }
        let count = next_len(events, self.batch_size)?;
        let events = &mut events[..count];
        let unnamed = events.iter().filter(|event| event.name().is_none()).count();
        let mut next = self.series.reserve(unnamed as u64);
        for event in events.iter_mut() {
            event.name_with(|| {
                next += 1;
                self.series.name(next - 1)
            });
        }
        let call = Call::of(events, &self.series, alone);
        let outcome = match &mut self.way {
            Way::Default(host) | Way::Thrift(host) => host.call(&call).await,
            Way::Failover(failover) => failover.call(&call).await,
            Way::LoadBalance(load_balance) => load_balance.call(&call).await,
        };
        match outcome {
            Ok(()) => {
                series::settle(events.iter_mut().filter_map(Event::take_name));
                Ok(count)
            }
            Err(error) => {
                if let Way::Default(host) = &mut self.way {
                    host.close().await;
                    self.state = State::Failed;
                }
                Err(error)
            }
        }
    }

    fn hosts_mut(&mut self) -> &mut [Host] {
        match &mut self.way {
            Way::Default(host) | Way::Thrift(host) => std::slice::from_mut(host),
            Way::Failover(failover) => failover.hosts_mut(),
            Way::LoadBalance(load_balance) => load_balance.hosts_mut(),
        }
    }

    fn inactive(&mut self, why: &str) -> Error {
        let addresses: Vec<String> = self.hosts_mut().iter().map(|host| host.address()).collect();
        Error::net("deliver to", addresses.join(" "), std::io::Error::other(why.to_owned()))
    }
}

// === impl Undelivered ===

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "events not delivered: {}: {}", self.events.len(), self.error)
    }
}

impl std::error::Error for Undelivered {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<Undelivered> for Error {
    fn from(undelivered: Undelivered) -> Self {
        undelivered.error
    }
}
