//! `millstream tap`: shows the events that pass a component of a running agent.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use clap::{Args, ValueEnum};
use form_urlencoded::byte_serialize;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use millstream_core::{Error, Result};
use serde_json::Value;
use tokio::time::timeout;

use crate::{ask, exit};

const TAP_PATH: &str = "/api/v1/tap";
/// An agent that works sends something every 5 s.
const SILENCE: Duration = Duration::from_secs(20);

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A source (after its interceptors), channel (what is put) or sink (what it is given), by its name in the configuration;
    /// sink.NAME where several have the same. Without it, the agent names them all.
    component: Option<String>,
    /// Where the agent's monitoring listens (-Dflume.monitoring.type=http), on this machine.
    #[arg(long, default_value = "127.0.0.1:41414", value_name = "HOST:PORT", value_parser = ask::host_port)]
    at: String,
    /// Ends after so many events; without it, with Ctrl-C or the component.
    #[arg(long, value_name = "EVENTS")]
    count: Option<u64>,
    /// A line for people or a JSON object per event.
    #[arg(long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

/// Events of a component, printed while they pass.
struct Looking {
    left: u64,
    form: Form,
}

/// Shows events until the component, the reader or the count ends it.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failure(&Error::io("start", "runtime", error)),
    };
    match runtime.block_on(look(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            exit::failure(&error);
            ExitCode::from(exit::UNAVAILABLE)
        }
    }
}

async fn look(arguments: &Arguments) -> Result<()> {
    let address = &arguments.at;
    let path = match &arguments.component {
        Some(name) => format!("{TAP_PATH}?component={}", byte_serialize(name.as_bytes()).collect::<String>()),
        None => TAP_PATH.to_owned(),
    };
    let body = ask::get(address, &path).await?.into_body();
    let mut looking = Looking { left: arguments.count.unwrap_or(u64::MAX), form: arguments.output };
    looking.show(address, body).await
}

// === impl Looking ===

impl Looking {
    async fn show(&mut self, address: &str, mut body: Incoming) -> Result<()> {
        let failed = |error: std::io::Error| Error::net("read", address, error);
        let mut read = BytesMut::new();
        while self.left > 0 {
            let frame =
                timeout(SILENCE, body.frame()).await.map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?;
            let Some(frame) = frame else { return Err(failed(std::io::ErrorKind::UnexpectedEof.into())) };
            let frame = frame.map_err(|error| failed(std::io::Error::other(error)))?;
            read.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
            while let Some(end) = memchr::memchr(b'\n', &read) {
                let line = read.split_to(end);
                read.advance(1);
                if !line.is_empty() && self.line(&line).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Prints what the line says; breaks once nothing more is wanted or comes.
    fn line(&mut self, line: &[u8]) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let Ok(said) = serde_json::from_slice::<Value>(line) else { return Continue(()) };
        let note = |text: String| _ = writeln!(std::io::stderr(), "millstream: {text}");
        if let Some(end) = said["ended"].as_str() {
            note(end.to_owned());
            return Break(());
        }
        if let Some(more) = said["more"].as_u64() {
            note(format!("{more} more events passed in the same batch"));
        } else if let Some(missed) = said["missed_batches"].as_u64() {
            note(format!("{missed} batches passed meanwhile and are not shown"));
        } else {
            let shown = match self.form {
                Form::Json => line.to_vec(),
                Form::Text => text(&said).into_bytes(),
            };
            let printed = std::io::stdout().write_all(&[&shown[..], b"\n"].concat());
            self.left -= 1;
            // A reader that left wants nothing more.
            if printed.is_err() || self.left == 0 {
                return Break(());
            }
        }
        Continue(())
    }
}

/// The event on one line: `{key=value, ..} body`.
fn text(event: &Value) -> String {
    let headers = event["headers"].as_object().into_iter().flatten();
    let headers: Vec<String> =
        headers.map(|(key, value)| printable(&format!("{key}={}", value.as_str().unwrap_or_default()))).collect();
    let (body, shown) = match (event["body"].as_str(), event["body_base64"].as_str()) {
        (Some(body), _) => (printable(body), body.len()),
        (None, Some(coded)) => (format!("base64:{coded}"), coded.trim_end_matches('=').len() * 3 / 4),
        (None, None) => (String::new(), 0),
    };
    let whole = event["body_bytes"].as_u64().unwrap_or_default();
    let cut = if whole > shown as u64 { format!(" .. {whole} bytes") } else { String::new() };
    format!("{{{}}} {body}{cut}", headers.join(", "))
}

/// No event moves the cursor of a terminal or begins a line.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_a_line_that_cannot_harm_a_terminal() {
        let event = |body: &str| json!({"headers": {"host": "a\nb"}, "body": body, "body_bytes": body.len()});
        assert_eq!(text(&event("gr\u{fc}n\t\u{1b}[2J")), "{host=a\\nb} gr\u{fc}n\t\\u{1b}[2J");
        let cut = json!({"headers": {}, "body": "ab", "body_bytes": 9});
        assert_eq!(text(&cut), "{} ab .. 9 bytes");
        let bytes = json!({"headers": {}, "body_base64": "/w==", "body_bytes": 1});
        assert_eq!(text(&bytes), "{} base64:/w==");
    }
}
