//! Finds the program under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// The `millstream` binary of the same profile and target directory as the running test, built now if it is not up to
/// date: cargo builds the binaries of a test's own package only.
pub fn millstream() -> &'static Path {
    BINARY.get_or_init(build)
}

fn build() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // <target directory>/<profile>/deps/<test>
    let profile_dir = test.ancestors().nth(2).expect("a test lies in its target directory");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--package", "millstream-cli", "--bin", "millstream", "--message-format", "json"])
        .args(["--profile", profile, "--target-dir"])
        .arg(profile_dir.parent().expect("a profile lies in a target directory"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "cargo could not build millstream: {}", built.status);
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let found = artifacts
        .filter(|artifact| artifact["target"]["name"] == "millstream")
        .find_map(|artifact| artifact["executable"].as_str().map(PathBuf::from));
    found.expect("cargo names the binary that it built")
}
