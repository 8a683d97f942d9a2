//! What the files `sync.rs` of words, journal and channels name, as shuttle sees it.
//!
//! Every call is a point at which another thread may go on. `oneshot`, `Notify` and the tokio mutex of a channel's gate
//! stay tokio's: they only keep wakers, so shuttle's executor serves them, but each of their calls is one step here.
//! Time does not pass by a clock: a wait that has a limit may end at any moment, one without a limit never does.

#![allow(missing_docs, reason = "the words are those of std, parking_lot and tokio")]

use std::fmt;
use std::future::Future;
use std::ops::{Add, Deref, DerefMut};
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync as theirs;
use shuttle::sync::atomic::{AtomicBool, Ordering};

pub use shuttle::thread::{self, JoinHandle};

/// Waits as long as this one, or longer, are taken to have no limit.
pub const FOREVER: Duration = Duration::from_secs(1_000_000);

/// Lets another thread go on, perhaps.
pub fn point() {
    AtomicBool::new(false).load(Ordering::SeqCst);
}

// === Mutex and Condvar, as parking_lot spells them ===

#[derive(Default)]
pub struct Mutex<T>(theirs::Mutex<T>);

pub struct MutexGuard<'a, T> {
    mutex: &'a theirs::Mutex<T>,
    held: Option<theirs::MutexGuard<'a, T>>,
}

#[derive(Debug, Default)]
pub struct Condvar(theirs::Condvar);

pub struct WaitTimeoutResult(bool);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(theirs::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: &self.0, held: Some(lock(&self.0)) }
    }
}

/// parking_lot does not poison.
fn lock<T>(mutex: &theirs::Mutex<T>) -> theirs::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect(HELD)
    }
}

impl Condvar {
    pub fn new() -> Self {
        Self(theirs::Condvar::new())
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect(HELD);
        guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends without having been notified: at the limit, or before it, as a condition variable may.
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> WaitTimeoutResult {
        guard.held = None;
        thread::yield_now();
        guard.held = Some(lock(guard.mutex));
        WaitTimeoutResult(until <= Instant::now())
    }
}

impl WaitTimeoutResult {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

const HELD: &str = "taken out only while it waits";

// === Time ===

/// A moment that has come, or one that has not: nobody knows before asking.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Instant(u8);

impl Instant {
    pub fn now() -> Self {
        Self(thread_rng().gen_range(0..=2))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, _: Duration) -> Self {
        Self(1)
    }
}

/// Ends the wait for `work` at a moment of the scheduler's choosing.
pub async fn timeout<F: Future>(limit: Duration, work: F) -> Result<F::Output, Elapsed> {
    if limit >= FOREVER {
        return Ok(work.await);
    }
    let (rung, mut alarm) = tokio::sync::oneshot::channel();
    // Dropping its handle lets it go on alone.
    drop(shuttle::future::spawn(async move {
        point();
        let _ = rung.send(());
    }));
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => Pin::new(&mut alarm).poll(cx).map(|_| Err(Elapsed)),
    })
    .await
}

/// The wait ended first.
#[derive(Debug)]
pub struct Elapsed;

// === tokio's ===

/// Runs `work` on a thread of its own, to its end, whoever waits for it.
///
/// # Errors
/// If it panicked.
pub async fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, oneshot::RecvError> {
    let (done, outcome) = oneshot::channel();
    // Dropping its handle lets it go on alone.
    drop(thread::spawn(move || done.send(work()).is_ok()));
    outcome.await
}

pub mod oneshot {
    //! tokio's, with points.

    use super::{Context, Future, Pin, Poll, point};
    use tokio::sync::oneshot as theirs;

    pub use theirs::error::{RecvError, TryRecvError};

    #[derive(Debug)]
    pub struct Sender<T>(theirs::Sender<T>);

    #[derive(Debug)]
    pub struct Receiver<T>(theirs::Receiver<T>);

    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = theirs::channel();
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub fn send(self, value: T) -> Result<(), T> {
            point();
            self.0.send(value)
        }

        pub fn is_closed(&self) -> bool {
            point();
            self.0.is_closed()
        }
    }

    impl<T> Receiver<T> {
        pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
            point();
            self.0.try_recv()
        }

        pub fn blocking_recv(self) -> Result<T, RecvError> {
            shuttle::future::block_on(self)
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, RecvError>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            point();
            Pin::new(&mut self.0).poll(cx)
        }
    }
}

/// tokio's, with points.
#[derive(Debug, Default)]
pub struct Notify(tokio::sync::Notify);

impl Notify {
    pub fn new() -> Self {
        Self(tokio::sync::Notify::new())
    }

    pub fn notify_one(&self) {
        point();
        self.0.notify_one();
    }

    pub async fn notified(&self) {
        point();
        self.0.notified().await;
        point();
    }
}
