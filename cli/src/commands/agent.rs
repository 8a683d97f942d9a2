//! `millstream agent`: runs one agent until it is asked to stop.

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use millstream_agent::{Agent, RunningAgent};
use millstream_core::{Error, Result, State};
use millstream_web::Monitoring;
use tokio::task::JoinSet;
use tracing_subscriber::filter::LevelFilter;

use crate::signals::{Hangups, Signals};
use crate::{exit, logging};

/// Flume's arguments.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Name of the agent in the configuration.
    #[arg(short, long)]
    name: String,
    /// Property file; of several, later ones win.
    #[arg(short = 'f', long, required = true)]
    conf_file: Vec<PathBuf>,
    /// Flume's configuration directory; its flume-env.sh is not read.
    #[arg(short, long)]
    conf: Option<PathBuf>,
    /// Variable ${sys:key}; a key of the agent itself is replaced; flume.root.logger sets the log's level.
    #[arg(short = 'D', value_name = "key=value", value_parser = property)]
    properties: Vec<(String, String)>,
    /// A changed file is read again only on SIGHUP.
    #[arg(long)]
    no_reload_conf: bool,
    /// Seconds between two looks at the files.
    #[arg(short = 'i', long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    poll_interval: u64,
    /// Options of the Java machine, of no effect.
    #[arg(short = 'X', hide = true)]
    java: Vec<String>,
    /// Java class path, of no effect: components are built in.
    #[arg(short = 'C', long, hide = true)]
    classpath: Option<String>,
    /// Java plug-ins, of no effect: components are built in.
    #[arg(long, hide = true)]
    plugins_path: Option<String>,
}

/// Runs the agent; returns when it has stopped.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    if let Err(error) = logging::start(arguments.property("flume.root.logger"), LevelFilter::INFO) {
        exit::failure(&error);
        return ExitCode::from(exit::USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failure(&Error::io("start", "runtime", error)),
    };
    let code = runtime.block_on(serve(arguments)).unwrap_or_else(|error| exit::failure(&error));
    // A file call that hangs does not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

/// What happens to a running agent.
enum Event {
    /// Nothing of it is at work any more.
    Ended,
    /// Someone asks it to stop.
    Signal(u8),
    /// The configuration is to be read again.
    Reload,
}

async fn serve(arguments: Arguments) -> Result<ExitCode> {
    let began = Instant::now();
    let (mut signals, mut hangups) = (Signals::listen()?, Hangups::listen()?);
    arguments.tell_what_has_no_effect();
    let monitoring = arguments.monitoring();
    let (reloads, interval) = (!arguments.no_reload_conf, Duration::from_secs(arguments.poll_interval));
    let builder = Agent::builder().name(&arguments.name).overrides(arguments.properties);
    let builder = arguments.conf_file.into_iter().fold(builder, |builder, file| builder.config_file(file));
    let mut starting = pin!(builder.start());
    let mut agent = tokio::select! {
        started = &mut starting => started?,
        number = signals.next() => {
            tracing::info!(signal = number, "stopping once it has started; once more to end at once");
            return tokio::select! {
                started = starting => stop(started?, &mut signals).await,
                number = signals.next() => Ok(ended_by(number)),
            };
        }
    };
    let _serving = monitoring.map(|monitoring| millstream_web::start(monitoring, agent.status()));
    let _telling = tell_when_ready(&agent, began);
    let mut watch = agent.watch();
    loop {
        let event = tokio::select! {
            () = agent.ended() => Event::Ended,
            number = signals.next() => Event::Signal(number),
            () = hangups.next() => Event::Reload,
            () = watch.changed(interval), if reloads => Event::Reload,
        };
        match event {
            Event::Ended => return ended(agent).await,
            Event::Signal(number) => {
                tracing::info!(signal = number, "stopping; once more to end at once");
                return stop(agent, &mut signals).await;
            }
            Event::Reload => {
                watch.looked();
                if let Some(number) = reload(&mut agent, &mut signals).await {
                    tracing::info!(signal = number, "stopping; once more to end at once");
                    return stop(agent, &mut signals).await;
                }
            }
        }
    }
}

/// Reads the configuration again. A signal that asks for an end is returned once that is done; a second one ends the
/// process.
async fn reload(agent: &mut RunningAgent, signals: &mut Signals) -> Option<u8> {
    let mut asked = None;
    let mut reloading = pin!(agent.reload());
    loop {
        tokio::select! {
            reloaded = &mut reloading => {
                match reloaded {
                    Ok(changes) if changes.is_empty() => tracing::info!("configuration read again, nothing changed"),
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "configuration not taken over, the old one goes on"),
                }
                return asked;
            }
            number = signals.next() => match asked {
                None => asked = Some(number),
                Some(_) => {
                    tracing::warn!(signal = number, "ended at once");
                    std::process::exit(i32::from(128 + number));
                }
            },
        }
    }
}

/// Tells once no component is starting any more. The telling ends when the result is dropped.
fn tell_when_ready(agent: &RunningAgent, began: Instant) -> JoinSet<()> {
    let (name, components) = (agent.name().to_owned(), agent.status().components());
    let mut telling = JoinSet::new();
    telling.spawn(async move {
        for component in components {
            component.settled().await;
        }
        tracing::info!(agent = name, after_ms = began.elapsed().as_millis() as u64, "agent is ready");
    });
    telling
}

/// Stops in order; a second signal ends the process at once.
async fn stop(agent: RunningAgent, signals: &mut Signals) -> Result<ExitCode> {
    tokio::select! {
        stopped = agent.stop() => stopped.map(|()| ExitCode::SUCCESS),
        number = signals.next() => Ok(ended_by(number)),
    }
}

/// Nothing is at work any more.
async fn ended(agent: RunningAgent) -> Result<ExitCode> {
    let status = agent.status();
    let failed = status.components().iter().any(|component| component.state() == State::Failed);
    agent.stop().await?;
    if !failed {
        return Ok(ExitCode::SUCCESS);
    }
    tracing::error!("no source and no sink works any more");
    Ok(ExitCode::from(exit::UNAVAILABLE))
}

fn ended_by(signal: u8) -> ExitCode {
    tracing::warn!(signal, "ended at once");
    ExitCode::from(128 + signal)
}

/// `key=value`; a key alone has an empty value, as in Java.
pub(crate) fn property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() { Err("expected key=value".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

// === impl Arguments ===

impl Arguments {
    fn property(&self, key: &str) -> Option<&str> {
        let last = self.properties.iter().rev().find(|(name, _)| name == key);
        last.map(|(_, value)| value.as_str())
    }

    /// Where to serve, if the properties ask for it. What cannot be served is told, and the agent works without.
    fn monitoring(&self) -> Option<Monitoring> {
        let properties = self.properties.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        match Monitoring::from_properties(properties) {
            Ok((monitoring, unknown)) => {
                unknown.iter().for_each(|warning| tracing::warn!(%warning, "monitoring"));
                monitoring
            }
            Err(error) => {
                tracing::error!(%error, "no monitoring, the agent works without it");
                None
            }
        }
    }

    /// What a Flume user may rely on, and should not.
    fn tell_what_has_no_effect(&self) {
        let environment = self.conf.as_deref().unwrap_or(std::path::Path::new("conf")).join("flume-env.sh");
        if self.conf.is_some() && environment.exists() {
            tracing::warn!(file = %environment.display(), "not read: set variables in the environment instead");
        }
        if !self.java.is_empty() || self.classpath.is_some() || self.plugins_path.is_some() {
            tracing::warn!("options of the Java machine have no effect");
        }
        let unused = |key: &str| UNUSED_PROPERTIES.iter().any(|unused| key.starts_with(unused));
        for (key, _) in self.properties.iter().filter(|(key, _)| unused(key)) {
            tracing::warn!(property = key, "has no effect: not built in");
        }
    }
}

/// `-D` keys that mean something to Flume and nothing here.
const UNUSED_PROPERTIES: [&str; 4] = ["flume.log.", "lookups", "javax.net.ssl.", "flume.ssl."];
