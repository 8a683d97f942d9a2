//! The way in: names a configuration, adds components of one's own, starts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_config::{AgentConfig, Entry, Lookups, load, parse};
use millstream_core::{Error, Result};

use crate::check::{self, Report};
use crate::pipeline::{Beside, Hopeless, Looked, Pipeline, panicked};
use crate::registry::{Register, Registry};
use crate::reload::ConfigWatch;
use crate::supervisor::RunningAgent;

/// An agent: sources, channels and sinks under one name.
#[derive(Debug)]
pub struct Agent;

/// What an agent is started from.
#[derive(Debug)]
pub struct AgentBuilder {
    blueprint: Blueprint,
    stop_limit: Duration,
}

/// What an agent is built from, also again when its files have changed.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub(crate) name: String,
    configuration: Vec<Configuration>,
    overrides: Vec<(String, String)>,
    pub(crate) registry: Registry,
    pub(crate) home: PathBuf,
}

#[derive(Debug)]
enum Configuration {
    File(PathBuf),
    Text(String),
}

// === impl Agent ===

impl Agent {
    /// Begins with the standard components and no configuration.
    pub fn builder() -> AgentBuilder {
        let blueprint = Blueprint {
            name: String::new(),
            configuration: Vec::new(),
            overrides: Vec::new(),
            registry: Registry::standard(),
            home: std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")).join(".flume"),
        };
        AgentBuilder { blueprint, stop_limit: STOP_LIMIT }
    }
}

// === impl AgentBuilder ===

impl AgentBuilder {
    /// Which agent of the configuration it is.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.blueprint.name = name.into();
        self
    }

    /// Reads a property file; of several, later ones win.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.blueprint.configuration.push(Configuration::File(path.into()));
        self
    }

    /// Reads the text of a property file.
    pub fn config_text(mut self, text: impl Into<String>) -> Self {
        self.blueprint.configuration.push(Configuration::Text(text.into()));
        self
    }

    /// Gives `-D` properties. Each is a variable, `${sys:key}`; one that begins with the agent's name and a dot replaces
    /// that key of the configuration.
    pub fn overrides<K: Into<String>, V: Into<String>>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        self.blueprint.overrides.extend(pairs.into_iter().map(|(key, value)| (key.into(), value.into())));
        self
    }

    /// Makes a component of the program's own known to the configuration.
    pub fn register(mut self, spec: &'static impl Register) -> Self {
        self.blueprint.registry.register(spec);
        self
    }

    /// Where channels keep their data unless the configuration says; `~/.flume` if not given.
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.blueprint.home = home.into();
        self
    }

    /// How long a stop may take; 10 s if not given.
    pub fn stop_limit(mut self, limit: Duration) -> Self {
        self.stop_limit = limit;
        self
    }

    /// Judges the configuration without running it: that of the agent named, or of all agents when none is.
    ///
    /// # Errors
    /// When it cannot be read, or there is no such agent.
    pub fn check(self) -> Result<Report> {
        check::check(&self.blueprint)
    }

    /// Builds the path and starts it: channels, sinks, sources. Returns as soon as all of them are on their way; see
    /// [`RunningAgent::ready`].
    ///
    /// # Errors
    /// When there is no such agent, or neither a source nor a sink of it can run. What is wrong with a single component is
    /// a warning: in the log, and in [`RunningAgent::warnings`].
    pub async fn start(self) -> Result<RunningAgent> {
        let Self { blueprint, stop_limit } = self;
        // Before they are read: what changes meanwhile is not missed.
        let watch = ConfigWatch::of(blueprint.config_files());
        // Channels read their logs here, which may take a while.
        let built = tokio::task::spawn_blocking(move || {
            let built = blueprint.build(&Beside::default());
            tell(built.as_ref().map_or_else(|hopeless| &hopeless.warnings, |pipeline| &pipeline.config.warnings));
            built.map(|pipeline| (blueprint, pipeline)).map_err(|hopeless| hopeless.first)
        });
        let (blueprint, pipeline) = built.await.unwrap_or_else(|ended| match ended.try_into_panic() {
            Ok(payload) => Err(panicked("the configuration", &*payload)),
            Err(_) => Err(Error::Stopped { what: "the runtime".into() }),
        })?;
        Ok(RunningAgent::start(blueprint, pipeline, watch, stop_limit).await)
    }
}

// === impl Blueprint ===

impl Blueprint {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When it cannot be read, there is no such agent, or nothing of it can run.
    pub(crate) fn read(&self) -> Result<AgentConfig> {
        let (entries, lookups) = self.entries()?;
        AgentConfig::from_entries(&self.name, &entries, &lookups)
    }

    /// The entries, those of the command line last; and where variables come from.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn entries(&self) -> Result<(Vec<Entry>, Lookups)> {
        let mut entries = Vec::new();
        for configuration in &self.configuration {
            entries.extend(match configuration {
                Configuration::File(path) => load(path)?,
                Configuration::Text(text) => parse("configuration", text.as_bytes())?,
            });
        }
        let own = format!("{}.", self.name);
        let overriding = self.overrides.iter().filter(|(key, _)| key.starts_with(&own));
        entries.extend(overriding.map(|(key, value)| Entry::overriding(key, value)));
        Ok((entries, Lookups::of_process(self.overrides.iter().cloned())))
    }

    /// See [`Pipeline::look`].
    pub(crate) fn look(&self, config: AgentConfig) -> Looked {
        Pipeline::look(config, &self.registry, &self.home)
    }

    /// Reads the configuration and builds its path, beside one that runs.
    ///
    /// # Errors
    /// Also when nothing of it can be built.
    pub(crate) fn build(&self, beside: &Beside) -> Result<Pipeline, Hopeless> {
        let config = self.read().map_err(|first| Hopeless { reasons: Vec::new(), warnings: Vec::new(), first })?;
        Pipeline::build(config, &self.registry, &self.home, beside)
    }

    /// The files that it is read from.
    pub(crate) fn config_files(&self) -> impl Iterator<Item = &Path> {
        self.configuration.iter().filter_map(|configuration| match configuration {
            Configuration::File(path) => Some(path.as_path()),
            Configuration::Text(_) => None,
        })
    }

    /// What messages call the whole of them.
    pub(crate) fn files(&self) -> String {
        let files: Vec<String> = self.config_files().map(|file| file.display().to_string()).collect();
        if files.is_empty() { "the configuration".to_owned() } else { files.join(", ") }
    }
}

/// Logs what is wrong with a configuration and does not keep it from running.
pub(crate) fn tell(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(%warning, "configuration");
    }
}

/// Long enough for a delivery under way, short enough for whoever waits for the prompt.
const STOP_LIMIT: Duration = Duration::from_secs(10);
