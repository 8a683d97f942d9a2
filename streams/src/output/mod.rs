//! Outputs as replicas of the commit log, and the two that belong to the engine.

mod each;
mod print;
pub(crate) mod replica;
pub(crate) mod resume;

pub(crate) use each::ForEachBatch;
pub(crate) use print::Print;
