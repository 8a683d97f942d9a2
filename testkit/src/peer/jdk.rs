//! The Java that peers run on: 17, whatever else is installed. Newer ones refuse what Spark and Hadoop do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const VERSION: &str = "17";
const MISSING: &str = "no JDK 17 is found in JAVA_HOME_17, JAVA_HOME, /usr/lib/jvm or on the PATH; \
                       install it: apt-get install openjdk-17-jdk-headless maven";

static HOME: OnceLock<PathBuf> = OnceLock::new();

/// The directory that holds `bin/java` and `bin/javac`.
pub(super) fn home() -> &'static Path {
    HOME.get_or_init(|| candidates().into_iter().find(|home| is_wanted(home)).expect(MISSING))
}

pub(super) fn java() -> PathBuf {
    home().join("bin/java")
}

pub(super) fn javac() -> PathBuf {
    home().join("bin/javac")
}

fn candidates() -> Vec<PathBuf> {
    let named = ["JAVA_HOME_17", "JAVA_HOME"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let installed = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    let installed = installed.filter(|path| path.to_string_lossy().contains(VERSION));
    let mut candidates: Vec<PathBuf> = named.chain(installed).collect();
    // <home>/bin/javac, behind links.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter_map(|dir| dir.join("javac").canonicalize().ok());
    candidates.extend(on_path.filter_map(|javac| javac.ancestors().nth(2).map(Path::to_path_buf)));
    candidates
}

fn is_wanted(home: &Path) -> bool {
    // `openjdk version "17.0.15" 2025-04-15`, on standard error.
    let Ok(output) = Command::new(home.join("bin/java")).arg("-version").output() else { return false };
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    told.contains(&format!("version \"{VERSION}.")) && home.join("bin/javac").is_file()
}
