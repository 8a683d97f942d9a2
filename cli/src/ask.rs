//! Asking the monitoring of a running agent, over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use millstream_core::{Error, Result};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
/// Status of thousands of components.
const MOST_ANSWER_BYTES: usize = 16 << 20;

/// Where an agent's monitoring listens, as it is written on a command line.
///
/// # Errors
/// It is no `HOST:PORT`.
pub(crate) fn host_port(text: &str) -> std::result::Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(1..) => Ok(text.to_owned()),
        _ => Err("expected HOST:PORT, as in 127.0.0.1:41414".to_owned()),
    }
}

/// Sends a `GET` and waits, 10 s at most, for the head of the answer; its body may go on.
///
/// # Errors
/// The agent cannot be reached or does not answer; anything but 200, with what it says.
pub(crate) async fn get(address: &str, path: &str) -> Result<Response<Incoming>> {
    let late = || Err(Error::net("ask", address, std::io::ErrorKind::TimedOut.into()));
    let response = timeout(PATIENCE, send(address, path)).await.unwrap_or_else(|_| late())?;
    let code = response.status();
    if code == StatusCode::OK {
        return Ok(response);
    }
    let told = whole(address, response).await.unwrap_or_default();
    let told = String::from_utf8_lossy(&told);
    let told = told.trim_end();
    // The agent is right; what it was asked for is not.
    let problem = match code == StatusCode::NOT_FOUND && told.contains("component=") {
        true => told.to_owned(),
        false => format!("expected the monitoring of an agent, got {code}: {told}"),
    };
    Err(Error::corrupt(format!("{address}{path}"), problem))
}

/// The whole body, within 10 s.
pub(crate) async fn whole(address: &str, response: Response<Incoming>) -> Result<Bytes> {
    let reading = Limited::new(response.into_body(), MOST_ANSWER_BYTES).collect();
    let body = timeout(PATIENCE, reading).await;
    let body = body.map_err(|_| Error::net("read", address, std::io::ErrorKind::TimedOut.into()))?;
    Ok(body.map_err(|error| Error::net("read", address, std::io::Error::other(error)))?.to_bytes())
}

async fn send(address: &str, path: &str) -> Result<Response<Incoming>> {
    let stream = TcpStream::connect(address).await.map_err(|error| Error::net("connect", address, error))?;
    let broken = |error: hyper::Error| Error::net("ask", address, std::io::Error::other(error));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", address).header("connection", "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| Error::config("HOST:PORT", error))?;
    sender.send_request(request).await.map_err(broken)
}
