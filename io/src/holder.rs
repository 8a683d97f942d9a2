//! Who holds what we want, for messages: as far as `/proc` shows it to us.

use std::fs;
use std::path::Path;

/// Another process that has the file open.
pub fn of_file(path: &Path) -> Option<String> {
    let wanted = fs::canonicalize(path).ok()?;
    process_with(|target| target == wanted, |pid| pid != std::process::id())
}

/// A process, maybe this one, that listens on a TCP port of this machine.
pub fn of_port(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let sockets: Vec<String> = tables.iter().flat_map(|table| listeners(table, port)).collect();
    process_with(|target| sockets.iter().any(|socket| Path::new(socket) == target), |_| true)
}

/// Links of the sockets in a table of the kernel's that listen on `port`.
fn listeners(table: &str, port: u16) -> impl Iterator<Item = String> {
    let local = format!(":{port:04X}");
    table.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        (address.ends_with(&local) && *state == LISTENS).then(|| format!("socket:[{inode}]"))
    })
}

/// The first process with a descriptor whose link is `wanted`.
fn process_with(wanted: impl Fn(&Path) -> bool, counts: impl Fn(u32) -> bool) -> Option<String> {
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
        if counts(pid) && open.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| wanted(&target))) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", name.trim()));
        }
    }
    None
}

/// State of a socket that waits for peers, `TCP_LISTEN`.
const LISTENS: &str = "0A";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_port_is_held_by_who_listens_on_it() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has no such holder either.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            let holder = of_port(port).unwrap();
            assert!(holder.starts_with(&format!("process {} (", std::process::id())), "{holder}");
        }
        assert_eq!(of_port(0), None);
    }

    #[test]
    fn a_file_is_held_by_another_process_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(of_file(file.path()), None);
        let stdout = file.reopen().unwrap();
        let mut other = Command::new("cat").stdin(Stdio::piped()).stdout(stdout).spawn().unwrap();
        assert!(of_file(file.path()).unwrap().starts_with(&format!("process {} (", other.id())));
        drop(other.stdin.take());
        other.wait().unwrap();
    }
}
