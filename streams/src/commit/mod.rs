//! The commit log: what a job knows for certain.
//!
//! One journal holds everything: per batch one `Prepared` record with its inputs, state changes and staged outputs; the
//! state itself, rewritten group by group as the log grows; the cursors of outputs that keep none of their own. Nothing is
//! recomputed after `Prepared`: a restarted job restores the state, knows every event's name, and applies to each output
//! what it has not applied yet. See `docs/formats/commit-log.md`.

pub(crate) mod letters;
pub(crate) mod log;
pub(crate) mod record;
pub(crate) mod recovery;
