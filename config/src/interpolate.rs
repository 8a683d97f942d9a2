//! Variables in values.
//!
//! `${env:NAME}` is an environment variable, `${sys:name}` a `-D` property or one of the Java machine's that exist here
//! too (`user.home`, `java.io.tmpdir`, …), `${date:yyyy-MM-dd}` the time now in Java's pattern letters, `${name}` another
//! key of the same configuration. With `-DpropertiesImplementation=org.apache.flume.node.EnvVarResolverProperties`,
//! `${NAME}` is an environment variable where no key has that name.
//!
//! `${name:-text}` gives a default, `$${name}` stands for `${name}`, and names may contain variables. What a variable
//! stands for may contain variables again; one that leads back to itself is refused with the way that it takes. What
//! nobody knows stays as it is and is told.
//!
//! # Source
//! `org.apache.commons.text.StringSubstitutor` and `InterpolatorStringLookup` as Flume 1.11 sets them up: prefixes in any
//! case; what a prefix does not know is looked for among the keys. Different: `${java:…}` stays as it is, as there is no
//! Java machine; other keys always resolve (there: by hash order); one bad value takes its key away (there the whole
//! configuration).

use std::collections::{BTreeMap, BTreeSet};

use crate::date;

/// Variables inside the names of variables, or standing for each other, more often than this are refused.
const MOST_NESTED: usize = 32;
/// Longest text of one value: ten keys that each name another one ten times would fill the memory.
const MOST_TEXT: usize = 1 << 20;
/// Flume's class for `${NAME}` from the environment.
const ENV_VAR_RESOLVER: &str = "org.apache.flume.node.EnvVarResolverProperties";

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
    /// Variables that nobody knows, and the remedy; they stand in the text as they were written.
    pub unknown: BTreeSet<(String, String)>,
}

/// One value on its way.
struct Filling<'a> {
    lookups: &'a Lookups,
    /// The raw value of another key.
    key: &'a dyn Fn(&str) -> Option<String>,
    unknown: BTreeSet<(String, String)>,
    /// The variables that are being filled in, outermost first.
    under_way: Vec<String>,
}

// === impl Lookups ===

impl Lookups {
    /// The environment of this process, and the properties given by `-D`.
    pub fn of_process(system: impl IntoIterator<Item = (String, String)>) -> Self {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        let environment: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
        let mut lookups = Self { system: machine(&environment), environment };
        lookups.system.extend(system);
        lookups
    }

    /// Fills in the variables of `value`; `key` gives the raw value of another key.
    ///
    /// # Errors
    /// A text that says which variable leads to itself, which pattern of a date is none, or what grows without bound.
    pub fn interpolate(&self, value: &str, key: &dyn Fn(&str) -> Option<String>) -> Result<Interpolated, String> {
        let mut filling = Filling { lookups: self, key, unknown: BTreeSet::new(), under_way: Vec::new() };
        let text = filling.fill(value, 0)?;
        Ok(Interpolated { text, unknown: filling.unknown })
    }

    fn resolves_environment(&self) -> bool {
        self.system.get("propertiesImplementation").is_some_and(|class| class == ENV_VAR_RESOLVER)
    }
}

/// What a Java machine would know of this one.
fn machine(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let path = |path: std::path::PathBuf| path.display().to_string();
    let known = [
        ("user.name", environment.get("USER").or_else(|| environment.get("LOGNAME")).cloned()),
        ("user.home", std::env::home_dir().map(path)),
        ("user.dir", std::env::current_dir().ok().map(path)),
        ("java.io.tmpdir", Some("/tmp".to_owned())),
        ("os.name", Some("Linux".to_owned())),
        ("file.separator", Some("/".to_owned())),
        ("path.separator", Some(":".to_owned())),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

// === impl Filling ===

impl Filling<'_> {
    fn fill(&mut self, value: &str, depth: usize) -> Result<String, String> {
        if depth > MOST_NESTED {
            return Err(format!("variables lie in each other more than {MOST_NESTED} deep; write the value out"));
        }
        let mut text = String::with_capacity(value.len());
        let mut rest = value;
        while let Some(at) = rest.find("${") {
            if let Some(before) = rest[..at].strip_suffix('$') {
                text.push_str(before);
                text.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            let Some(end) = closing(&rest[at..]).map(|end| at + end) else { break };
            text.push_str(&rest[..at]);
            let variable = &rest[at..=end];
            rest = &rest[end + 1..];
            let found = self.variable(variable, depth)?;
            text.push_str(found.as_deref().unwrap_or(variable));
            if text.len() > MOST_TEXT {
                return Err(format!("with its variables filled in it is longer than {MOST_TEXT} bytes; shorten it"));
            }
        }
        text.push_str(rest);
        Ok(text)
    }

    /// What `${…}` stands for.
    fn variable(&mut self, variable: &str, depth: usize) -> Result<Option<String>, String> {
        let inner = self.fill(&variable[2..variable.len() - 1], depth + 1)?;
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner.as_str(), None),
        };
        let found = self.look_up(name)?;
        let Some(found) = found.or_else(|| default.map(str::to_owned)) else {
            self.unknown.insert((variable.to_owned(), self.remedy(name)));
            return Ok(None);
        };
        if self.under_way.iter().any(|other| other == name) {
            let way = self.under_way.join(" → ");
            return Err(format!("its variables refer to themselves: {way} → {name}; break the cycle"));
        }
        self.under_way.push(name.to_owned());
        let filled = self.fill(&found, depth + 1)?;
        self.under_way.pop();
        Ok(Some(filled))
    }

    fn look_up(&self, name: &str) -> Result<Option<String>, String> {
        let Lookups { environment, system } = self.lookups;
        let mut name = name;
        if let Some((prefix, below)) = name.split_once(':') {
            let found = match prefix.to_ascii_lowercase().as_str() {
                "env" => environment.get(below).cloned(),
                "sys" => system.get(below).cloned(),
                "date" => Some(date::now(below)?),
                _ => None,
            };
            if found.is_some() {
                return Ok(found);
            }
            name = below;
        }
        if let Some(found) = (self.key)(name) {
            return Ok(Some(found));
        }
        let from_environment = self.lookups.resolves_environment().then(|| environment.get(name).cloned());
        Ok(from_environment.flatten())
    }

    /// What to do about a variable that nobody knows.
    fn remedy(&self, name: &str) -> String {
        match name.split_once(':').map(|(prefix, below)| (prefix.to_ascii_lowercase(), below)) {
            Some((prefix, below)) if prefix == "env" => format!("set {below} in the environment, or remove it"),
            Some((prefix, below)) if prefix == "sys" => format!("give it by -D{below}=…, or remove it"),
            Some((prefix, _)) if prefix == "java" => "there is no Java machine; remove it".to_owned(),
            _ if self.lookups.environment.contains_key(name) => {
                format!(
                    "for the environment write ${{env:{name}}}, or start with -DpropertiesImplementation={ENV_VAR_RESOLVER}"
                )
            }
            _ => "define it or remove it".to_owned(),
        }
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

    fn lookups(more: &[(&str, &str)]) -> Lookups {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut lookups = Lookups {
            environment: pairs(&[("HOST", "h1"), ("PORT", "41"), ("both", "environment")]),
            system: pairs(&[("which", "HOST")]),
        };
        lookups.system.extend(pairs(more));
        lookups
    }

    fn key(name: &str) -> Option<String> {
        let value = match name {
            "a1.dir" => "/data/${env:HOST}",
            "both" => "file",
            "loop" => "x${pool}",
            "pool" => "y${loop}",
            "bomb" => "${bomb1}${bomb1}${bomb1}${bomb1}${bomb1}${bomb1}${bomb1}${bomb1}",
            "bomb1" => "${bomb2}${bomb2}${bomb2}${bomb2}${bomb2}${bomb2}${bomb2}${bomb2}",
            "bomb2" => "${bomb3}${bomb3}${bomb3}${bomb3}${bomb3}${bomb3}${bomb3}${bomb3}",
            "bomb3" => "${bomb4}${bomb4}${bomb4}${bomb4}${bomb4}${bomb4}${bomb4}${bomb4}",
            "bomb4" => "${bomb5}${bomb5}${bomb5}${bomb5}${bomb5}${bomb5}${bomb5}${bomb5}",
            "bomb5" => {
                "a hundred bytes or so, which eight to the power of five makes three megabytes of, which is too much"
            }
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn interpolated(value: &str) -> Result<Interpolated, String> {
        lookups(&[]).interpolate(value, &key)
    }

    /// The same as commons-text 1.9 makes of these values.
    #[test]
    fn variables_come_from_environment_system_and_other_keys() {
        for (value, wanted) in [
            ("plain $5 {x} ${", "plain $5 {x} ${"),
            ("${env:HOST}:${ENV:PORT}", "h1:41"),
            ("${sys:which}", "HOST"),
            ("${env:${sys:which}}", "h1"),
            ("${a1.dir}/in", "/data/h1/in"),
            ("${both} ${env:both} ${other:both} ${env:a1.dir}", "file environment file /data/h1"),
            ("${a1.dir}${a1.dir}", "/data/h1/data/h1"),
            ("${env:NONE:-def}${env:NONE:-}", "def"),
            ("${env:NONE:-${env:PORT}}", "41"),
            ("$${env:HOST} ${env:HOST}", "${env:HOST} h1"),
            ("$${env:${sys:which}}", "${env:HOST}"),
            ("$$${env:HOST}", "$${env:HOST}"),
            ("a}b${env:HOST}}", "a}bh1}"),
            ("${:-x}${x:-{y}}${env:NONE:-a:-b}", "x{y}a:-b"),
            ("<${date:'on' 'a' 'day'}${date:}>", "<on a day>"),
        ] {
            let found = interpolated(value).expect("no cycle");
            assert_eq!((found.text.as_str(), found.unknown.len()), (wanted, 0), "{value}");
        }
    }

    #[test]
    fn what_nobody_knows_stays_and_is_named_with_the_remedy() {
        let found = interpolated("a${env:NONE}b${java:version}c${HOST}d${secrets['pw']}").expect("no cycle");
        assert_eq!(found.text, "a${env:NONE}b${java:version}c${HOST}d${secrets['pw']}");
        for value in ["${}", "${$${x}}", "${env:NONE${sys:nope}}"] {
            assert_eq!(interpolated(value).expect("no cycle").text, value);
        }
        let told: Vec<(&str, &str)> = found.unknown.iter().map(|(v, r)| (v.as_str(), r.as_str())).collect();
        let wanted = [
            (
                "${HOST}",
                "for the environment write ${env:HOST}, or start with \
                 -DpropertiesImplementation=org.apache.flume.node.EnvVarResolverProperties",
            ),
            ("${env:NONE}", "set NONE in the environment, or remove it"),
            ("${java:version}", "there is no Java machine; remove it"),
            ("${secrets['pw']}", "define it or remove it"),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn with_flumes_property_a_name_alone_is_one_of_the_environment_unless_a_key_has_it() {
        let lookups = lookups(&[("propertiesImplementation", ENV_VAR_RESOLVER)]);
        let found = lookups.interpolate("${HOST} ${both} ${NONE}", &key).expect("no cycle");
        assert_eq!(found.text, "h1 file ${NONE}");
    }

    #[test]
    fn a_cycle_is_refused_with_the_way_that_it_takes() {
        let problem = interpolated("${loop}").expect_err("refused");
        assert_eq!(problem, "its variables refer to themselves: loop → pool → loop; break the cycle");
    }

    #[test]
    fn what_grows_without_bound_is_refused() {
        let nested = format!("{}HOST{}", "${".repeat(100_000), "}".repeat(100_000));
        assert!(interpolated(&nested).expect_err("refused").contains("more than 32 deep"));
        assert!(interpolated("${bomb}").expect_err("refused").contains("longer than 1048576 bytes"));
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_with_the_letters_that_there_are() {
        let problem = interpolated("${date:yyyy-bb}").expect_err("refused");
        assert!(problem.contains("'b'") && problem.contains("yyyy-bb"), "{problem}");
    }
}
