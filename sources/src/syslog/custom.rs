//! A pattern of one's own, tried before those of the RFCs.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use millstream_config::{DatePattern, Pattern, Replacement};
use millstream_core::{Kind, OptionSpec, Options, Result, optional, unset};

use super::{Now, Parts};

/// The options.
pub(crate) const OPTIONS: [OptionSpec; 4] = [
    unset(
        "format.regex",
        Kind::Text,
        "Pattern of whole messages, tried first; its groups are priority, version, time, host and body, in this order.",
    ),
    unset("format.search", Kind::Text, "Pattern of what is replaced in the time, before it is read."),
    optional("format.replace", Kind::Text, "", "What stands there instead; $1 is the first group."),
    unset(
        "format.dateFormat",
        Kind::Text,
        "How the time is written, in Java's letters; without it there is no timestamp.",
    ),
];

/// A pattern, and how its times are read.
#[derive(Debug)]
pub(crate) struct Custom {
    pattern: Pattern,
    replaced: Option<(Pattern, Replacement)>,
    date: Option<DatePattern>,
}

/// A message that has the shape of a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) parts: Parts<'a>,
    /// A dash that stands for none is no host.
    pub(super) has_host: bool,
    pub(super) has_body: bool,
    /// Milliseconds since 1970.
    pub(super) timestamp: Option<i64>,
}

// === impl Custom ===

impl Custom {
    /// `None` without a pattern; the other options do nothing by themselves, as in Flume.
    pub(crate) fn from_options(options: &Options) -> Result<Option<Self>> {
        let date = options.find("format.dateFormat").map(DatePattern::parse).transpose();
        let date = date.map_err(|problem| options.refuse("format.dateFormat", problem))?;
        let replaced = match options.find("format.search") {
            Some(_) => {
                let pattern = Pattern::from_options(options, "format.search")?;
                let by = pattern.replacement(options, "format.replace")?;
                Some((pattern, by))
            }
            None => None,
        };
        if options.find("format.regex").is_none() {
            return Ok(None);
        }
        Ok(Some(Self { pattern: Pattern::of_the_whole(options, "format.regex")?, replaced, date }))
    }

    /// The parts of a message that has the shape of the pattern.
    pub(super) fn matched<'a>(&self, message: &'a [u8], now: &Now) -> Option<Found<'a>> {
        let text = String::from_utf8_lossy(message);
        let captures = self.pattern.first(&text)?;
        let group = |index| {
            let found = captures.get(index)?;
            Some((&message[place(message, found.start())..place(message, found.end())], found.as_str()))
        };
        let bytes = |index| group(index).map(|(bytes, _)| bytes);
        let timestamp = group(3).and_then(|(_, text)| self.millis(text, now));
        let parts = Parts {
            priority: bytes(1).unwrap_or_default(),
            version: bytes(2),
            timestamp: bytes(3).unwrap_or(b"-"),
            host: bytes(4).unwrap_or(b"-"),
            body: bytes(5).unwrap_or_default(),
        };
        let has_host = bytes(4).is_some_and(|host| !host.is_empty());
        Some(Found { parts, has_host, has_body: bytes(5).is_some(), timestamp })
    }

    fn millis(&self, text: &str, now: &Now) -> Option<i64> {
        let replaced = self.replaced.as_ref().and_then(|(pattern, by)| pattern.replaced(text, by));
        let read =
            |zone: &TimeZone, at: Timestamp| self.date.as_ref()?.read(replaced.as_deref().unwrap_or(text), zone, at);
        read(&now.zone, now.at).map(|at| at.as_millisecond())
    }
}

/// Where a character of the text stands among the bytes that it was decoded from.
fn place(message: &[u8], in_text: usize) -> usize {
    let (mut bytes, mut text) = (0, 0);
    for chunk in message.utf8_chunks() {
        let (valid, invalid) = (chunk.valid().len(), chunk.invalid().len());
        if in_text <= text + valid {
            return bytes + (in_text - text);
        }
        bytes += valid + invalid;
        text += valid + char::REPLACEMENT_CHARACTER.len_utf8();
    }
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn custom(settings: &[(&str, &str)]) -> Result<Option<Custom>> {
        let settings = settings.iter().map(|(key, value)| millstream_testkit::setting(key, value));
        Custom::from_options(&Options::parse("a1.sources.r1", &OPTIONS, &[], settings).unwrap().0)
    }

    fn now() -> Now {
        Now { at: "2020-06-01T00:00:00Z".parse().unwrap(), zone: TimeZone::UTC }
    }

    #[test]
    fn the_groups_are_the_parts_and_the_time_is_read_after_it_was_changed() {
        let settings = [
            ("format.regex", r"<(\d+)>(\d)?\[([^\]]+)\] (\S+): (.*)"),
            ("format.search", r"(\d+)h(\d+)"),
            ("format.replace", "$1:$2:00"),
            ("format.dateFormat", "dd/MMM/yyyy HH:mm:ss"),
        ];
        let custom = custom(&settings).unwrap().unwrap();
        let now = now();
        let found = custom.matched(b"<13>[04/May/2020 10h11] box: text", &now).unwrap();
        let parts =
            Parts { priority: b"13", version: None, timestamp: b"04/May/2020 10h11", host: b"box", body: b"text" };
        assert_eq!(found, Found { parts, has_host: true, has_body: true, timestamp: Some(1_588_587_060_000) });
        assert_eq!(custom.matched(b"<13>[soon] box: text", &now).unwrap().timestamp, None);
        assert_eq!(custom.matched(b"<13>[x] box text", &now), None);
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        let custom = custom(&[("format.regex", r"<(.*)>(.)(.)(.)(.*)")]).unwrap().unwrap();
        let found = custom.matched(b"<13>\xFFa\xC3\xA4\xE2\x82x\xFE", &now()).unwrap();
        let parts = Parts {
            priority: b"13",
            version: Some(b"\xFF"),
            timestamp: b"a",
            host: b"\xC3\xA4",
            body: b"\xE2\x82x\xFE",
        };
        assert_eq!(found.parts, parts);
    }

    #[test]
    fn a_pattern_may_have_fewer_groups_and_without_one_there_is_none() {
        let found = custom(&[("format.regex", "<13>.*")]).unwrap().unwrap();
        let now = now();
        let found = found.matched(b"<13>x", &now).unwrap();
        assert!(!found.has_host && !found.has_body && found.timestamp.is_none());
        assert!(custom(&[("format.dateFormat", "HH")]).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_used_is_refused_at_its_place() {
        for (key, value, wanted) in [
            ("format.regex", "a(b", "at character 2"),
            ("format.search", "[", "at character 1"),
            ("format.dateFormat", "yyyy ww", "got 'w'"),
        ] {
            let text = custom(&[(key, value)]).err().unwrap().to_string();
            assert!(text.contains(&format!("{key}: ")) && text.contains(wanted), "{text}");
        }
    }
}
