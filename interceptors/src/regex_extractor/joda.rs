//! Times as Joda-Time's `DateTimeFormat` patterns write them, read into milliseconds since 1970.
//!
//! # Layout
//! | letters | what is read |
//! |---|---|
//! | `y`, `Y` | year; exactly `yy`: two digits are the year within 80 before and 19 after this one |
//! | `M`, `d`, `D` | month, day of the month, day of the year; from `MMM` on the month's English name, short or long |
//! | `E` | English name of the weekday, short or long; not compared with the date |
//! | `a` | AM or PM |
//! | `H`, `k`, `K`, `h` | hour 0–23, 1–24, 0–11, 1–12 |
//! | `m`, `s`, `S` | minute, second, digits of the fraction |
//! | `Z`, `ZZZ` | offset `+hhmm`, `+hh:mm` or `Z`; id of a time zone |
//! | `'text'`, `''` | that text; an apostrophe |
//!
//! What is not in the text: 1970-01-01T00:00, but the year is 2000 where only month or day are there. The text must end
//! where the pattern does.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use millstream_config::{MONTHS, WEEKDAYS};

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct TimePattern {
    text: String,
    parts: Vec<Part>,
    zone: TimeZone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// A number of at most so many digits.
    Number(Field, usize),
    /// Of two digits exactly, or one of more digits as it is.
    TwoDigitYear {
        exactly: bool,
    },
    Month,
    Weekday,
    HalfDay,
    Fraction(usize),
    Offset,
    ZoneId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    DayOfYear,
    Hour,
    Hour1To24,
    Hour0To11,
    Hour1To12,
    Minute,
    Second,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    /// The hour counts within half a day.
    hour_of_half: bool,
    afternoon: bool,
    minute: i64,
    second: i64,
    nanos: i64,
    zone: Option<TimeZone>,
}

// === impl TimePattern ===

impl TimePattern {
    /// # Errors
    /// What cannot be read, at which character.
    pub(super) fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let chars: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            let run = chars[at..].iter().take_while(|&&other| other == c).count();
            let numeric_next = chars.get(at + run).is_some_and(|c| "yYMdDHkKhmsS".contains(*c));
            let number = |field, most| Part::Number(field, if numeric_next { run.max(1) } else { most });
            parts.push(match (c, run) {
                ('\'', _) => {
                    let (literal, len) =
                        quoted(&chars[at..]).ok_or(format!("at character {}: no end of the quote", at + 1))?;
                    at += len;
                    parts.push(Part::Literal(literal));
                    continue;
                }
                ('y' | 'Y', 2) => Part::TwoDigitYear { exactly: numeric_next },
                ('y' | 'Y', _) => number(Field::Year, 9),
                ('M', 1 | 2) => Part::Number(Field::Month, 2),
                ('M', _) => Part::Month,
                ('d', _) => Part::Number(Field::Day, 2),
                ('D', _) => Part::Number(Field::DayOfYear, 3),
                ('E', _) => Part::Weekday,
                ('a', _) => Part::HalfDay,
                ('H', _) => Part::Number(Field::Hour, 2),
                ('k', _) => Part::Number(Field::Hour1To24, 2),
                ('K', _) => Part::Number(Field::Hour0To11, 2),
                ('h', _) => Part::Number(Field::Hour1To12, 2),
                ('m', _) => Part::Number(Field::Minute, 2),
                ('s', _) => Part::Number(Field::Second, 2),
                ('S', digits) => Part::Fraction(digits),
                ('Z', 1 | 2) => Part::Offset,
                ('Z', _) => Part::ZoneId,
                (c, _) if c.is_ascii_alphabetic() => {
                    let remedy = "use y M d D E a H k K h m s S Z, and quotes around other letters";
                    return Err(format!("at character {}: {c} cannot be read; {remedy}", at + 1));
                }
                (c, _) => Part::Literal(c.to_string().repeat(run)),
            });
            at += run;
        }
        Ok(Self { text: text.to_owned(), parts, zone })
    }

    /// The pattern as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The time that `text` is; `None` when it is none of this pattern.
    pub(super) fn millis(&self, text: &str) -> Option<i64> {
        let mut read = Read::default();
        let mut rest = text;
        for part in &self.parts {
            rest = self.read_part(part, rest, &mut read)?;
        }
        if !rest.is_empty() {
            return None;
        }
        let date_time = read.date_time()?;
        let zone = read.zone.as_ref().unwrap_or(&self.zone);
        // A time that a change of the clock left out is none.
        let ambiguous = zone.to_ambiguous_zoned(date_time);
        if matches!(ambiguous.offset(), jiff::tz::AmbiguousOffset::Gap { .. }) {
            return None;
        }
        Some(ambiguous.earlier().ok()?.timestamp().as_millisecond())
    }

    fn read_part<'t>(&self, part: &Part, text: &'t str, read: &mut Read) -> Option<&'t str> {
        match part {
            Part::Literal(literal) => strip_prefix_ignoring_case(text, literal),
            Part::Number(field, most) => {
                let (value, rest) = number(text, *most, *field == Field::Year)?;
                read.set(*field, value)?;
                Some(rest)
            }
            Part::TwoDigitYear { exactly } => {
                let (value, rest) = number(text, if *exactly { 2 } else { 9 }, !exactly)?;
                let two_digits = text.len() - rest.len() == 2 && !text.starts_with(['+', '-']);
                if *exactly && !two_digits {
                    return None;
                }
                read.year = Some(if two_digits { near_year(value, this_year()) } else { value });
                Some(rest)
            }
            Part::Month => {
                let (index, rest) = name(text, &MONTHS)?;
                read.month = Some(index as i64 + 1);
                Some(rest)
            }
            Part::Weekday => name(text, &WEEKDAYS).map(|(_, rest)| rest),
            Part::HalfDay => {
                let half = text.get(..2)?;
                read.afternoon = half.eq_ignore_ascii_case("PM");
                (read.afternoon || half.eq_ignore_ascii_case("AM")).then_some(&text[2..])
            }
            Part::Fraction(most) => {
                let digits = text.bytes().take(*most).take_while(u8::is_ascii_digit).count();
                let value: i64 = text[..digits.min(9)].parse().ok()?;
                read.nanos = value * 10_i64.pow(9 - digits.min(9) as u32);
                Some(&text[digits..])
            }
            Part::Offset => {
                let (zone, rest) = offset(text)?;
                read.zone = Some(zone);
                Some(rest)
            }
            Part::ZoneId => {
                let len = text.find(|c: char| !c.is_ascii_alphanumeric() && !"/_+-".contains(c)).unwrap_or(text.len());
                read.zone = Some(TimeZone::get(&text[..len]).ok()?);
                Some(&text[len..])
            }
        }
    }
}

// === impl Read ===

impl Read {
    fn set(&mut self, field: Field, value: i64) -> Option<()> {
        let within = |low, high| (low..=high).contains(&value).then_some(value);
        match field {
            Field::Year => self.year = Some(value),
            Field::Month => self.month = Some(value),
            Field::Day => self.day = Some(value),
            Field::DayOfYear => self.day_of_year = Some(value),
            Field::Hour => (self.hour, self.hour_of_half) = (within(0, 23)?, false),
            Field::Hour1To24 => (self.hour, self.hour_of_half) = (within(1, 24)? % 24, false),
            Field::Hour0To11 => (self.hour, self.hour_of_half) = (within(0, 11)?, true),
            Field::Hour1To12 => (self.hour, self.hour_of_half) = (within(1, 12)? % 12, true),
            Field::Minute => self.minute = within(0, 59)?,
            Field::Second => self.second = within(0, 59)?,
        }
        Some(())
    }

    fn date_time(&self) -> Option<DateTime> {
        let has_day = self.month.or(self.day).or(self.day_of_year).is_some();
        let year = self.year.unwrap_or(if has_day { 2000 } else { 1970 }).try_into().ok()?;
        let date = match self.day_of_year {
            Some(day) => {
                let first = Date::new(year, 1, 1).ok()?;
                let date = first.checked_add(SignedDuration::from_hours(24 * day.checked_sub(1)?)).ok()?;
                (day >= 1 && date.year() == year).then_some(date)?
            }
            None => {
                let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
                Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()?
            }
        };
        let hour = self.hour + if self.hour_of_half && self.afternoon { 12 } else { 0 };
        let time = Time::new(hour as i8, self.minute as i8, self.second as i8, self.nanos as i32).ok()?;
        Some(date.to_datetime(time))
    }
}

// === helpers ===

/// The text between quotes, and how many characters it takes with them; two quotes mean one.
fn quoted(chars: &[char]) -> Option<(String, usize)> {
    if chars.get(1) == Some(&'\'') {
        return Some(("'".into(), 2));
    }
    let mut text = String::new();
    let mut at = 1;
    loop {
        match (chars.get(at)?, chars.get(at + 1)) {
            ('\'', Some('\'')) => {
                text.push('\'');
                at += 2;
            }
            ('\'', _) => return Some((text, at + 1)),
            (&c, _) => {
                text.push(c);
                at += 1;
            }
        }
    }
}

fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(&text[prefix.len()..])
}

/// A number of at most `most` digits.
fn number(text: &str, most: usize, may_have_sign: bool) -> Option<(i64, &str)> {
    let sign = usize::from(may_have_sign && text.starts_with(['+', '-']));
    let digits = text[sign..].bytes().take(most).take_while(u8::is_ascii_digit).count();
    let end = sign + digits;
    (digits > 0).then_some(())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// The longest of `names`, in full or its first three letters, with which `text` begins.
fn name<'t>(text: &'t str, names: &[&str]) -> Option<(usize, &'t str)> {
    let full = names.iter().position(|name| strip_prefix_ignoring_case(text, name).is_some());
    if let Some(index) = full {
        return Some((index, &text[names[index].len()..]));
    }
    let index = names.iter().position(|name| strip_prefix_ignoring_case(text, &name[..3]).is_some())?;
    Some((index, &text[3..]))
}

/// `Z`, `+hh`, `+hhmm`, `+hh:mm`, seconds likewise.
fn offset(text: &str) -> Option<(TimeZone, &str)> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return Some((TimeZone::UTC, rest));
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let (hours, mut rest) = two_digits(&text[1..])?;
    let mut seconds = hours * 3600;
    let colon = rest.starts_with(':');
    for unit in [60, 1] {
        let next = if colon { rest.strip_prefix(':') } else { Some(rest) };
        let Some((value, after)) = next.and_then(two_digits) else { break };
        if value > 59 {
            return None;
        }
        (seconds, rest) = (seconds + value * unit, after);
    }
    Some((Offset::from_seconds(sign * seconds).ok()?.to_time_zone(), rest))
}

fn two_digits(text: &str) -> Option<(i32, &str)> {
    let digits = text.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((digits.parse().ok()?, &text[2..]))
}

fn this_year() -> i64 {
    i64::from(Timestamp::now().to_zoned(TimeZone::UTC).year())
}

/// The year that ends in `two_digits` and lies within 80 before and 19 after `now`.
fn near_year(two_digits: i64, now: i64) -> i64 {
    let first = now - 80;
    first + (two_digits - first).rem_euclid(100)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn millis_in(zone: &str, pattern: &str, text: &str) -> Option<i64> {
        let zone = TimeZone::get(zone).expect("a zone");
        TimePattern::parse(pattern, zone).expect("a pattern").millis(text)
    }

    fn utc(pattern: &str, text: &str) -> Option<i64> {
        millis_in("UTC", pattern, text)
    }

    #[test]
    fn dates_and_times_are_read_in_the_zone() {
        assert_eq!(utc("yyyy-MM-dd HH:mm:ss,SSS", "2014-03-01 12:30:05,250"), Some(1_393_677_005_250));
        assert_eq!(millis_in("Europe/Berlin", "yyyy-MM-dd HH:mm", "2014-03-01 13:30"), Some(1_393_677_000_000));
        assert_eq!(utc("dd/MMM/yyyy:HH:mm:ss Z", "01/Mar/2014:13:30:05 +0100"), Some(1_393_677_005_000));
        assert_eq!(utc("EEE MMM d h:mm a yyyy", "sat march 1 12:30 PM 2014"), Some(1_393_677_000_000));
        assert_eq!(utc("yyyyMMddHHmm", "201403011230"), Some(1_393_677_000_000));
        assert_eq!(utc("yyyy-DDD'T'HH ZZZ", "2014-060T13 Europe/Berlin"), Some(1_393_675_200_000));
        assert_eq!(utc("yyyy-MM-dd'T'HH:mm:ssZZ", "2014-03-01T12:30:05Z"), Some(1_393_677_005_000));
    }

    /// Recorded by `tests/golden/flume/Golden.java`.
    #[test]
    fn times_are_those_that_joda_reads() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/flume/times.tsv");
        let expected = std::fs::read_to_string(file).expect("golden lines");
        let mut compared = 0;
        for line in expected.lines() {
            let [pattern, zone, text, millis] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            // A year of five digits is none here.
            let wanted = if text.starts_with("12014") { None } else { millis.parse().ok() };
            assert_eq!(millis_in(zone, pattern, text), wanted, "{line}");
            compared += 1;
        }
        assert!(compared > 100, "{compared} lines");
    }

    #[test]
    fn what_is_not_there_is_as_in_joda() {
        assert_eq!(utc("HH:mm", "01:00"), Some(3_600_000), "1970 without a date");
        assert_eq!(utc("MM-dd", "01-02"), Some(946_771_200_000), "2000 without a year");
        assert_eq!(utc("yyyy", "2014"), Some(1_388_534_400_000), "January 1st");
        assert_eq!((near_year(99, 2026), near_year(45, 2026), near_year(46, 2026)), (1999, 2045, 1946));
    }

    #[test]
    fn what_is_no_time_of_the_pattern_is_none() {
        for (pattern, text) in [
            ("yyyy-MM-dd", "2014-13-01"),
            ("yyyy-MM-dd", "2014-02-30"),
            ("yyyy-MM-dd", "2014-03-01x"),
            ("yyyy-MM-dd", ""),
            ("HH:mm", "24:00"),
            ("MMM", "Foo"),
            ("HH a", "11 XM"),
            ("HH é", "11 \u{e8}"),
            ("S", ""),
            ("yyMM", "4"),
        ] {
            assert_eq!(utc(pattern, text), None, "{pattern} {text}");
        }
        assert_eq!(millis_in("Europe/Berlin", "yyyy-MM-dd HH:mm", "2014-03-30 02:30"), None, "left out that night");
    }

    #[test]
    fn a_letter_that_cannot_be_read_is_refused_at_its_place() {
        let refused = |pattern| TimePattern::parse(pattern, TimeZone::UTC).expect_err("refused");
        assert!(refused("yyyy-ww").starts_with("at character 6: w cannot be read"));
        assert!(refused("yyyy'T").starts_with("at character 5: no end of the quote"));
    }
}
