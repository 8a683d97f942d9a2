//! Who may use whom: the layers of `ARCHITECTURE.md` against `cargo metadata`.

use std::process::Command;

use serde_json::Value;

use super::Finding;
use crate::tree::{Tree, root};

/// Where a folder stands. A folder may use those of lower layers, but for the exceptions below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// The words.
    Words,
    /// Text, bytes, disk: each alone on the words.
    Ground,
    /// The journal and heavy clients: on disk and bytes too.
    Store,
    /// The stages of the path. Never each other.
    Stage,
    /// The page: on the words alone, so that it shows an agent and a job alike.
    Page,
    /// Builds and runs the path.
    Agent,
    /// The binary and the facade.
    Program,
    /// Tests, benches and this program.
    Tool,
}

const FOLDERS: &[(&str, Layer)] = &[
    ("core", Layer::Words),
    ("config", Layer::Ground),
    ("wire", Layer::Ground),
    ("io", Layer::Ground),
    ("journal", Layer::Store),
    ("rpc", Layer::Store),
    ("clients/kafka", Layer::Store),
    ("clients/hdfs", Layer::Store),
    ("clients/hbase", Layer::Store),
    ("sources", Layer::Stage),
    ("interceptors", Layer::Stage),
    ("selectors", Layer::Stage),
    ("channels", Layer::Stage),
    ("sinks", Layer::Stage),
    ("streams", Layer::Stage),
    ("outputs", Layer::Stage),
    ("web", Layer::Page),
    ("agent", Layer::Agent),
    ("cli", Layer::Program),
    ("millstream", Layer::Program),
    ("testkit", Layer::Tool),
    ("tests", Layer::Tool),
    ("tests/interleavings/core", Layer::Tool),
    ("tests/interleavings/journal", Layer::Tool),
    ("tests/interleavings/channels", Layer::Tool),
    ("benches", Layer::Tool),
    ("xtask", Layer::Tool),
];

/// Folders at the root that hold no package.
const OTHER_FOLDERS: &[&str] = &["docs", "examples", "packaging", "clients"];

/// What cargo says about the packages of this workspace.
pub(super) fn metadata() -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// Checks folders, names and dependencies.
pub(super) fn check(tree: &Tree, metadata: &Value) -> Vec<Finding> {
    let mut findings: Vec<Finding> = tree.root_folders().into_iter().filter_map(unknown_folder).collect();
    let map = tree.text(MAP).unwrap_or_default();
    for package in list(&metadata["packages"]) {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((folder, layer)) = place_of(name) else {
            findings.push(Finding::new(name, format_args!("no folder of {MAP} has this name; {RULE}")));
            continue;
        };
        if !map.contains(&format!("`{folder}/`")) {
            findings.push(Finding::new(MAP, format_args!("`{folder}/` is not in the code map")));
        }
        for dependency in list(&package["dependencies"]) {
            let Some(problem) = forbidden(folder, layer, dependency) else { continue };
            findings.push(Finding::new(format_args!("{folder}/Cargo.toml"), format_args!("{problem}; {RULE}")));
        }
    }
    findings
}

fn unknown_folder(folder: &str) -> Option<Finding> {
    let known = FOLDERS.iter().map(|(known, _)| *known).chain(OTHER_FOLDERS.iter().copied());
    let known = known.into_iter().any(|known| known == folder);
    (!known).then(|| Finding::new(folder, "a further folder at the root needs an ADR, and a line in xtask"))
}

fn forbidden(folder: &str, layer: Layer, dependency: &Value) -> Option<String> {
    let name = dependency["name"].as_str()?;
    let (used, below) = place_of(name)?;
    let in_tests_only = dependency["kind"] == "dev";
    if used == "testkit" && !in_tests_only && layer != Layer::Tool {
        return Some("testkit is for tests: move it to dev-dependencies".to_owned());
    }
    let allowed = match (layer, below) {
        _ if layer == Layer::Tool || used == "testkit" => true,
        (_, Layer::Tool) => false,
        // Tests of a stage may put another one beside it.
        _ if in_tests_only => below <= layer,
        (Layer::Ground | Layer::Page, _) => below == Layer::Words,
        (Layer::Store, _) => matches!(used, "core" | "io" | "wire"),
        (Layer::Agent, Layer::Page) => false,
        (Layer::Program, _) => folder != used,
        _ => below < layer,
    };
    (!allowed).then(|| format!("{folder} must not use {used}"))
}

fn place_of(package: &str) -> Option<(&'static str, Layer)> {
    // `core` is a folder itself before it is the end of another one.
    let named = |folder: &str| match package.strip_prefix("millstream-") {
        Some(rest) => format!("/{folder}").replace('/', "-").ends_with(&format!("-{rest}")),
        None => folder == package,
    };
    FOLDERS.iter().copied().find(|(folder, _)| named(folder))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

const MAP: &str = "ARCHITECTURE.md";
const RULE: &str = "see the layers in ARCHITECTURE.md";

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(package: &str, dependency: &str, kind: Option<&str>) -> Vec<String> {
        let folder = place_of(package).map_or("", |(folder, _)| folder);
        let tree = Tree::of(&[(MAP, &format!("`{folder}/`"))]);
        let dependencies = [serde_json::json!({ "name": dependency, "kind": kind })];
        let metadata = serde_json::json!({ "packages": [{ "name": package, "dependencies": dependencies }] });
        check(&tree, &metadata).into_iter().map(|finding| finding.problem).collect()
    }

    #[test]
    fn stages_use_each_other_in_tests_only() {
        let wanted = "streams must not use sinks; see the layers in ARCHITECTURE.md";
        assert_eq!(problems("millstream-streams", "millstream-sinks", None), [wanted]);
        assert_eq!(problems("millstream-streams", "millstream-sinks", Some("build")), [wanted]);
        assert!(problems("millstream-streams", "millstream-sinks", Some("dev")).is_empty());
        assert!(problems("millstream-streams", "millstream-journal", None).is_empty());
    }

    #[test]
    fn nothing_looks_upwards() {
        assert_eq!(problems("millstream-core", "millstream-io", None).len(), 1);
        assert_eq!(problems("millstream-wire", "millstream-io", None).len(), 1);
        assert_eq!(problems("millstream-journal", "millstream-config", None).len(), 1);
        assert_eq!(problems("millstream-sources", "millstream-agent", Some("dev")).len(), 1);
        assert_eq!(problems("millstream-agent", "millstream-cli", None).len(), 1);
        assert!(problems("millstream-cli", "millstream-agent", None).is_empty());
        assert!(problems("millstream-core", "tokio", None).is_empty());
    }

    #[test]
    fn the_testkit_is_no_part_of_the_program() {
        assert_eq!(problems("millstream-cli", "millstream-testkit", None).len(), 1);
        assert!(problems("millstream-core", "millstream-testkit", Some("dev")).is_empty());
        assert!(problems("millstream-tests", "millstream-testkit", None).is_empty());
    }

    #[test]
    fn the_page_knows_the_words_alone() {
        assert_eq!(problems("millstream-web", "millstream-streams", None).len(), 1);
        assert!(problems("millstream-web", "millstream-core", None).is_empty());
    }

    #[test]
    fn a_new_root_folder_a_new_package_and_a_gap_in_the_code_map_are_found() {
        let metadata = serde_json::json!({ "packages": [{ "name": "millstream-utils" }, { "name": "millstream-io" }] });
        let findings = check(&Tree::of(&[("common/src/lib.rs", ""), ("core/src/lib.rs", "")]), &metadata);
        let places: Vec<&str> = findings.iter().map(|finding| finding.place.as_str()).collect();
        assert_eq!(places, ["common", "millstream-utils", MAP]);
    }
}
