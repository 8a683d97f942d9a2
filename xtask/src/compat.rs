//! The page of how Millstream compares with the real Flume and Spark: what each test that starts them shows, and what differs
//! on purpose.
//!
//! A test's name is its claim. In its documentation, or in that of its file, stands whom it runs against
//! (`Peers: Flume 1.9.0, Spark 2.4.8`); `differs("name", …)` in it asserts a difference of `docs/differences/`.

use std::fmt::Write;

use millstream_agent::differences::{Area, Difference};

use crate::tree::Tree;

/// Where the page lies.
pub(crate) const PAGE: &str = "docs/compat.md";
/// Where the tests lie, and how their files begin.
pub(crate) const TESTS: &str = "tests/tests";
const PREFIX: &str = "peers_";

/// A file of tests.
#[derive(Debug)]
pub(crate) struct Cases<'t> {
    /// Its name.
    pub(crate) file: &'t str,
    /// The first line of its documentation.
    title: &'t str,
    /// Its tests.
    pub(crate) cases: Vec<Case<'t>>,
    /// Lines outside of tests that assert a difference, from 1.
    pub(crate) astray: Vec<usize>,
}

/// A test.
#[derive(Debug, Default)]
pub(crate) struct Case<'t> {
    /// Its function.
    pub(crate) name: &'t str,
    /// Its line, from 1.
    pub(crate) line: usize,
    /// Whom it runs against, with version.
    pub(crate) peers: Vec<&'t str>,
    /// The differences that it asserts.
    pub(crate) differences: Vec<&'t str>,
}

/// The tests that start a real Flume or Spark.
pub(crate) fn tests(tree: &Tree) -> Vec<Cases<'_>> {
    let files = tree.below(TESTS).filter(|(path, _)| path.starts_with(PREFIX) && path.ends_with(".rs"));
    files.map(|(path, text)| Cases::read(path, text)).filter(|cases| !cases.cases.is_empty()).collect()
}

/// The page.
pub(crate) fn page(tree: &Tree, areas: &[Area]) -> String {
    let tests = tests(tree);
    let mut page = String::from(HEAD);
    for cases in &tests {
        let Cases { file, title, .. } = cases;
        let _ = write!(page, "\n### {title}\n\n[{file}](../{TESTS}/{file})\n\n{CASES}");
        for case in &cases.cases {
            let (peers, versions) = case.peers_and_versions();
            let _ = writeln!(page, "| {peers} | {versions} | {} | {} |", sentence(case.name), case.result());
        }
    }
    page.push_str(DIFFERENCES);
    for area in areas {
        let _ = write!(page, "\n### {}\n\n", titled(area.name));
        let is_of = area.differences.iter().any(|difference| !difference.of.is_empty());
        let peer = if area.name == "streams" { "Spark" } else { "Flume" };
        let (of, rule) = if is_of { (" |", "|---") } else { ("", "") };
        let _ = write!(page, "|{of} {peer} | Here | Why | Shown by |\n{rule}|---|---|---|---|\n");
        for difference in &area.differences {
            row(&mut page, difference, is_of, &tests);
        }
    }
    page
}

fn row(page: &mut String, difference: &Difference, is_of: bool, tests: &[Cases<'_>]) {
    let Difference { id, flume, here, why, unshown, .. } = difference;
    let flume = if flume.is_empty() { "–" } else { flume };
    let anchor = format!("<a id=\"{id}\"></a>");
    let first = if is_of { format!("{anchor}{} | {}", whose(difference), cell(flume)) } else { anchor + &cell(flume) };
    let shown = tests.iter().flat_map(|cases| {
        let shows = cases.cases.iter().filter(|case| case.differences.contains(&id.as_str()));
        shows.map(|case| format!("[{}](../{TESTS}/{})", sentence(case.name), cases.file))
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    let shown = if shown.is_empty() { cell(unshown) } else { shown };
    let _ = writeln!(page, "| {first} | {} | {} | {shown} |", cell(here), cell(why));
}

/// Whose a difference is; what is nobody's is everybody's.
fn whose(difference: &Difference) -> String {
    let of = difference.of.join(", ");
    match difference.part.as_str() {
        "" if of.is_empty() => "all".to_owned(),
        "" => of,
        part => format!("{part} ({of})"),
    }
}

fn titled(area: &str) -> &str {
    match area {
        "agents" => "Agents",
        "clients" => "Clients and launcher",
        "sources" => "Sources",
        "interceptors" => "Interceptors",
        "selectors" => "Selectors",
        "channels" => "Channels",
        "sinks" => "Sinks",
        "sinkgroups" => "Groups of sinks",
        "streams" => "Streams",
        other => other,
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

// === impl Cases ===

impl<'t> Cases<'t> {
    fn read(file: &'t str, text: &'t str) -> Self {
        let title = text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or(file);
        let all = text.lines().find_map(|line| line.strip_prefix("//! ").and_then(peers)).unwrap_or_default();
        let mut read = Self { file, title: title.trim_end_matches('.'), cases: Vec::new(), astray: Vec::new() };
        // The documentation above the next function; whether that is a test; the test that the line belongs to.
        let (mut own, mut is_test, mut open) = (None, false, false);
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if let Some(listed) = line.strip_prefix("/// ").and_then(peers) {
                own = Some(listed);
            } else if *line == "#[test]" {
                is_test = true;
            } else if let Some(name) = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
                let peers = own.take().unwrap_or_else(|| all.clone());
                open = std::mem::take(&mut is_test);
                if open {
                    read.cases.push(Case { name, line: index + 1, peers, differences: Vec::new() });
                }
            } else if *line == "}" {
                (open, own) = (false, None);
            }
            let Some(id) = asserted(line, lines.get(index + 1).copied()) else { continue };
            match read.cases.last_mut().filter(|_| open) {
                Some(case) if case.differences.contains(&id) => {}
                Some(case) => case.differences.push(id),
                None => read.astray.push(index + 1),
            }
        }
        read
    }
}

// === impl Case ===

impl Case<'_> {
    /// `Flume, Spark` and `1.9.0, 1.11.0, 2.4.8`.
    fn peers_and_versions(&self) -> (String, String) {
        let (mut names, mut versions): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for (name, version) in self.peers.iter().filter_map(|peer| peer.rsplit_once(' ')) {
            if !names.contains(&name) {
                names.push(name);
            }
            versions.push(version);
        }
        (names.join(", "), versions.join(", "))
    }

    fn result(&self) -> String {
        if self.differences.is_empty() {
            return "same".to_owned();
        }
        let links = self.differences.iter().map(|id| format!("[{id}](#{id})"));
        format!("differs: {}", links.collect::<Vec<_>>().join(", "))
    }
}

/// What a line of documentation lists: `Peers: Flume 1.9.0, Spark 2.4.8`.
fn peers(line: &str) -> Option<Vec<&str>> {
    let listed = line.strip_prefix("Peers: ")?;
    Some(listed.trim_end_matches('.').split(", ").collect())
}

/// The difference that a line asserts; its name may stand on the next one.
fn asserted<'t>(line: &'t str, next: Option<&'t str>) -> Option<&'t str> {
    let (before, behind) = line.split_once("differs(")?;
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') || before.trim_start().starts_with("//") {
        return None;
    }
    let behind = if behind.is_empty() { next?.trim_start() } else { behind };
    behind.strip_prefix('"')?.split('"').next()
}

/// `a_client_of_flume_1_9_is_served`: A client of flume 1.9 is served.
fn sentence(name: &str) -> String {
    let mut sentence = String::new();
    let words: Vec<&str> = name.split('_').collect();
    for (index, word) in words.iter().enumerate() {
        let is_number = |word: &str| word.chars().all(|c| c.is_ascii_digit());
        let of_version = index > 0 && is_number(word) && is_number(words[index - 1]);
        if index > 0 {
            sentence.push_str(if of_version { "." } else { " " });
        }
        match (index, word.chars().next()) {
            (0, Some(first)) => sentence.extend(first.to_uppercase().chain(word.chars().skip(1))),
            _ => sentence.push_str(word),
        }
    }
    sentence
}

const HEAD: &str = "# Compared with Flume and Spark

Generated by `cargo xtask docs`: [what is held against the real ones](#held-against-the-real-ones) from the tests that start
them, [what differs on purpose](#what-differs) from [docs/differences](differences). What is named in neither is meant to be the
same as in Flume 1.11.0 and Spark Streaming 2.4.7; tell us where it is not. What is not built yet is in the
[README](../README.md#not-built-yet). Options by component: [components](components/README.md); keys without effect say so there.
`millstream check` says of each key of a configuration what becomes of it.

## Held against the real ones

Each row is a test, which `make test` runs with the real programs on a JDK 17. *Same*: what it compares is the same, or the real
one takes what is ours, as the case says. *Differs*: the test asserts that what is linked there differs, and that nothing else does.
";

const CASES: &str = "| peer | version | case | result |\n|---|---|---|---|\n";

const DIFFERENCES: &str = "
## What differs

The last column names the tests above that show it side by side; where none does, it says why, and which test shows what is done here.
";

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "//! Clients at our source.
//! Peers: Flume 1.11.0

fn helper() {}

#[test]
fn a_client_of_flume_1_11_is_served() {
    helper();
    differs(\"first\", 1, 2);
    differs(
        \"second\", 1, 2);
}

/// Peers: Flume 1.9.0, Spark 2.4.8
#[test]
fn another() {
}

fn outside() {
    differs(\"first\", 1, 2);
    other_differs(\"x\");
}
";

    #[test]
    fn every_test_is_a_row_and_helpers_are_none() {
        let tree = Tree::of(&[("tests/tests/peers_x.rs", FILE), ("tests/tests/other.rs", FILE)]);
        let page = page(&tree, &[]);
        let wanted = "### Clients at our source\n\n[peers_x.rs](../tests/tests/peers_x.rs)\n\n\
            | peer | version | case | result |\n|---|---|---|---|\n\
            | Flume | 1.11.0 | A client of flume 1.11 is served | differs: [first](#first), [second](#second) |\n\
            | Flume, Spark | 1.9.0, 2.4.8 | Another | same |\n";
        assert!(page.contains(wanted), "{page}");
        assert_eq!(tests(&tree)[0].astray, [20]);
    }

    #[test]
    fn a_difference_names_who_shows_it_or_says_why_nobody_does() {
        let tree = Tree::of(&[("tests/tests/peers_x.rs", FILE)]);
        let rows = r#"[{"id": "first", "of": ["avro"], "part": "text", "flume": "a | b", "here": "c"},
                       {"id": "third", "here": "d", "why": "e", "unshown": "not built"}]"#;
        let differences: Vec<Difference> = serde_json::from_str(rows).unwrap();
        let page = page(&tree, &[Area { name: "sinks", differences }]);
        let wanted = "### Sinks\n\n| | Flume | Here | Why | Shown by |\n|---|---|---|---|---|\n\
            | <a id=\"first\"></a>text (avro) | a \\| b | c |  | \
            [A client of flume 1.11 is served](../tests/tests/peers_x.rs) |\n\
            | <a id=\"third\"></a>all | – | d | e | not built |\n";
        assert!(page.ends_with(wanted), "{page}");
    }
}
