//! The time of an event: where it comes from, how it is rounded, and how it is written.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use millstream_core::{EventRef, Options, Result};

/// The header with milliseconds since 1970.
pub(super) const TIMESTAMP: &str = "timestamp";

/// What the header `timestamp` says; `None` without one and where it is no number.
pub(super) fn timestamp_of(event: EventRef<'_>) -> Option<i64> {
    std::str::from_utf8(event.header(TIMESTAMP)?).ok()?.parse().ok()
}

/// How times are rounded down, and the zone that they are written in.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    zone: TimeZone,
    rounding: Option<Rounding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rounding {
    unit: Unit,
    /// Multiples of that many units.
    to: i8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

// === impl Calendar ===

impl Calendar {
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        let zone = match options.find("hdfs.timeZone") {
            None | Some("") => TimeZone::system(),
            Some(name) => zone(name).ok_or_else(|| {
                let wanted = "expected the name of a time zone as in Europe/Berlin or GMT+01:00";
                options.refuse("hdfs.timeZone", format_args!("{wanted}, got {name:?}"))
            })?,
        };
        let (unit, most) = match options.text("hdfs.roundUnit")?.to_ascii_lowercase().as_str() {
            "hour" => (Unit::Hour, 24),
            "minute" => (Unit::Minute, 60),
            _ => (Unit::Second, 60),
        };
        let to: i64 = options.int("hdfs.roundValue")?;
        if !(1..=most).contains(&to) {
            let problem = format!("expected a whole number in 1..={most} for this roundUnit, got \"{to}\"");
            return Err(options.refuse("hdfs.roundValue", problem));
        }
        let rounding = options.bool("hdfs.round")?.then_some(Rounding { unit, to: to as i8 });
        Ok(Self { zone, rounding })
    }

    /// The time, rounded down in the zone. A number that is no time of this calendar (more than 9999 years off) is the
    /// nearest that is.
    pub(super) fn rounded(&self, millis: i64) -> Zoned {
        let least = Timestamp::MIN.as_millisecond() + DAY_MS;
        let most = Timestamp::MAX.as_millisecond() - DAY_MS;
        let time = Timestamp::from_millisecond(millis.clamp(least, most)).unwrap_or(Timestamp::UNIX_EPOCH);
        let time = time.to_zoned(self.zone.clone());
        let Some(Rounding { unit, to }) = self.rounding else { return time };
        let at = time.datetime();
        let down = |value: i8| value - value % to;
        let (hour, minute, second) = match unit {
            Unit::Second => (at.hour(), at.minute(), down(at.second())),
            Unit::Minute => (at.hour(), down(at.minute()), 0),
            Unit::Hour => (down(at.hour()), 0, 0),
        };
        let Ok(rounded) = DateTime::new(at.year(), at.month(), at.day(), hour, minute, second, 0) else { return time };
        // Of an hour that comes twice, the one that the event is in.
        let same = time.offset().to_timestamp(rounded).ok().map(|same| same.to_zoned(self.zone.clone()));
        match same.filter(|same| same.datetime() == rounded) {
            Some(same) => same,
            None => rounded.to_zoned(self.zone.clone()).unwrap_or(time),
        }
    }
}

/// A zone of the database, or an offset as Java writes it: `GMT+1`, `GMT+01:00`, `UTC`.
fn zone(name: &str) -> Option<TimeZone> {
    let Some(offset) = name.strip_prefix("GMT").filter(|rest| rest.starts_with(['+', '-'])) else {
        return TimeZone::get(name).ok();
    };
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let digits = &offset[1..];
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() > 2 => digits.split_at_checked(digits.len() - 2)?,
        None => (digits, "0"),
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let in_range = (0..24).contains(&hours) && (0..60).contains(&minutes);
    let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?;
    in_range.then(|| offset.to_time_zone())
}

/// Writes what the escape `%letter` stands for; `false` when it stands for no part of a time.
pub(super) fn write_part(out: &mut String, letter: char, time: &Zoned) -> bool {
    let format = match letter {
        'a' => "%a",
        'A' => "%A",
        'b' => "%b",
        'B' => "%B",
        'c' => "%a %b %-d %H:%M:%S %Y",
        'd' => "%d",
        'e' => "%-d",
        'D' => "%m/%d/%y",
        'H' => "%H",
        'I' => "%I",
        'j' => "%j",
        'k' => "%-H",
        'l' => "%-I",
        'm' => "%m",
        'n' => "%-m",
        'M' => "%M",
        'p' => "%p",
        's' => "%s",
        'S' => "%S",
        'y' => "%y",
        'Y' => "%Y",
        'z' => "%z",
        _ => return false,
    };
    // Every format above is one that the library has.
    out.push_str(&time.strftime(format).to_string());
    true
}

const DAY_MS: i64 = 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::{Kind, OptionSpec, optional, unset};
    use millstream_testkit::setting;

    const SPECS: &[OptionSpec] = &[
        unset("hdfs.timeZone", Kind::Text, ""),
        optional("hdfs.round", Kind::Bool, "false", ""),
        optional("hdfs.roundValue", Kind::Int(1, 60), "1", ""),
        optional("hdfs.roundUnit", Kind::Choice(&["second", "minute", "hour"]), "second", ""),
    ];

    fn calendar(settings: &[(&str, &str)]) -> Result<Calendar> {
        let settings = settings.iter().map(|(key, value)| setting(key, value));
        Calendar::from_options(&Options::parse("a1.sinks.k1", SPECS, &[], settings)?.0)
    }

    fn rounded(zone: &str, value: &str, unit: &str, millis: i64) -> String {
        let settings =
            [("hdfs.timeZone", zone), ("hdfs.round", "true"), ("hdfs.roundValue", value), ("hdfs.roundUnit", unit)];
        calendar(&settings).expect("built").rounded(millis).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// 2014-03-01 12:35:47.250 UTC.
    const NOW: i64 = 1_393_677_347_250;

    #[test]
    fn times_are_rounded_down_in_their_zone() {
        assert_eq!(rounded("UTC", "10", "minute", NOW), "2014-03-01 12:30:00");
        assert_eq!(rounded("UTC", "25", "second", NOW), "2014-03-01 12:35:25");
        assert_eq!(rounded("UTC", "6", "hour", NOW), "2014-03-01 12:00:00");
        assert_eq!(rounded("Asia/Kolkata", "6", "hour", NOW), "2014-03-01 18:00:00", "five and a half hours ahead");
        assert_eq!(rounded("GMT-8", "1", "hour", NOW), "2014-03-01 04:00:00");
        assert_eq!(rounded("GMT+05:45", "60", "minute", NOW), "2014-03-01 18:00:00");
        let exact = calendar(&[("hdfs.timeZone", "UTC")]).expect("built").rounded(NOW);
        assert_eq!(exact.timestamp().as_millisecond(), NOW);
    }

    #[test]
    fn an_hour_that_comes_twice_stays_the_one_that_it_was() {
        let settings = [("hdfs.timeZone", "Europe/Berlin"), ("hdfs.round", "true"), ("hdfs.roundUnit", "hour")];
        let calendar = calendar(&settings).expect("built");
        // Half past two on 2014-10-26, in summer time and an hour later.
        for half_past in [1_414_283_400_000, 1_414_287_000_000] {
            assert_eq!(calendar.rounded(half_past).timestamp().as_millisecond(), half_past - 30 * 60 * 1000);
        }
    }

    #[test]
    fn numbers_that_are_no_times_do_not_stop_anything() {
        let calendar = calendar(&[("hdfs.timeZone", "UTC")]).expect("built");
        assert_eq!(calendar.rounded(i64::MAX).year(), 9999);
        assert_eq!(calendar.rounded(i64::MIN).year(), -9999);
    }

    #[test]
    fn a_zone_or_a_value_that_is_none_is_refused() {
        for zone in ["Nowhere/City", "GMT+25", "GMT+1:99", "GMT+"] {
            assert!(calendar(&[("hdfs.timeZone", zone)]).is_err(), "{zone}");
        }
        let error = calendar(&[("hdfs.roundUnit", "hour"), ("hdfs.roundValue", "25")]).expect_err("refused");
        assert!(
            error.to_string().ends_with("expected a whole number in 1..=24 for this roundUnit, got \"25\""),
            "{error}"
        );
    }
}
