//! Paths with escapes, filled in for each event.
//!
//! # Layout
//! | escape | stands for |
//! |---|---|
//! | `%{name}` | the header of that name; nothing where the event has none |
//! | `%[localhost]`, `%[IP]`, `%[FQDN]` | this host's name, address, full name |
//! | `%t` | the event's time in milliseconds, as the header has it |
//! | `%s` | its time in seconds, rounded down if so configured, as are all that follow |
//! | `%a %A %b %B %c %d %e %D %H %I %j %k %l %m %n %M %p %S %y %Y %z` | parts of it; `%D` makes directories |
//! | `%%` | a percent sign |
//!
//! Any other letter or digit stands for nothing, and a percent sign before anything else for itself, as in Flume.
//!
//! Values of headers never leave the directory before the first escape: what would be the directory itself or the one
//! above is written as `%2E` and `%2E%2E`, NUL and other control characters as `%00` and so on, and a name of more than 200
//! bytes is cut and ended with a number made of all of it. A slash in a header makes a directory.

use std::borrow::Cow;
use std::fmt::Write;

use millstream_core::{Error, EventRef, Options, Result};
use millstream_io::LocalHost;

use super::time::{Calendar, TIMESTAMP, timestamp_of, write_part};

/// A path or a name with escapes.
#[derive(Debug, Clone)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Header(String),
    /// `%t`.
    Millis,
    /// A part of the time.
    Time(char),
}

/// Fills in templates. Texts of one second are written once.
#[derive(Debug)]
pub(super) struct Filler {
    calendar: Calendar,
    /// Ignores the events' own time.
    local_time: bool,
    /// The second of the texts kept, and per letter the text.
    second: Option<i64>,
    texts: Vec<(char, String)>,
    /// Events so far that needed a time and had none.
    pub(super) without_time: u64,
    /// Values so far that were written in another way, to stay where they belong.
    pub(super) tamed: u64,
}

/// The template that `text`, the value of `key`, is.
pub(super) fn template(options: &Options, key: &str, text: &str) -> Result<Template> {
    Template::parse(text, LocalHost::look_up).map_err(|problem| options.refuse(key, problem))
}

// === impl Template ===

impl Template {
    /// # Errors
    /// What cannot stand for anything.
    pub(super) fn parse(text: &str, host: impl Fn() -> Result<LocalHost>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal(&mut parts, &rest[..at]);
            let after = &rest[at + 1..];
            let next = after.chars().next();
            rest = match next {
                Some('{') if header_name(after).is_some() => {
                    let name = header_name(after).unwrap_or_default();
                    parts.push(Part::Header(name.to_owned()));
                    &after[name.len() + 2..]
                }
                Some('[') if after.contains(']') => {
                    let name = &after[1..after.find(']').unwrap_or_default()];
                    literal(&mut parts, &host_text(name, &host)?);
                    &after[name.len() + 2..]
                }
                Some('%') => {
                    literal(&mut parts, "%");
                    &after[1..]
                }
                Some('t') => {
                    parts.push(Part::Millis);
                    &after[1..]
                }
                Some(letter) if letter.is_ascii_alphanumeric() || letter == '_' => {
                    match write_part(&mut String::new(), letter, &jiff::Zoned::default()) {
                        true => parts.push(Part::Time(letter)),
                        false => tracing::warn!("%{letter} in {text:?} stands for nothing"),
                    }
                    &after[1..]
                }
                _ => {
                    literal(&mut parts, "%");
                    after
                }
            };
        }
        literal(&mut parts, rest);
        Ok(Self { parts })
    }

    /// What stands before the first escape.
    fn fixed_len(&self) -> usize {
        match self.parts.first() {
            Some(Part::Literal(text)) => text.len(),
            _ => 0,
        }
    }

    fn needs_time(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Time(_) | Part::Millis))
    }

    /// Whether it is the same for every event.
    fn is_fixed(&self) -> bool {
        matches!(self.parts.as_slice(), [] | [Part::Literal(_)])
    }
}

// === impl Filler ===

impl Filler {
    pub(super) fn new(calendar: Calendar, local_time: bool) -> Self {
        Self { calendar, local_time, second: None, texts: Vec::new(), without_time: 0, tamed: 0 }
    }

    /// Writes directory and name of the file that `event` belongs into, a slash between them. `now_ms` is the time of the
    /// transaction.
    pub(super) fn fill(&mut self, dir: &Template, name: &Template, event: EventRef<'_>, now_ms: i64, out: &mut String) {
        out.clear();
        let needs_time = dir.needs_time() || name.needs_time();
        let own = if self.local_time { None } else { timestamp_of(event) };
        if needs_time && own.is_none() && !self.local_time {
            self.without_time += 1;
        }
        let millis = own.unwrap_or(now_ms);
        for part in &dir.parts {
            self.write(part, event, millis, out);
        }
        let dir_len = out.len();
        out.push('/');
        for part in &name.parts {
            self.write(part, event, millis, out);
        }
        // What is fixed may be anything that whoever configures it wants.
        if !dir.is_fixed() {
            // A component that begins in the fixed part is judged as a whole.
            let fixed = out[..dir.fixed_len()].rfind('/').map_or(0, |slash| slash + 1);
            self.tame(out, fixed);
        } else if !name.is_fixed() {
            self.tame(out, dir_len + 1);
        }
    }

    fn write(&mut self, part: &Part, event: EventRef<'_>, millis: i64, out: &mut String) {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Header(name) => {
                let value = String::from_utf8_lossy(event.header(name).unwrap_or_default());
                self.write_value(&value, out);
            }
            Part::Millis => match event.header(TIMESTAMP) {
                Some(text) => self.write_value(&String::from_utf8_lossy(text), out),
                None => _ = write!(out, "{millis}"),
            },
            Part::Time(letter) => self.write_time(*letter, millis, out),
        }
    }

    fn write_value(&mut self, value: &str, out: &mut String) {
        let slashes_are_names = value.len() > MOST_VALUE_BYTES;
        let strange = |c: char| c.is_control() || (slashes_are_names && c == '/');
        if !value.contains(strange) {
            out.push_str(value);
            return;
        }
        self.tamed += 1;
        for c in value.chars() {
            // Writing to a String cannot fail.
            match strange(c) {
                true => _ = write!(out, "%{:02X}", u32::from(c)),
                false => out.push(c),
            }
        }
    }

    fn write_time(&mut self, letter: char, millis: i64, out: &mut String) {
        let second = millis.div_euclid(1000);
        if self.second != Some(second) {
            self.second = Some(second);
            self.texts.clear();
        }
        if let Some((_, text)) = self.texts.iter().find(|(known, _)| *known == letter) {
            out.push_str(text);
            return;
        }
        let mut text = String::new();
        write_part(&mut text, letter, &self.calendar.rounded(millis));
        out.push_str(&text);
        self.texts.push((letter, text));
    }

    /// Makes names of the components from `start` on that would be something else.
    fn tame(&mut self, path: &mut String, start: usize) {
        let fine = |name: &str| name != "." && name != ".." && name.len() <= MOST_NAME_BYTES && !name.is_empty();
        if path[start..].split('/').all(fine) {
            return;
        }
        let mut tamed = String::with_capacity(path.len());
        for name in path[start..].split('/').filter(|name| !name.is_empty()) {
            if !tamed.is_empty() {
                tamed.push('/');
            }
            let name = match name {
                "." => Cow::Borrowed("%2E"),
                ".." => Cow::Borrowed("%2E%2E"),
                name if name.len() > MOST_NAME_BYTES => Cow::Owned(cut(name)),
                name => {
                    tamed.push_str(name);
                    continue;
                }
            };
            self.tamed += 1;
            tamed.push_str(&name);
        }
        path.truncate(start);
        path.push_str(&tamed);
    }
}

// === helpers ===

fn literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(before)) => before.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

/// The name in `{name}…`.
fn header_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.split_once('}')?.0;
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (!name.is_empty() && name.chars().all(fits)).then_some(name)
}

fn host_text(name: &str, host: impl Fn() -> Result<LocalHost>) -> Result<String, String> {
    let host = || host().map_err(|error: Error| format!("%[{name}]: {error}"));
    match name.to_ascii_lowercase().as_str() {
        "localhost" => Ok(host()?.name),
        "ip" => Ok(host()?.address.to_string()),
        "fqdn" => Ok(host()?.canonical_name()),
        _ => Err(format!("expected %[localhost], %[IP] or %[FQDN], got %[{name}]")),
    }
}

/// The beginning of a name, and a number made of all of it, so that two long names stay two.
fn cut(name: &str) -> String {
    let end = (0..=CUT_NAME_BYTES).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{}~{hash:016x}", &name[..end])
}

/// A longer value is one name, whatever is in it: paths have an end.
const MOST_VALUE_BYTES: usize = 1000;
/// File systems take 255 bytes; counter, suffix and what marks a file in use come to this.
const MOST_NAME_BYTES: usize = 200;
const CUT_NAME_BYTES: usize = MOST_NAME_BYTES - 17;

#[cfg(test)]
mod tests;
