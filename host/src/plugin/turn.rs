//! How a call into a plugin takes its turns on the processor: what it uses is measured, and a call that computes for long does so
//! on a thread of its own, so that what else is ready does not wait for it.
//!
//! A guest gives way at each tick of the engine, ten milliseconds of what the tasks of a worker thread of the runtime would otherwise wait for.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Handle, RuntimeFlavor};

/// A call that has used more of the processor goes on apart.
const LONG: Duration = Duration::from_millis(2);
/// The calls that may go on apart at once: each takes one of the runtime's 512 threads for what blocks, which commits need too.
const APART_MAX: usize = 64;

/// The calls that go on apart now, in the whole process.
static APART: AtomicUsize = AtomicUsize::new(0);

/// The turns of the calls of one step and partition: its next call is taken to be as long as the last one was.
#[derive(Debug, Default)]
pub(super) struct Turns {
    is_long: AtomicBool,
}

impl Turns {
    /// Runs a call to its end. Returns what came of it, and the processor time that it used.
    pub(super) async fn take<F: Future>(&self, call: F) -> (F::Output, Duration) {
        let mut call = pin!(call);
        let mut used = Duration::ZERO;
        let mut is_apart = self.is_long.load(Ordering::Relaxed);
        let output = std::future::poll_fn(|context| {
            let begun = processor_time();
            let polled = match Apart::enter(is_apart) {
                Some(_apart) => tokio::task::block_in_place(|| call.as_mut().poll(context)),
                None => call.as_mut().poll(context),
            };
            used += processor_time().saturating_sub(begun);
            is_apart |= used > LONG;
            polled
        })
        .await;
        self.is_long.store(used > LONG, Ordering::Relaxed);
        (output, used)
    }
}

/// A call that goes on apart, for one turn.
struct Apart;

impl Apart {
    /// Where it is to, it can, and there is room.
    fn enter(is_wanted: bool) -> Option<Self> {
        let can = || Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        if !is_wanted || !can() {
            return None;
        }
        // Counted first, so that there are never more.
        let apart = APART.fetch_add(1, Ordering::Relaxed);
        let entered = Apart;
        (apart < APART_MAX).then_some(entered)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        APART.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What this thread has used of the processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Computes in turns of half a `LONG`, and gives way between them.
    async fn compute(turns: u32) -> u32 {
        for _ in 0..turns {
            let begun = processor_time();
            while processor_time() < begun + LONG / 2 {}
            tokio::task::yield_now().await;
        }
        turns
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_computes_for_long_leaves_the_worker_to_others() {
        let turns = Turns::default();
        let (output, used) = turns.take(compute(1)).await;
        assert!(output == 1 && used >= LONG / 2, "{used:?}");
        assert!(!turns.is_long.load(Ordering::Relaxed));
        let long = tokio::spawn(async move {
            let done = turns.take(compute(20)).await;
            (done, turns.is_long.load(Ordering::Relaxed))
        });
        // The one worker that there is goes on with this.
        let begun = Instant::now();
        let mut rounds = 0;
        while !long.is_finished() {
            tokio::task::yield_now().await;
            rounds += 1;
        }
        let ((output, used), is_long) = long.await.unwrap();
        assert!(output == 20 && used >= 10 * LONG && is_long, "{used:?} {:?}", begun.elapsed());
        assert!(rounds > 100, "{rounds}");
        assert_eq!(APART.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_runs_all_calls() {
        let turns = Turns::default();
        assert_eq!(turns.take(compute(5)).await.0, 5);
        assert_eq!(turns.take(compute(5)).await.0, 5);
    }
}
