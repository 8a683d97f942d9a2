//! Listening for peers, with errors that say who is in the way.

use std::io;

use millstream_core::{Error, Result};
use tokio::net::TcpListener;

use crate::holder;

/// Binds a TCP port; 0 for any free one.
///
/// # Errors
/// `Net`; where the port is taken, with the process that has it, as far as can be seen.
pub async fn listen(host: &str, port: u16) -> Result<TcpListener> {
    TcpListener::bind((host, port)).await.map_err(|error| not_bound(host, port, error))
}

/// Names who has the port.
pub fn not_bound(host: &str, port: u16, error: io::Error) -> Error {
    let address = format!("{host}:{port}");
    if error.kind() != io::ErrorKind::AddrInUse {
        return Error::net("bind", address, error);
    }
    let holder = holder::of_port(port).map_or(String::new(), |holder| format!(" by {holder}"));
    let text = format!("Address already in use{holder}; stop it, or choose another port");
    Error::net("bind", address, io::Error::new(error.kind(), text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_refused_with_its_holder() {
        let first = listen("127.0.0.1", 0).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let error = listen("127.0.0.1", port).await.unwrap_err().to_string();
        let holder = format!("in use by process {}", std::process::id());
        assert!(error.contains(&holder) && error.ends_with("choose another port"), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused_by_name() {
        let error = listen("192.0.2.1", 0).await.unwrap_err().to_string();
        assert!(error.starts_with("bind 192.0.2.1:0: "), "{error}");
    }
}
