//! One agent's components, out of the entries of a configuration that may hold several agents.
//!
//! What is wrong with a component takes that component away, and what cannot work without it; the rest runs. Each such
//! thing is a warning that names the place, the value and the remedy.
//!
//! # Source
//! `org.apache.flume.conf.FlumeConfiguration` (Flume 1.11): the same order (channels, sources, sinks, groups) and the same
//! outcome. Different: an agent that is not there, or of which nothing is left, is an error (there the process idles);
//! components in no list, duplicate keys and unknown variables are told (there silent).

mod check;
mod keys;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use millstream_core::{Error, Result, Setting};

use crate::interpolate::Lookups;
use crate::properties::Entry;
use keys::AgentKeys;

/// What one agent is made of. Lists are in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentConfig {
    /// The agent's name.
    pub name: String,
    /// Its sources.
    pub sources: Vec<ComponentConfig>,
    /// Its channels.
    pub channels: Vec<ComponentConfig>,
    /// Its sinks.
    pub sinks: Vec<ComponentConfig>,
    /// Its sink groups.
    pub sink_groups: Vec<SinkGroupConfig>,
    /// What was ignored or taken away, one sentence each: place, value, remedy.
    pub warnings: Vec<String>,
    /// Names of its configuration filters that can be used.
    pub filters: Vec<String>,
    /// Those of the warnings for which a component, or a part of one, was taken away.
    pub broken: Vec<Broken>,
    /// Components that were taken away and whose type is known, as they were written: `sources`, `channels` or `sinks`, and
    /// the component.
    pub left_out: Vec<(&'static str, ComponentConfig)>,
}

/// Why a component is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its full name.
    pub component: String,
    /// The warning: place, value, remedy.
    pub reason: String,
}

/// A source, channel or sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ComponentConfig {
    /// Its name.
    pub name: String,
    /// Its `type`, as written.
    pub type_name: String,
    /// Where the type was written: `file:line: a1.sources.r1.type`.
    pub type_place: String,
    /// Of a source: the channels that it fills. Of a sink: the one that it empties. Of a channel: none.
    pub channels: Vec<String>,
    /// Where these were written.
    pub channels_place: String,
    /// Its own settings; those of interceptors and selector are not among them.
    pub settings: Vec<Setting>,
    /// Of a source: its interceptors, first one first.
    pub interceptors: Vec<PartConfig>,
    /// Of a source: how events choose channels.
    pub selector: PartConfig,
}

/// An interceptor, a selector or a sink processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartConfig {
    /// Its full name: `a1.sources.r1.interceptors.i1`.
    pub name: String,
    /// Its `type`, as written.
    pub type_name: String,
    /// Where the type was written, or the full name when it is a default.
    pub type_place: String,
    /// Its settings.
    pub settings: Vec<Setting>,
}

/// Sinks that work together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkGroupConfig {
    /// Its name.
    pub name: String,
    /// Its sinks.
    pub sinks: Vec<String>,
    /// How they work together.
    pub processor: PartConfig,
    /// The channel in which the group keeps what it cannot deliver.
    pub spool: Option<String>,
}

// === impl AgentConfig ===

impl AgentConfig {
    /// Finds the agent `name` in `entries`. Of several entries with one key the last wins: put those of `-D` last.
    ///
    /// # Errors
    /// `Config` when there is no such agent (the message lists those that there are) or nothing of it can run.
    pub fn from_entries(name: &str, entries: &[Entry], lookups: &Lookups) -> Result<Self> {
        let (config, usable) = Self::judged(name, entries, lookups)?;
        usable.map(|()| config)
    }

    /// As [`Self::from_entries`], also when nothing of it can run: that is told beside it.
    ///
    /// # Errors
    /// `Config` when there is no such agent.
    pub fn judged(name: &str, entries: &[Entry], lookups: &Lookups) -> Result<(Self, Result<()>)> {
        let mut warnings = Vec::new();
        let (settings, unknown) = effective(entries, lookups, &mut warnings);
        let agents = agents(&settings);
        if !agents.contains(&name) {
            return Err(absent(name, entries, &agents));
        }
        let mut keys = AgentKeys::of(name, &settings, &mut warnings);
        let filters = keys.filters(&mut warnings);
        for (place, variable, remedy) in unknown.into_iter().filter(|(_, variable, _)| !filters.know(variable)) {
            warnings.push(format!("{place}: nothing is known as {variable}, it stays as it is; {remedy}"));
        }
        keys.apply(&filters, lookups, &mut warnings);
        let filters = filters.usable().map(str::to_owned).collect();
        let mut config = Self { name: name.to_owned(), warnings, filters, ..Self::default() };
        let usable = config.fill(&keys);
        Ok((config, usable))
    }

    /// The agents of a configuration: who has a list of channels, sources or sinks.
    pub fn agents(entries: &[Entry], lookups: &Lookups) -> Vec<String> {
        let (settings, _) = effective(entries, lookups, &mut Vec::new());
        agents(&settings).into_iter().map(str::to_owned).collect()
    }

    /// Takes a component away, or a part of it, and tells why.
    fn breaks(&mut self, component: &str, reason: String) {
        self.warnings.push(reason.clone());
        self.broken.push(Broken { component: component.to_owned(), reason });
    }

    /// The name of a component of this agent, as in the configuration: `kind` is `sources`, `channels` or `sinks`.
    pub fn full_name(&self, kind: &str, component: &str) -> String {
        format!("{}.{kind}.{component}", self.name)
    }
}

impl ComponentConfig {
    /// Whether both say the same, wherever and in whatever order it was written.
    pub fn means_the_same_as(&self, other: &Self) -> bool {
        self.name == other.name
            && self.type_name == other.type_name
            && self.channels == other.channels
            && values(&self.settings) == values(&other.settings)
            && self.interceptors.iter().map(PartConfig::meaning).eq(other.interceptors.iter().map(PartConfig::meaning))
            && self.selector.meaning() == other.selector.meaning()
    }
}

impl PartConfig {
    fn meaning(&self) -> (&str, &str, BTreeMap<&str, &str>) {
        (&self.name, &self.type_name, values(&self.settings))
    }
}

fn values(settings: &[Setting]) -> BTreeMap<&str, &str> {
    settings.iter().map(|setting| (setting.key.as_str(), setting.value.as_str())).collect()
}

impl Default for PartConfig {
    /// The selector of a source that names none.
    fn default() -> Self {
        let replicating = "replicating".to_owned();
        Self { name: "selector".into(), type_name: replicating, type_place: "selector".into(), settings: Vec::new() }
    }
}

/// The last entry of each key, in the order of the first ones; values interpolated and trimmed, useless ones told.
/// Also the variables that nobody knows: place, variable, remedy.
fn effective(
    entries: &[Entry],
    lookups: &Lookups,
    warnings: &mut Vec<String>,
) -> (Vec<Setting>, Vec<(String, String, String)>) {
    let mut last: BTreeMap<&str, &Entry> = BTreeMap::new();
    let mut order = Vec::new();
    for entry in entries {
        match last.insert(&entry.key, entry) {
            None => order.push(entry.key.as_str()),
            Some(before) if entry.place != "-D" => {
                warnings.push(format!(
                    "{}: replaces the value given at {}; remove one",
                    entry.full_place(),
                    before.place
                ));
            }
            Some(_) => {}
        }
    }
    let raw = |key: &str| last.get(key).map(|entry| entry.value.clone());
    let (mut settings, mut unknown) = (Vec::with_capacity(order.len()), Vec::new());
    for key in order {
        let Some(entry) = last.get(key) else { continue };
        let place = entry.full_place();
        let value = match lookups.interpolate(&entry.value, &raw) {
            Ok(value) => value,
            Err(problem) => {
                warnings.push(format!("{place}: ignored: {problem}"));
                continue;
            }
        };
        unknown.extend(value.unknown.into_iter().map(|(variable, remedy)| (place.clone(), variable, remedy)));
        let value = value.text.trim().to_owned();
        if value.is_empty() {
            warnings.push(format!("{place}: ignored: it has no value; give one or remove the key"));
        } else if !key.contains('.') {
            warnings.push(format!("{place}: ignored: expected agent.key, got {key:?}"));
        } else {
            settings.push(Setting { key: key.to_owned(), value, place });
        }
    }
    (settings, unknown)
}

/// The agents of a configuration: who has a list of channels, sources or sinks.
fn agents(settings: &[Setting]) -> Vec<&str> {
    let mut agents = Vec::new();
    for setting in settings {
        let Some((agent, key)) = setting.key.split_once('.') else { continue };
        if keys::GROUPS.contains(&key) && !agent.is_empty() && !agents.contains(&agent) {
            agents.push(agent);
        }
    }
    agents
}

fn absent(name: &str, entries: &[Entry], agents: &[&str]) -> Error {
    let first = entries.first().map_or("the configuration", |entry| &entry.place);
    let file = first.rsplit_once(':').map_or(first, |(file, _)| file);
    let problem = match agents {
        [] => format!("no agent named {name:?}, and no other; name its channels with {name}.channels = …"),
        agents => format!("no agent named {name:?}; there are {}: choose one with -n", agents.join(", ")),
    };
    Error::config(file, problem)
}
