//! Points in time as messages name them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// When and where messages are read: once per batch.
#[derive(Debug, Clone)]
pub(crate) struct Now {
    pub(super) at: Timestamp,
    /// Of times that name no zone.
    pub(super) zone: TimeZone,
}

// === impl Now ===

impl Now {
    pub(crate) fn new(zone: &TimeZone) -> Self {
        Self { at: Timestamp::now(), zone: zone.clone() }
    }

    /// Milliseconds since 1970 of `yyyy-MM-ddTHH:mm:ss`, a fraction and `Z` or an offset; without them in the zone of `self`.
    pub(super) fn rfc_5424(&self, text: &[u8]) -> Option<i64> {
        let (seconds, rest) = text.split_at_checked(19)?;
        let time = date_time(seconds)?;
        let (fraction, zone) = match rest.split_first() {
            Some((b'.', rest)) => rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count()),
            _ => (&b""[..], rest),
        };
        let at = match zone {
            [] => self.zone.to_zoned(time).ok()?.timestamp().as_millisecond(),
            zone => TimeZone::UTC.to_zoned(time).ok()?.timestamp().as_millisecond() - offset_millis(zone)?,
        };
        Some(at + millis(fraction))
    }

    /// Milliseconds since 1970 of `Mmm d HH:mm:ss`, in the zone of `self`. The year is the one with which the time is at
    /// most a month ahead and at most eleven months past.
    pub(super) fn rfc_3164(&self, text: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(text).ok()?;
        let mut words = text.split_ascii_whitespace();
        let month = words.next().and_then(|name| MONTHS.iter().position(|month| *month == name))? as i8 + 1;
        let day: i8 = words.next()?.parse().ok()?;
        let mut clock = words.next()?.splitn(3, ':').map(|part| part.parse::<i8>().ok());
        let time = Time::new(clock.next()??, clock.next()??, clock.next()??, 0).ok()?;
        let year = self.at.to_zoned(TimeZone::UTC).year();
        let in_year = |year: i16| {
            // The 29th of February exists in some of the years only.
            let date = Date::new(year, month, day).ok()?;
            Some(self.zone.to_zoned(DateTime::from_parts(date, time)).ok()?.timestamp())
        };
        let is_near = |at: &Timestamp| {
            let ahead = at.as_second() - self.at.as_second();
            (-11 * MONTH_SECONDS..=MONTH_SECONDS).contains(&ahead)
        };
        let at = [year, year - 1, year + 1].into_iter().filter_map(in_year);
        let nearest = at.clone().find(is_near).or_else(|| at.min_by_key(|at| at.duration_since(self.at).abs()));
        nearest.map(|at| at.as_millisecond())
    }
}

fn date_time(text: &[u8]) -> Option<DateTime> {
    let number = |range: std::ops::Range<usize>| {
        let digits = &text[range];
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| digits.iter().fold(0_i16, |number, digit| number * 10 + i16::from(digit - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, mark)| text[*at] == *mark) {
        return None;
    }
    let part = |range| number(range).map(|number| number as i8);
    let (year, month, day) = (number(0..4)?, part(5..7)?, part(8..10)?);
    DateTime::new(year, month, day, part(11..13)?, part(14..16)?, part(17..19)?, 0).ok()
}

/// Of the digits behind a decimal point.
fn millis(fraction: &[u8]) -> i64 {
    let digits = fraction.iter().chain(b"000").take(3);
    digits.fold(0, |millis, digit| millis * 10 + i64::from(digit - b'0'))
}

/// Of `Z` or `+hh:mm`; any other sign means UTC, as in Flume.
fn offset_millis(zone: &[u8]) -> Option<i64> {
    let sign = match zone.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return Some(0),
    };
    let number = |at: usize| {
        let digits = zone.get(at..at + 2).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        Some(i64::from(digits[0] - b'0') * 10 + i64::from(digits[1] - b'0'))
    };
    let (hours, minutes) = (number(1)?, number(4)?);
    (zone[3] == b':').then_some(sign * (hours * 60 + minutes) * 60_000)
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const MONTH_SECONDS: i64 = 31 * 24 * 3600;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn now(at: &str, zone: &str) -> Now {
        Now { at: at.parse().unwrap(), zone: TimeZone::get(zone).unwrap() }
    }

    fn millis_of(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn times_of_rfc_5424_keep_their_fraction_and_their_zone() {
        let berlin = now("2020-06-01T00:00:00Z", "Europe/Berlin");
        let at = |text: &str| berlin.rfc_5424(text.as_bytes());
        assert_eq!(at("2020-05-04T10:11:12Z"), Some(millis_of("2020-05-04T10:11:12Z")));
        assert_eq!(at("2020-05-04T10:11:12.5Z"), Some(millis_of("2020-05-04T10:11:12.5Z")));
        assert_eq!(at("2020-05-04T10:11:12.123987-03:30"), Some(millis_of("2020-05-04T13:41:12.123Z")));
        assert_eq!(at("2020-05-04T10:11:12+02:00"), Some(millis_of("2020-05-04T08:11:12Z")));
        assert_eq!(at("2020-05-04T10:11:12"), Some(millis_of("2020-05-04T08:11:12Z")), "the reader's zone");
        assert_eq!(at("2020-05-04T10:11:12x"), Some(millis_of("2020-05-04T10:11:12Z")));
        for bad in [
            "",
            "2020-05-04",
            "2020-13-04T10:11:12Z",
            "2020-05-04 10:11:12Z",
            "2020-05-04T10:11:12+2",
            "2020-05-04T10:11:12+02-00",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_of_rfc_3164_are_in_the_year_that_is_nearest() {
        let at = |now: &str, text: &str| {
            Now { at: now.parse().unwrap(), zone: TimeZone::UTC }
                .rfc_3164(text.as_bytes())
                .map(|millis| Timestamp::from_millisecond(millis).unwrap().to_string())
        };
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(at("2020-06-01T00:00:00Z", "May  4 10:11:12"), found("2020-05-04T10:11:12Z"));
        assert_eq!(at("2020-06-01T00:00:00Z", "Jun 20 10:11:12"), found("2020-06-20T10:11:12Z"));
        assert_eq!(at("2020-06-01T00:00:00Z", "Aug 20 10:11:12"), found("2019-08-20T10:11:12Z"));
        assert_eq!(at("2020-01-01T00:00:10Z", "Dec 31 23:59:59"), found("2019-12-31T23:59:59Z"));
        assert_eq!(at("2019-12-31T23:59:50Z", "Jan  1 00:00:01"), found("2020-01-01T00:00:01Z"));
        assert_eq!(at("2021-01-05T00:00:00Z", "Feb 29 00:00:00"), found("2020-02-29T00:00:00Z"));
        for bad in ["Mai  4 10:11:12", "May 32 10:11:12", "May  4 25:11:12", "May  4 10:11", ""] {
            assert_eq!(at("2020-06-01T00:00:00Z", bad), None, "{bad}");
        }
        let berlin = now("2020-06-01T00:00:00Z", "Europe/Berlin");
        assert_eq!(berlin.rfc_3164(b"May  4 10:11:12"), Some(millis_of("2020-05-04T08:11:12Z")));
    }
}
