//! Each test that starts a real Flume or Spark says which, and asserts differences that are written down; each difference has
//! its reason, and a test that asserts it or a word why none does.

use std::collections::BTreeSet;

use millstream_agent::differences::{Area, DIR, Difference, areas};

use super::Finding;
use crate::compat::{self, Case, TESTS};
use crate::tree::Tree;

/// The peers that `testkit/src/peer/` starts: as tests name them, and what in their text starts them.
const PEERS: &[(&str, &[&str])] = &[
    ("Flume 1.11.0", &["V1_11", "Flume111", "Both::start", "Held::start"]),
    ("Flume 1.9.0", &["V1_9", "Flume19"]),
    ("SparkSink 2.4.7", &["spark_sink", "SparkSink"]),
    ("SparkSink 1.6.1", &["WithOldSparkSink"]),
    ("Spark 2.4.8", &["SparkWordCount"]),
    ("HDFS 3.4.3", &["Hdfs"]),
];

/// Parts of a test's name that promise a peer.
const PROMISES: &[(&str, &str)] = &[("flume_1_11", "Flume 1.11.0"), ("flume_1_9", "Flume 1.9.0")];

/// Reads what each test says, and compares it with what its text does.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    findings(tree, areas())
}

fn findings(tree: &Tree, areas: &[Area]) -> Vec<Finding> {
    let known: Vec<&str> = areas.iter().flat_map(|area| &area.differences).map(|one| one.id.as_str()).collect();
    let mut findings = Vec::new();
    for (file, _) in tree.below(DIR).filter(|(file, _)| !is_area(file)) {
        findings
            .push(Finding::new(format_args!("{DIR}/{file}"), "is read by nobody: name it in agent/src/differences.rs"));
    }
    for cases in compat::tests(tree) {
        let path = format!("{TESTS}/{}", cases.file);
        let text = tree.text(&path).unwrap_or_default();
        for line in &cases.astray {
            findings.push(Finding::new(
                format_args!("{path}:{line}"),
                "differs(…) stands in the test that it shows, not in a helper",
            ));
        }
        for case in &cases.cases {
            let problems = of_peers(case, text).into_iter().chain(of_differences(case, &known));
            findings.extend(problems.map(|problem| Finding::new(format_args!("{path}:{}", case.line), problem)));
        }
    }
    let tests = Tests::of(tree);
    for area in areas {
        let of_row = |row| tests.of_row(row).into_iter().map(|problem| (area.name, problem));
        let problems = area.differences.iter().flat_map(of_row);
        findings.extend(problems.map(|(name, problem)| Finding::new(format_args!("{DIR}/{name}.toml"), problem)));
    }
    findings
}

/// What a difference may name: the tests of the tree, and the differences that tests beside real peers assert.
struct Tests<'t> {
    names: BTreeSet<&'t str>,
    asserted: BTreeSet<&'t str>,
}

fn is_area(file: &str) -> bool {
    areas().iter().any(|area| file.strip_suffix(".toml") == Some(area.name))
}

fn of_peers(case: &Case<'_>, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if case.peers.is_empty() {
        problems.push("says of no real peer that it runs against it: add /// Peers: Flume 1.11.0".to_owned());
    }
    for peer in &case.peers {
        match PEERS.iter().find(|(name, _)| name == peer) {
            Some((_, marks)) if marks.iter().any(|mark| text.contains(mark)) => {}
            Some(_) => problems.push(format!("says that it runs against {peer}, and nothing in its file starts that")),
            None => {
                let known: Vec<&str> = PEERS.iter().map(|(name, _)| *name).collect();
                problems.push(format!("unknown peer {peer:?}; there are {}", known.join(", ")));
            }
        }
    }
    let promised = PROMISES.iter().filter(|(part, peer)| case.name.contains(part) && !case.peers.contains(peer));
    problems.extend(promised.map(|(_, peer)| format!("its name promises {peer}, its Peers: do not")));
    problems
}

fn of_differences(case: &Case<'_>, known: &[&str]) -> Vec<String> {
    let unknown = case.differences.iter().filter(|id| !known.contains(id));
    unknown.map(|id| format!("asserts the difference {id:?}, which is not in docs/differences")).collect()
}

// === impl Tests ===

impl<'t> Tests<'t> {
    fn of(tree: &'t Tree) -> Self {
        let cases = compat::tests(tree).into_iter().flat_map(|cases| cases.cases);
        let names = tree.ending(".rs").flat_map(|(_, text)| text.lines()).filter_map(function).collect();
        Self { names, asserted: cases.flat_map(|case| case.differences).collect() }
    }

    fn of_row(&self, row: &Difference) -> Vec<String> {
        let Difference { id, why, unshown, .. } = row;
        let mut problems = Vec::new();
        if why.is_empty() {
            problems.push(format!("{id} has no reason: add why = \"...\""));
        }
        match (self.asserted.contains(id.as_str()), unshown.is_empty()) {
            (false, true) => problems.push(format!(
                "no test beside the real one asserts {id}: add differs({id:?}, ...) to one, or say unshown = \"why not\""
            )),
            (true, false) => problems.push(format!("{id} is asserted beside the real one: take its unshown out")),
            _ => {}
        }
        let named = unshown.split('`').skip(1).step_by(2).filter(|name| is_test_name(name));
        let unknown = named.filter(|name| !self.names.contains(name));
        problems.extend(unknown.map(|name| format!("{id} names the test {name}, which is not there")));
        problems
    }
}

/// The function that a line begins.
fn function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

/// Tests are named as claims.
fn is_test_name(text: &str) -> bool {
    text.matches('_').count() > 1 && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(json: &str) -> [Area; 1] {
        [Area { name: "sinks", differences: serde_json::from_str(json).expect("rows") }]
    }

    #[test]
    fn a_difference_without_reason_or_test_is_found_and_one_whose_test_is_not_there() {
        let file = "//! Clients.\n//! Peers: Flume 1.11.0\n\n#[test]\nfn known() {\n    V1_11;\n    differs(\"one\", 1, 2);\n\
            \x20   differs(\"two\", 1, 2);\n}\n";
        let own = "mod tests {\n    async fn ours_does_it() {}\n}\n";
        let tree = Tree::of(&[("tests/tests/peers_a.rs", file), ("sinks/src/a.rs", own)]);
        let rows = rows(
            r#"[{"id": "one", "here": "a"},
                {"id": "two", "here": "a", "why": "b", "unshown": "c"},
                {"id": "three", "here": "a", "why": "b"},
                {"id": "four", "here": "a", "why": "b", "unshown": "ours in `ours_does_it`, not `ours_does_not`"},
                {"id": "five", "here": "a", "why": "b", "unshown": "`sink.a_b` cannot be compared"}]"#,
        );
        let found: Vec<String> = findings(&tree, &rows).iter().map(ToString::to_string).collect();
        let wanted = [
            "docs/differences/sinks.toml: one has no reason: add why = \"...\"",
            "docs/differences/sinks.toml: two is asserted beside the real one: take its unshown out",
            "docs/differences/sinks.toml: no test beside the real one asserts three: add differs(\"three\", ...) to one, or say \
             unshown = \"why not\"",
            "docs/differences/sinks.toml: four names the test ours_does_not, which is not there",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn unknown_peers_and_differences_and_broken_promises_are_found() {
        let file = "//! Clients.\n//! Peers: Flume 1.11.0\n\n#[test]\nfn known() {\n    V1_11;\n    differs(\"one\", 1, 2);\n}\n\
            #[test]\nfn of_flume_1_9() {\n    differs(\"two\", 1, 2);\n}\n\
            /// Peers: Flume 1.8.0, Spark 2.4.8\n#[test]\nfn other() {\n}\nfn astray() {\n    differs(\"one\", 1, 2);\n}\n";
        let bare = "//! Clients.\n#[test]\nfn bare() {\n}\n";
        let tests = [("tests/tests/peers_a.rs", file), ("tests/tests/peers_b.rs", bare)];
        let tree = Tree::of(
            &[&tests[..], &[("docs/differences/more.toml", ""), ("docs/differences/sinks.toml", "")]].concat(),
        );
        let one = rows(r#"[{"id": "one", "here": "a", "why": "b"}]"#);
        let found: Vec<String> = findings(&tree, &one).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 7, "{found:#?}");
        for (found, wanted) in found.iter().zip([
            "docs/differences/more.toml: is read by nobody",
            "tests/tests/peers_a.rs:18: differs(…) stands",
            "tests/tests/peers_a.rs:10: its name promises Flume 1.9.0",
            "tests/tests/peers_a.rs:10: asserts the difference \"two\"",
            "tests/tests/peers_a.rs:15: unknown peer \"Flume 1.8.0\"",
            "tests/tests/peers_a.rs:15: says that it runs against Spark 2.4.8, and nothing",
            "tests/tests/peers_b.rs:3: says of no real peer",
        ]) {
            assert!(found.starts_with(wanted), "{found}");
        }
    }
}
