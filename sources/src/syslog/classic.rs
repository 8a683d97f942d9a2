//! Messages as the TCP and UDP sources understand them: by patterns, one of one's own among them.

use std::sync::Arc;

use regex::bytes::{CaptureLocations, Regex};

use super::custom::{Custom, Found};
use super::{INCOMPLETE, INVALID, KeepFields, Now, Parts, STATUS};
use crate::gather::Gather;

/// Understands messages.
#[derive(Debug)]
pub(crate) struct Classic {
    keep: KeepFields,
    /// Tried first.
    custom: Option<Arc<Custom>>,
    rfc_5424: Regex,
    rfc_3164: Regex,
    /// Where the groups of the pattern are, kept so that a message costs no allocation.
    found: CaptureLocations,
}

// === impl Classic ===

impl Classic {
    pub(crate) fn new(keep: KeepFields, custom: Option<Arc<Custom>>) -> Self {
        let pattern = |text| Regex::new(text).expect("the pattern is tested");
        let (rfc_5424, rfc_3164) = (pattern(RFC_5424), pattern(RFC_3164));
        let found = rfc_5424.capture_locations();
        Self { keep, custom, rfc_5424, rfc_3164, found }
    }

    /// Adds the event of one message; the headers of its own come before.
    pub(crate) fn add(&mut self, message: &[u8], is_incomplete: bool, now: &Now, events: &mut Gather) {
        let Some(priority) = priority(message) else {
            events.header("Facility", b"0");
            events.header("Severity", b"0");
            events.header(STATUS, INVALID);
            return events.event(&[message]);
        };
        events.header_of("Facility", priority / 8);
        events.header_of("Severity", priority % 8);
        let keep = self.keep;
        let found = match &self.custom {
            Some(custom) => custom.matched(message, now),
            None => None,
        };
        let found = found.or_else(|| self.matched(message, now));
        if let Some(Found { parts, has_host, timestamp, .. }) = &found {
            if !parts.priority.is_empty() {
                events.header("priority", parts.priority);
            }
            if let Some(version) = parts.version.filter(|version| !version.is_empty()) {
                events.header("version", version);
            }
            if let Some(at) = timestamp {
                events.header_of("timestamp", *at);
            }
            if *has_host {
                events.header("host", parts.host);
            }
        }
        if is_incomplete {
            events.header(STATUS, INCOMPLETE);
        }
        match found {
            Some(Found { parts, has_body: true, .. }) if !keep.all => keep.event(message, &parts, events),
            _ => events.event(&[message]),
        }
    }

    /// The parts of a message that has the shape of one of the RFCs' patterns.
    fn matched<'a>(&mut self, message: &'a [u8], now: &Now) -> Option<Found<'a>> {
        // Java's patterns end before what it takes for the end of a line.
        if has_line_end(message) {
            return None;
        }
        let found = &mut self.found;
        let is_rfc_5424 = self.rfc_5424.captures_read(found, message).is_some();
        if !is_rfc_5424 {
            self.rfc_3164.captures_read(found, message)?;
        }
        let group = |index| found.get(index).map(|(start, end)| &message[start..end]);
        let parts = Parts {
            priority: group(1).unwrap_or_default(),
            version: group(2),
            timestamp: group(3).unwrap_or(b"-"),
            host: group(4).unwrap_or(b"-"),
            body: group(5).unwrap_or_default(),
        };
        let timestamp = match is_rfc_5424 {
            true => now.rfc_5424(parts.timestamp),
            false => now.rfc_3164(parts.timestamp),
        };
        Some(Found { parts, has_host: group(4).is_some(), has_body: true, timestamp })
    }
}

/// The number between the brackets; `None` where there are none, or not one to three digits within.
fn priority(message: &[u8]) -> Option<u32> {
    let digits = message.strip_prefix(b"<")?;
    let length = digits.iter().take(4).position(|byte| *byte == b'>').filter(|length| *length > 0)?;
    let digits = &digits[..length];
    let number = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit.wrapping_sub(b'0')));
    digits.iter().all(u8::is_ascii_digit).then_some(number)
}

/// Carriage return, next line, line separator, paragraph separator.
fn has_line_end(message: &[u8]) -> bool {
    let is_end = |at: usize| match message[at] {
        b'\r' => true,
        0xC2 => message.get(at + 1) == Some(&0x85),
        _ => matches!(message.get(at + 1..at + 3), Some([0x80, 0xA8 | 0xA9])),
    };
    memchr::memchr3_iter(b'\r', 0xC2, 0xE2, message).any(is_end)
}

const RFC_5424: &str = r"(?-u)\A<(\d{1,3})>(\d)?\s?(?:(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:[+-]\d{2}:\d{2}|Z)?)|-)\s(?:(\w[\w\d.@-]*)|-)\s(.*)\z";
const RFC_3164: &str =
    r"(?-u)\A<(\d{1,3})>(\d)?\s?([A-Z][a-z][a-z]\s{1,2}\d{1,2}\s\d{2}:\d{2}:\d{2})\s(\w[\w\d.@-]*)\s(.*)\z";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;

    use super::*;
    use jiff::tz::TimeZone;

    /// A message, its headers, its body.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

    fn parsed(message: &[u8], keep: KeepFields, is_incomplete: bool) -> (BTreeMap<String, String>, Vec<u8>) {
        let now = Now { at: "2020-06-01T00:00:00Z".parse().unwrap(), zone: TimeZone::UTC };
        let mut events = Gather::new();
        Classic::new(keep, None).add(message, is_incomplete, &now, &mut events);
        let batch = events.take();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = batch.event(0).headers().map(|(key, value)| (text(key), text(value)));
        (headers.collect(), batch.event(0).body().to_vec())
    }

    fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn messages_of_both_rfcs_give_their_headers_and_what_stands_behind_the_host() {
        let cases: [Case<'_>; 6] = [
            (
                "<34>1 2020-05-04T10:11:12.5Z host.example app - ID47 - text",
                &[
                    ("Facility", "4"),
                    ("Severity", "2"),
                    ("priority", "34"),
                    ("version", "1"),
                    ("timestamp", "1588587072500"),
                    ("host", "host.example"),
                ],
                "app - ID47 - text",
            ),
            (
                "<13>May  4 10:11:12 box su: 'su root'",
                &[
                    ("Facility", "1"),
                    ("Severity", "5"),
                    ("priority", "13"),
                    ("timestamp", "1588587072000"),
                    ("host", "box"),
                ],
                "su: 'su root'",
            ),
            ("<13>- - body", &[("Facility", "1"), ("Severity", "5"), ("priority", "13")], "body"),
            ("<999>- h ", &[("Facility", "124"), ("Severity", "7"), ("priority", "999"), ("host", "h")], "<999>- h "),
            ("<13>no pattern", &[("Facility", "1"), ("Severity", "5")], "<13>no pattern"),
            ("<13>- h body\r", &[("Facility", "1"), ("Severity", "5")], "<13>- h body\r"),
        ];
        for (message, wanted, body) in cases {
            let (found, found_body) = parsed(message.as_bytes(), KeepFields::default(), false);
            assert_eq!(found, headers(wanted), "{message}");
            assert_eq!(found_body, body.as_bytes(), "{message}");
        }
    }

    #[test]
    fn what_is_no_message_is_kept_and_flagged() {
        for message in ["plain", "<>x", "<1234>x", "<1a>x", "<-1>x", "<12", "<"] {
            let (found, body) = parsed(message.as_bytes(), KeepFields::default(), true);
            assert_eq!(found, headers(&[("Facility", "0"), ("Severity", "0"), (STATUS, "Invalid")]), "{message}");
            assert_eq!(body, message.as_bytes());
        }
    }

    #[test]
    fn a_cut_message_is_flagged_and_nothing_of_one_message_shows_in_the_next() {
        let (found, body) = parsed(b"<13>1 - h long te", KeepFields::default(), true);
        assert_eq!((&*found[STATUS], &body[..]), ("Incomplete", &b"long te"[..]));
        let now = Now { at: "2020-06-01T00:00:00Z".parse().unwrap(), zone: TimeZone::UTC };
        let (mut classic, mut events) = (Classic::new(KeepFields::default(), None), Gather::new());
        classic.add(b"<13>1 - h one", false, &now, &mut events);
        classic.add(b"<14>two", false, &now, &mut events);
        assert_eq!(events.take().event(1).headers().count(), 2, "in Flume priority and version are those of the first");
    }

    #[test]
    fn kept_fields_are_as_they_stand_in_the_message_and_bytes_stay_as_they_are() {
        let keep = KeepFields { priority: true, version: true, timestamp: true, host: true, all: false };
        let message = b"<34>1 2020-05-04T10:11:12.5Z h \xFF\xC3\xA4";
        assert_eq!(parsed(message, keep, false).1, message);
        assert_eq!(parsed(message, KeepFields { all: true, ..keep }, false).1, message);
        assert_eq!(parsed(message, KeepFields::default(), false).1, b"\xFF\xC3\xA4");
        assert_eq!(parsed("<34>- h a\u{2028}b".as_bytes(), KeepFields::default(), false).0.len(), 2);
    }
}
