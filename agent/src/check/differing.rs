//! What one component with its settings does otherwise than Flume's.

use millstream_core::{OptionSpec, Setting};

use crate::differences::{self, Difference};

/// What is said of components of one type, beside the settings of one of them.
pub(super) struct Differing<'a> {
    differences: Vec<&'static Difference>,
    settings: &'a [Setting],
}

// === impl Differing ===

impl<'a> Differing<'a> {
    /// Of a component of this group and type.
    pub(super) fn of(group: &str, type_name: &str, settings: &'a [Setting]) -> Self {
        Self { differences: differences::of(group, type_name).collect(), settings }
    }

    /// What an option with this value does otherwise.
    pub(super) fn at(&self, key: &str, value: &str) -> Vec<&'static Difference> {
        let is_about = |difference: &&&'static Difference| difference.is_about(key, value, |key| self.given(key));
        self.differences.iter().filter(is_about).copied().collect()
    }

    /// What else differs: was not told of a key, and shows with the values that the options have.
    pub(super) fn others(&self, options: &[OptionSpec], told: &[&Difference]) -> Vec<&'static Difference> {
        let shows = |difference: &Difference| {
            let shows_at = |option: &OptionSpec| {
                let value = self.given(option.key).or(option.default);
                value.is_some_and(|value| difference.is_about(option.key, value, |key| self.given(key)))
            };
            !difference.depends_on_values() || options.iter().any(shows_at)
        };
        let others = self.differences.iter().filter(|difference| !told.contains(difference) && shows(difference));
        others.copied().collect()
    }

    fn given(&self, key: &str) -> Option<&'a str> {
        let given = self.settings.iter().rfind(|setting| setting.key == key);
        given.map(|given| given.value.as_str())
    }
}

/// All of them on one line.
pub(super) fn sentences(differences: &[&Difference]) -> String {
    differences.iter().map(|difference| difference.sentence()).collect::<Vec<_>>().join("; ")
}
