//! Options: declared as data by each component, typed before it sees them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Error, Result};

/// How the help of an option begins that does nothing.
const WITHOUT_EFFECT: &str = "No effect";

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`, in any case.
    Bool,
    /// A whole number within the bounds, both included.
    Int(i64, i64),
    /// A whole number of bytes.
    Bytes,
    /// A whole number of milliseconds.
    Millis,
    /// A whole number of seconds.
    Seconds,
    /// A file or directory.
    Path,
    /// A host name or address.
    Host,
    /// 1 to 65535.
    Port,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// Words separated by spaces or commas.
    List,
}

/// One option of a component.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// The key, verbatim as Flume or Spark spells it.
    pub key: &'static str,
    /// What it must be.
    pub kind: Kind,
    /// The value when it is not given; `None` when it must be given or has no default.
    pub default: Option<&'static str>,
    /// Whether a missing value refuses the component.
    pub required: bool,
    /// One sentence for the reference page. That of an option which is accepted and does nothing begins with `No effect`,
    /// a colon and why.
    pub help: &'static str,
}

/// An option that must be given.
pub const fn required(key: &'static str, kind: Kind, help: &'static str) -> OptionSpec {
    OptionSpec { key, kind, default: None, required: true, help }
}

/// An option with a default.
pub const fn optional(key: &'static str, kind: Kind, default: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { key, kind, default: Some(default), required: false, help }
}

/// An option that has no value unless it is given.
pub const fn unset(key: &'static str, kind: Kind, help: &'static str) -> OptionSpec {
    OptionSpec { key, kind, default: None, required: false, help }
}

/// Options of which the user names the last part: `key` ends with `.*`, and [`Options::under`] gives what was written.
pub const fn family(key: &'static str, kind: Kind, help: &'static str) -> OptionSpec {
    unset(key, kind, help)
}

/// One key as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key within the component: what follows `a1.sources.r1.`.
    pub key: String,
    /// The value, trimmed.
    pub value: String,
    /// Where it was written: `file:line: full key`.
    pub place: String,
}

/// The typed options of one component.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `file:line` or program, and the component's full name: for errors.
    place: String,
    values: BTreeMap<&'static str, (String, String)>,
    /// Keys of families, and those that the component did not declare: parameters of what it contains.
    rest: Vec<Setting>,
    /// Of these, what turned out to be known to nobody: place, remedy. Shared with clones.
    unknown: Arc<Mutex<Vec<(String, String)>>>,
}

/// One list of several: for options that components share. `N` is the sum of their lengths.
pub const fn joined<const N: usize>(lists: &[&[OptionSpec]]) -> [OptionSpec; N] {
    let mut all = [unset("", Kind::Text, ""); N];
    let (mut list, mut at) = (0, 0);
    while list < lists.len() {
        let mut index = 0;
        while index < lists[list].len() {
            all[at] = lists[list][index];
            index += 1;
            at += 1;
        }
        list += 1;
    }
    assert!(at == N, "as many as there are");
    all
}

// === impl OptionSpec ===

impl OptionSpec {
    /// What the keys of a family begin with, the dot included; `None` for a single option.
    pub fn family_prefix(&self) -> Option<&'static str> {
        self.key.strip_suffix('*').filter(|prefix| prefix.ends_with('.'))
    }

    /// Why it does nothing, if it does nothing.
    pub fn why_without_effect(&self) -> Option<&'static str> {
        self.help.strip_prefix(WITHOUT_EFFECT).map(|why| why.trim_matches([':', ',', ' ', '.']))
    }

    /// Whether `key` in a configuration is this option or one of this family.
    pub fn is_called(&self, key: &str) -> bool {
        match self.family_prefix() {
            Some(prefix) => key.strip_prefix(prefix).is_some_and(|name| !name.is_empty()),
            None => self.key == key,
        }
    }
}

// === impl Kind ===

impl Kind {
    /// What a value must be, for messages and pages.
    pub fn expected(&self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Bool => "true or false".into(),
            Self::Int(low, i64::MAX) => format!("a whole number of at least {low}"),
            Self::Int(low, high) => format!("a whole number in {low}..={high}"),
            Self::Bytes => "a whole number of bytes".into(),
            Self::Millis => "a whole number of milliseconds".into(),
            Self::Seconds => "a whole number of seconds".into(),
            Self::Path => "a path".into(),
            Self::Host => "a host name or address".into(),
            Self::Port => "a port in 1..=65535".into(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::List => "words separated by spaces".into(),
        }
    }

    /// Whether a value will do.
    ///
    /// # Errors
    /// What was expected, and what was got.
    pub fn check(&self, value: &str) -> Result<(), String> {
        if self.accepts(value) { Ok(()) } else { Err(format!("expected {}, got {value:?}", self.expected())) }
    }

    fn accepts(&self, value: &str) -> bool {
        let number = value.parse::<i64>();
        match self {
            Self::Text | Self::List => true,
            Self::Path | Self::Host => !value.is_empty(),
            Self::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Self::Int(low, high) => number.is_ok_and(|number| (*low..=*high).contains(&number)),
            Self::Bytes | Self::Millis | Self::Seconds => number.is_ok_and(|number| number >= 0),
            Self::Port => number.is_ok_and(|number| (1..=65535).contains(&number)),
            Self::Choice(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
        }
    }
}

// === impl Options ===

impl Options {
    /// Types `settings` after `specs`. Returns the options and a line for each key that nobody knows, naming the nearest
    /// known one; keys under a `prefix.` in `contained` belong to what the component contains.
    ///
    /// # Errors
    /// [`Error::Config`] for the first value that cannot be used and for a required one that is missing.
    pub fn parse(
        place: &str,
        specs: &[OptionSpec],
        contained: &[&str],
        settings: impl IntoIterator<Item = Setting>,
    ) -> Result<(Self, Vec<String>)> {
        let mut options = Self { place: place.to_owned(), ..Self::default() };
        let mut unknown = Vec::new();
        for setting in settings {
            let Some(spec) = specs.iter().find(|spec| spec.is_called(&setting.key)) else {
                if !contained.iter().any(|prefix| setting.key.starts_with(prefix)) {
                    unknown.push(unknown_key(&setting, specs));
                }
                options.rest.push(setting);
                continue;
            };
            spec.kind.check(&setting.value).map_err(|problem| Error::config(&setting.place, problem))?;
            match spec.family_prefix() {
                Some(_) => options.rest.push(setting),
                None => _ = options.values.insert(spec.key, (setting.value, setting.place)),
            }
        }
        for spec in specs {
            if let (Some(default), false) = (spec.default, options.values.contains_key(spec.key)) {
                options.values.insert(spec.key, (default.to_owned(), format!("{place}.{}", spec.key)));
            } else if spec.required && !options.values.contains_key(spec.key) {
                let problem = format!("missing; expected {}: {}", spec.kind.expected(), spec.help);
                return Err(Error::config(format_args!("{place}.{}", spec.key), problem));
            }
        }
        Ok((options, unknown))
    }

    /// The value of a declared key, if it was given or has a default.
    pub fn find(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|(value, _)| value.as_str())
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.find(key).ok_or_else(|| self.refuse(key, "missing"))
    }

    /// A path.
    pub fn path(&self, key: &str) -> Result<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// A flag.
    pub fn bool(&self, key: &str) -> Result<bool> {
        self.text(key).map(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A number, of whatever whole type the component wants.
    pub fn int<N: TryFrom<i64>>(&self, key: &str) -> Result<N> {
        let value = self.text(key)?;
        let number = value.parse::<i64>().ok().and_then(|number| N::try_from(number).ok());
        number.ok_or_else(|| self.refuse(key, format_args!("{value:?} is out of range")))
    }

    /// A duration in milliseconds.
    pub fn millis(&self, key: &str) -> Result<Duration> {
        self.int(key).map(Duration::from_millis)
    }

    /// A duration in seconds.
    pub fn seconds(&self, key: &str) -> Result<Duration> {
        self.int(key).map(Duration::from_secs)
    }

    /// The words of a list.
    pub fn list(&self, key: &str) -> Vec<&str> {
        let words = self.find(key).unwrap_or_default().split([' ', ',', '\t']);
        words.filter(|word| !word.is_empty()).collect()
    }

    /// The settings under `prefix`, the prefix taken off: for what the component contains.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = Setting> + 'a {
        self.rest.iter().filter_map(move |setting| {
            let key = setting.key.strip_prefix(prefix)?.to_owned();
            Some(Setting { key, ..setting.clone() })
        })
    }

    /// Tells that a key of a family is known to nobody, and that it is ignored, as any other would be.
    pub fn tell_unknown(&self, place: &str, remedy: &str) {
        tracing::warn!("{place}: unknown key, ignored; {remedy}");
        if let Ok(mut unknown) = self.unknown.lock() {
            unknown.push((place.to_owned(), remedy.to_owned()));
        }
    }

    /// What was told to be known to nobody: place, remedy.
    pub fn told_unknown(&self) -> Vec<(String, String)> {
        self.unknown.lock().map(|unknown| unknown.clone()).unwrap_or_default()
    }

    /// An error about `key`, at the place where it was written.
    pub fn refuse(&self, key: &str, problem: impl ToString) -> Error {
        match self.values.get(key) {
            Some((_, place)) => Error::config(place, problem),
            None => Error::config(format_args!("{}.{key}", self.place), problem),
        }
    }
}

fn unknown_key(setting: &Setting, specs: &[OptionSpec]) -> String {
    let nearest = nearest(&setting.key, specs.iter().map(|spec| spec.key));
    let hint = nearest.map_or(String::new(), |key| format!("; did you mean {key}?"));
    format!("{}: unknown key, ignored{hint}", setting.place)
}

/// The candidate that `word` was most likely meant to be, if any is near enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate)).min()?;
    (best.0 <= 1 + word.len() / 4).then_some(best.1)
}

/// Levenshtein distance without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[OptionSpec] = &[
        required("bind", Kind::Host, "Address to listen on."),
        required("port", Kind::Port, "Port to listen on."),
        optional("batchSize", Kind::Int(1, i64::MAX), "100", "Events per batch."),
    ];

    fn setting(key: &str, value: &str) -> Setting {
        Setting { key: key.into(), value: value.into(), place: format!("agent.conf:14: a1.sources.r1.{key}") }
    }

    #[test]
    fn a_wrong_value_names_place_value_and_what_was_wanted() {
        let error = Options::parse("a1.sources.r1", SPECS, &[], [setting("port", "99999")]).expect_err("refused");
        assert_eq!(error.to_string(), "agent.conf:14: a1.sources.r1.port: expected a port in 1..=65535, got \"99999\"");
    }

    #[test]
    fn a_missing_value_names_its_key_and_purpose() {
        let error = Options::parse("a1.sources.r1", SPECS, &[], [setting("port", "1")]).expect_err("refused");
        assert!(error.to_string().starts_with("a1.sources.r1.bind: missing; expected a host name"), "{error}");
    }

    #[test]
    fn the_options_of_a_family_are_typed_and_found_under_their_prefix() {
        const FAMILY: &[OptionSpec] = &[family("charset.port.*", Kind::Int(1, 9), "Per port.")];
        let parse = |key, value| Options::parse("a1.sources.r1", FAMILY, &[], [setting(key, value)]);
        let (options, unknown) = parse("charset.port.514", "7").expect("usable");
        assert!(unknown.is_empty());
        let found: Vec<_> = options.under("charset.port.").map(|s| (s.key, s.value)).collect();
        assert_eq!(found, [("514".into(), "7".into())]);
        assert!(parse("charset.port.514", "x").is_err(), "another kind");
        assert_eq!(parse("charset.port.", "7").expect("usable").1.len(), 1, "no name");
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let given = [setting("bind", "h"), setting("port", "1"), setting("batchsise", "5"), setting("selector.x", "y")];
        let (options, unknown) = Options::parse("a1.sources.r1", SPECS, &["selector."], given).expect("usable");
        assert_eq!(unknown, ["agent.conf:14: a1.sources.r1.batchsise: unknown key, ignored; did you mean batchSize?"]);
        assert_eq!(options.int::<u32>("batchSize").expect("default"), 100);
        assert_eq!(options.under("selector.").map(|s| s.key).collect::<Vec<_>>(), ["x"]);
    }
}
