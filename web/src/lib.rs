//! What a running path shows over HTTP: an agent and a job alike.
//!
//! | Path | Answer |
//! |---|---|
//! | `/metrics` | Flume's JSON ([`flume`]); Prometheus text where the `Accept` header names that first |
//! | `/metrics/prometheus` | Prometheus text ([`prometheus`]) |
//! | `/api/v1/status` | every component and channel, and what holds the flow up ([`api`]) |
//! | `/livez` | 200 as long as the process answers |
//! | `/readyz` | 200 when events can come in ([`api::unready`]), else 503 with the reasons |
//!
//! Everything is computed when somebody asks; nobody asking costs nothing.

pub mod api;
pub mod flume;
pub mod prometheus;
pub mod server;
pub mod settings;
mod tap;
pub mod why;

pub use server::{Serving, start};
pub use settings::Monitoring;
