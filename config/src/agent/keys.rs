//! The keys of one agent, sorted by what they belong to.

use std::collections::BTreeMap;

use millstream_core::Setting;
use millstream_core::options::nearest;

use crate::filters::Filters;
use crate::interpolate::Lookups;

/// What may stand behind the agent's name.
pub(super) const GROUPS: [&str; 5] = ["sources", "channels", "sinks", "sinkgroups", "configfilters"];

/// The keys of one agent.
#[derive(Debug, Default)]
pub(super) struct AgentKeys {
    /// `a1.sources = r1 r2`, by group.
    lists: BTreeMap<&'static str, Setting>,
    /// By group and component: the settings, keys within the component.
    components: BTreeMap<(&'static str, String), Vec<Setting>>,
}

// === impl AgentKeys ===

impl AgentKeys {
    /// Sorts the settings of `agent`; what belongs nowhere is told.
    pub(super) fn of(agent: &str, settings: &[Setting], warnings: &mut Vec<String>) -> Self {
        let mut keys = Self::default();
        for setting in settings {
            let Some((owner, rest)) = setting.key.split_once('.') else { continue };
            if owner == agent {
                keys.sort_in(rest, setting, warnings);
            }
        }
        keys
    }

    fn sort_in(&mut self, rest: &str, setting: &Setting, warnings: &mut Vec<String>) {
        let (word, below) = rest.split_once('.').map_or((rest, None), |(word, below)| (word, Some(below)));
        let Some(group) = GROUPS.into_iter().find(|group| *group == word) else {
            let hint = nearest(word, GROUPS).map_or(String::new(), |group| format!("; did you mean {group}?"));
            warnings.push(format!(
                "{}: ignored: expected one of {}, got {word:?}{hint}",
                setting.place,
                GROUPS.join(", ")
            ));
            return;
        };
        let Some(below) = below else {
            self.lists.insert(group, setting.clone());
            return;
        };
        match below.split_once('.') {
            Some((name, key)) if !name.is_empty() && !key.is_empty() => {
                let setting = Setting { key: key.to_owned(), ..setting.clone() };
                self.components.entry((group, name.to_owned())).or_default().push(setting);
            }
            _ => warnings.push(format!("{}: ignored: expected {group}.name.key, got {rest:?}", setting.place)),
        }
    }

    /// The configuration filters.
    pub(super) fn filters(&self, warnings: &mut Vec<String>) -> Filters {
        let (names, place) = self.listed("configfilters");
        let mut filters = Filters::default();
        names.into_iter().for_each(|name| filters.add(name, self.component("configfilters", name), place, warnings));
        filters
    }

    /// Fills in what the filters know, in the settings of components and sink groups.
    pub(super) fn apply(&mut self, filters: &Filters, lookups: &Lookups, warnings: &mut Vec<String>) {
        let components = self.components.iter_mut().filter(|((group, _), _)| *group != "configfilters");
        components.flat_map(|(_, settings)| settings).for_each(|setting| filters.apply(setting, lookups, warnings));
    }

    /// The names listed for `group`, each once, and where.
    pub(super) fn listed(&self, group: &'static str) -> (Vec<&str>, &str) {
        let Some(list) = self.lists.get(group) else { return (Vec::new(), "") };
        (words(&list.value), &list.place)
    }

    /// The settings of a component.
    pub(super) fn component(&self, group: &'static str, name: &str) -> &[Setting] {
        self.components.get(&(group, name.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Components that have settings and are in no list: group, name, place of the first setting.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = (&'static str, &str, &str)> {
        self.components.iter().filter_map(|((group, name), settings)| {
            let listed = self.listed(group).0.contains(&name.as_str());
            let place = settings.first().map_or("", |setting| setting.place.as_str());
            (!listed).then_some((*group, name.as_str(), place))
        })
    }
}

/// The words of a list, each once.
pub(super) fn words(list: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in list.split_whitespace() {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}
