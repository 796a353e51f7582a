//! How long is tried, and how long is waited between two tries.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(1_000);

/// The time that something has, tries and pauses together.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    within: Duration,
}

impl Deadline {
    pub fn after(within: Duration) -> Self {
        Deadline { at: Instant::now() + within, within }
    }

    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// The same, but for one try that may take at most so long.
    pub fn attempt(&self, longest: Duration) -> Instant {
        self.at.min(Instant::now() + longest)
    }

    /// The error that says the time is over.
    pub fn error(&self, what: impl Into<String>, last: &Error, uncertain: bool) -> Error {
        Error::TimedOut { what: what.into(), within: self.within, last: last.to_string(), uncertain }
    }
}

/// Pauses that double from try to try, each of a random length so that clients do not come back all at once.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// Waits before the next try; whether there is time for one.
    pub async fn pause(&mut self, deadline: &Deadline) -> bool {
        let pause = self.next();
        if pause >= deadline.left() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }

    fn next(&mut self) -> Duration {
        let longest = PAUSE_MIN.saturating_mul(1 << self.tries.min(16)).min(PAUSE_MAX);
        self.tries += 1;
        // From a half to the whole.
        let part = (RandomState::new().build_hasher().finish() % 512) as u32 + 512;
        longest * part / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(pauses[0] >= PAUSE_MIN / 2 && pauses[0] <= PAUSE_MIN);
        assert!(pauses[39] >= PAUSE_MAX / 2 && pauses.iter().all(|pause| *pause <= PAUSE_MAX));
    }

    #[tokio::test]
    async fn no_pause_goes_beyond_the_deadline() {
        let deadline = Deadline::after(Duration::from_millis(2));
        assert!(!Backoff::default().pause(&deadline).await);
    }
}
