//! What every implementation of a trait must do, as tests: one file per trait.

pub mod channel;
pub mod output;
