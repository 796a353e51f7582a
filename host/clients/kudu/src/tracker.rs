//! Names of requests, by which servers know a request again that comes a second time and answer as they did the first time.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::proto::rpc::RequestId;

/// The requests of one client.
#[derive(Debug)]
pub struct Tracker {
    client: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: i64,
    open: BTreeSet<i64>,
}

/// A request that is not answered yet. Servers may forget it once this is dropped.
#[derive(Debug)]
pub struct Request<'a> {
    tracker: &'a Tracker,
    number: i64,
    attempts: i64,
}

impl Tracker {
    /// A client by a name that no other has.
    pub fn new() -> Result<Self> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| Error::Invalid(format!("expected randomness: {error}")))?;
        Ok(Tracker { client: format!("{:032x}", u128::from_le_bytes(name)), state: Mutex::default() })
    }

    /// Begins a request.
    pub fn begin(&self) -> Request<'_> {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.open.insert(number);
        Request { tracker: self, number, attempts: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request<'_> {
    /// The name for the next try.
    pub fn attempt(&mut self) -> RequestId {
        let first_open = self.tracker.lock().open.first().copied().unwrap_or(self.number);
        let attempt = self.attempts;
        self.attempts += 1;
        RequestId {
            client_id: self.tracker.client.clone(),
            seq_no: self.number,
            first_incomplete_seq_no: first_open,
            attempt_no: attempt,
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.tracker.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_may_forget_what_is_below_the_first_open_request() {
        let tracker = Tracker::new().unwrap();
        let (mut first, mut second) = (tracker.begin(), tracker.begin());
        let numbers = |id: RequestId| (id.seq_no, id.first_incomplete_seq_no, id.attempt_no);
        assert_eq!(numbers(first.attempt()), (1, 1, 0));
        assert_eq!(numbers(second.attempt()), (2, 1, 0));
        assert_eq!(numbers(second.attempt()), (2, 1, 1));
        drop(first);
        assert_eq!(numbers(second.attempt()), (2, 2, 2));
        assert_eq!(second.attempt().client_id.len(), 32);
    }
}
