//! Finds the programs under test.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

static MILLSTREAM: OnceLock<PathBuf> = OnceLock::new();
static RELEASED: OnceLock<PathBuf> = OnceLock::new();
static EXAMPLES: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);

/// The `millstream` binary of the same profile and target directory as the running test, built now if it is not up to
/// date: cargo builds the binaries of a test's own package only.
pub fn millstream() -> &'static Path {
    MILLSTREAM.get_or_init(|| build("millstream", MILLSTREAM_BINARY, None))
}

/// The same as it is given to users: what memory and idling are measured on.
pub fn released_millstream() -> &'static Path {
    RELEASED.get_or_init(|| build("millstream", MILLSTREAM_BINARY, Some("release")))
}

/// A program of `tests/examples/`, built for release.
pub fn released_helper(name: &str) -> PathBuf {
    build(name, &["--package", "millstream-tests", "--example", name], Some("release"))
}

/// A program of `examples/`, built in the same way.
pub fn example(name: &str) -> PathBuf {
    let mut examples = EXAMPLES.lock().unwrap();
    let examples = examples.get_or_insert_default();
    let built = examples.entry(name.to_owned());
    built.or_insert_with(|| build(name, &["--package", "millstream", "--example", name], None)).clone()
}

const MILLSTREAM_BINARY: &[&str] = &["--package", "millstream-cli", "--bin", "millstream"];

/// Builds in the profile of the running test, unless another is named.
fn build(name: &str, what: &[&str], other_profile: Option<&str>) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // <target directory>/<profile>/deps/<test>
    let profile_dir = test.ancestors().nth(2).expect("a test lies in its target directory");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let profile = other_profile.unwrap_or(profile);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What cargo says to this test about its package would be news to build scripts, and what depends on them be built
    // anew by every test, and after it.
    let of_this_package = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    std::env::vars_os().map(|(name, _)| name).filter(of_this_package).for_each(|name| {
        command.env_remove(name);
    });
    let built = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--message-format", "json"])
        .args(what)
        .args(["--profile", profile, "--target-dir"])
        .arg(profile_dir.parent().expect("a profile lies in a target directory"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "cargo could not build {name}: {}", built.status);
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let found = artifacts
        .filter(|artifact| artifact["target"]["name"] == name)
        .find_map(|artifact| artifact["executable"].as_str().map(PathBuf::from));
    found.expect("cargo names the binary that it built")
}
