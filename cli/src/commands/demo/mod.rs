//! `millstream demo`: the whole path in one process, on real text.
//!
//! spooling directory → file channel → Spark sink → poll → running totals of words → SQLite, text files, terminal; or with
//! `--mode push` through an avro sink to the job that listens.

mod layout;
mod path;
mod samples;
mod screen;
mod summary;

use std::future::pending;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use millstream_agent::RunningAgent;
use millstream_core::{BatchInfo, ChannelRef, Error, Ledger, Result};
use millstream_outputs::Top;
use millstream_streams::Job;
use tokio::runtime::Handle;
use tracing_subscriber::filter::LevelFilter;

use crate::signals::Signals;
use crate::{exit, logging};
use layout::Layout;
use screen::{Screen, TOP_WORDS};
use summary::Summary;

/// How the demo is run.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Directory for everything: spool, channel, job and results. Delete it to begin anew.
    #[arg(long, default_value = "demo")]
    dir: PathBuf,
    /// Ends after this time, for example 20s, 500ms, 2m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    run_for: Option<Duration>,
    /// Ends once every file is read or set aside, and everything read is counted, committed and applied.
    #[arg(long)]
    until_idle: bool,
    /// Lines for a person, or one JSON document on standard output and everything else on standard error.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Who connects to whom: the job asks the agent (poll), or the agent sends to the job (push).
    #[arg(long, value_enum, default_value_t = Mode::Poll)]
    mode: Mode,
    /// Copies nothing into the spool.
    #[arg(long)]
    no_samples: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// How events come from the agent to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Poll,
    Push,
}

/// The running path.
struct Demo {
    agent: RunningAgent,
    job: Job,
    channel: ChannelRef,
    top: Top,
    layout: Layout,
    screen: Arc<Screen>,
}

/// How often the screen is brought up to date, and idleness looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How long the end waits for what was read to be counted; what is left is counted by the next run.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Runs the demo; returns when it has ended.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    if let Err(error) = logging::start(None, LevelFilter::WARN) {
        return exit::failure(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failure(&Error::io("start", "runtime", error)),
    };
    let ended = runtime.block_on(serve(arguments));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended.map_or_else(|error| exit::failure(&error), |()| ExitCode::SUCCESS)
}

async fn serve(arguments: Arguments) -> Result<()> {
    let mut signals = Signals::listen()?;
    let json = arguments.output == Format::Json;
    let mut demo = Demo::start(&arguments, json).await?;
    let outcome = demo.watch(&arguments, &mut signals).await;
    demo.screen.clear_bar();
    let summary = demo.finish(&mut signals).await;
    let summary = outcome.and(summary)?;
    if json {
        let document = serde_json::to_string(&summary).unwrap_or_default();
        let written = writeln!(std::io::stdout(), "{document}");
        return written.map_err(|error| Error::io("write", "standard output", error));
    }
    Ok(())
}

// === impl Demo ===

impl Demo {
    async fn start(arguments: &Arguments, json: bool) -> Result<Self> {
        let layout = Layout::prepare(&arguments.dir)?;
        let port = path::free_port()?;
        let screen = Arc::new(Screen::new(json));
        // The job first: its lock tells a second demo before anything is copied.
        let listener = Arc::clone(&screen);
        let (at, handle) = (layout.clone(), Handle::current());
        let mode = arguments.mode;
        let start = move || path::start_job(&at, mode, port, handle, move |info: &BatchInfo| listener.batch(info));
        let (job, top) = blocking(start).await??;
        let copied = if arguments.no_samples { 0 } else { samples::copy_into(&layout.spool)? };
        let agent = path::start_agent(&layout, mode, port).await?;
        let channel = agent.channel(path::CHANNEL).ok_or_else(|| Error::Stopped { what: path::CHANNEL.into() })?;
        screen.introduce(&layout, mode, agent.path(), copied);
        let demo = Self { agent, job, channel, top, layout, screen };
        demo.tell_what_is_lost();
        Ok(demo)
    }

    /// What an undamaged directory never shows: the channel let events go because they were counted, and the commit log
    /// does not know them.
    fn tell_what_is_lost(&self) {
        let lost = ledger(&self.channel, &self.job).lost;
        if lost > 0 {
            let remedy = "restore that directory from a copy and nothing is lost; or begin anew with another --dir";
            tracing::warn!(
                commit_log = %self.layout.job.display(), lost_events = lost, remedy,
                "the commit log lacks events that were counted: it is damaged or an older copy, and the totals are too low"
            );
        }
    }

    /// Keeps the screen up to date until it is time to end.
    ///
    /// # Errors
    /// That which ended the job.
    async fn watch(&mut self, arguments: &Arguments, signals: &mut Signals) -> Result<()> {
        let deadline = arguments.run_for.map(|time| Instant::now() + time);
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = signals.next() => return Ok(()),
                ended = self.job.ended() => return ended,
                () = until(deadline) => return Ok(()),
            }
            let unread = self.layout.unread_files();
            self.screen.progress(&self.channel.totals(), unread);
            // In this order: what leaves the one is already seen by the next.
            let idle = unread == 0 && self.channel.totals().waiting_events() == 0 && self.job.is_idle();
            if self.screen.wants_top() {
                self.show_top();
            }
            if arguments.until_idle && idle {
                return Ok(());
            }
        }
    }

    /// Ends the path from its beginning: what was read is counted, then the job makes its checkpoint. A second signal
    /// leaves the rest to the next run.
    async fn finish(mut self, signals: &mut Signals) -> Result<Summary> {
        self.agent.stop_sources().await;
        let drained = async {
            while self.channel.totals().waiting_events() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(DRAIN_LIMIT) => self.screen.line("not all is counted yet: the next run goes on"),
            _ = self.job.ended() => {}
            _ = signals.next() => self.screen.line("left as it is: the next run goes on"),
        }
        let Self { agent, job, channel, top, screen, .. } = self;
        let (stopped, job) = blocking(move || (job.stop(), job)).await?;
        let ledger = ledger(&channel, &job);
        let closed = agent.stop().await;
        stopped.and(closed)?;
        let (read, _) = blocking(move || {
            let mut top = top;
            (top.read(TOP_WORDS), top)
        })
        .await?;
        let top = read?;
        screen.top(&top);
        screen.ledger(&ledger);
        Ok(screen.with_run(|run| Summary {
            ledger,
            batches: run.batches,
            words: run.words,
            top,
            delay_ms: run.delay(),
        }))
    }

    /// A database that cannot be read just now is shown the next time.
    fn show_top(&mut self) {
        match tokio::task::block_in_place(|| self.top.read(TOP_WORDS)) {
            Ok(top) => self.screen.top(&top),
            Err(error) => tracing::debug!(%error, "top words not read"),
        }
    }
}

/// Where every event is. Of a running path `lost` may be too low for a moment, never too high: what moves on meanwhile is
/// seen twice.
fn ledger(channel: &ChannelRef, job: &Job) -> Ledger {
    Ledger::balance(&channel.totals(), &job.committed(&channel.waiting_names()))
}

/// Runs what waits for the disk apart from the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Panicked { place: "demo".into(), message: error.to_string() })
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// A number and a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis));
    total
        .filter(|_| millis > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a time such as 20s, 500ms or 2m".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "20x", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
