//! The directory of a job, read without its program: what it counted, and its dead letters.

mod audit;
mod letters;

pub use audit::{JobAudit, audit};
pub use letters::{DeadLetters, Letter};

use std::path::{Path, PathBuf};

use crate::job::LOG_DIR;

/// How deep below a directory jobs are looked for.
const MOST_DEPTH: usize = 16;

/// The checkpoint directories of jobs at or below `dir`, sorted. What cannot be read is passed over.
pub fn find(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    look_into(dir, MOST_DEPTH, &mut found);
    found.sort();
    found
}

fn look_into(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if is_job(dir) {
        found.push(dir.to_owned());
    }
    if depth == 0 {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        // A link could lead round in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            look_into(&entry.path(), depth - 1, found);
        }
    }
}

fn is_job(dir: &Path) -> bool {
    let files = std::fs::read_dir(dir.join(LOG_DIR)).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.path().extension().is_some_and(|end| end == "log"))
}
