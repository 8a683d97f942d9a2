//! What tests share: fakes of the outside world, components at work, contracts, and the real programs at the
//! other end.

mod avro_peer;
mod channel;
pub mod contract;
mod dice;
mod fake_disk;
mod hostile;
pub mod peer;
mod proxy;
mod running;
mod schedules;
mod spark_peer;

use std::time::Duration;

pub use avro_peer::{AvroPeer, SentCall};
pub use channel::{Stored, TestChannel};
pub use dice::Dice;
pub use fake_disk::{Call, FakeDisk};
pub use hostile::{Hostile, hostile};
pub use proxy::Proxy;
pub use running::{Running, setting, start_sink, start_source, start_source_into};
pub use schedules::Schedules;
pub use spark_peer::{PeerKind, ReceivedBatch, SparkPeer};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
