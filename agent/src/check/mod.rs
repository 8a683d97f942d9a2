//! Judges a configuration without running it: every key, and what cannot run.
//!
//! Each part of a component is built on its own, also of one that cannot run, as far as that judges its options; no store is
//! opened, no file is read, no socket bound.
//! Configuration filters are asked, so programs that they name are run.

mod differing;
mod parts;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_config::{AgentConfig, ComponentConfig, Entry, PartConfig};
use millstream_core::options::{Kind, nearest};
use millstream_core::{ChannelContext, Error, OptionSpec, Options, Result, Setting, Spec};
use serde::Serialize;

use crate::builder::Blueprint;
use crate::differences::Difference;
use crate::pipeline::{Looked, UNEMPTIED, guarded, told};
use crate::registry::find;
use differing::{Differing, sentences};

/// What was found out about a configuration.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its agents, in the order of the configuration.
    pub agents: Vec<AgentReport>,
}

/// What was found out about one agent.
#[derive(Debug, Clone, Serialize)]
pub struct AgentReport {
    /// Its name.
    pub name: String,
    /// Every key of it, in the order written.
    pub keys: Vec<KeyReport>,
    /// What cannot run for another reason than the value of a key: place, problem, remedy.
    pub problems: Vec<String>,
    /// What runs and is hardly meant so.
    pub warnings: Vec<String>,
    /// What else differs from Flume in its components.
    pub differences: Vec<ComponentDifference>,
}

/// What becomes of a key.
#[derive(Debug, Clone, Serialize)]
pub struct KeyReport {
    /// `file:line`.
    pub place: String,
    /// The key, with the agent's name.
    pub key: String,
    /// The type of the component to which it belongs; empty where there is none.
    #[serde(rename = "type")]
    pub type_name: String,
    /// What becomes of it.
    pub standing: Standing,
    /// Why; empty when it is honoured and there is nothing to say.
    pub reason: String,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Does what it does in Flume.
    Honoured,
    /// Does something else than in Flume, on purpose.
    Different,
    /// Accepted, without effect.
    Ignored,
    /// Nobody knows it, or a variable in it; it has no effect.
    Unknown,
    /// Something else must be mended before anybody can tell.
    #[serde(rename = "not judged")]
    NotJudged,
    /// What it belongs to cannot run.
    Broken,
}

/// A component that differs from Flume's.
#[derive(Debug, Clone, Serialize)]
pub struct ComponentDifference {
    /// Its full name.
    pub component: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// How.
    #[serde(flatten)]
    pub difference: &'static Difference,
}

/// What an option says of a setting.
enum Verdict<'o> {
    /// It takes effect.
    Honoured(&'o OptionSpec),
    /// What becomes of it, and why.
    Other(Standing, String),
}

/// One agent's report on its way.
struct Judging<'a> {
    blueprint: &'a Blueprint,
    /// By the place of the key.
    verdicts: BTreeMap<String, (Standing, String)>,
    /// By the place of the key: the type of its component.
    types: BTreeMap<String, String>,
    differences: Vec<ComponentDifference>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

/// Judges the agents of a configuration: the one of the blueprint's name, or all if it has none.
///
/// # Errors
/// When it cannot be read, or there is no such agent.
pub(crate) fn check(blueprint: &Blueprint) -> Result<Report> {
    let (entries, lookups) = blueprint.entries()?;
    let all = AgentConfig::agents(&entries, &lookups);
    let named = !blueprint.name.is_empty();
    if !named && all.is_empty() {
        let problem = "no agent: name the channels of one with a1.channels = …";
        return Err(Error::config(blueprint.files(), problem));
    }
    let names = if named { vec![blueprint.name.clone()] } else { all.clone() };
    if let Some(absent) = names.iter().find(|name| !all.contains(name)) {
        let problem = format!("no agent named {absent:?}; there are {}: choose one with -n", all.join(", "));
        return Err(Error::config(blueprint.files(), problem));
    }
    let agents = names.iter().map(|name| {
        let judging = Judging::new(blueprint);
        judging.judge(name, &entries, AgentConfig::judged(name, &entries, &lookups))
    });
    Ok(Report { agents: agents.collect() })
}

// === impl Report ===

impl Report {
    /// Whether something of it cannot run.
    pub fn is_broken(&self) -> bool {
        let broken = |key: &KeyReport| key.standing == Standing::Broken;
        self.agents.iter().any(|agent| !agent.problems.is_empty() || agent.keys.iter().any(broken))
    }
}

// === impl Judging ===

impl<'a> Judging<'a> {
    fn new(blueprint: &'a Blueprint) -> Self {
        let (verdicts, types) = (BTreeMap::new(), BTreeMap::new());
        let (differences, problems, warnings) = (Vec::new(), Vec::new(), Vec::new());
        Self { blueprint, verdicts, types, differences, problems, warnings }
    }

    fn judge(mut self, agent: &str, entries: &[Entry], config: Result<(AgentConfig, Result<()>)>) -> AgentReport {
        let own = format!("{agent}.");
        let entries: Vec<&Entry> = entries.iter().filter(|entry| entry.key.starts_with(&own)).collect();
        let places: BTreeSet<String> = entries.iter().map(|entry| entry.full_place()).collect();
        let mut run = BTreeSet::new();
        match config {
            Ok((config, usable)) => {
                if let Err(error) = usable {
                    // The reasons stand at their keys.
                    let text = error.to_string();
                    self.problems.push(text.split("; what is wrong:").next().unwrap_or_default().to_owned());
                }
                self.warnings(&config, &places);
                self.components(&config);
                run = running_names(&config);
                self.look(config, &places);
            }
            Err(error) => self.problems.push(error.to_string()),
        }
        self.replaced(&entries);
        let keys = entries.iter().map(|entry| self.key(agent, entry, &run)).collect();
        let Self { problems, warnings, differences, .. } = self;
        AgentReport { name: agent.to_owned(), keys, problems, warnings, differences }
    }

    /// What the configuration itself told, at the keys of which it tells it.
    fn warnings(&mut self, config: &AgentConfig, places: &BTreeSet<String>) {
        for warning in &config.warnings {
            let broken = config.broken.iter().any(|broken| broken.reason == *warning);
            let Some((place, reason)) = split_place(warning, places) else {
                if broken {
                    self.problem(warning.clone());
                }
                continue;
            };
            if let Some(remedy) = reason.strip_prefix(UNKNOWN) {
                self.find_that(place, Standing::Unknown, &format!("no effect; {remedy}"));
                continue;
            }
            let literal = reason.contains("stays as it is");
            let standing = match reason {
                _ if broken || literal && is_broken_filter(config, place) => Standing::Broken,
                reason if reason.starts_with("replaces ") => continue,
                _ if literal => Standing::Unknown,
                _ => Standing::Ignored,
            };
            self.find_that(place, standing, reason);
        }
    }

    /// Judges every component, also those that the configuration took away.
    fn components(&mut self, config: &AgentConfig) {
        let left_out = |wanted: &'static str| {
            config.left_out.iter().filter(move |(group, _)| *group == wanted).map(|(_, component)| component)
        };
        config.sources.iter().chain(left_out("sources")).for_each(|source| self.source(config, source));
        let registry = &self.blueprint.registry;
        for channel in config.channels.iter().chain(left_out("channels")) {
            let full = config.full_name("channels", &channel.name);
            let cx = ChannelContext { name: channel.name.as_str().into(), home: self.blueprint.home.clone() };
            self.part("channel", registry.channels(), whole(&full, channel), &channel.settings, |spec, options| {
                guarded(&full, || (spec.build)(options, &cx)).map(drop)
            });
        }
        for sink in config.sinks.iter().chain(left_out("sinks")) {
            let full = config.full_name("sinks", &sink.name);
            self.part("sink", registry.sinks(), whole(&full, sink), &sink.settings, |spec, options| {
                guarded(&full, || (spec.build)(options)).map(drop)
            });
        }
        for group in &config.sink_groups {
            let processor = &group.processor;
            // Is built with its sinks alone.
            self.part("sink processor", registry.groups(), named(processor), &processor.settings, |_, _| Ok(()));
        }
    }

    fn source(&mut self, config: &AgentConfig, source: &ComponentConfig) {
        let registry = &self.blueprint.registry;
        let full = config.full_name("sources", &source.name);
        self.part("source", registry.sources(), whole(&full, source), &source.settings, |spec, options| {
            guarded(&full, || (spec.build)(options)).map(drop)
        });
        for part in &source.interceptors {
            self.part("interceptor", registry.interceptors(), named(part), &part.settings, |spec, options| {
                guarded(&part.name, || (spec.build)(options)).map(drop)
            });
        }
        let channels: Vec<Arc<str>> = source.channels.iter().map(|name| name.as_str().into()).collect();
        let part = &source.selector;
        self.part("selector", registry.selectors(), named(part), &part.settings, |spec, options| {
            // Which channels there are decides which ones it may name.
            if channels.is_empty() {
                Ok(())
            } else {
                guarded(&part.name, || (spec.build)(options, &channels)).map(drop)
            }
        });
    }

    /// Judges one component or part: full name, type, place of the type.
    fn part<B>(
        &mut self,
        kind: &str,
        specs: &[&'static Spec<B>],
        (full_name, type_name, type_place): (&str, &str, &str),
        settings: &[Setting],
        build: impl Fn(&Spec<B>, &Options) -> Result<()>,
    ) {
        let spec = match find(specs, kind, type_name, type_place) {
            Ok(spec) => spec,
            Err(error) => {
                let reason = format!("what it means depends on {type_place}");
                settings.iter().for_each(|setting| self.find_that(&setting.place, Standing::NotJudged, &reason));
                let text = error.to_string();
                return match text.strip_prefix(type_place).and_then(|rest| rest.strip_prefix(": ")) {
                    Some(problem) => self.find_that(type_place, Standing::Broken, problem),
                    None => self.problem(text),
                };
            }
        };
        self.types.insert(type_place.to_owned(), spec.name.to_owned());
        // What is missing is missed where the type was written.
        let place = type_place.strip_suffix(".type").unwrap_or(type_place);
        let unknown = RefCell::new(Vec::new());
        let found = parts::look(settings, |settings| {
            let (options, _) = Options::parse(place, spec.options, &[], settings)?;
            let built = build(spec, &options);
            *unknown.borrow_mut() = options.told_unknown();
            built
        });
        for (place, remedy) in unknown.into_inner() {
            self.find_that(&place, Standing::Unknown, &format!("no effect; {remedy}"));
        }
        let differing = Differing::of(group_of(kind), spec.name, settings);
        let mut told = differing.at("type", spec.name);
        if !told.is_empty() {
            self.find_that(type_place, Standing::Different, &sentences(&told));
        }
        for setting in settings {
            self.types.insert(setting.place.clone(), spec.name.to_owned());
            let (standing, reason) = match verdict(kind, spec.options, setting) {
                Verdict::Other(standing, reason) => (standing, reason),
                Verdict::Honoured(option) => {
                    let here = differing.at(option.key, &setting.value);
                    let standing = if here.is_empty() { Standing::Honoured } else { Standing::Different };
                    let reason = sentences(&here);
                    told.extend(here);
                    (standing, reason)
                }
            };
            match &found.unfinished {
                Some(why) if standing <= Standing::Different && !judged_by_kind(spec.options, setting) => {
                    self.find_that(&setting.place, Standing::NotJudged, why);
                }
                _ => self.find_that(&setting.place, standing, &reason),
            }
        }
        found.refused.iter().for_each(|(place, reason)| self.find_that(place, Standing::Broken, reason));
        found.unclear.iter().for_each(|(place, reason)| self.find_that(place, Standing::NotJudged, reason));
        found.elsewhere.into_iter().for_each(|problem| self.problem(problem));
        let untold = differing.others(spec.options, &told);
        self.differences.extend(untold.into_iter().map(|difference| ComponentDifference {
            component: full_name.to_owned(),
            type_name: spec.name,
            difference,
        }));
    }

    fn problem(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// What shows only when components are built.
    fn look(&mut self, config: AgentConfig, places: &BTreeSet<String>) {
        let (before, told_before) = (config.broken.len(), config.warnings.len());
        let Looked { config, refused } = self.blueprint.look(config);
        let unemptied = config.warnings.iter().skip(told_before).filter(|warning| warning.contains(UNEMPTIED));
        self.warnings.extend(unemptied.cloned());
        let broken = config.broken.into_iter().skip(before).map(|broken| broken.reason);
        let refused = refused.iter().map(|refused| told(&refused.error, &refused.definition.type_place));
        for reason in refused.chain(broken) {
            match split_place(&reason, places) {
                Some((place, reason)) => self.find_that(place, Standing::Broken, reason),
                None => self.problem(reason),
            }
        }
    }

    /// Of several entries with one key the last one counts.
    fn replaced(&mut self, entries: &[&Entry]) {
        let last: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.key.as_str(), *entry)).collect();
        for entry in entries {
            if let Some(last) = last.get(entry.key.as_str())
                && last.place != entry.place
            {
                self.find_that(&entry.full_place(), Standing::Ignored, &format!("replaced at {}", last.place));
            }
        }
    }

    /// Keeps what is worse: of two findings at one key, the first of the same standing.
    fn find_that(&mut self, place: &str, standing: Standing, reason: &str) {
        let found = self.verdicts.entry(place.to_owned()).or_insert((standing, reason.to_owned()));
        if found.0 < standing {
            *found = (standing, reason.to_owned());
        }
    }

    fn key(&self, agent: &str, entry: &Entry, run: &BTreeSet<String>) -> KeyReport {
        let place = entry.full_place();
        let mut parts = entry.key.splitn(4, '.');
        let component = (parts.nth(1).unwrap_or_default(), parts.next(), parts.next());
        let verdict = self.verdicts.get(&place).cloned().unwrap_or((Standing::Honoured, String::new()));
        let (standing, reason) = match component {
            (group, Some(name), Some(_))
                if verdict.0 <= Standing::Different && !run.contains(&format!("{group}.{name}")) =>
            {
                (Standing::Ignored, format!("{agent}.{group}.{name} is not run"))
            }
            _ => verdict,
        };
        let type_name = self.types.get(&place).cloned().unwrap_or_default();
        KeyReport { place: entry.place.clone(), key: entry.key.clone(), type_name, standing, reason }
    }
}

/// What its option says of one setting of a component with these options.
fn verdict<'o>(kind: &str, options: &'o [OptionSpec], setting: &Setting) -> Verdict<'o> {
    let Some(option) = options.iter().find(|option| option.is_called(&setting.key)) else {
        let near =
            nearest(&setting.key, options.iter().map(|option| option.key).chain(common_keys(kind).iter().copied()));
        let reason = near.map_or("no effect".to_owned(), |near| format!("no effect; did you mean {near}?"));
        return Verdict::Other(Standing::Unknown, reason);
    };
    if let Err(problem) = option.kind.check(&setting.value) {
        return Verdict::Other(Standing::Broken, problem);
    }
    match option.why_without_effect() {
        Some(why) => Verdict::Other(Standing::Ignored, why.to_owned()),
        None => Verdict::Honoured(option),
    }
}

/// In what group of a configuration the components of a kind stand.
fn group_of(kind: &str) -> &'static str {
    match kind {
        "source" => "sources",
        "interceptor" => "interceptors",
        "selector" => "selectors",
        "channel" => "channels",
        "sink" => "sinks",
        _ => "sinkgroups",
    }
}

/// Whether the kind of its option says everything of a value.
fn judged_by_kind(options: &[OptionSpec], setting: &Setting) -> bool {
    let option = options.iter().find(|option| option.is_called(&setting.key));
    option.is_some_and(|option| !matches!(option.kind, Kind::Text | Kind::List))
}

fn whole<'c>(full_name: &'c str, component: &'c ComponentConfig) -> (&'c str, &'c str, &'c str) {
    (full_name, &component.type_name, &component.type_place)
}

fn named(part: &PartConfig) -> (&str, &str, &str) {
    (&part.name, &part.type_name, &part.type_place)
}

/// `sources.r1` and so on: what the configuration lets run.
fn running_names(config: &AgentConfig) -> BTreeSet<String> {
    let of = |group: &'static str, names: Vec<&String>| {
        names.into_iter().map(move |name| format!("{group}.{name}")).collect::<Vec<_>>()
    };
    let components =
        |group, list: &[ComponentConfig]| of(group, list.iter().map(|component| &component.name).collect());
    let mut names: BTreeSet<String> = components("sources", &config.sources).into_iter().collect();
    names.extend(components("channels", &config.channels));
    names.extend(components("sinks", &config.sinks));
    names.extend(of("sinkgroups", config.sink_groups.iter().map(|group| &group.name).collect()));
    names.extend(of("configfilters", config.filters.iter().collect()));
    names
}

/// Whether the place is the type of a configuration filter that cannot be used.
fn is_broken_filter(config: &AgentConfig, place: &str) -> bool {
    let key = place.rsplit(' ').next().unwrap_or_default();
    let name = key.split_once(".configfilters.").and_then(|(_, rest)| rest.strip_suffix(".type"));
    name.is_some_and(|name| !config.filters.iter().any(|usable| usable == name))
}

/// A message that begins with the place of one of the keys: that, and the rest.
fn split_place<'m>(message: &'m str, places: &BTreeSet<String>) -> Option<(&'m str, &'m str)> {
    let places = places.iter().filter_map(|place| {
        let reason = message.strip_prefix(place.as_str())?.strip_prefix(": ")?;
        Some((&message[..place.len()], reason))
    });
    places.max_by_key(|(place, _)| place.len())
}

/// How a key is told that nobody knows.
const UNKNOWN: &str = "unknown key, ignored; ";
/// What every component of a kind may be given, besides its own options.
fn common_keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "source" => &["channels", "interceptors", "selector.type"],
        "sink" => &["channel"],
        _ => &[],
    }
}
