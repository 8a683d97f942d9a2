//! Links of the documents lead somewhere.

use super::Finding;
use crate::tree::Tree;

/// Follows the relative links of every Markdown file: the file must be there, and the heading in it.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".md") {
        for (line, target) in links(text) {
            if let Some(problem) = broken(tree, path, target) {
                findings.push(Finding::new(format_args!("{path}:{line}"), problem));
            }
        }
    }
    findings
}

fn broken(tree: &Tree, from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { from.to_owned() } else { resolved(from, file) };
    if !tree.has(&file) {
        return Some(format!("the link {target} leads nowhere: there is no {file}"));
    }
    if heading.is_empty() {
        return None;
    }
    let there = headings(tree.text(&file).unwrap_or_default()).any(|known| known == heading);
    (!there).then(|| format!("the link {target} leads nowhere: {file} has no such heading"))
}

/// Number of the line and target of each inline link outside code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        for (index, part) in line.split('`').enumerate() {
            // Between a pair of backticks is code; a link's text may hold some, its target does not.
            if index % 2 == 1 {
                continue;
            }
            for (at, _) in part.match_indices("](") {
                if let Some((target, _)) = part[at + 2..].split_once(')') {
                    found.push((number, target));
                }
            }
        }
    }
    found
}

/// Lines outside fenced blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The names under which the headings and anchors of a document are linked to.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).flat_map(|(_, line)| {
        let heading = line.starts_with('#').then(|| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|&c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        });
        let anchors = line.split("<a id=\"").skip(1).filter_map(|behind| behind.split('"').next());
        heading.into_iter().chain(anchors.map(str::to_owned))
    })
}

/// A path relative to the directory of `from`, from the root.
fn resolved(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let other = ("docs/other.md", "# Other\n## What it's like, at `8` bytes\n");
        let findings = check(&Tree::of(&[("docs/formats/page.md", text), other]));
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_link_to_nothing_is_found_at_its_line() {
        let wanted = "docs/formats/page.md:2: the link ../gone.md leads nowhere: there is no docs/gone.md";
        assert_eq!(problems("fine\n[x](../other.md) and [y](../gone.md)"), [wanted]);
        assert_eq!(problems("[x](../other.md#gone)").len(), 1);
        assert_eq!(problems("[`code`](../gone.md)").len(), 1);
    }

    #[test]
    fn files_folders_headings_and_the_world_outside_are_well_linked() {
        let text = "# Here\n[a](#here) [b](..) [c](../other.md#what-its-like-at-8-bytes) [d](https://example.org/x)\n\
            | <a id=\"row\"></a> [e](#row)";
        assert!(problems(text).is_empty());
    }

    #[test]
    fn code_is_no_link() {
        assert!(problems("`a[0](gone)` and\n```\nlist[1](gone.md)\n```\n").is_empty());
    }
}
