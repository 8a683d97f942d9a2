//! The outside world, behind traits where tests change it: disk, directory locks, clocks, failpoints, listeners, TLS, and
//! the memory that peers share and the time that they get.
//!
//! Everything durable goes through [`disk::Disk`], so that tests can tear, fill and fail it.

pub mod clock;
pub mod disk;
pub mod failpoint;
pub mod holder;
pub mod identity;
pub mod listen;
pub mod local_host;
pub mod lock;
pub mod memory;
pub mod tls;
pub mod view;
pub mod wait;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, DiskFile, SystemDisk, atomic_write};
pub use identity::FileIdentity;
pub use local_host::LocalHost;
pub use lock::DirLock;
pub use memory::{Memory, Share};
pub use view::ViewDisk;
