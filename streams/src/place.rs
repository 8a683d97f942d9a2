//! Where in the user's program an operator was written: what a panic message names.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;

/// An operator and its line.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    operator: &'static str,
    location: &'static Location<'static>,
}

/// Dropped only by a panic.
struct Unwinding(Place);

thread_local! {
    /// The operator whose closure panicked on this thread.
    static PANICKED: Cell<Option<Place>> = const { Cell::new(None) };
}

impl Place {
    /// The line of the caller's caller.
    #[track_caller]
    pub(crate) fn here(operator: &'static str) -> Self {
        Self { operator, location: Location::caller() }
    }

    /// Calls the operator's closure. Costs nothing unless it panics: only then is the place noted, that of the innermost
    /// operator.
    #[inline(always)]
    pub(crate) fn call<R>(self, closure: impl FnOnce() -> R) -> R {
        let unwinding = Unwinding(self);
        let result = closure();
        std::mem::forget(unwinding);
        result
    }

    /// The operator that panicked on this thread, after the panic was caught.
    pub(crate) fn of_panic() -> String {
        PANICKED.take().map_or_else(|| "the stream".to_owned(), |place| place.to_string())
    }
}

impl Drop for Unwinding {
    fn drop(&mut self) {
        if PANICKED.get().is_none() {
            PANICKED.set(Some(self.0));
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.operator, self.location.file(), self.location.line())
    }
}
