//! A file that is written.

use std::io::{Error as IoError, ErrorKind};

use bytes::Bytes;
use hdfs_native::file::FileWriter;
use millstream_core::{Error, Result};

use crate::client::Client;

/// A new file, which only this value writes.
pub struct File {
    client: Client,
    path: String,
    state: State,
}

enum State {
    Open(Box<FileWriter>),
    /// A call failed: how much of the file there is nobody knows, and the NameNode has to close it.
    Failed,
    Closed,
}

// === impl File ===

impl File {
    pub(crate) fn new(client: Client, path: &str, writer: FileWriter) -> Self {
        Self { client, path: path.to_owned(), state: State::Open(Box::new(writer)) }
    }

    /// Writes behind what was written so far, so that readers see it and it survives.
    ///
    /// # Errors
    /// `Io`. Part of the bytes may be in the file, and it takes no more.
    pub fn append(&mut self, bytes: Bytes) -> Result<()> {
        let State::Open(writer) = &mut self.state else {
            let error = IoError::new(ErrorKind::NotConnected, "an earlier call failed, the file takes no more");
            return Err(Error::io("append to", self.client.place(&self.path), error));
        };
        let written = self.client.call("append to", &self.path, writer.write_bytes(bytes));
        let synced = written.and_then(|_| self.client.call("sync", &self.path, writer.hsync()));
        if synced.is_err() {
            self.state = State::Failed;
        }
        synced
    }

    /// Completes the file. May be called again when it failed.
    ///
    /// # Errors
    /// `Io`, with `WouldBlock` while the NameNode recovers a file that failed.
    pub fn close(&mut self) -> Result<()> {
        if let State::Open(writer) = &mut self.state {
            match self.client.call("close", &self.path, writer.close()) {
                Ok(()) => self.state = State::Closed,
                Err(error) => {
                    // Everything in it was synced. What the client holds of it is of no more use, the NameNode can close it.
                    tracing::warn!(path = self.path, %error, "file could not be closed, asking the NameNode to do it");
                    self.state = State::Failed;
                }
            }
        }
        if matches!(self.state, State::Failed) {
            if !self.client.recover(&self.path)? {
                let error = IoError::new(ErrorKind::WouldBlock, "the NameNode is recovering it after a failed write");
                return Err(Error::io("close", self.client.place(&self.path), error));
            }
            self.state = State::Closed;
        }
        Ok(())
    }

    /// Where it is, for people.
    pub fn place(&self) -> std::path::PathBuf {
        self.client.place(&self.path)
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Open(_) => "open",
            State::Failed => "failed",
            State::Closed => "closed",
        };
        out.debug_struct("File").field("path", &self.path).field("state", &state).finish()
    }
}
