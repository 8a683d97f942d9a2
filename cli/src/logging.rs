//! The log: on standard error, with colours only on a terminal.

use std::io::IsTerminal;

use millstream_core::options::nearest;
use millstream_core::{Error, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Sends the log to standard error. `root_logger` is the value of Flume's `-Dflume.root.logger` (`DEBUG,console`); without
/// it `RUST_LOG` counts, without that everything from level `otherwise`.
///
/// # Errors
/// `Config` for a level that there is not.
pub(crate) fn start(root_logger: Option<&str>, otherwise: LevelFilter) -> Result<()> {
    let filter = match root_logger {
        Some(value) => EnvFilter::default().add_directive(level(value)?.into()),
        None => EnvFilter::builder().with_default_directive(otherwise.into()).from_env_lossy(),
    };
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        // Where nobody reads any more, nobody reads a complaint about it.
        .log_internal_errors(false)
        .try_init();
    debug_assert!(started.is_ok(), "a process starts its log once");
    // A panic ends the component in which it happened; its place belongs to the log.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(place, text, "panic");
    }));
    Ok(())
}

/// The level in `DEBUG,console`, under log4j's names.
fn level(value: &str) -> Result<LevelFilter> {
    let name = value.split(',').next().unwrap_or_default().trim();
    let found = LEVELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, level)| *level).ok_or_else(|| {
        let near = nearest(name, LEVELS.iter().map(|(known, _)| *known));
        let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
        let all: Vec<&str> = LEVELS.iter().map(|(known, _)| *known).collect();
        let problem = format!("expected one of {}, then a comma and console, got {value:?}{hint}", all.join(", "));
        Error::config("-Dflume.root.logger", problem)
    })
}

const LEVELS: [(&str, LevelFilter); 8] = [
    ("ALL", LevelFilter::TRACE),
    ("TRACE", LevelFilter::TRACE),
    ("DEBUG", LevelFilter::DEBUG),
    ("INFO", LevelFilter::INFO),
    ("WARN", LevelFilter::WARN),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::ERROR),
    ("OFF", LevelFilter::OFF),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_read_as_log4j_writes_it() {
        for (value, wanted) in [
            ("INFO,console", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
            (" FATAL , LOGFILE", LevelFilter::ERROR),
            ("OFF", LevelFilter::OFF),
        ] {
            assert_eq!(level(value).expect("a level"), wanted, "{value}");
        }
        let error = level("DEBG,console").expect_err("refused").to_string();
        assert!(error.starts_with("-Dflume.root.logger: expected one of ALL, TRACE"), "{error}");
        assert!(error.ends_with("got \"DEBG,console\"; did you mean DEBUG?"), "{error}");
    }
}
