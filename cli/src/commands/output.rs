//! What commands print: text or JSON, on standard output.

use std::io::Write;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use jiff::Timestamp;
use millstream_core::EventRef;
use serde_json::{Value, json};

/// How to print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Prints `text`. A reader that left wants nothing more; the exit code is for others.
pub(super) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints one JSON value.
pub(super) fn print_json(value: &Value) {
    print(&(serde_json::to_string_pretty(value).unwrap_or_default() + "\n"));
}

/// `2026-11-25T07:10:33Z`; nothing for a time that there is not.
pub(super) fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).and_then(|at| at.round(jiff::Unit::Second)).map(|at| at.to_string()).unwrap_or_default()
}

/// `38.1 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// An event as JSON. A body that is text is in `body`, another one in `body_base64`, as in `millstream tap`.
pub(super) fn event_json(event: EventRef<'_>) -> Value {
    let headers: serde_json::Map<String, Value> =
        event.headers().map(|(key, value)| (text(key), text(value).into())).collect();
    let (key, body) = body_json(event.body());
    json!({ "headers": headers, key: body })
}

/// A key and a value for a body.
pub(super) fn body_json(body: &[u8]) -> (&'static str, String) {
    match std::str::from_utf8(body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_base64", BASE64.encode(body)),
    }
}

/// A body on one line: what a terminal would obey or cannot show is escaped.
pub(super) fn printable(body: &[u8]) -> String {
    body.utf8_chunks()
        .flat_map(|chunk| {
            let valid = chunk
                .valid()
                .chars()
                .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
            let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
            valid.chain(invalid).collect::<Vec<_>>()
        })
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_on_one_line_and_commands_a_terminal_nothing() {
        assert_eq!(printable("grün\t\x1b[2J\n".as_bytes()), "grün\\t\\u{1b}[2J\\n");
        assert_eq!(printable(b"a\xff\xfeb"), "a\\xff\\xfeb");
        assert_eq!(body_json(b"\xff\x01"), ("body_base64", "/wE=".to_owned()));
    }
}
