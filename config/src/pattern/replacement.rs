//! What a match is replaced by, as Java's `Matcher.appendReplacement` reads it: `$1` and `${name}` are groups, `\x` is x.

use fancy_regex::Captures;

/// A parsed replacement.
#[derive(Debug, PartialEq, Eq)]
pub struct Replacement(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The text of a group, by number; nothing where the group took no part.
    Group(usize),
}

// === impl Replacement ===

impl Replacement {
    /// `groups` are the names of the pattern's groups, by number.
    ///
    /// # Errors
    /// What is wrong, at which character.
    pub(crate) fn parse(text: &str, groups: &[Option<String>]) -> Result<Self, String> {
        let chars: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            let problem = |what: String| Err(format!("at character {}: {what}", at + 1));
            match (c, chars.get(at + 1)) {
                ('\\', Some(&next)) => {
                    literal.push(next);
                    at += 2;
                }
                ('\\', None) => return problem("a character must follow the backslash; write \\\\ for one".into()),
                ('$', Some('{')) => {
                    let Some(len) = chars[at..].iter().position(|&c| c == '}') else {
                        return problem("expected } behind the name of the group".into());
                    };
                    let name: String = chars[at + 2..at + len].iter().collect();
                    let Some(group) = groups.iter().position(|group| group.as_ref() == Some(&name)) else {
                        return problem(format!("the pattern has no group {name:?}"));
                    };
                    take(&mut literal, &mut parts, group);
                    at += len + 1;
                }
                ('$', Some(digit)) if digit.is_ascii_digit() => {
                    let (group, digits) = numbered_group(&chars[at + 1..], groups.len());
                    if group >= groups.len() {
                        return problem(format!("the pattern has {} groups, not {group}", groups.len() - 1));
                    }
                    take(&mut literal, &mut parts, group);
                    at += 1 + digits;
                }
                ('$', _) => return problem("a group must follow the $; write \\$ for one".into()),
                _ => {
                    literal.push(c);
                    at += 1;
                }
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }

    /// Writes what replaces one match.
    pub(super) fn append(&self, captures: &Captures<'_, str>, out: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(group) => out.push_str(captures.get(*group).map_or("", |found| found.as_str())),
            }
        }
    }
}

fn take(literal: &mut String, parts: &mut Vec<Part>, group: usize) {
    if !literal.is_empty() {
        parts.push(Part::Text(std::mem::take(literal)));
    }
    parts.push(Part::Group(group));
}

/// The group meant by leading digits: as many of them as still name a group, but at least one.
fn numbered_group(chars: &[char], groups: usize) -> (usize, usize) {
    let (mut group, mut digits) = (0, 0);
    for digit in chars.iter().map_while(|c| c.to_digit(10)) {
        let longer = group * 10 + digit as usize;
        if digits > 0 && longer >= groups {
            break;
        }
        (group, digits) = (longer, digits + 1);
    }
    (group, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_replacement_is_refused_at_its_character() {
        let groups = [None, Some("g".to_owned())];
        for (text, place) in [("a$", 2), ("a$x", 2), ("$2", 1), ("${h}", 1), ("ab${g", 3), ("\\", 1)] {
            let problem = Replacement::parse(text, &groups).expect_err(text);
            assert!(problem.starts_with(&format!("at character {place}: ")), "{text}: {problem}");
        }
        let parsed = Replacement::parse("${g}$1", &groups).expect("fine");
        assert_eq!(parsed, Replacement(vec![Part::Group(1), Part::Group(1)]));
    }
}
