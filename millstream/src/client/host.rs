//! One host that a client knows.

use std::io;

use millstream_core::{Error, Result};
use millstream_rpc::{Client, ClientSettings};
use millstream_wire::avro_event::Status;

use super::call::Call;

/// Where events go, and the connection while there is one.
#[derive(Debug)]
pub(super) struct Host {
    settings: ClientSettings,
    connection: Option<Client>,
}

// === impl Host ===

impl Host {
    pub(super) fn new(settings: ClientSettings) -> Self {
        Self { settings, connection: None }
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port)
    }

    /// Connects unless it is connected.
    ///
    /// # Errors
    /// `Net`.
    pub(super) async fn connect(&mut self) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(Client::connect(&self.settings).await?);
        }
        Ok(())
    }

    /// Makes a call and waits until it is answered OK. After a refusal the connection is as good as before.
    ///
    /// # Errors
    /// `Net`, also for a refusal; `Corrupt`.
    ///
    /// # Cancel safety
    /// Dropped, the connection goes with it: nobody gets the answer to a call of another.
    pub(super) async fn call(&mut self, call: &Call) -> Result<()> {
        self.connect().await?;
        let Some(mut client) = self.connection.take() else { return Err(self.refused("there is no connection")) };
        let response = client.call(call.meta.clone(), call.message, call.params.clone()).await?;
        let outcome = match response.result {
            Err(problem) => Err(self.refused(format!("the peer answered: {problem}"))),
            Ok(datum) => match Status::decode(&datum)? {
                Status::Ok => Ok(()),
                Status::Failed => Err(self.refused("the peer answered FAILED: its channel is full or broken")),
                Status::Unknown => Err(self.refused("the peer answered UNKNOWN")),
            },
        };
        self.connection = Some(client);
        outcome
    }

    /// Ends the connection.
    pub(super) async fn close(&mut self) {
        if let Some(client) = self.connection.take() {
            client.close().await;
        }
    }

    fn refused(&self, problem: impl Into<String>) -> Error {
        Error::net("deliver to", self.address(), io::Error::other(problem.into()))
    }
}
