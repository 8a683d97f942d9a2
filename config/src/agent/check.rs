//! Which components can run, and why the others cannot.

use millstream_core::options::nearest;
use millstream_core::{Error, Result, Setting};

use super::keys::{AgentKeys, words};
use super::{AgentConfig, ComponentConfig, PartConfig, SinkGroupConfig};

impl AgentConfig {
    pub(super) fn fill(&mut self, keys: &AgentKeys) -> Result<()> {
        for (group, name, place) in keys.unlisted() {
            let hint =
                nearest(name, keys.listed(group).0).map_or(String::new(), |near| format!(" or did you mean {near}"));
            let list = format!("{}.{group}", self.name);
            self.warnings.push(format!("{place}: not used: {name} is not in {list}; add it there{hint}"));
        }
        self.channels = self.components(keys, "channels");
        self.sources = self.components(keys, "sources");
        self.sinks = self.components(keys, "sinks");
        self.sources = self.sorted("sources", |config| std::mem::take(&mut config.sources), sort_source);
        self.sinks = self.sorted("sinks", |config| std::mem::take(&mut config.sinks), sort_sink);
        let channels: Vec<String> = self.channels.iter().map(|channel| channel.name.clone()).collect();
        self.retain_channels(|name| channels.iter().any(|channel| channel == name));
        self.fill_groups(keys);
        self.drop_unconnected_channels();
        self.usable(keys)
    }

    /// Keeps the channels for which `survives` holds, and takes away the sources and sinks that cannot work without the
    /// others. Also for what fails only when it is built.
    pub fn retain_channels(&mut self, survives: impl Fn(&str) -> bool) {
        let Self { name, sources, channels, sinks, left_out, .. } = self;
        channels.retain(|channel| survives(&channel.name));
        let known: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
        let mut broken = Vec::new();
        let mut connected = |kind: &'static str, component: &mut ComponentConfig| {
            let full = format!("{name}.{kind}.{}", component.name);
            let written = component.channels.clone();
            let missing: Vec<String> = component.channels.extract_if(.., |channel| !survives(channel)).collect();
            let place = &component.channels_place;
            for channel in &missing {
                let hint = nearest(channel, known.iter().copied())
                    .map_or(String::new(), |near| format!("; did you mean {near}?"));
                let reason =
                    format!("{place}: there is no working channel {channel:?}, so {full} does without it{hint}");
                broken.push((full.clone(), reason));
            }
            if component.channels.is_empty() {
                let remedy = match known.as_slice() {
                    [] => "mend that channel".to_owned(),
                    known => format!("give it one of [{}]", known.join(" ")),
                };
                let reason = format!("{place}: {full} has no channel left and is not run; {remedy}");
                broken.push((full, reason));
                component.channels = written;
                left_out.push((kind, component.clone()));
                return false;
            }
            true
        };
        sources.retain_mut(|source| connected("sources", source));
        sinks.retain_mut(|sink| connected("sinks", sink));
        broken.into_iter().for_each(|(full, reason)| self.breaks(&full, reason));
    }

    /// Takes the components out, sorts the settings of each, and gives back those that can run.
    fn sorted(
        &mut self,
        group: &'static str,
        take: impl Fn(&mut Self) -> Vec<ComponentConfig>,
        sort: impl Fn(&mut ComponentConfig, &str) -> Result<(), String>,
    ) -> Vec<ComponentConfig> {
        let mut components = take(self);
        components.retain_mut(|component| match sort(component, &self.name) {
            Ok(()) => true,
            Err(reason) => {
                let full = self.full_name(group, &component.name);
                self.breaks(&full, reason);
                self.left_out.push((group, component.clone()));
                false
            }
        });
        components
    }

    fn components(&mut self, keys: &AgentKeys, group: &'static str) -> Vec<ComponentConfig> {
        let (names, place) = keys.listed(group);
        let mut components = Vec::with_capacity(names.len());
        for name in names {
            let full = self.full_name(group, name);
            let mut settings = keys.component(group, name).to_vec();
            if settings.is_empty() {
                let reason = format!("{place}: {full} has no settings and is not run; write {full}.type = …");
                self.breaks(&full, reason);
                continue;
            }
            match take(&mut settings, "type") {
                Some(found) => components.push(ComponentConfig {
                    name: name.to_owned(),
                    type_name: found.value,
                    type_place: found.place,
                    settings,
                    ..ComponentConfig::default()
                }),
                None => {
                    let place = &settings[0].place;
                    self.breaks(&full, format!("{place}: {full} has no type and is not run; write {full}.type = …"));
                }
            }
        }
        components
    }

    fn fill_groups(&mut self, keys: &AgentKeys) {
        let (names, place) = keys.listed("sinkgroups");
        let mut grouped: Vec<String> = Vec::new();
        for name in names {
            let full = self.full_name("sinkgroups", name);
            let mut settings = keys.component("sinkgroups", name).to_vec();
            let Some(list) = take(&mut settings, "sinks") else {
                self.breaks(&full, format!("{place}: {full} has no sinks and is not used; write {full}.sinks = …"));
                continue;
            };
            let mut sinks: Vec<String> = Vec::new();
            for sink in words(&list.value) {
                let why_not = if grouped.iter().any(|other| other == sink) {
                    "it is in another group already"
                } else if !self.sinks.iter().any(|other| other.name == sink) {
                    "there is no such working sink"
                } else {
                    sinks.push(sink.to_owned());
                    continue;
                };
                self.breaks(&full, format!("{}: {sink:?} is left out: {why_not}", list.place));
            }
            if sinks.is_empty() {
                self.breaks(&full, format!("{}: {full} has no working sink and is not used", list.place));
                continue;
            }
            grouped.extend(sinks.iter().cloned());
            let (of_processor, unknown): (Vec<Setting>, Vec<Setting>) =
                settings.into_iter().partition(|setting| setting.key.starts_with("processor."));
            for Setting { place, .. } in &unknown {
                self.warnings.push(format!("{place}: unknown key, ignored; a group has sinks and processor.type"));
            }
            let within = |setting: Setting| {
                let key = setting.key.strip_prefix("processor.").unwrap_or_default().to_owned();
                Setting { key, ..setting }
            };
            let mut settings: Vec<Setting> = of_processor.into_iter().map(within).collect();
            let (type_name, type_place) = match take(&mut settings, "type") {
                Some(setting) => (setting.value, setting.place),
                None => ("default".to_owned(), format!("{full}.processor.type")),
            };
            let spool = settings.iter().find(|setting| setting.key == "channel").map(|setting| setting.value.clone());
            let processor = PartConfig { name: format!("{full}.processor"), type_name, type_place, settings };
            self.sink_groups.push(SinkGroupConfig { name: name.to_owned(), sinks, processor, spool });
        }
    }

    fn drop_unconnected_channels(&mut self) {
        let Self { name, sources, channels, sinks, sink_groups, warnings, left_out, .. } = self;
        channels.retain(|channel| {
            let used = sources.iter().chain(sinks.iter()).any(|component| component.channels.contains(&channel.name));
            let connected = used || sink_groups.iter().any(|group| group.spool.as_ref() == Some(&channel.name));
            if !connected {
                let place = &channel.type_place;
                warnings.push(format!(
                    "{place}: {name}.channels.{} has no source and no sink and is not run",
                    channel.name
                ));
                left_out.push(("channels", channel.clone()));
            }
            connected
        });
    }

    /// What is left of an agent must be able to do something.
    fn usable(&self, keys: &AgentKeys) -> Result<()> {
        let name = &self.name;
        let (lacking, group) = match (self.channels.is_empty(), self.sources.is_empty() && self.sinks.is_empty()) {
            (_, true) => ("neither a source nor a sink", "sources"),
            (true, false) => ("no channel", "channels"),
            (false, false) => return Ok(()),
        };
        let place = match keys.listed(group) {
            (_, "") => format!("{name}.{group}"),
            (_, place) => place.to_owned(),
        };
        let reasons = self.warnings.join("\n  ");
        Err(Error::config(place, format!("{lacking} of agent {name} can run; what is wrong:\n  {reasons}")))
    }
}

/// Takes the channels, interceptors and selector out of a source's settings; all of them, whatever is wrong with one.
fn sort_source(source: &mut ComponentConfig, agent: &str) -> Result<(), String> {
    let full = format!("{agent}.sources.{}", source.name);
    let mut sorted = Ok(());
    match take(&mut source.settings, "channels") {
        Some(list) => {
            source.channels = words(&list.value).into_iter().map(str::to_owned).collect();
            source.channels_place = list.place;
        }
        None => sorted = Err(unconnected(source, &full, "channels")),
    }
    source.selector = part(&mut source.settings, "selector", &full).unwrap_or_else(|settings| PartConfig {
        name: format!("{full}.selector"),
        type_place: format!("{full}.selector"),
        settings,
        ..PartConfig::default()
    });
    let Some(list) = take(&mut source.settings, "interceptors") else { return sorted };
    for name in words(&list.value) {
        let found = part(&mut source.settings, &format!("interceptors.{name}"), &full);
        match found {
            Ok(interceptor) => source.interceptors.push(interceptor),
            // Without it events would pass that it was to change or to drop.
            Err(_) => {
                let wanted = format!("{full}.interceptors.{name}.type");
                let place = &list.place;
                let reason =
                    format!("{place}: interceptor {name:?} has no type, so {full} is not run; write {wanted} = …");
                sorted = sorted.and(Err(reason));
            }
        }
    }
    sorted
}

fn sort_sink(sink: &mut ComponentConfig, agent: &str) -> Result<(), String> {
    let full = format!("{agent}.sinks.{}", sink.name);
    let Some(channel) = take(&mut sink.settings, "channel") else {
        return Err(unconnected(sink, &full, "channel"));
    };
    sink.channels = vec![channel.value];
    sink.channels_place = channel.place;
    Ok(())
}

/// Says that a component does not name its channels under `key`, and which of its keys was perhaps to be that one.
fn unconnected(component: &ComponentConfig, full: &str, key: &str) -> String {
    let keys = component.settings.iter().map(|setting| setting.key.as_str());
    let near = nearest(key, keys).and_then(|near| component.settings.iter().find(|setting| setting.key == near));
    let remedy = match near {
        Some(near) => format!("did you mean {key} at {}?", near.place),
        None => format!("write {full}.{key} = …"),
    };
    format!("{}: {full} has no {key} and is not run; {remedy}", component.type_place)
}

/// The settings under `prefix.`, prefix taken off, as a part of the component `full`; just the settings when they name no
/// type.
fn part(settings: &mut Vec<Setting>, prefix: &str, full: &str) -> Result<PartConfig, Vec<Setting>> {
    let below = |key: &str| key.strip_prefix(prefix)?.strip_prefix('.').map(str::to_owned);
    let taken = settings.extract_if(.., |setting| below(&setting.key).is_some());
    let keyed = taken.filter_map(|setting| Some(Setting { key: below(&setting.key)?, ..setting }));
    let mut settings: Vec<Setting> = keyed.collect();
    match take(&mut settings, "type") {
        Some(found) => Ok(PartConfig {
            name: format!("{full}.{prefix}"),
            type_name: found.value,
            type_place: found.place,
            settings,
        }),
        None => Err(settings),
    }
}

fn take(settings: &mut Vec<Setting>, key: &str) -> Option<Setting> {
    let at = settings.iter().position(|setting| setting.key == key)?;
    Some(settings.remove(at))
}
