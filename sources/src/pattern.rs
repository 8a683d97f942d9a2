//! Regular expressions as configurations have them.

use regex::Regex;

/// A pattern that must match the whole of a name, as Java's `matches`.
///
/// # Errors
/// What was expected, and what was given.
pub(crate) fn whole_name(text: &str) -> Result<Regex, String> {
    Regex::new(&format!(r"\A(?:{text})\z")).map_err(|error| {
        format!("expected a regular expression without look-around or back references, got {text:?}: {error}")
    })
}
