//! One part of a component, built as often as it takes to find everything that is wrong with it.

use millstream_core::{Result, Setting};

/// What building a part showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Settings that were refused: place, reason.
    pub(super) refused: Vec<(String, String)>,
    /// Settings of which nobody can tell while another one is wrong: place, reason.
    pub(super) unclear: Vec<(String, String)>,
    /// What was refused and is not at one of the settings.
    pub(super) elsewhere: Option<String>,
    /// Why it could not be built to its end; then not every setting was looked at.
    pub(super) unfinished: Option<String>,
}

/// Builds, each time without the settings that were refused before.
pub(super) fn look(settings: &[Setting], build: impl Fn(Vec<Setting>) -> Result<()>) -> Found {
    let (mut left, mut wrong): (Vec<Setting>, Vec<Setting>) = (settings.to_vec(), Vec::new());
    let mut found = Found::default();
    while let Err(error) = build(left.clone()) {
        let text = error.to_string();
        let at = left.iter().position(|setting| reason_at(&text, &setting.place).is_some());
        let Some(at) = at else {
            // What is missing because it was taken away is told already.
            let cause = wrong.iter().find(|setting| names(&text, &setting.key));
            found.unfinished =
                Some(format!("not built: {}", cause.map_or(text.as_str(), |cause| cause.place.as_str())));
            found.elsewhere = cause.is_none().then_some(text);
            break;
        };
        let setting = left.remove(at);
        let reason = reason_at(&text, &setting.place).unwrap_or_default();
        match wrong.iter().find(|other| names(reason, &other.key)) {
            Some(cause) => {
                let reason = format!("depends on {}, which is wrong", cause.place);
                found.unclear.push((setting.place.clone(), reason));
            }
            None => found.refused.push((setting.place.clone(), reason.to_owned())),
        }
        wrong.push(setting);
    }
    found
}

/// What a message says of the setting at `place`, if it is about that.
fn reason_at<'t>(text: &'t str, place: &str) -> Option<&'t str> {
    text.strip_prefix(place)?.strip_prefix(": ")
}

/// Whether a text speaks of a key, alone or behind the name of its component.
fn names(text: &str, key: &str) -> bool {
    let mut words = text.split(|sign: char| !(sign.is_alphanumeric() || ".-_".contains(sign)));
    words.any(|word| word.strip_suffix(key).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::Error;

    fn setting(key: &str) -> Setting {
        Setting { key: key.into(), value: "x".into(), place: format!("f:1: a1.sinks.k1.{key}") }
    }

    /// Refuses each of these keys that is there, the first one first.
    fn refusing(keys: &'static [(&'static str, &'static str)]) -> impl Fn(Vec<Setting>) -> Result<()> {
        move |settings| match keys.iter().find(|(key, _)| settings.iter().any(|setting| setting.key == *key)) {
            Some((key, problem)) => Err(Error::config(format_args!("f:1: a1.sinks.k1.{key}"), problem)),
            None => Ok(()),
        }
    }

    #[test]
    fn every_wrong_setting_is_found_and_not_the_first_alone() {
        let settings = ["a", "b", "c"].map(setting);
        let found = look(&settings, refusing(&[("a", "not so"), ("c", "nor so")]));
        let wanted = [("f:1: a1.sinks.k1.a", "not so"), ("f:1: a1.sinks.k1.c", "nor so")];
        assert_eq!(found.refused, wanted.map(|(place, reason)| (place.to_owned(), reason.to_owned())));
        assert_eq!((found.unclear, found.elsewhere, found.unfinished), (Vec::new(), None, None));
    }

    #[test]
    fn what_is_measured_against_a_wrong_setting_is_unclear() {
        let settings = ["capacity", "most"].map(setting);
        let found = look(&settings, refusing(&[("capacity", "no number"), ("most", "expected at most capacity, 100")]));
        assert_eq!(found.refused.len(), 1);
        let reason = "depends on f:1: a1.sinks.k1.capacity, which is wrong";
        assert_eq!(found.unclear, [("f:1: a1.sinks.k1.most".to_owned(), reason.to_owned())]);
    }

    #[test]
    fn what_is_missing_because_it_was_wrong_is_told_once() {
        let build = |settings: Vec<Setting>| match settings.as_slice() {
            [] => Err(Error::config("f:1: a1.sinks.k1.port", "missing")),
            _ => Err(Error::config("f:1: a1.sinks.k1.port", "no port")),
        };
        let found = look(&[setting("port")], build);
        assert_eq!((found.refused.len(), found.elsewhere), (1, None));
        assert_eq!(found.unfinished.as_deref(), Some("not built: f:1: a1.sinks.k1.port"));
        let missing = look(&[], build);
        assert_eq!(missing.elsewhere.as_deref(), Some("f:1: a1.sinks.k1.port: missing"));
    }
}
