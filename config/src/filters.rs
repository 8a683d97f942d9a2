//! Configuration filters: values that come from elsewhere, `${filter['key']}`.
//!
//! `a1.configfilters = f1` and `a1.configfilters.f1.type = env` make `${f1['KEY']}` in the values of sources, channels,
//! sinks and sink groups what the filter gives for `KEY`; the quotes may be single, double or missing. They are filled in
//! after the variables of [`crate::interpolate`]. What a filter does not know stays as it is and is told.
//!
//! | type | gives | keys |
//! |---|---|---|
//! | `env` | a variable of the environment | none |
//! | `external` | the first line that a program writes | `command`: split at blanks, the key is added as the last argument; `charset` (UTF-8) |
//!
//! # Errors
//! A filter that cannot be used, a program that fails or takes longer than 30 s, is told; the value stays as it is.
//! Values from filters are never written into a message: they may be secrets.
//!
//! # Source
//! `org.apache.flume.configfilter` (Flume 1.11). Different: `hadoop` is refused, as a credential store needs Java.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use millstream_core::Setting;
use millstream_core::options::nearest;

use crate::interpolate::Lookups;

/// The filters of one agent, in the order listed.
#[derive(Debug, Default)]
pub(crate) struct Filters(Vec<Filter>);

#[derive(Debug)]
struct Filter {
    name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Environment,
    External {
        command: Vec<String>,
        charset: Charset,
    },
    /// Cannot be used, which was told: its references are known to be references.
    Broken,
}

#[derive(Debug, Clone, Copy)]
enum Charset {
    Utf8,
    Latin1,
}

// === impl Filters ===

impl Filters {
    /// Adds the filter `name` with its settings, listed at `place`; what is wrong with it is told.
    pub(crate) fn add(&mut self, name: &str, settings: &[Setting], place: &str, warnings: &mut Vec<String>) {
        let kind = Kind::of(settings, place);
        let known: &[&str] = match kind {
            Ok(Kind::Environment) => &["type"],
            Ok(Kind::External { .. }) => &["type", "command", "charset"],
            Ok(Kind::Broken) | Err(_) => &[],
        };
        for Setting { key, place, .. } in settings.iter().filter(|_| kind.is_ok()) {
            if !known.contains(&key.as_str()) {
                warnings.push(format!("{place}: unknown key, ignored; this filter has {}", known.join(", ")));
            }
        }
        let kind = kind.unwrap_or_else(|problem| {
            warnings.push(format!("{problem}; so what {name} is asked for stays as it is"));
            Kind::Broken
        });
        self.0.push(Filter { name: name.to_owned(), kind });
    }

    /// Names of those that can be used.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &str> {
        let usable = self.0.iter().filter(|filter| !matches!(filter.kind, Kind::Broken));
        usable.map(|filter| filter.name.as_str())
    }

    /// Whether `variable`, written `${…}`, asks one of the filters.
    pub(crate) fn know(&self, variable: &str) -> bool {
        self.0.iter().any(|filter| filter.asked(variable).is_some_and(|(_, whole)| whole == variable.len()))
    }

    /// Fills in what the filters know.
    pub(crate) fn apply(&self, setting: &mut Setting, lookups: &Lookups, warnings: &mut Vec<String>) {
        for filter in &self.0 {
            let mut filled = String::with_capacity(setting.value.len());
            let mut rest = setting.value.as_str();
            while let Some(at) = rest.find("${") {
                filled.push_str(&rest[..at]);
                rest = &rest[at..];
                let Some((key, length)) = filter.asked(rest) else {
                    filled.push_str("${");
                    rest = &rest[2..];
                    continue;
                };
                match filter.kind.value(key, lookups) {
                    Ok(value) => filled.push_str(&value),
                    Err(problem) => {
                        if !problem.is_empty() {
                            warnings.push(format!("{}: {}: {problem}", setting.place, &rest[..length]));
                        }
                        filled.push_str(&rest[..length]);
                    }
                }
                rest = &rest[length..];
            }
            filled.push_str(rest);
            setting.value = filled;
        }
    }
}

// === impl Filter ===

impl Filter {
    /// The key for which `text`, beginning with `${`, asks this filter, and the length of the question.
    fn asked<'a>(&self, text: &'a str) -> Option<(&'a str, usize)> {
        let inside = text.strip_prefix("${")?.strip_prefix(self.name.as_str())?.strip_prefix('[')?;
        let quote = inside.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let key = inside.strip_prefix(['\'', '"']).unwrap_or(inside);
        let length = key.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')?;
        let (key, mut behind) = key.split_at(length);
        if let Some(quote) = quote {
            behind = behind.strip_prefix(quote)?;
        }
        let behind = behind.strip_prefix("]}").filter(|_| !key.is_empty())?;
        Some((key, text.len() - behind.len()))
    }
}

// === impl Kind ===

impl Kind {
    fn of(settings: &[Setting], place: &str) -> Result<Self, String> {
        let find = |key: &str| settings.iter().find(|setting| setting.key == key);
        let Some(written) = find("type") else {
            return Err(format!("{place}: expected a type for each filter, env or external, got none"));
        };
        let name = written.value.as_str();
        let kind = TYPES.iter().find(|(short, class, _)| short.eq_ignore_ascii_case(name) || *class == name);
        match kind.map(|(_, _, kind)| *kind) {
            Some(TypeName::Environment) => Ok(Self::Environment),
            Some(TypeName::External) => Self::external(find("command"), find("charset"), written),
            Some(TypeName::Hadoop) => {
                Err(format!("{}: Hadoop's credential stores need Java; {HADOOP_REMEDY}", written.place))
            }
            None => {
                let hint = nearest(name, TYPES.iter().map(|(short, ..)| *short));
                let hint = hint.map_or("there are env and external".to_owned(), |near| format!("did you mean {near}?"));
                Err(format!("{}: there is no configuration filter of type {name:?}; {hint}", written.place))
            }
        }
    }

    fn external(command: Option<&Setting>, charset: Option<&Setting>, written: &Setting) -> Result<Self, String> {
        let command = command.ok_or_else(|| format!("{}: external needs a command; write it", written.place))?;
        let words: Vec<String> = command.value.split_whitespace().map(str::to_owned).collect();
        let charset = match charset {
            None => Charset::Utf8,
            Some(given) => match given.value.to_ascii_uppercase().as_str() {
                "UTF-8" | "UTF8" | "US-ASCII" => Charset::Utf8,
                "ISO-8859-1" | "LATIN1" => Charset::Latin1,
                _ => {
                    let problem = "expected UTF-8, US-ASCII or ISO-8859-1, got";
                    return Err(format!("{}: {problem} {:?}", given.place, given.value));
                }
            },
        };
        Ok(Self::External { command: words, charset })
    }

    /// What it gives for `key`.
    ///
    /// # Errors
    /// Why it gives nothing; empty when that was told already.
    fn value(&self, key: &str, lookups: &Lookups) -> Result<String, String> {
        match self {
            Self::Broken => Err(String::new()),
            Self::Environment => {
                let found = lookups.environment.get(key).cloned();
                found.ok_or_else(|| format!("stays as it is: set {key} in the environment"))
            }
            Self::External { command, charset } => {
                let written = first_line_of(command, key).map_err(|problem| {
                    format!("stays as it is: {} {key} {problem}; try it in a shell", command.join(" "))
                })?;
                Ok(match charset {
                    Charset::Utf8 => String::from_utf8_lossy(&written).into_owned(),
                    Charset::Latin1 => written.iter().map(|&byte| char::from(byte)).collect(),
                })
            }
        }
    }
}

/// The first line that a program writes when it is called with `key`.
fn first_line_of(command: &[String], key: &str) -> Result<Vec<u8>, String> {
    let (program, arguments) = command.split_first().ok_or("is no command")?;
    let mut command = Command::new(program);
    command.args(arguments).arg(key).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    let (sender, written) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = output.take(MOST_OUTPUT).read_to_end(&mut bytes);
            // Whoever waited may have given up.
            let _ = sender.send(read.map(|_| bytes));
        });
    }
    let bytes = written.recv_timeout(PATIENCE);
    let ended = loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Ok(None) => break Err(format!("takes longer than {} s", PATIENCE.as_secs())),
            Ok(Some(status)) if status.success() => break Ok(()),
            Ok(Some(status)) => break Err(format!("failed: {status}")),
            Err(error) => break Err(format!("cannot be waited for: {error}")),
        }
    };
    if ended.is_err() {
        // It may have ended meanwhile.
        let _ = child.kill();
        let _ = child.wait();
    }
    ended?;
    let bytes = bytes.map_err(|_| "wrote nothing in time".to_owned())?.map_err(|error| error.to_string())?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() { Err("wrote no line".to_owned()) } else { Ok(line.to_vec()) }
}

#[derive(Debug, Clone, Copy)]
enum TypeName {
    Environment,
    External,
    Hadoop,
}

const TYPES: [(&str, &str, TypeName); 3] = [
    ("env", "org.apache.flume.configfilter.EnvironmentVariableConfigFilter", TypeName::Environment),
    ("external", "org.apache.flume.configfilter.ExternalProcessConfigFilter", TypeName::External),
    ("hadoop", "org.apache.flume.configfilter.HadoopCredentialStoreConfigFilter", TypeName::Hadoop),
];
const HADOOP_REMEDY: &str =
    "give the secret in a variable of the environment (type env), or by a program (type external)";
/// A start should not hang on a program that does.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a program is looked at that has closed its output and goes on.
const LOOK: Duration = Duration::from_millis(5);
/// Longest output that is read for its first line.
const MOST_OUTPUT: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, value: &str) -> Setting {
        Setting { key: key.into(), value: value.into(), place: format!("f.conf:3: a1.configfilters.f1.{key}") }
    }

    /// What the value becomes under one filter, and what is told.
    fn filtered(filter: &[(&str, &str)], value: &str) -> (String, Vec<String>) {
        let settings: Vec<Setting> = filter.iter().map(|(key, value)| setting(key, value)).collect();
        let (mut filters, mut warnings) = (Filters::default(), Vec::new());
        filters.add("f1", &settings, "f.conf:1: a1.configfilters", &mut warnings);
        let lookups = Lookups { environment: [("PW".into(), "s3cret".into())].into(), ..Lookups::default() };
        let mut filled = setting("x", value);
        filters.apply(&mut filled, &lookups, &mut warnings);
        (filled.value, warnings)
    }

    #[test]
    fn the_environment_fills_in_keys_however_they_are_quoted() {
        for (value, wanted) in [
            ("${f1['PW']}", "s3cret"),
            ("a${f1[\"PW\"]}b${f1[PW]}c", "as3cretbs3cretc"),
            (
                "${f1['PW\"]} ${f1['PW]} ${f2['PW']} ${f1[P W]} ${f1[]} ${f1['PW']",
                "${f1['PW\"]} ${f1['PW]} ${f2['PW']} ${f1[P W]} ${f1[]} ${f1['PW']",
            ),
        ] {
            for name in ["env", "ENV", "org.apache.flume.configfilter.EnvironmentVariableConfigFilter"] {
                assert_eq!(filtered(&[("type", name)], value), (wanted.to_owned(), vec![]), "{value}");
            }
        }
    }

    #[test]
    fn a_program_gives_the_first_line_that_it_writes() {
        let echo = [("type", "external"), ("command", "printf a-%s\\nsecond\\n")];
        assert_eq!(filtered(&echo, "<${f1['key_1-x']}>"), ("<a-key_1-x>".to_owned(), vec![]));
        let latin = [("type", "external"), ("command", "printf \\351%s"), ("charset", "ISO-8859-1")];
        assert_eq!(filtered(&latin, "${f1[z]}").0, "éz");
    }

    #[test]
    fn what_a_filter_does_not_give_stays_and_is_told_with_place_and_remedy() {
        for (filter, part) in [
            (
                &[("type", "env")][..],
                "f.conf:3: a1.configfilters.f1.x: ${f1['NONE']}: stays as it is: set NONE in the environment",
            ),
            (&[("type", "external"), ("command", "false")], "false NONE failed: exit status: 1; try it in a shell"),
            (&[("type", "external"), ("command", "/nowhere/x")], "/nowhere/x NONE cannot be started: No such file"),
            (&[("type", "external"), ("command", "true")], "true NONE wrote no line"),
            (&[("type", "external")], "f.conf:3: a1.configfilters.f1.type: external needs a command"),
            (&[("type", "external"), ("command", "x"), ("charset", "EBCDIC")], "f1.charset: expected UTF-8, US-ASCII"),
            (&[("type", "hadoop")], "f1.type: Hadoop's credential stores need Java; give the secret in a variable"),
            (&[("type", "extern")], "there is no configuration filter of type \"extern\"; did you mean external?"),
            (
                &[("type", "vault")],
                "type \"vault\"; there are env and external; so what f1 is asked for stays as it is",
            ),
            (&[("command", "x")], "f.conf:1: a1.configfilters: expected a type for each filter, env or external"),
        ] {
            let (value, warnings) = filtered(filter, "${f1['NONE']}");
            assert_eq!((value.as_str(), warnings.len()), ("${f1['NONE']}", 1), "{warnings:?}");
            assert!(warnings[0].contains(part), "{part}: {warnings:?}");
        }
    }
}
