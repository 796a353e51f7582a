//! How the parts of an appliance are told to finish what they have begun and end.

use tokio::sync::watch;

/// The end of the signal that waits. Clones all hear the same signal.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// The end of the signal that gives it. Dropping it gives it too.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// A signal that has not been given.
pub fn stop_signal() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Gives the signal. Giving it again changes nothing.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Resolves when the signal is given, at once if it was.
    pub async fn stopped(&mut self) {
        // An error says that the sender is gone, which is the signal too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Whether the signal was given.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}
