//! One file per command.

pub(crate) mod agent;
pub(crate) mod version;
