//! `millstream why`: asks a running agent what holds its events up.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use millstream_core::{Error, Result};

use crate::{ask, exit};

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the agent's monitoring listens (-Dflume.monitoring.type=http).
    #[arg(default_value = "127.0.0.1:41414", value_name = "HOST:PORT", value_parser = ask::host_port)]
    address: String,
}

/// Prints a sentence for everything that does not flow.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failure(&Error::io("start", "runtime", error)),
    };
    match runtime.block_on(sentences(&arguments.address)) {
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
async fn sentences(address: &str) -> Result<Vec<String>> {
    let response = ask::get(address, STATUS_PATH).await?;
    let body = ask::whole(address, response).await?;
    let no_status = |error: serde_json::Error| Error::corrupt(format!("{address}{STATUS_PATH}"), error.to_string());
    let status: serde_json::Value = serde_json::from_slice(&body).map_err(no_status)?;
    let sentences = status["why"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = std::iter::once(&status["path"]).chain(sentences).filter_map(|text| text.as_str());
    Ok(texts.filter(|text| !text.is_empty()).map(str::to_owned).collect())
}

const STATUS_PATH: &str = "/api/v1/status";
