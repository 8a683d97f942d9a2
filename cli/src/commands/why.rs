//! `millstream why`: asks a running agent what holds its events up.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use millstream_core::{Error, Result};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exit;

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the agent's monitoring listens (-Dflume.monitoring.type=http).
    #[arg(default_value = "127.0.0.1:41414", value_name = "HOST:PORT")]
    address: String,
}

/// Prints a sentence for everything that does not flow.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failure(&Error::io("start", "runtime", error)),
    };
    let asked = runtime.block_on(async { timeout(PATIENCE, ask(&arguments.address)).await });
    let late = || Err(Error::net("ask", &arguments.address, std::io::ErrorKind::TimedOut.into()));
    match asked.unwrap_or_else(|_| late()) {
        Ok(sentences) => {
            let text = sentences.into_iter().map(|sentence| sentence + "\n").collect::<String>();
            // A reader that left wants nothing more.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            exit::failure(&error);
            ExitCode::from(exit::UNAVAILABLE)
        }
    }
}

/// The path on one line, then what holds it up.
async fn ask(address: &str) -> Result<Vec<String>> {
    let failed = |action| move |error: std::io::Error| Error::net(action, address, error);
    let stream = TcpStream::connect(address).await.map_err(failed("connect"))?;
    let broken = |error: hyper::Error| Error::net("ask", address, std::io::Error::other(error));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(STATUS_PATH).header("host", address).header("connection", "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| Error::config("HOST:PORT", error))?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let code = response.status();
        let body = Limited::new(response.into_body(), MOST_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| Error::net("read", address, std::io::Error::other(error)))?;
        Ok::<_, Error>((code, body.to_bytes()))
    };
    let (answer, _) = tokio::join!(asking, connection);
    let (code, body) = answer?;
    let no_status = |what: String| Error::corrupt(format!("{address}{STATUS_PATH}"), what);
    if code != StatusCode::OK {
        return Err(no_status(format!("expected the status of an agent, got {code}; is it an agent's monitoring?")));
    }
    let status: serde_json::Value = serde_json::from_slice(&body).map_err(|error| no_status(error.to_string()))?;
    let sentences = status["why"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = std::iter::once(&status["path"]).chain(sentences).filter_map(|text| text.as_str());
    Ok(texts.filter(|text| !text.is_empty()).map(str::to_owned).collect())
}

const STATUS_PATH: &str = "/api/v1/status";
const PATIENCE: Duration = Duration::from_secs(10);
/// Status of thousands of components.
const MOST_ANSWER_BYTES: usize = 16 << 20;
