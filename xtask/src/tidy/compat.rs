//! Each test that starts a real Flume or Spark says which, and asserts differences that are written down.

use millstream_agent::differences::{DIR, areas};

use super::Finding;
use crate::compat::{self, Case, TESTS};
use crate::tree::Tree;

/// The peers that `testkit/src/peer/` starts: as tests name them, and what in their text starts them.
const PEERS: &[(&str, &[&str])] = &[
    ("Flume 1.11.0", &["V1_11", "Flume111", "Both::start"]),
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
    let known: Vec<&str> = areas().iter().flat_map(|area| &area.differences).map(|one| one.id.as_str()).collect();
    findings(tree, &known)
}

fn findings(tree: &Tree, known: &[&str]) -> Vec<Finding> {
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
            let problems = of_peers(case, text).into_iter().chain(of_differences(case, known));
            findings.extend(problems.map(|problem| Finding::new(format_args!("{path}:{}", case.line), problem)));
        }
    }
    findings
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let found: Vec<String> = findings(&tree, &["one"]).iter().map(ToString::to_string).collect();
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
