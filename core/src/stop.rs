//! Asking components to end.

use tokio::sync::watch;

/// Tells a component to finish what it has in hand and return. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StopToken(watch::Receiver<bool>);

/// The other end.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Gives both ends.
pub fn stop_token() -> (Stopper, StopToken) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), StopToken(receiver))
}

impl Stopper {
    /// Asks everyone who holds the token to end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// A further token.
    pub fn token(&self) -> StopToken {
        StopToken(self.0.subscribe())
    }
}

impl StopToken {
    /// Whether to end.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when it is time to end, or when nobody is left who could ask.
    ///
    /// # Cancel safety
    /// May be dropped and awaited again.
    pub async fn stopped(&mut self) {
        drop(self.0.wait_for(|stopped| *stopped).await);
    }
}
