//! A link that can be cut.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Listens, and passes everything on to one target.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    cuts: watch::Sender<u32>,
    _running: JoinSet<()>,
}

// === impl Proxy ===

impl Proxy {
    /// A proxy in front of `target`, which need not be there yet.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = watch::Sender::new(0);
        let seen = cuts.clone();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut cut = seen.subscribe();
                links.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, cuts, _running: running }
    }

    /// Cuts every link there is now.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}
