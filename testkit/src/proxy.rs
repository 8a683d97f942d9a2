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
    state: watch::Sender<Link>,
    _running: JoinSet<()>,
}

/// What is done to links.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    cuts: u32,
    down: bool,
}

// === impl Proxy ===

impl Proxy {
    /// A proxy in front of `target`, which need not be there yet.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = watch::Sender::new(Link::default());
        let seen = state.clone();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                // Those that ended.
                while links.try_join_next().is_some() {}
                let mut cut = seen.subscribe();
                if cut.borrow().down {
                    continue;
                }
                links.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, state, _running: running }
    }

    /// Cuts every link there is now.
    pub fn cut(&self) {
        self.state.send_modify(|link| link.cuts += 1);
    }

    /// Takes the link down, with all that is on it, or brings it up again.
    pub fn down(&self, down: bool) {
        self.state.send_modify(|link| link.down = down);
    }
}
