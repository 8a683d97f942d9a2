//! Where a peer lives: a directory and ports of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

/// Below the ports that the kernel gives to outgoing connections, so that none of them takes one before its server does.
const PORTS: Range<u16> = 20_000..32_000;

static NEXT: AtomicU16 = AtomicU16::new(0);
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A directory and named ports, kept over all lives of a peer.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
    ports: BTreeMap<&'static str, u16>,
}

// === impl Place ===

impl Default for Place {
    /// An empty directory; no port yet.
    fn default() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), ports: BTreeMap::new() }
    }
}

impl Place {
    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The port of this name, chosen when it is asked for first.
    pub fn port(&mut self, name: &'static str) -> u16 {
        *self.ports.entry(name).or_insert_with(free_port)
    }

    /// A port that was chosen.
    pub fn chosen_port(&self, name: &str) -> u16 {
        self.ports[name]
    }

    pub(super) fn all_ports(&self) -> impl Iterator<Item = u16> + use<'_> {
        self.ports.values().copied()
    }

    /// Chooses all ports anew.
    pub(super) fn forget_ports(&mut self) {
        self.ports.clear();
    }
}

/// A port of this machine on which nobody listens, never given twice by this process.
pub fn free_port() -> u16 {
    let count = PORTS.end - PORTS.start;
    // Every process begins somewhere else.
    let first = (std::process::id().wrapping_mul(7919) % u32::from(count)) as u16;
    for _ in 0..count {
        let port = PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed) % count) % count;
        let free = ["127.0.0.1", "0.0.0.0"].iter().all(|host| TcpListener::bind((*host, port)).is_ok());
        if free && GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}
