//! What this host is called, as Java's `InetAddress.getLocalHost` sees it.
//!
//! # Errors
//! `Net`, when the host's own name has no address: add it to `/etc/hosts`.

use std::net::{IpAddr, ToSocketAddrs};

use millstream_core::{Error, Result};

/// The host's name and addresses, looked up once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalHost {
    /// What the system calls it: `hostname`.
    pub name: String,
    /// The first address of that name, IPv4 where there is one.
    pub address: IpAddr,
}

// === impl LocalHost ===

impl LocalHost {
    /// Asks the system and its resolver; may take as long as that takes.
    pub fn look_up() -> Result<Self> {
        let name = dns_lookup::get_hostname().map_err(|error| Error::net("get the name of", "this host", error))?;
        let addresses = (name.as_str(), 0).to_socket_addrs();
        let addresses = addresses.map_err(|error| Error::net("look up this host's own name,", &name, error))?;
        let mut addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
        // Stable: the resolver's order among equals.
        addresses.sort_by_key(IpAddr::is_ipv6);
        let none = || Error::net("look up this host's own name,", &name, std::io::ErrorKind::NotFound.into());
        let address = addresses.first().copied().ok_or_else(none)?;
        Ok(Self { name, address })
    }

    /// The full name that the address has; the address itself where it has none.
    pub fn canonical_name(&self) -> String {
        // A host without reverse entry is common, and its address says as much.
        dns_lookup::lookup_addr(&self.address).unwrap_or_else(|_| self.address.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn this_host_has_a_name_and_an_address() {
        let host = LocalHost::look_up().unwrap();
        assert!(!host.name.is_empty());
        assert!(!host.canonical_name().is_empty());
        assert_eq!(host, LocalHost::look_up().unwrap());
    }
}
