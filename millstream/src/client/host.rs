//! One host that a client knows.

use std::io;

use millstream_core::{Error, Result};
use millstream_rpc::thrift::accepted;
use millstream_rpc::{Client, ClientSettings, ThriftClient, ThriftSettings};
use millstream_wire::avro_event::Status;

use super::call::Call;

/// Where events go, and the connection while there is one.
#[derive(Debug)]
pub(super) struct Host {
    settings: Settings,
    connection: Option<Connection>,
}

/// What is spoken with it.
#[derive(Debug)]
pub(super) enum Settings {
    Avro(ClientSettings),
    Thrift(ThriftSettings),
}

enum Connection {
    Avro(Box<Client>),
    Thrift(ThriftClient),
}

// === impl Host ===

impl Host {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, connection: None }
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        match &self.settings {
            Settings::Avro(settings) => format!("{}:{}", settings.host, settings.port),
            Settings::Thrift(settings) => settings.address(),
        }
    }

    /// Connects unless it is connected.
    ///
    /// # Errors
    /// `Net`.
    pub(super) async fn connect(&mut self) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(match &self.settings {
                Settings::Avro(settings) => Connection::Avro(Client::connect(settings).await?.into()),
                Settings::Thrift(settings) => Connection::Thrift(ThriftClient::connect(settings).await?),
            });
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
        let Some(mut connection) = self.connection.take() else { return Err(self.refused("there is no connection")) };
        let outcome = match &mut connection {
            Connection::Avro(client) => self.call_avro(client, call).await?,
            Connection::Thrift(client) => {
                let answer = match call.alone {
                    true => client.append(call.batch.event(0)).await?,
                    false => client.append_batch(std::slice::from_ref(&call.batch)).await?,
                };
                accepted(answer, &self.address())
            }
        };
        self.connection = Some(connection);
        outcome
    }

    /// What was answered.
    async fn call_avro(&self, client: &mut Client, call: &Call) -> Result<Result<()>> {
        let call = call.avro();
        let response = client.call(call.meta, call.message, call.params).await?;
        Ok(match response.result {
            Err(problem) => Err(self.refused(format!("the peer answered: {problem}"))),
            Ok(datum) => match Status::decode(&datum)? {
                Status::Ok => Ok(()),
                Status::Failed => Err(self.refused("the peer answered FAILED: its channel is full or broken")),
                Status::Unknown => Err(self.refused("the peer answered UNKNOWN")),
            },
        })
    }

    /// Ends the connection.
    pub(super) async fn close(&mut self) {
        match self.connection.take() {
            Some(Connection::Avro(client)) => client.close().await,
            Some(Connection::Thrift(client)) => client.close().await,
            None => {}
        }
    }

    fn refused(&self, problem: impl Into<String>) -> Error {
        Error::net("deliver to", self.address(), io::Error::other(problem.into()))
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Avro(_) => "Avro",
            Self::Thrift(_) => "Thrift",
        })
    }
}
