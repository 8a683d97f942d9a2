//! Real text for a first look: this repository's documents and the machine's readable logs.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use millstream_core::{Error, Result};
use millstream_io::{Disk, SystemDisk};

/// Of a long log this much is copied.
const MOST_BYTES: u64 = 16 << 20;

/// Logs that a machine keeps of its packages and its start; all are text.
const LOGS: &[&str] = &[
    "/var/log/dpkg.log",
    "/var/log/apt/history.log",
    "/var/log/apt/term.log",
    "/var/log/alternatives.log",
    "/var/log/bootstrap.log",
    "/var/log/dnf.log",
    "/var/log/pacman.log",
    "/var/log/syslog",
    "/var/log/messages",
];

/// Copies each sample that was not copied before into the spool directory; returns how many. What cannot be read is left
/// out: nobody depends on it.
///
/// # Errors
/// `Io` when the spool directory cannot be written.
pub(super) fn copy_into(spool: &Path) -> Result<usize> {
    let mut copied = 0;
    for path in documents().into_iter().chain(LOGS.iter().map(PathBuf::from)) {
        let name = path.to_string_lossy().trim_start_matches(['.', '/']).replace('/', "-");
        let known = ["", ".COMPLETED", ".REJECTED"].iter().any(|state| spool.join(format!("{name}{state}")).exists());
        if known {
            continue;
        }
        let Some(text) = read(&path) else { continue };
        // Hidden while it is written, so that it is never read half.
        let hidden = spool.join(format!(".{name}"));
        fs::write(&hidden, text).map_err(|error| Error::io("write", &hidden, error))?;
        SystemDisk.rename(&hidden, &spool.join(&name))?;
        copied += 1;
    }
    Ok(copied)
}

/// The documents below the working directory, if it is a checkout.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from("./docs")];
    if Path::new("Cargo.toml").exists() {
        dirs.push(PathBuf::from("."));
    }
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && dir != Path::new(".") {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}
