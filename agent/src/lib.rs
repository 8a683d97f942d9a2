//! Builds an agent's path from a configuration and runs it.
//!
//! [`registry`] knows the components by name, `pipeline` puts them together, `runner` drives each of them,
//! [`supervisor`] starts and stops the whole, [`reload`] exchanges what changed, [`check`] judges a configuration that does
//! not run, by its keys and [`differences`], [`builder`] is the way in.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> millstream_core::Result<()> {
//! use millstream_agent::Agent;
//!
//! let agent = Agent::builder()
//!     .name("a1")
//!     .config_text(
//!         "a1.sources = r1\n a1.channels = c1\n a1.sinks = k1\n
//!          a1.sources.r1.type = seq\n a1.sources.r1.channels = c1\n
//!          a1.channels.c1.type = memory\n
//!          a1.sinks.k1.type = null\n a1.sinks.k1.channel = c1",
//!     )
//!     .start()
//!     .await?;
//! agent.ready().await;
//! agent.stop().await
//! # }
//! ```

pub mod builder;
pub mod check;
pub mod differences;
mod metered;
mod path;
mod pipeline;
pub mod registry;
pub mod reload;
mod runner;
pub mod supervisor;
#[cfg(test)]
mod tests;

pub use builder::{Agent, AgentBuilder};
pub use check::{AgentReport, KeyReport, Report, Standing};
pub use registry::{Register, Registry};
pub use reload::{Changes, ConfigWatch};
pub use supervisor::RunningAgent;
