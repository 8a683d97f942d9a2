//! The same client for programs without a runtime. Not to be called from within one.

use std::path::Path;

use millstream_core::{Error, Result, Setting};
use tokio::runtime::Runtime;

use super::{Event, Undelivered, properties};

/// Makes clients, under the names that Flume's factory has.
#[derive(Debug)]
pub struct RpcClientFactory;

/// Sends events to one agent or several; each call returns once it is done.
#[derive(Debug)]
pub struct RpcClient {
    client: super::RpcClient,
    runtime: Runtime,
}

// === impl RpcClientFactory ===

impl RpcClientFactory {
    /// As [`super::RpcClientFactory::get_default_instance`].
    ///
    /// # Errors
    /// As there.
    pub fn get_default_instance(host: &str, port: u16) -> Result<RpcClient> {
        RpcClient::open(properties::of_host(host, port))
    }

    /// As [`super::RpcClientFactory::get_instance`].
    ///
    /// # Errors
    /// As there.
    pub fn get_instance<K: Into<String>, V: Into<String>>(
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> Result<RpcClient> {
        RpcClient::open(properties::settings(properties))
    }

    /// As [`super::RpcClientFactory::get_instance_from_file`].
    ///
    /// # Errors
    /// As there.
    pub fn get_instance_from_file(path: impl AsRef<Path>) -> Result<RpcClient> {
        RpcClient::open(properties::load(path.as_ref())?)
    }
}

// === impl RpcClient ===

impl RpcClient {
    pub(super) fn open(settings: Vec<Setting>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("start", "runtime", error))?;
        let client = runtime.block_on(super::RpcClient::open(settings))?;
        Ok(Self { client, runtime })
    }

    /// As [`super::RpcClient::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(&mut self, event: Event) -> Result<(), Undelivered> {
        self.runtime.block_on(self.client.append(event))
    }

    /// As [`super::RpcClient::append_batch`].
    ///
    /// # Errors
    /// As there.
    pub fn append_batch(&mut self, events: Vec<Event>) -> Result<(), Undelivered> {
        self.runtime.block_on(self.client.append_batch(events))
    }

    /// As [`super::RpcClient::is_active`].
    pub fn is_active(&self) -> bool {
        self.client.is_active()
    }

    /// As [`super::RpcClient::batch_size`].
    pub fn batch_size(&self) -> usize {
        self.client.batch_size()
    }

    /// As [`super::RpcClient::close`].
    pub fn close(&mut self) {
        self.runtime.block_on(self.client.close());
    }
}
