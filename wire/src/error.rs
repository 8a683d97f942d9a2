//! What is wrong with received bytes: which structure, at which byte.

use millstream_core::Error;

/// Bytes that are not the structure they should be. Offsets count from the start of the frame's payload (for the framing
/// itself: from the start of the frame), in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end before the structure does.
    #[error("{structure} at byte {offset}: {wanted} bytes wanted, {left} left")]
    Truncated {
        /// What was being read.
        structure: &'static str,
        /// Where it starts.
        offset: usize,
        /// Least bytes that it needs.
        wanted: u64,
        /// Bytes that are there.
        left: u64,
    },
    /// A variable-length number does not fit its type.
    #[error("{structure} at byte {offset}: the number exceeds {bits} bits")]
    Number {
        /// What was being read.
        structure: &'static str,
        /// Where it starts.
        offset: usize,
        /// Width of the type, in bits.
        bits: u32,
    },
    /// A count or a length is above what we accept.
    #[error("{structure} at byte {offset}: {claimed} exceeds the limit of {limit}")]
    TooLarge {
        /// What was being read.
        structure: &'static str,
        /// Where it starts.
        offset: usize,
        /// The count or length claimed.
        claimed: u64,
        /// The most accepted.
        limit: u64,
    },
    /// A value that the structure cannot have.
    #[error("{structure} at byte {offset}: expected {wanted}, got {seen}")]
    Invalid {
        /// What was being read.
        structure: &'static str,
        /// Where it starts.
        offset: usize,
        /// The value found.
        seen: i64,
        /// The values allowed, in words.
        wanted: &'static str,
    },
    /// A string that must be UTF-8 is not.
    #[error("{structure} at byte {offset}: not UTF-8")]
    Text {
        /// What was being read.
        structure: &'static str,
        /// Where the first bad byte is.
        offset: usize,
    },
    /// Bytes follow after the end of the structure.
    #[error("{structure} ends at byte {offset}, but {left} bytes follow")]
    Trailing {
        /// What was read.
        structure: &'static str,
        /// Where it ended.
        offset: usize,
        /// Bytes left over.
        left: u64,
    },
    /// The protocol does not allow this now.
    #[error("{structure}: {problem}")]
    Sequence {
        /// Which part of the protocol.
        structure: &'static str,
        /// What happened out of turn.
        problem: &'static str,
    },
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        Self::corrupt("received bytes", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_structure_the_offset_and_the_value() {
        let error = WireError::TooLarge { structure: "netty frame", offset: 4, claimed: 9, limit: 8 };
        let core = Error::from(error);
        assert!(matches!(core, Error::Corrupt { .. }));
        assert_eq!(core.to_string(), "received bytes: netty frame at byte 4: 9 exceeds the limit of 8");
    }
}
