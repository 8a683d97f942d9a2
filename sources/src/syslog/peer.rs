//! Headers that say who sent a message.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use millstream_core::Options;

use crate::gather::Gather;

/// The `clientIPHeader` and `clientHostnameHeader` options.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerHeaders {
    address: Option<String>,
    host_name: Option<String>,
}

/// A peer and what the resolver calls it.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    address: IpAddr,
    name: Arc<str>,
}

/// What the resolver called peers, remembered for a source that hears many of them by turns.
#[derive(Debug, Default)]
pub(crate) struct PeerNames(HashMap<IpAddr, Arc<str>>);

/// Names remembered; beyond that all are asked for anew.
const MOST_NAMES: usize = 1024;

// === impl PeerHeaders ===

impl PeerHeaders {
    pub(crate) fn from_options(options: &Options) -> Self {
        let name = |key| options.find(key).filter(|name| !name.is_empty()).map(str::to_owned);
        Self { address: name("clientIPHeader"), host_name: name("clientHostnameHeader") }
    }

    /// Finds out what the headers of this peer need.
    pub(crate) async fn named(&self, address: IpAddr) -> Named {
        let address = address.to_canonical();
        let name = match &self.host_name {
            Some(_) => look_up(address).await,
            None => "".into(),
        };
        Named { address, name }
    }

    /// Adds the headers to the next event.
    pub(crate) fn add(&self, peer: &Named, events: &mut Gather) {
        if let Some(key) = &self.address {
            events.header_of(key, peer.address);
        }
        if let Some(key) = &self.host_name {
            events.header(key, peer.name.as_bytes());
        }
    }
}

// === impl PeerNames ===

impl PeerNames {
    /// As [`PeerHeaders::named`], asking once for each peer.
    pub(crate) async fn named(&mut self, headers: &PeerHeaders, address: IpAddr) -> Named {
        if headers.host_name.is_none() {
            return headers.named(address).await;
        }
        if let Some(name) = self.0.get(&address) {
            return Named { address: address.to_canonical(), name: Arc::clone(name) };
        }
        let named = headers.named(address).await;
        if self.0.len() >= MOST_NAMES {
            self.0.clear();
        }
        self.0.insert(address, Arc::clone(&named.name));
        named
    }
}

/// The resolver's name; the address where it has none, as in Java.
async fn look_up(address: IpAddr) -> Arc<str> {
    let asked = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&address));
    match asked.await {
        Ok(Ok(name)) => name.into(),
        _ => address.to_string().into(),
    }
}
