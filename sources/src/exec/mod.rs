//! Runs a command and turns each line that it prints into one event.
//!
//! Lines end with `\n`, `\r` or `\r\n`; the last one needs no end. When the command ends it is run again after
//! `restartThrottle` if `restart` is set; else the source idles. At a stop it gets SIGTERM, with all that it started.
//!
//! # Delivery
//! A batch that a channel refuses is offered until it is taken; meanwhile the command waits, once the pipe is full. What
//! the command had printed and nobody had read is lost at a stop or a crash: it cannot be asked for again.
//!
//! # Source
//! `org.apache.flume.source.ExecSource` (Flume 1.11).

mod command;
mod lines;
#[cfg(test)]
mod tests;

use std::time::Duration;

use millstream_core::{
    Fut, Kind, MetricName, OptionSpec, Options, Result, Source, SourceContext, SourceSpec, optional, required, unset,
};
use tokio::time::{Instant, sleep_until};

use crate::charset::{Decoder, Policy};
use crate::window::{Progress, Window, pause};
use command::{Command, Output};
use lines::Lines;

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "exec",
    aliases: &["org.apache.flume.source.ExecSource"],
    summary: "Runs a command and turns each line that it prints into one event.",
    options: OPTIONS,
    build: |options| Ok(Box::new(Exec::from_options(options)?)),
};

const OPTIONS: &[OptionSpec] = &[
    required("command", Kind::Text, "The command. Without a shell it is cut at spaces, quotes mean nothing."),
    unset("shell", Kind::Text, "A shell that runs the command, such as /bin/sh -c."),
    optional("restart", Kind::Bool, "false", "Runs the command again when it ended."),
    optional("restartThrottle", Kind::Millis, "10000", "Wait before that."),
    optional("logStdErr", Kind::Bool, "false", "Logs what the command prints as errors; else that is dropped."),
    optional("batchSize", Kind::Int(1, 1 << 20), "20", "Most events of one batch."),
    optional("batchTimeout", Kind::Millis, "3000", "A batch that is not full is delivered after so long."),
    optional(
        "charset",
        Kind::Text,
        "UTF-8",
        "UTF-8, US-ASCII, ISO-8859-1 or another charset that contains ASCII; bodies have it, too: their bytes stay.",
    ),
];

/// Longest wait before a refused batch is offered again.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Runs a command.
#[derive(Debug)]
struct Exec {
    command: Command,
    /// Wait before it is run again; `None` for never.
    restart: Option<Duration>,
    batch_events: usize,
    batch_timeout: Duration,
}

// === impl Exec ===

impl Exec {
    fn from_options(options: &Options) -> Result<Self> {
        // Only where a newline is a newline can lines be cut out of bytes.
        Decoder::new(options.text("charset")?, Policy::Keep).map_err(|problem| options.refuse("charset", problem))?;
        let throttle = options.millis("restartThrottle")?;
        Ok(Self {
            command: Command::from_options(options)?,
            restart: options.bool("restart")?.then_some(throttle),
            batch_events: options.int("batchSize")?,
            batch_timeout: options.millis("batchTimeout")?,
        })
    }

    async fn run_commands(self, cx: SourceContext) -> Result<()> {
        let mut window = Window::of_events(MAX_BACKOFF);
        while !cx.stop.is_stopped() {
            let started = self.command.start();
            if started.is_ok() || self.restart.is_some() {
                cx.status.ready();
            }
            match (started, self.restart) {
                (Ok(mut output), _) => {
                    let outcome = self.read(&cx, &mut output, &mut window).await;
                    output.end().await;
                    outcome?;
                }
                (Err(error), Some(_)) => {
                    tracing::warn!(%error, "command cannot be run, it is tried again");
                    cx.status.failed(&error);
                }
                (Err(error), None) => return Err(error),
            }
            match self.restart {
                Some(wait) if !cx.stop.is_stopped() => _ = pause(&cx, wait).await,
                _ => break,
            }
        }
        window.settle(&cx).await?;
        cx.stop.clone().stopped().await;
        Ok(())
    }

    /// Delivers what the command prints, until it ends or the source is asked to stop.
    async fn read(&self, cx: &SourceContext, output: &mut Output, window: &mut Window) -> Result<()> {
        let mut stop = cx.stop.clone();
        let mut lines = Lines::new(self.batch_events);
        let mut flush_at = Instant::now();
        loop {
            while lines.has_full_batch() {
                if self.deliver(cx, window, &mut lines).await? == Progress::Stopped {
                    return Ok(());
                }
                flush_at = Instant::now() + self.batch_timeout;
            }
            let was_empty = lines.is_empty();
            let ended = tokio::select! {
                biased;
                () = stop.stopped() => true,
                () = sleep_until(flush_at), if !was_empty => {
                    if self.deliver(cx, window, &mut lines).await? == Progress::Stopped {
                        return Ok(());
                    }
                    // Told while the command has nothing to say.
                    window.settle(cx).await?;
                    continue;
                }
                read = output.read(lines.buffer()) => read? == 0,
            };
            if ended && !stop.is_stopped() {
                lines.finish();
            }
            lines.split();
            if was_empty {
                flush_at = Instant::now() + self.batch_timeout;
            }
            if ended {
                while !lines.is_empty() {
                    if self.deliver(cx, window, &mut lines).await? == Progress::Stopped {
                        return Ok(());
                    }
                }
                return window.settle(cx).await.map(drop);
            }
        }
    }

    async fn deliver(&self, cx: &SourceContext, window: &mut Window, lines: &mut Lines) -> Result<Progress> {
        let batch = lines.take_batch();
        let events = batch.len();
        let progress = window.deliver(cx, batch).await?;
        if progress == Progress::Stopped {
            cx.status.count(MetricName::ChannelWriteFail, 1);
            tracing::warn!(events = events + lines.len(), "lost at the stop: no channel took them");
        }
        Ok(progress)
    }
}

impl Source for Exec {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.run_commands(cx))
    }
}
