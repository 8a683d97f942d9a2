//! Bytes that nobody vouches for, kept as files: `testkit/hostile/`.
#![allow(clippy::unwrap_used, reason = "for tests")]

use std::path::Path;

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostile {
    /// Its file, without the ending: what it is.
    pub name: String,
    /// What somebody sends.
    pub bytes: Vec<u8>,
}

/// All of them, by name.
pub fn hostile() -> Vec<Hostile> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            all.push(Hostile { name, bytes: std::fs::read(&path).unwrap() });
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(all.len() >= 80, "{} inputs", all.len());
    all
}
