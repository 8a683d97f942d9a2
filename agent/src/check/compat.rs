//! What `docs/compat.md` says of a component and its keys: the one place where differences from Flume are written.

use millstream_core::{OptionSpec, Spec};
use serde::Serialize;

/// A row of the table of components.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Whose it is: type names.
    #[serde(skip)]
    components: &'static str,
    /// What Flume does.
    pub flume: &'static str,
    /// What is done here.
    pub here: &'static str,
    /// Why; may be empty.
    pub why: &'static str,
}

/// What is said of the component, in the order of the page.
pub(super) fn differences<B>(spec: &Spec<B>) -> impl Iterator<Item = Difference> {
    let (name, aliases) = (spec.name, spec.aliases);
    rows().filter(move |row| {
        let mut named = row.components.split(", ").map(|named| named.split(' ').next().unwrap_or_default());
        named.any(|named| {
            let class = |alias: &&str| alias.rsplit('.').next() == Some(named);
            named.eq_ignore_ascii_case(name) || aliases.iter().any(class)
        })
    })
}

fn rows() -> impl Iterator<Item = Difference> {
    let components = PAGE.split("\n## Components\n").nth(1).unwrap_or_default();
    let table = components.split("\n## ").next().unwrap_or_default();
    table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ").map(|cell| cell.trim_end_matches('|').trim());
        let (components, flume, here) = (cells.next()?, cells.next()?, cells.next()?);
        let why = cells.next().unwrap_or_default();
        (components != "Component").then_some(Difference { components, flume, here, why })
    })
}

// === impl Difference ===

impl Difference {
    /// Whether it is about this option: then it names the key as code. One about several values is not about a single one.
    pub(super) fn is_about(&self, option: &OptionSpec, value: &str) -> bool {
        let names = |text: &str| text.split('`').skip(1).step_by(2).any(|code| code == option.key);
        let single = value.split([',', ' ']).filter(|word| !word.is_empty()).count() < 2;
        (names(self.flume) || names(self.here)) && !(single && self.is_about_several())
    }

    /// Whether it shows only where an option has several values.
    pub(super) fn is_about_several(&self) -> bool {
        self.flume.contains("several `")
    }

    /// On one line.
    pub fn sentence(&self) -> String {
        let Self { flume, here, why, .. } = self;
        match *why {
            "" => format!("Flume: {flume}; here: {here}"),
            why => format!("Flume: {flume}; here: {here} ({why})"),
        }
    }
}

const PAGE: &str = include_str!("../../../docs/compat.md");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn rows_are_found_by_component_and_key() {
        let registry = Registry::standard();
        let memory = registry.channels().iter().find(|spec| spec.name == "memory").expect("built in");
        let option = |key: &str| memory.options.iter().find(|option| option.key == key).expect("declared");
        let about = |key: &str| differences(memory).find(|row| row.is_about(option(key), "1"));
        let bytes = about("byteCapacity").expect("differs");
        assert!(bytes.sentence().starts_with("Flume: `byteCapacity` counts bodies"), "{bytes:?}");
        assert!(about("capacity").is_none());
    }

    #[test]
    fn every_row_names_components_that_there_are() {
        let registry = Registry::standard();
        let mut found = Vec::new();
        registry.sources().iter().for_each(|spec| found.extend(differences(spec)));
        registry.interceptors().iter().for_each(|spec| found.extend(differences(spec)));
        registry.selectors().iter().for_each(|spec| found.extend(differences(spec)));
        registry.channels().iter().for_each(|spec| found.extend(differences(spec)));
        registry.sinks().iter().for_each(|spec| found.extend(differences(spec)));
        assert!(found.len() > 20, "{found:#?}");
    }
}
