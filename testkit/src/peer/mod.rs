//! The real programs that Millstream works with, started by tests.
//!
//! Maven fetches them once into `<target directory>/peers` (`classpath.rs`); a peer is a child process in a directory of its
//! own ([`Peer`]), behind a guard that ends it when the test ends in any way. Java programs of our own
//! (`testkit/peers/java/`) drive the classes of the real ones ([`driver`]).
//!
//! A peer that cannot be fetched or started fails its test and shows what it said.
#![allow(clippy::unwrap_used, clippy::panic, reason = "for tests only")]

mod classpath;
mod differs;
mod driver;
mod flume;
mod hdfs;
mod jdk;
mod kerberos;
mod place;
mod process;
mod spark;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

pub use classpath::ClassPath;
pub use differs::differs;
pub use driver::{AvroReceiver, Jvm, RpcLoad, SparkSinkClient, driver, driver_in, program};
pub use flume::{Flume, Version};
pub use hdfs::{Hdfs, site};
pub use kerberos::Kerberos;
pub use place::{Place, free_port};
pub use process::Peer;
pub use spark::{Mode, SparkWordCount};
pub use tls::Keys;

/// How long a test waits for a Java program: ten times what the slowest needs on two idle cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// `<target directory>/peers`, of the running test.
fn peers_dir() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    // <target directory>/<profile>/<program> or <target directory>/<profile>/deps/<test>
    let mut above = own.ancestors().skip(1).filter(|folder| !folder.ends_with("deps"));
    above.nth(1).expect("a test lies in its target directory").join("peers")
}
