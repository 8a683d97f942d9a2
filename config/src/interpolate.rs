//! Variables in values.
//!
//! `${env:NAME}` is an environment variable, `${sys:name}` a `-D` property, `${name}` another key of the same
//! configuration, else an environment variable. `${name:-text}` gives a default, `$${name}` stands for `${name}`, and
//! names may contain variables. What nobody knows stays as it is.
//!
//! # Source
//! `org.apache.commons.text.StringSubstitutor` as Flume 1.11 sets it up. Different: `${java:…}` and `${date:…}` are not
//! built in; other keys always resolve (there: by hash order); the environment needs no `propertiesImplementation`.

use std::collections::{BTreeMap, BTreeSet};

/// Variables in variables deeper than this are a cycle.
const MOST_NESTED: usize = 32;

/// Where variables come from.
#[derive(Debug, Clone, Default)]
pub struct Lookups {
    /// `${env:…}`.
    pub environment: BTreeMap<String, String>,
    /// `${sys:…}`: what `-D` gave.
    pub system: BTreeMap<String, String>,
}

/// A value with its variables filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interpolated {
    /// The text.
    pub text: String,
    /// Variables that nobody knows; they stand in the text as they were written.
    pub unknown: BTreeSet<String>,
}

// === impl Lookups ===

impl Lookups {
    /// The environment of this process, and the properties given by `-D`.
    pub fn of_process(system: impl IntoIterator<Item = (String, String)>) -> Self {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Self { environment: std::env::vars_os().filter_map(text).collect(), system: system.into_iter().collect() }
    }

    /// Fills in the variables of `value`; `key` gives the raw value of another key.
    ///
    /// # Errors
    /// A text that says which variable refers to itself.
    pub fn interpolate<'a>(
        &'a self,
        value: &str,
        key: &dyn Fn(&str) -> Option<&'a str>,
    ) -> Result<Interpolated, String> {
        let mut result = Interpolated::default();
        result.text = self.resolve(value, key, &mut result.unknown, 0)?;
        Ok(result)
    }

    fn resolve<'a>(
        &'a self,
        value: &str,
        key: &dyn Fn(&str) -> Option<&'a str>,
        unknown: &mut BTreeSet<String>,
        depth: usize,
    ) -> Result<String, String> {
        if depth > MOST_NESTED {
            return Err(format!("the variables in {value:?} refer to themselves; break the cycle"));
        }
        let mut text = String::with_capacity(value.len());
        let mut rest = value;
        while let Some(at) = rest.find("${") {
            let Some(end) = closing(&rest[at..]).map(|end| at + end) else { break };
            let (before, variable) = (&rest[..at], &rest[at..=end]);
            rest = &rest[end + 1..];
            if let Some(before) = before.strip_suffix('$') {
                text.push_str(before);
                text.push_str(variable);
                continue;
            }
            text.push_str(before);
            let inner = self.resolve(&variable[2..variable.len() - 1], key, unknown, depth + 1)?;
            let (name, default) = match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inner.as_str(), None),
            };
            match self.look_up(name, key).or(default) {
                Some(found) => text.push_str(&self.resolve(found, key, unknown, depth + 1)?),
                None => {
                    unknown.insert(variable.to_owned());
                    text.push_str(variable);
                }
            }
        }
        text.push_str(rest);
        Ok(text)
    }

    fn look_up<'a>(&'a self, name: &str, key: &dyn Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
        let text = |found: &'a String| found.as_str();
        if let Some(name) = name.strip_prefix("env:") {
            return self.environment.get(name).map(text);
        }
        if let Some(name) = name.strip_prefix("sys:") {
            return self.system.get(name).map(text);
        }
        key(name).or_else(|| self.environment.get(name).map(text))
    }
}

/// Where the brace closes that opens at 1 of `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => open += 1,
            b'}' if open == 1 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpolated(value: &str) -> Result<Interpolated, String> {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let lookups = Lookups {
            environment: pairs(&[("HOST", "h1"), ("PORT", "41"), ("both", "environment")]),
            system: pairs(&[("which", "HOST")]),
        };
        lookups.interpolate(value, &|name| match name {
            "a1.dir" => Some("/data/${env:HOST}"),
            "both" => Some("file"),
            "loop" => Some("x${pool}"),
            "pool" => Some("y${loop}"),
            _ => None,
        })
    }

    #[test]
    fn variables_come_from_environment_system_and_other_keys() {
        for (value, wanted) in [
            ("plain $5 {x} ${", "plain $5 {x} ${"),
            ("${env:HOST}:${env:PORT}", "h1:41"),
            ("${sys:which}", "HOST"),
            ("${env:${sys:which}}", "h1"),
            ("${a1.dir}/in", "/data/h1/in"),
            ("${both} ${HOST}", "file h1"),
            ("${env:NONE:-def}${env:NONE:-}", "def"),
            ("${env:NONE:-${env:PORT}}", "41"),
            ("$${env:HOST} ${env:HOST}", "${env:HOST} h1"),
        ] {
            let found = interpolated(value).expect("no cycle");
            assert_eq!((found.text.as_str(), found.unknown.len()), (wanted, 0), "{value}");
        }
    }

    #[test]
    fn what_nobody_knows_stays_and_is_named() {
        let found = interpolated("a${env:NONE}b${secrets['pw']}").expect("no cycle");
        assert_eq!(found.text, "a${env:NONE}b${secrets['pw']}");
        assert_eq!(found.unknown.into_iter().collect::<Vec<_>>(), ["${env:NONE}", "${secrets['pw']}"]);
    }

    #[test]
    fn a_cycle_is_refused() {
        assert!(interpolated("${loop}").expect_err("refused").contains("refer to themselves"));
    }
}
