//! Dates in the pattern letters of Java: `yyyy-MM-dd HH:mm`.
//!
//! A run of one letter is one field; text between single quotes stands for itself, `''` for a quote; what is no letter
//! stands for itself. Names are English.

mod read;
mod write;

use std::iter::Peekable;
use std::str::Chars;

pub use read::{DatePattern, MONTHS, WEEKDAYS};
pub(crate) use write::now;

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Stands for itself.
    Text(String),
    /// A run of so many of one letter.
    Field { letter: char, width: usize },
}

/// The parts of a pattern, in its order; its letters are not looked at.
///
/// # Errors
/// At a quote that stays open.
fn parts(pattern: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\'' {
            quoted(&mut rest, &mut text)
                .ok_or_else(|| format!("{pattern:?} has an open quote; write '' for a quote"))?;
        } else if c.is_ascii_alphabetic() {
            let mut width = 1;
            while rest.next_if_eq(&c).is_some() {
                width += 1;
            }
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Field { letter: c, width });
        } else {
            text.push(c);
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

/// What is said of a letter that cannot be used.
fn refused(pattern: &str, letter: char, letters: &str) -> String {
    format!("expected letters of {letters} in the date pattern {pattern:?}, got '{letter}'; put text in single quotes")
}

/// Text up to the closing quote; `None` when there is none.
fn quoted(rest: &mut Peekable<Chars<'_>>, text: &mut String) -> Option<()> {
    if rest.next_if_eq(&'\'').is_some() {
        text.push('\'');
        return Some(());
    }
    loop {
        match rest.next()? {
            '\'' if rest.next_if_eq(&'\'').is_some() => text.push('\''),
            '\'' => return Some(()),
            c => text.push(c),
        }
    }
}
