//! Where in the user's program an operator was written: what a panic message names.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;

/// An operator and its line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    operator: &'static str,
    location: &'static Location<'static>,
}

thread_local! {
    /// The operator whose closure this thread called last.
    static CURRENT: Cell<Option<Place>> = const { Cell::new(None) };
}

impl Place {
    /// The line of the caller's caller.
    #[track_caller]
    pub(crate) fn here(operator: &'static str) -> Self {
        Self { operator, location: Location::caller() }
    }

    /// Called before each call of the operator's closure; costs about a nanosecond.
    #[inline]
    pub(crate) fn enter(self) {
        CURRENT.set(Some(self));
    }

    /// The operator entered last on this thread.
    pub(crate) fn last() -> String {
        CURRENT.get().map_or_else(|| "the stream".to_owned(), |place| place.to_string())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.operator, self.location.file(), self.location.line())
    }
}
