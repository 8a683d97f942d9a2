//! The time now, written after a pattern. The zone is that of the machine.
//!
//! # Source
//! `org.apache.commons.text.lookup.DateStringLookup`, and the fields of `java.text.SimpleDateFormat` and of
//! `org.apache.commons.lang3.time.FastDateFormat`, which it uses. Weeks (`w W Y`) are refused: where they begin depends
//! on the country.

use std::fmt::Write;

use jiff::Zoned;
use jiff::fmt::strtime;

use super::{Part, parts, refused};

/// The time now after `pattern`.
///
/// # Errors
/// A text that names the letter or quote that cannot be used.
pub(crate) fn now(pattern: &str) -> Result<String, String> {
    formatted(pattern, &Zoned::now())
}

fn formatted(pattern: &str, time: &Zoned) -> Result<String, String> {
    let mut text = String::with_capacity(pattern.len() + 8);
    for part in parts(pattern)? {
        match part {
            Part::Text(literal) => text.push_str(&literal),
            Part::Field { letter, width } => {
                field(letter, width, time, &mut text).ok_or_else(|| refused(pattern, letter, LETTERS))?;
            }
        }
    }
    Ok(text)
}

/// One field; `None` for a letter that is none.
fn field(letter: char, width: usize, time: &Zoned, text: &mut String) -> Option<()> {
    let (hour, weekday) = (i64::from(time.hour()), time.weekday());
    let number = match letter {
        'y' if width == 2 => i64::from(time.year()) % 100,
        'y' => return padded(i64::from(time.year()), width.max(4), text),
        'M' if width >= 4 => return named("%B", time, text),
        'M' if width == 3 => return named("%b", time, text),
        'M' => i64::from(time.month()),
        'd' => i64::from(time.day()),
        'D' => i64::from(time.day_of_year()),
        'F' => i64::from((time.day() - 1) / 7 + 1),
        'E' => return named(if width >= 4 { "%A" } else { "%a" }, time, text),
        'u' => i64::from(weekday.to_monday_one_offset()),
        'a' => return named("%p", time, text),
        'H' => hour,
        'k' => (hour + 23) % 24 + 1,
        'K' => hour % 12,
        'h' => (hour + 11) % 12 + 1,
        'm' => i64::from(time.minute()),
        's' => i64::from(time.second()),
        'S' => i64::from(time.millisecond()),
        'G' => return named("AD", time, text),
        'z' => return named("%Z", time, text),
        'Z' if width == 1 => return named("%z", time, text),
        'Z' => return offset(time, "%:z", text),
        'X' => return offset(time, ["%z", "%z", "%:z"].get(width - 1)?, text).map(|()| shorten(width, text)),
        _ => return None,
    };
    padded(number, width, text)
}

fn padded(number: i64, width: usize, text: &mut String) -> Option<()> {
    write!(text, "{number:0width$}").ok()
}

fn named(format: &str, time: &Zoned, text: &mut String) -> Option<()> {
    text.push_str(&strtime::format(format, time).ok()?);
    Some(())
}

/// The distance to UTC, in which that itself is `Z`.
fn offset(time: &Zoned, format: &str, text: &mut String) -> Option<()> {
    if time.offset().is_zero() {
        text.push('Z');
        return Some(());
    }
    named(format, time, text)
}

/// `X` alone has hours only.
fn shorten(width: usize, text: &mut String) {
    if width == 1 && !text.ends_with('Z') {
        text.truncate(text.len() - 2);
    }
}

/// What [`field`] knows.
const LETTERS: &str = "G y M d D F E u a H k K h m s S z Z X";

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `FastDateFormat` 3.11 on JDK 17 in the English locale.
    #[test]
    fn every_field_is_written_as_java_writes_it() {
        let time: Zoned = "2026-03-05T00:07:09.012+01:00[Europe/Berlin]".parse().expect("a time");
        for (pattern, wanted) in [
            ("yyyy-MM-dd", "2026-03-05"),
            ("yy y yyyyy", "26 2026 02026"),
            ("M MM MMM MMMM", "3 03 Mar March"),
            ("d dd D DDD F", "5 05 64 064 1"),
            ("E EEE EEEE u", "Thu Thu Thursday 4"),
            ("H HH k kk K h hh a", "0 00 24 24 0 12 12 AM"),
            ("m mm s ss S SSS SSSS", "7 07 9 09 12 012 0012"),
            ("z Z ZZ X XX XXX G", "CET +0100 +01:00 +01 +0100 +01:00 AD"),
            ("yyyy'T'HH 'it''s' ''", "2026T00 it's '"),
            ("HH:mm, é", "00:07, é"),
        ] {
            assert_eq!(formatted(pattern, &time).as_deref(), Ok(wanted), "{pattern}");
        }
        let utc: Zoned = "2026-12-31T13:00:00+00:00[UTC]".parse().expect("a time");
        assert_eq!(formatted("K h k X ZZ Z", &utc).as_deref(), Ok("1 1 13 Z Z +0000"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, part) in [("ww", "got 'w'"), ("yyyyQ", "got 'Q'"), ("XXXX", "got 'X'"), ("y 'open", "open quote")]
        {
            let problem = formatted(pattern, &Zoned::now()).expect_err("refused");
            assert!(problem.contains(part), "{pattern}: {problem}");
        }
    }
}
