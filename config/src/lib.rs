//! Configuration: from text to typed values.
//!
//! [`properties`] reads Java property files, [`interpolate`] fills in variables, `filters` asks the environment and programs
//! for secrets, [`agent`] finds one agent's components, [`pattern`] reads the regular expressions in their options.
//! Nothing here knows which components exist: their options are typed by [`millstream_core::Options`].

pub mod agent;
mod date;
mod filters;
pub mod interpolate;
pub mod pattern;
pub mod properties;

pub use agent::{AgentConfig, Broken, ComponentConfig, PartConfig, SinkGroupConfig};
pub use date::{DatePattern, MONTHS, WEEKDAYS};
pub use interpolate::Lookups;
pub use pattern::{Pattern, Replacement};
pub use properties::{Entry, load, parse};
