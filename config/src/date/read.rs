//! Points in time, read after a pattern.
//!
//! Reads as Java does when it is lenient: blanks before a field are skipped, numbers beyond their range carry over, what
//! stands behind the last part is not looked at, what the pattern does not name is that of the 1st of January 1970. Behind
//! a field of digits that adjoins another one, so many digits are taken as there are letters.
//!
//! Two things are read otherwise: `S` is a fraction of a second (`.5` is half of one, Java has 5 ms), and days before 1582
//! are those of today's calendar.
//!
//! # Source
//! `java.text.SimpleDateFormat` (JDK 17). Weeks (`w W Y F`) are refused.

use jiff::civil::{Date, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};

use super::{Part, parts, refused};

/// A pattern that points in time are read after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatePattern(Vec<Part>);

/// What stands in a text.
#[derive(Debug)]
struct Found {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: Option<i64>,
    hour: i64,
    is_afternoon: bool,
    minute: i64,
    second: i64,
    millis: i64,
    zone: Option<TimeZone>,
}

/// The text that is left.
struct Rest<'a>(&'a str);

// === impl DatePattern ===

impl DatePattern {
    /// # Errors
    /// A text that names the letter or quote that cannot be used.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let parts = parts(pattern)?;
        let unknown = parts.iter().find_map(|part| match part {
            Part::Field { letter, width } if !LETTERS.contains(*letter) || *letter == 'X' && *width > 3 => {
                Some(*letter)
            }
            _ => None,
        });
        match unknown {
            Some(letter) => Err(refused(pattern, letter, LETTERS)),
            None => Ok(Self(parts)),
        }
    }

    /// The point in time with which `text` begins; `None` where it does not. Times that name no zone are in `zone`; years of
    /// two digits are at most 20 years after `now`.
    pub fn read(&self, text: &str, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        let mut found = Found::default();
        let mut rest = Rest(text);
        for (at, part) in self.0.iter().enumerate() {
            match part {
                Part::Text(literal) => rest.literal(literal)?,
                Part::Field { letter, width } => {
                    let adjoins = self.0.get(at + 1).is_some_and(Part::is_digits);
                    found.take(*letter, *width, adjoins.then_some(*width), &mut rest, now)?;
                }
            }
        }
        found.at(zone)
    }
}

// === impl Part ===

impl Part {
    fn is_digits(&self) -> bool {
        match self {
            Self::Field { letter: 'M', width } => *width <= 2,
            Self::Field { letter, .. } => !"GEazZX".contains(*letter),
            Self::Text(_) => false,
        }
    }
}

// === impl Found ===

impl Default for Found {
    fn default() -> Self {
        Self {
            year: 1970,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            is_afternoon: false,
            minute: 0,
            second: 0,
            millis: 0,
            zone: None,
        }
    }
}

impl Found {
    /// Takes one field off the text; `most_digits` where another number follows at once.
    fn take(
        &mut self,
        letter: char,
        width: usize,
        most_digits: Option<usize>,
        rest: &mut Rest<'_>,
        now: Timestamp,
    ) -> Option<()> {
        // The blanks count among the digits that a number may have.
        let blanks = rest.skip_blanks();
        let most_digits = most_digits.map_or(usize::MAX, |most| most.saturating_sub(blanks));
        let mut number = || rest.number(most_digits);
        match letter {
            'y' => {
                let (year, digits) = number()?;
                self.year = if width <= 2 && digits == 2 { near(year, now) } else { year };
            }
            'M' if width <= 2 => self.month = number()?.0,
            'M' => self.month = rest.name(&MONTHS)? + 1,
            'd' => self.day = number()?.0,
            'D' => self.day_of_year = Some(number()?.0),
            'E' => _ = rest.name(&WEEKDAYS)?,
            'u' => _ = number()?,
            'G' => _ = rest.name(&["AD"])?,
            'a' => self.is_afternoon = rest.name(&["AM", "PM"])? == 1,
            'H' => self.hour = number()?.0,
            'K' => self.hour = number()?.0,
            'k' => self.hour = Some(number()?.0).filter(|hour| *hour != 24).unwrap_or(0),
            'h' => self.hour = Some(number()?.0).filter(|hour| *hour != 12).unwrap_or(0),
            'm' => self.minute = number()?.0,
            's' => self.second = number()?.0,
            'S' => self.millis = rest.fraction(most_digits)?,
            'X' => self.zone = Some(rest.iso_zone(width)?),
            _ => self.zone = Some(rest.zone()?),
        }
        Some(())
    }

    /// The point in time, numbers beyond their range carried over.
    fn at(self, zone: &TimeZone) -> Option<Timestamp> {
        let first = Date::new(i16::try_from(self.year).ok()?, 1, 1).ok()?;
        let day = match self.day_of_year {
            Some(day) => first.checked_add(Span::new().try_days(day - 1).ok()?),
            None => {
                let month = first.checked_add(Span::new().try_months(self.month - 1).ok()?).ok()?;
                month.checked_add(Span::new().try_days(self.day - 1).ok()?)
            }
        };
        let afternoon = if self.is_afternoon { 12 } else { 0 };
        // None of them has more than nine digits.
        let seconds = (self.hour + afternoon) * 3600 + self.minute * 60 + self.second;
        let time = day.ok()?.to_datetime(Time::midnight()).checked_add(SignedDuration::from_secs(seconds)).ok()?;
        let zoned = self.zone.as_ref().unwrap_or(zone).to_zoned(time).ok()?;
        zoned.timestamp().checked_add(SignedDuration::from_millis(self.millis)).ok()
    }
}

// === impl Rest ===

impl Rest<'_> {
    fn literal(&mut self, literal: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    /// How many there were.
    fn skip_blanks(&mut self) -> usize {
        let behind = self.0.trim_start_matches([' ', '\t']);
        let count = self.0.len() - behind.len();
        self.0 = behind;
        count
    }

    fn digits(&mut self, most: usize) -> Option<&str> {
        let count = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, behind) = self.0.split_at(count);
        self.0 = behind;
        Some(digits).filter(|digits| !digits.is_empty())
    }

    /// A number, and how many digits it has.
    fn number(&mut self, most_digits: usize) -> Option<(i64, usize)> {
        let digits = self.digits(most_digits)?;
        let significant = digits.trim_start_matches('0');
        let number = if significant.is_empty() { Ok(0) } else { significant.parse() };
        (significant.len() <= 9).then_some((number.ok()?, digits.len()))
    }

    /// Milliseconds of the digits behind a decimal point.
    fn fraction(&mut self, most_digits: usize) -> Option<i64> {
        let digits = self.digits(most_digits)?.bytes().chain(*b"000").take(3);
        Some(digits.fold(0, |millis, digit| millis * 10 + i64::from(digit - b'0')))
    }

    /// Which of the names it is, whole or its first three letters, in any case.
    fn name(&mut self, names: &[&str]) -> Option<i64> {
        let begins = |length: usize, name: &str| {
            self.0.get(..length).filter(|text| text.eq_ignore_ascii_case(name.get(..length).unwrap_or(name)))
        };
        let lengths = |name: &str| [name.len(), name.len().min(3)];
        let (index, length) = names.iter().enumerate().find_map(|(index, name)| {
            lengths(name).into_iter().find_map(|length| begins(length, name).map(|_| (index, length)))
        })?;
        self.0 = self.0.get(length..)?;
        i64::try_from(index).ok()
    }

    /// `+hhmm`, `GMT`, `GMT+h:mm`, or the name of a zone.
    fn zone(&mut self) -> Option<TimeZone> {
        if self.0.starts_with(['+', '-']) {
            return self.offset(2, "").map(TimeZone::fixed);
        }
        let end = self.0.find(|c: char| !c.is_ascii_alphabetic() && !"/_".contains(c)).unwrap_or(self.0.len());
        let (name, behind) = self.0.split_at(end);
        self.0 = behind;
        if name.eq_ignore_ascii_case("GMT") && behind.starts_with(['+', '-']) {
            return self.offset(1, ":").map(TimeZone::fixed);
        }
        match ["UTC", "GMT", "UT"].iter().any(|utc| name.eq_ignore_ascii_case(utc)) {
            true => Some(TimeZone::UTC),
            false => TimeZone::get(name).ok(),
        }
    }

    /// `Z`; or `+hh`, `+hhmm`, `+hh:mm` by the number of letters.
    fn iso_zone(&mut self, width: usize) -> Option<TimeZone> {
        if let Some(behind) = self.0.strip_prefix('Z') {
            self.0 = behind;
            return Some(TimeZone::UTC);
        }
        if width > 1 {
            return self.offset(2, if width == 2 { "" } else { ":" }).map(TimeZone::fixed);
        }
        let sign = self.sign()?;
        let hours = self.two_digits(23)?;
        Offset::from_seconds(sign * hours * 3600).ok().map(TimeZone::fixed)
    }

    /// A sign, hours of at least so many digits, what stands between, two digits of minutes.
    fn offset(&mut self, hour_digits: usize, between: &str) -> Option<Offset> {
        let sign = self.sign()?;
        let hours = match self.0.as_bytes().get(1)?.is_ascii_digit() || hour_digits == 2 {
            true => self.two_digits(23)?,
            false => i32::try_from(self.number(1)?.0).ok()?,
        };
        self.literal(between)?;
        Offset::from_seconds(sign * (hours * 60 + self.two_digits(59)?) * 60).ok()
    }

    fn sign(&mut self) -> Option<i32> {
        let sign = if self.0.starts_with('-') { -1 } else { 1 };
        self.0 = self.0.strip_prefix(['+', '-'])?;
        Some(sign)
    }

    fn two_digits(&mut self, greatest: i32) -> Option<i32> {
        let (number, digits) = self.number(2)?;
        i32::try_from(number).ok().filter(|number| digits == 2 && *number <= greatest)
    }
}

/// The year of two digits that is at most 20 years after `now`.
fn near(year: i64, now: Timestamp) -> i64 {
    let last = i64::from(now.to_zoned(TimeZone::UTC).year()) + 20;
    let in_century = last - last % 100 + year;
    if in_century > last { in_century - 100 } else { in_century }
}

/// What [`Found::take`] knows.
const LETTERS: &str = "G y M d D E u a H k K h m s S z Z X";

/// The months in English, in full.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// The days of the week in English, from Monday.
pub const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Years of the calendar before 1582, and beyond ours.
    const OTHERWISE_HERE: &[&str] =
        &["20-05-04 10:11:12", "-2020-05-04 10:11:12", "5-5-4", "120-5-4", "7", "12345", "99999999999", "1011123"];

    /// Recorded by `tests/golden/dates/Golden.java` in the zone of Berlin.
    #[test]
    fn texts_are_read_as_java_reads_them() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/dates/expected.tsv");
        let expected = std::fs::read_to_string(file).expect("golden lines");
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let now: Timestamp = "2026-11-25T00:00:00Z".parse().expect("a time");
        let mut compared = 0;
        for line in expected.lines() {
            let [pattern, text, wanted] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            if OTHERWISE_HERE.contains(&text) {
                continue;
            }
            let read = match DatePattern::parse(pattern) {
                Err(_) => "refused".to_owned(),
                Ok(pattern) => {
                    pattern.read(text, &berlin, now).map_or("none".to_owned(), |at| at.as_millisecond().to_string())
                }
            };
            assert_eq!(read, wanted, "{line}");
            compared += 1;
        }
        assert!(compared > 80, "{compared} lines");
    }

    #[test]
    fn fractions_of_a_second_are_fractions() {
        let pattern = DatePattern::parse("ss.SZ").expect("a pattern");
        let read = |text| pattern.read(text, &TimeZone::UTC, Timestamp::UNIX_EPOCH).map(|at| at.as_millisecond());
        assert_eq!(read("01.5+0000"), Some(1500));
        assert_eq!(read("01.123999+0000"), Some(1123));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, part) in [("ww", "got 'w'"), ("XXXX", "got 'X'"), ("y 'open", "open quote")] {
            let problem = DatePattern::parse(pattern).expect_err("refused");
            assert!(problem.contains(part), "{pattern}: {problem}");
        }
    }

    #[test]
    fn no_text_is_too_strange() {
        let pattern = DatePattern::parse("yyyy MM dd D HH mm ss S z").expect("a pattern");
        for text in
            ["999999999 9 9 9 9 9 9 9 UTC", "32767 999999999 1 999999999 999999999 999999999 999999999 9 UTC", "é"]
        {
            assert_eq!(pattern.read(text, &TimeZone::UTC, Timestamp::UNIX_EPOCH), None, "{text}");
        }
    }
}
