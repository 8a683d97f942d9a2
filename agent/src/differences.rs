//! What differs from Flume and Spark on purpose: read from `docs/differences/`, one file per area, the one place where it is
//! written.
//!
//! `docs/compat.md` is made of it, and [`check`](crate::check) says of a key what it says.
//!
//! # Layout
//! A table of TOML per difference, under its name:
//!
//! | key | |
//! |---|---|
//! | `of` | whose it is: types as their declarations name them; none where the area has no components, or for all of its kind |
//! | `part` | what of it, for the page: a serializer |
//! | `keys` | options, as declared, that do something else than in Flume; `type` is the type itself |
//! | `values` | only with one of these values; `*` stands for anything, `?` for a letter |
//! | `except` | not with one of these |
//! | `without` | not where one of these options is given, unless it is false |
//! | `flume` | what Flume or Spark does; none where it has nothing of the kind |
//! | `here` | what is done here |
//! | `why` | the reason |
//! | `unshown` | only where no test beside the real one asserts it: why, and which test shows what is done here |

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// Where the files lie.
pub const DIR: &str = "docs/differences";

/// What differs in one area, in the order of the page.
#[derive(Debug, Clone)]
pub struct Area {
    /// The name of its file, which is the group of the components in a configuration: `sources`.
    pub name: &'static str,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Its name; no other has it.
    #[serde(default)]
    pub id: String,
    /// Whose it is.
    #[serde(default, skip_serializing)]
    pub of: Vec<String>,
    /// What of it.
    #[serde(default, skip_serializing)]
    pub part: String,
    /// The options that it is about.
    #[serde(default, skip_serializing)]
    pub keys: Vec<String>,
    #[serde(default, skip_serializing)]
    values: Vec<String>,
    #[serde(default, skip_serializing)]
    except: Vec<String>,
    #[serde(default, skip_serializing)]
    without: Vec<String>,
    /// What Flume does.
    #[serde(default)]
    pub flume: String,
    /// What is done here.
    pub here: String,
    /// Why.
    #[serde(default)]
    pub why: String,
    /// Why no test beside the real one asserts it, where none does.
    #[serde(default, skip_serializing)]
    pub unshown: String,
}

/// Everything that differs, by area.
pub fn areas() -> &'static [Area] {
    static AREAS: LazyLock<Vec<Area>> = LazyLock::new(|| {
        let read = FILES.iter().map(|(name, text)| read(name, text));
        read.collect::<Result<_, _>>().expect("they are compiled in, and a test reads them")
    });
    &AREAS
}

/// What is said of the components of a type, in the order of the page.
pub(crate) fn of(group: &str, type_name: &str) -> impl Iterator<Item = &'static Difference> {
    let areas = areas().iter().filter(move |area| area.name == group);
    areas.flat_map(|area| &area.differences).filter(move |difference| difference.of.iter().any(|of| of == type_name))
}

fn read(name: &'static str, text: &str) -> Result<Area, String> {
    let at = |error: toml::de::Error| format!("{DIR}/{name}.toml: {error}");
    let rows: toml::Table = text.parse().map_err(at)?;
    let rows = rows.into_iter().map(|(id, row)| Ok(Difference { id, ..row.try_into().map_err(at)? }));
    Ok(Area { name, differences: rows.collect::<Result<_, String>>()? })
}

// === impl Difference ===

impl Difference {
    /// Whether an option with this value does something else than in Flume, where these options have these values.
    pub(crate) fn is_about<'v>(&self, key: &str, value: &str, given: impl Fn(&str) -> Option<&'v str>) -> bool {
        let is = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern.as_bytes(), value.as_bytes()));
        let is_meant = (self.values.is_empty() || is(&self.values)) && !is(&self.except);
        let is_set = |other: &String| given(other).is_some_and(|value| !value.eq_ignore_ascii_case("false"));
        self.keys.iter().any(|own| own == key) && is_meant && !self.without.iter().any(is_set)
    }

    /// Whether it shows with some values alone.
    pub(crate) fn depends_on_values(&self) -> bool {
        let some = [&self.values, &self.except, &self.without].iter().any(|list| !list.is_empty());
        some && !self.keys.is_empty()
    }

    /// On one line.
    pub fn sentence(&self) -> String {
        let Self { flume, here, why, .. } = self;
        let flume = if flume.is_empty() { "nothing of the kind" } else { flume };
        match why.as_str() {
            "" => format!("Flume: {flume}; here: {here}"),
            why => format!("Flume: {flume}; here: {here} ({why})"),
        }
    }
}

/// Whether a value is of this form, in which `*` stands for anything, `?` for a letter.
fn matches(pattern: &[u8], value: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return value.is_empty() };
    let behind_first = || value.split_first().map_or((0, value), |(byte, behind)| (*byte, behind));
    match first {
        b'*' => matches(rest, value) || !value.is_empty() && matches(pattern, behind_first().1),
        b'?' => behind_first().0.is_ascii_alphabetic() && matches(rest, behind_first().1),
        byte => value.first() == Some(byte) && matches(rest, behind_first().1),
    }
}

macro_rules! files {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../docs/differences/", $name, ".toml")))),*]
    };
}

/// In the order of the page.
const FILES: [(&str, &str); 9] =
    files!["agents", "clients", "sources", "interceptors", "selectors", "channels", "sinks", "sinkgroups", "streams"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millstream_core::Spec;

    use super::*;
    use crate::registry::Registry;

    #[test]
    fn each_difference_has_a_name_of_its_own_and_says_what_is_done_here() {
        let mut names = BTreeSet::new();
        for (name, text) in FILES {
            let area = read(name, text).unwrap();
            for difference in area.differences {
                assert!(!difference.here.is_empty(), "{}", difference.id);
                assert!(names.insert(difference.id.clone()), "there are two {}", difference.id);
            }
        }
        assert!(names.len() > 150, "{}", names.len());
    }

    #[test]
    fn types_and_keys_are_declared() {
        fn declared<B>(specs: &[&'static Spec<B>]) -> Vec<(&'static str, Vec<&'static str>)> {
            let keys = |spec: &Spec<B>| spec.options.iter().map(|option| option.key).chain(["type"]).collect();
            specs.iter().map(|spec| (spec.name, keys(spec))).collect()
        }
        let registry = Registry::standard();
        for area in areas() {
            let types = match area.name {
                "sources" => declared(registry.sources()),
                "interceptors" => declared(registry.interceptors()),
                "selectors" => declared(registry.selectors()),
                "channels" => declared(registry.channels()),
                "sinks" => declared(registry.sinks()),
                "sinkgroups" => declared(registry.groups()),
                _ => continue,
            };
            for Difference { id, of, keys, without, .. } in &area.differences {
                let known = |name: &String| types.iter().find(|(known, _)| known == name);
                let of: Vec<_> =
                    of.iter().map(|name| known(name).unwrap_or_else(|| panic!("{id}: no {name}"))).collect();
                for key in keys.iter().chain(without) {
                    assert!(of.iter().any(|(_, keys)| keys.contains(&key.as_str())), "{id}: nobody has {key}");
                }
            }
        }
    }

    #[test]
    fn a_difference_is_about_a_key_with_some_values() {
        let about = |id: &str, key, value| {
            let all = || areas().iter().flat_map(|area| &area.differences);
            all().find(|difference| difference.id == id).unwrap().is_about(key, value, |_| None)
        };
        let search =
            areas().iter().flat_map(|area| &area.differences).find(|one| one.id == "syslog-search-alone").unwrap();
        assert!(
            search.is_about("format.search", "x", |_| None) && !search.is_about("format.search", "x", |_| Some("y"))
        );
        assert!(about("file-data-dirs", "dataDirs", "a, b") && !about("file-data-dirs", "dataDirs", "a"));
        assert!(about("spooldir-charset-tables", "inputCharset", "GBK"));
        assert!(!about("spooldir-charset-tables", "inputCharset", "UTF-8"));
        assert!(about("memory-byte-capacity", "byteCapacity", "1") && !about("memory-byte-capacity", "capacity", "1"));
    }

    #[test]
    fn a_star_stands_for_anything_and_a_question_mark_for_a_letter() {
        for (pattern, value, wanted) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("*b", "abc", false),
            ("*%{*", "/x/%{host}/y", true),
            ("*a*a*", "a", false),
            ("*a*a", "aba", true),
            ("a*a", "a", false),
            ("*%?*", "/x/%{host}/y", false),
            ("*%?*", "/x/%{host}/%Y", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), value.as_bytes()), wanted, "{pattern} {value}");
        }
    }
}
