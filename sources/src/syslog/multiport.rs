//! Messages as the multiport source understands them: part by part.

use super::{INCOMPLETE, INVALID, KeepFields, Now, Parts, STATUS};
use crate::charset::Decoder;
use crate::gather::Gather;

/// Understands messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Multiport {
    pub(crate) keep: KeepFields,
}

/// What a message says beside its parts.
#[derive(Debug, PartialEq, Eq)]
struct Meaning<'a> {
    parts: Parts<'a>,
    priority: i32,
    timestamp: i64,
}

// === impl Multiport ===

impl Multiport {
    /// Adds the event of one message; the headers of its own come before. `false`: the message is invalid.
    pub(crate) fn add(
        &self,
        message: &[u8],
        is_incomplete: bool,
        now: &Now,
        decoder: &Decoder,
        events: &mut Gather,
    ) -> bool {
        let Some(Meaning { parts, priority, timestamp }) = meaning(message, now) else {
            events.header(STATUS, INVALID);
            events.event(&[message]);
            return false;
        };
        events.header_of("Facility", priority / 8);
        events.header_of("Severity", priority % 8);
        events.header("Priority", parts.priority);
        if let Some(version) = parts.version {
            events.header("Version", version);
        }
        events.header_of("timestamp", timestamp);
        let mut host = Vec::new();
        match decoder.passes(parts.host) || decoder.decode(parts.host, &mut host).is_err() {
            true => events.header("host", parts.host),
            false => events.header("host", &host),
        }
        if is_incomplete {
            events.header(STATUS, INCOMPLETE);
        }
        match self.keep.all || parts.body.is_empty() {
            true => events.event(&[message]),
            false => self.keep.event(message, &parts, events),
        }
        true
    }
}

/// The parts of a message; `None` for one that is invalid.
fn meaning<'a>(message: &'a [u8], now: &Now) -> Option<Meaning<'a>> {
    let (priority_text, rest) = split(message.strip_prefix(b"<")?, b'>').filter(|(text, _)| text.len() <= 5)?;
    let priority: i32 = std::str::from_utf8(priority_text).ok()?.parse().ok()?;
    let (version, rest) = match rest.strip_prefix(b"1 ").filter(|rest| !rest.is_empty()) {
        Some(behind) => (Some(&rest[..1]), behind),
        None => (None, rest),
    };
    let (timestamp_text, timestamp, rest) = match rest.first()? {
        b'-' => (&rest[..1], now.at.as_millisecond(), rest.get(2..)?),
        b'A'..=b'Z' => {
            let (text, rest) = rest.split_at_checked(RFC_3164_LENGTH)?;
            (text, now.rfc_3164(text)?, rest.get(1..)?)
        }
        _ => {
            let (text, rest) = split(rest, b' ')?;
            // One that names no zone is none.
            (text, now.rfc_5424(text).filter(|_| text.len() > RFC_5424_LENGTH && !ends_in_fraction(text))?, rest)
        }
    };
    let (host, body) = split(rest, b' ')?;
    let parts = Parts { priority: priority_text, version, timestamp: timestamp_text, host, body };
    Some(Meaning { parts, priority, timestamp })
}

/// Whether nothing stands behind the fraction of a second.
fn ends_in_fraction(time: &[u8]) -> bool {
    time[RFC_5424_LENGTH..].strip_prefix(b".").is_some_and(|rest| rest.iter().all(u8::is_ascii_digit))
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, bytes)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}

/// Of `Mmm dd HH:mm:ss`.
const RFC_3164_LENGTH: usize = 15;
/// Of `yyyy-MM-ddTHH:mm:ss`.
const RFC_5424_LENGTH: usize = 19;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;

    use super::*;
    use crate::charset::Policy;
    use jiff::tz::TimeZone;

    /// A message, its headers, its body.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

    fn parsed(message: &[u8], keep: KeepFields, charset: &str) -> (BTreeMap<String, String>, Vec<u8>) {
        let now = Now { at: "2020-06-01T00:00:00Z".parse().unwrap(), zone: TimeZone::UTC };
        let mut events = Gather::new();
        let decoder = Decoder::new(charset, Policy::Keep).unwrap();
        Multiport { keep }.add(message, false, &now, &decoder, &mut events);
        let batch = events.take();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = batch.event(0).headers().map(|(key, value)| (text(key), text(value)));
        (headers.collect(), batch.event(0).body().to_vec())
    }

    #[test]
    fn messages_of_both_rfcs_give_their_headers_and_what_stands_behind_the_host() {
        let cases: [Case<'_>; 6] = [
            (
                "<34>1 2020-05-04T10:11:12.25+01:00 host.example app - ID47 - text",
                &[
                    ("Facility", "4"),
                    ("Severity", "2"),
                    ("Priority", "34"),
                    ("Version", "1"),
                    ("timestamp", "1588583472250"),
                    ("host", "host.example"),
                ],
                "app - ID47 - text",
            ),
            (
                "<13>May  4 10:11:12 box su: x\r",
                &[
                    ("Facility", "1"),
                    ("Severity", "5"),
                    ("Priority", "13"),
                    ("timestamp", "1588587072000"),
                    ("host", "box"),
                ],
                "su: x\r",
            ),
            (
                "<13>- h text",
                &[
                    ("Facility", "1"),
                    ("Severity", "5"),
                    ("Priority", "13"),
                    ("timestamp", "1590969600000"),
                    ("host", "h"),
                ],
                "text",
            ),
            (
                "<99999>- h text",
                &[
                    ("Facility", "12499"),
                    ("Severity", "7"),
                    ("Priority", "99999"),
                    ("timestamp", "1590969600000"),
                    ("host", "h"),
                ],
                "text",
            ),
            (
                "<-5>- h text",
                &[
                    ("Facility", "0"),
                    ("Severity", "-5"),
                    ("Priority", "-5"),
                    ("timestamp", "1590969600000"),
                    ("host", "h"),
                ],
                "text",
            ),
            (
                "<13>- h ",
                &[
                    ("Facility", "1"),
                    ("Severity", "5"),
                    ("Priority", "13"),
                    ("timestamp", "1590969600000"),
                    ("host", "h"),
                ],
                "<13>- h ",
            ),
        ];
        for (message, wanted, body) in cases {
            let (found, found_body) = parsed(message.as_bytes(), KeepFields::default(), "UTF-8");
            let wanted = wanted.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            assert_eq!(found, wanted, "{message}");
            assert_eq!(found_body, body.as_bytes(), "{message}");
        }
    }

    #[test]
    fn what_is_invalid_is_kept_as_it_is_and_says_only_that() {
        for message in [
            "plain",
            "<>- h x",
            "<123456>- h x",
            "<1a>- h x",
            "<13>",
            "<13>2 - h x",
            "<13>May  4 10:11",
            "<13>Foo  4 10:11:12 h x",
            "<13>2020-05-04T10:11:12 h x",
            "<13>2020-05-04T10:11:12.5 h x",
            "<13>2020-25-04T10:11:12Z h x",
            "<13>- h",
            "<13>-",
            "\0\0\0",
        ] {
            let (found, body) = parsed(message.as_bytes(), KeepFields::default(), "UTF-8");
            assert_eq!(found, [(STATUS.to_owned(), "Invalid".to_owned())].into(), "{message:?}");
            assert_eq!(body, message.as_bytes());
        }
    }

    #[test]
    fn a_hosts_name_is_decoded_and_the_body_stays_in_its_charset() {
        let keep = KeepFields { host: true, priority: true, ..KeepFields::default() };
        let (found, body) = parsed(b"<13>- m\xFCller gr\xFC\xDFe", keep, "ISO-8859-1");
        assert_eq!((&*found["host"], &body[..]), ("müller", &b"<13>m\xFCller gr\xFC\xDFe"[..]));
    }
}
