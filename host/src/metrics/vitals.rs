//! Whether a task gets on: what the check of readiness goes by.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::record::Timestamp;

/// A task that has had records for so long and committed none of them is stuck. A sink may take some retries of a minute.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);
/// A task that began again so often without a commit between is in a loop.
pub const RESTARTS_MAX: u32 = 3;

/// How a task is.
#[derive(Debug, Default)]
pub struct Vitals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    /// Chunks that were read and are not committed.
    in_flight: u64,
    /// Since when nothing was committed though something could be.
    waits_since: Option<Instant>,
    /// How often it began again since the last commit.
    restarts: u32,
    failure: Option<String>,
    failed_at: Option<Instant>,
    watermark: Option<Timestamp>,
}

/// Why a task does not get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong, without a word of what records or brokers say.
    pub what: String,
    /// The error that the task last began again with.
    pub failure: Option<String>,
}

impl Vitals {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that it works with is open, and nothing is read yet.
    pub fn opened(&self) {
        let mut state = self.state();
        (state.is_open, state.in_flight, state.waits_since) = (true, 0, None);
    }

    /// It has read a chunk.
    pub fn took(&self) {
        let mut state = self.state();
        state.in_flight += 1;
        state.waits_since.get_or_insert_with(Instant::now);
    }

    /// A chunk that it has read was committed, and time has come so far.
    pub fn committed(&self, watermark: Option<Timestamp>) {
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.waits_since = (state.in_flight > 0).then(Instant::now);
        (state.restarts, state.failure) = (0, None);
        state.watermark = state.watermark.max(watermark);
    }

    /// It begins again, with an error.
    pub fn failed(&self, failure: String) {
        let mut state = self.state();
        state.restarts = state.restarts.saturating_add(1);
        (state.is_open, state.in_flight, state.waits_since) = (false, 0, None);
        (state.failure, state.failed_at) = (Some(failure), Some(Instant::now()));
    }

    /// It has stopped, and waits for nothing any more.
    pub fn ended(&self) {
        let mut state = self.state();
        (state.in_flight, state.waits_since, state.restarts, state.failure) = (0, None, 0, None);
    }

    /// What it failed of, where it waits to begin again.
    pub fn failure(&self) -> Option<String> {
        let state = self.state();
        state.failure.clone().filter(|_| !state.is_open)
    }

    /// How far event time has come, where steps are told of it.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.state().watermark
    }

    /// Why it does not get on, if so.
    pub fn trouble(&self) -> Option<Trouble> {
        let state = self.state();
        let told = |what: String| Some(Trouble { what, failure: state.failure.clone() });
        let waited = state.waits_since.map(|since| since.elapsed());
        // One that was mended, and has nothing to commit since, is well.
        let is_failing = state.failed_at.is_some_and(|at| !state.is_open || at.elapsed() < STUCK_AFTER);
        match waited {
            _ if is_failing && state.restarts >= RESTARTS_MAX => {
                told(format!("began again {} times without a commit", state.restarts))
            }
            Some(waited) if waited > STUCK_AFTER => told(format!("has committed nothing for {} s", waited.as_secs())),
            _ if !state.is_open && state.failure.is_some() => told("begins again".into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_holds_records_and_commits_none_is_stuck() {
        let vitals = Vitals::default();
        vitals.opened();
        tokio::time::advance(STUCK_AFTER * 2).await;
        assert_eq!(vitals.trouble(), None, "without records nothing is to be committed");
        vitals.took();
        vitals.took();
        tokio::time::advance(STUCK_AFTER - Duration::from_secs(1)).await;
        vitals.committed(Some(Timestamp(5)));
        tokio::time::advance(STUCK_AFTER - Duration::from_secs(1)).await;
        assert_eq!(vitals.trouble(), None, "it commits, slowly");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(vitals.trouble().unwrap().what, "has committed nothing for 61 s");
        vitals.committed(None);
        tokio::time::advance(STUCK_AFTER * 2).await;
        assert_eq!((vitals.trouble(), vitals.watermark()), (None, Some(Timestamp(5))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_begins_again_and_again_is_in_a_loop() {
        let vitals = Vitals::default();
        for _ in 0..RESTARTS_MAX {
            vitals.opened();
            vitals.took();
            vitals.failed("sink: refused".into());
        }
        let trouble = vitals.trouble().unwrap();
        assert_eq!(trouble.what, "began again 3 times without a commit");
        assert_eq!(trouble.failure.as_deref(), Some("sink: refused"));
        vitals.opened();
        assert_eq!(vitals.trouble(), Some(trouble));
        tokio::time::advance(STUCK_AFTER).await;
        assert_eq!(vitals.trouble(), None, "it is open, and has nothing to do");
        vitals.failed("sink: refused".into());
        vitals.opened();
        vitals.took();
        vitals.committed(None);
        assert_eq!(vitals.trouble(), None);
    }
}
