//! Syslog messages, as Flume's sources understand them.
//!
//! Messages of a connection end with a newline; octet counts are not known, as in Flume. What stands behind the host is the
//! body, application name and structured data included. Bytes are kept as they came.
//!
//! # Source
//! `org.apache.flume.source.SyslogUtils`, which the TCP and UDP sources use, and `SyslogParser` of the multiport source (Flume
//! 1.11); RFC 3164 and RFC 5424 for what the messages mean.

mod classic;
mod connection;
mod custom;
#[cfg(test)]
mod hostile;
mod multiport;
mod peer;
mod time;

use std::ops::Range;

use millstream_core::{Kind, OptionSpec, Options, Result, optional, unset};

use crate::gather::Gather;
pub(crate) use classic::Classic;
pub(crate) use connection::{Limits, hear};
pub(crate) use custom::{Custom, OPTIONS as FORMAT_OPTIONS};
pub(crate) use multiport::Multiport;
pub(crate) use peer::{PeerHeaders, PeerNames};
pub(crate) use time::Now;

/// Options that all syslog sources have.
pub(crate) const OPTIONS: [OptionSpec; 3] = [
    optional(
        "keepFields",
        Kind::Text,
        "none",
        "What stays in the body: none, all, or some of priority, version, timestamp, hostname.",
    ),
    unset("clientIPHeader", Kind::Text, "Name of a header with the sender's address."),
    unset("clientHostnameHeader", Kind::Text, "Name of a header with the name that the resolver gives for it."),
];

/// Header that says what is wrong with a message.
const STATUS: &str = "flume.syslog.status";
const INVALID: &[u8] = b"Invalid";
const INCOMPLETE: &[u8] = b"Incomplete";

/// The `keepFields` option.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeepFields {
    /// The message stays as it came.
    all: bool,
    priority: bool,
    version: bool,
    timestamp: bool,
    host: bool,
}

/// One message among the bytes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The message, without its newline.
    pub(crate) message: Range<usize>,
    /// Where the next one begins.
    pub(crate) next: usize,
    /// It has no end yet, but is as long as one may be.
    pub(crate) is_incomplete: bool,
}

/// What the parts of a message are, as they stand in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Parts<'a> {
    priority: &'a [u8],
    version: Option<&'a [u8]>,
    timestamp: &'a [u8],
    host: &'a [u8],
    body: &'a [u8],
}

// === impl KeepFields ===

impl KeepFields {
    /// As Flume, which looks for the words wherever they stand in the value.
    pub(crate) fn from_options(options: &Options) -> Result<Self> {
        let value = options.text("keepFields")?.trim().to_ascii_lowercase();
        let has = |word| value.contains(word);
        Ok(match value.as_str() {
            "all" | "true" => Self { all: true, ..Self::default() },
            "none" | "false" => Self::default(),
            _ => Self {
                all: false,
                priority: has("priority"),
                version: has("version"),
                timestamp: has("timestamp"),
                host: has("hostname"),
            },
        })
    }

    /// Ends the event: the body, behind what is kept of the other parts. Where that is nothing, as in Flume the message.
    fn event(self, message: &[u8], parts: &Parts<'_>, events: &mut Gather) {
        let chosen = |keep: bool, part: &'static [u8]| if keep { part } else { b"" };
        let of = |keep: bool, part| if keep { part } else { &b""[..] };
        let version = parts.version.filter(|_| self.version);
        let kept = [
            chosen(self.priority, b"<"),
            of(self.priority, parts.priority),
            chosen(self.priority, b">"),
            version.unwrap_or_default(),
            chosen(version.is_some(), b" "),
            of(self.timestamp, parts.timestamp),
            chosen(self.timestamp, b" "),
            of(self.host, parts.host),
            chosen(self.host, b" "),
            parts.body,
        ];
        match kept.iter().all(|part| part.is_empty()) {
            true => events.event(&[message]),
            false => events.event(&kept),
        }
    }
}

// === impl Frame ===

impl Frame {
    /// The first message of `bytes`, newlines before it skipped; `None` while it has no end and may grow.
    pub(crate) fn first(bytes: &[u8], most_bytes: usize) -> Option<Self> {
        let start = bytes.iter().position(|byte| *byte != b'\n')?;
        let within = &bytes[start..bytes.len().min(start.saturating_add(most_bytes))];
        match memchr::memchr(b'\n', within) {
            Some(length) => {
                let end = start + length;
                Some(Self { message: start..end, next: end + 1, is_incomplete: false })
            }
            None if within.len() == most_bytes => {
                let end = start + most_bytes;
                Some(Self { message: start..end, next: end, is_incomplete: true })
            }
            None => None,
        }
    }

    /// What is left when no more comes: a message that was cut off.
    pub(crate) fn rest(bytes: &[u8]) -> Option<Self> {
        let start = bytes.iter().position(|byte| *byte != b'\n')?;
        Some(Self { message: start..bytes.len(), next: bytes.len(), is_incomplete: true })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn messages_end_with_a_newline_or_at_the_greatest_size() {
        let frame = |text: &str| {
            Frame::first(text.as_bytes(), 5)
                .map(|frame| (text[frame.message].to_owned(), frame.next, frame.is_incomplete))
        };
        assert_eq!(frame("\n\nab\nc"), Some(("ab".into(), 5, false)));
        assert_eq!(frame("abcde\n"), Some(("abcde".into(), 5, true)), "Flume does not look for the newline behind it");
        assert_eq!(frame("abcdefg"), Some(("abcde".into(), 5, true)));
        assert_eq!(frame("abcd"), None);
        assert_eq!(frame("\n\n"), None);
        assert_eq!(Frame::rest(b"\nab").unwrap().message, 1..3);
        assert_eq!(Frame::rest(b"\n"), None);
    }

    #[test]
    fn kept_fields_stand_before_the_body_in_a_fixed_order() {
        let parts = Parts { priority: b"13", version: Some(b"1"), timestamp: b"T", host: b"h", body: b"b c" };
        let kept = |value: &str, parts: &Parts<'_>| {
            let setting = millstream_testkit::setting("keepFields", value);
            let (options, _) = Options::parse("a1.sources.r1", &OPTIONS, &[], [setting]).unwrap();
            let mut events = Gather::new();
            KeepFields::from_options(&options).unwrap().event(b"<13>raw", parts, &mut events);
            String::from_utf8(events.take().event(0).body().to_vec()).unwrap()
        };
        assert_eq!(kept("none", &parts), "b c");
        assert_eq!(kept("hostname PRIORITY", &parts), "<13>h b c");
        assert_eq!(kept("timestamp,version,priority,hostname", &parts), "<13>1 T h b c");
        assert_eq!(kept("version", &Parts { version: None, ..parts }), "b c");
        assert_eq!(kept("none", &Parts { body: b"", ..parts }), "<13>raw");
        assert_eq!(kept("hostname", &Parts { body: b"", ..parts }), "h ");
    }
}
