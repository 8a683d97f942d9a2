//! Ids that are used once.

use millstream_core::{Error, Result};

/// Draws one.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| Error::io("draw", "a random id", std::io::Error::other(error.to_string())))
}
