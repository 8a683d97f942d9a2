//! Logs into an agent: each line becomes an event of its avro source, with the headers of Flume's log4j appender.
//!
//!     cargo run -p millstream --example tracing_to_agent -- 127.0.0.1 4141

use millstream::client::{FlumeLayer, WhenFull};
use tracing_subscriber::prelude::*;

fn main() -> millstream::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = arguments.next().and_then(|port| port.parse().ok()).unwrap_or(4141);

    let (layer, guard) = FlumeLayer::to(&host, port).when_full(WhenFull::Block).start()?;
    tracing_subscriber::registry().with(layer).with(tracing_subscriber::fmt::layer()).init();

    for order in 1..=3 {
        tracing::info!(order, "received");
    }
    tracing::warn!(order = 2, reason = "no stock", "cannot be delivered");

    // Sends what still waits.
    drop(guard);
    Ok(())
}
