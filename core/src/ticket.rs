//! A promise that something enqueued will become durable.
//!
//! A [`Ticket`] is what `put`, `commit` and every journal append give back at once. It resolves when the work is as
//! durable as its store promises.
//!
//! # Cancel safety
//! The work was done the moment it was enqueued: dropping a Ticket only means that nobody listens.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::sync::oneshot;

/// Resolves to the outcome of enqueued work.
#[derive(Debug)]
#[must_use = "only a resolved ticket says that the work is durable"]
pub struct Ticket<T = ()>(State<T>);

#[derive(Debug)]
enum State<T> {
    Ready(Option<Result<T>>),
    Pending(oneshot::Receiver<Result<T>>),
}

/// The other end of a [`Ticket`]. Dropped unresolved, it resolves to [`Error::Stopped`].
#[derive(Debug)]
pub struct Resolver<T = ()>(oneshot::Sender<Result<T>>);

/// Gives both ends.
pub fn ticket<T>() -> (Resolver<T>, Ticket<T>) {
    let (sender, receiver) = oneshot::channel();
    (Resolver(sender), Ticket(State::Pending(receiver)))
}

// === impl Resolver ===

impl<T> Resolver<T> {
    /// Tells the holder of the ticket, if it still listens.
    pub fn resolve(self, outcome: Result<T>) {
        // A dropped ticket is allowed: the work itself stands.
        let _ = self.0.send(outcome);
    }
}

// === impl Ticket ===

impl<T> Ticket<T> {
    /// A ticket whose outcome is known already.
    pub fn ready(outcome: Result<T>) -> Self {
        Self(State::Ready(Some(outcome)))
    }

    /// Waits on a thread that is not part of the async runtime.
    pub fn wait(self) -> Result<T> {
        match self.0 {
            State::Ready(outcome) => outcome.unwrap_or_else(|| Err(stopped())),
            State::Pending(receiver) => receiver.blocking_recv().unwrap_or_else(|_| Err(stopped())),
        }
    }
}

impl<T: Unpin> Future for Ticket<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(outcome) => Poll::Ready(outcome.take().unwrap_or_else(|| Err(stopped()))),
            State::Pending(receiver) => {
                Pin::new(receiver).poll(cx).map(|outcome| outcome.unwrap_or_else(|_| Err(stopped())))
            }
        }
    }
}

fn stopped() -> Error {
    Error::Stopped { what: "the store behind this ticket".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_dropped_unresolved_is_an_error_not_a_success() {
        let (resolver, ticket) = ticket::<()>();
        drop(resolver);
        assert!(matches!(ticket.wait(), Err(Error::Stopped { .. })));
    }

    #[test]
    fn a_resolved_ticket_gives_its_outcome() {
        let (resolver, ticket) = ticket();
        resolver.resolve(Ok(7));
        assert_eq!(ticket.wait().expect("resolved"), 7);
    }
}
