//! Where tasks say what they can replay, and are told that there is something to. In memory: what is asked lies in the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Letter, Stage};
use crate::record::Partition;

/// The tasks that run. Clones are the same desk.
#[derive(Clone)]
pub struct Desk {
    seats: Arc<Mutex<Seats>>,
    /// Counts the commits that settled letters.
    settled: Arc<watch::Sender<u64>>,
}

/// The places that are taken, by pipeline and partition.
type Seats = BTreeMap<(Arc<str>, Partition), Taken>;

/// What a task can replay into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Takes {
    /// Its steps.
    pub steps: Vec<Arc<str>>,
    /// Its sinks.
    pub sinks: Vec<Arc<str>>,
    /// The streams that it appends to.
    pub streams: Vec<Arc<str>>,
}

struct Taken {
    takes: Option<Takes>,
    bell: watch::Sender<u64>,
    /// Tells this seat from one that is taken after it.
    number: u64,
}

/// The place of a task, as long as it runs.
pub struct Seat {
    desk: Desk,
    of: (Arc<str>, Partition),
    number: u64,
    bell: watch::Receiver<u64>,
}

impl Default for Desk {
    fn default() -> Self {
        Desk { seats: Arc::default(), settled: Arc::new(watch::Sender::new(0)) }
    }
}

impl Takes {
    /// Where a letter enters: at the step, sink or stream that refused it. `None`: there is none such any more.
    pub fn entry(&self, letter: &Letter) -> Option<(Stage, Arc<str>)> {
        let of = |stage, names: &[Arc<str>]| {
            let is_meant = letter.stage.is_none_or(|meant| meant == stage);
            names.iter().find(|name| is_meant && ***name == *letter.step).map(|name| (stage, name.clone()))
        };
        of(Stage::Step, &self.steps)
            .or_else(|| of(Stage::Sink, &self.sinks))
            .or_else(|| of(Stage::Stream, &self.streams))
    }
}

impl Desk {
    /// Takes the place of a task that begins to run.
    pub fn join(&self, pipeline: &Arc<str>, partition: Partition) -> Seat {
        let of = (pipeline.clone(), partition);
        let bell = watch::Sender::new(0);
        let receiver = bell.subscribe();
        let mut seats = self.seats();
        let number = seats.get(&of).map_or(0, |before| before.number + 1);
        seats.insert(of.clone(), Taken { takes: None, bell, number });
        Seat { desk: self.clone(), of, number, bell: receiver }
    }

    /// Why a letter cannot be replayed now, if so.
    pub fn refuses(&self, letter: &Letter) -> Option<String> {
        let seats = self.seats();
        let pipeline: Arc<str> = letter.pipeline.as_str().into();
        let Some(seat) = seats.get(&(pipeline, Partition(letter.partition))) else {
            let is_other = seats.keys().any(|(name, _)| **name == *letter.pipeline);
            return Some(match is_other {
                true => format!("partition {} of pipeline {} is not running", letter.partition, letter.pipeline),
                false => format!("pipeline {} is not running", letter.pipeline),
            });
        };
        let Some(takes) = &seat.takes else { return Some(format!("pipeline {} has not started yet", letter.pipeline)) };
        let what = letter.stage.map_or("step or sink", Stage::word);
        let gone = || format!("pipeline {} has no {what} {} any more", letter.pipeline, letter.step);
        takes.entry(letter).is_none().then(gone)
    }

    /// Tells a task that it is asked to replay something.
    pub fn ring(&self, pipeline: &str, partition: Partition) {
        let seats = self.seats();
        if let Some(seat) = seats.get(&(Arc::from(pipeline), partition)) {
            seat.bell.send_modify(|rung| *rung += 1);
        }
    }

    /// Whether a task runs that may replay what it is asked.
    pub fn is_running(&self, pipeline: &str, partition: Partition) -> bool {
        self.seats().contains_key(&(Arc::from(pipeline), partition))
    }

    /// Tells of commits that settle letters.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Says what the task can replay into from now on.
    pub fn takes(&self, takes: Takes) {
        if let Some(seat) = self.desk.seats().get_mut(&self.of).filter(|seat| seat.number == self.number) {
            seat.takes = Some(takes);
        }
    }

    /// The bell by which it is told that there is something to replay.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.clone()
    }

    /// The desk.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }
}

impl Desk {
    /// Says that letters are settled.
    pub fn settled(&self) {
        self.settled.send_modify(|count| *count += 1);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.desk.seats();
        if seats.get(&self.of).is_some_and(|seat| seat.number == self.number) {
            seats.remove(&self.of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(step: &str, stage: Option<Stage>, partition: u32) -> Letter {
        Letter { pipeline: "p".into(), step: step.into(), stage, partition, ..Letter::default() }
    }

    #[test]
    fn a_letter_is_refused_with_what_is_missing() {
        let desk = Desk::default();
        let parse = letter("parse", Some(Stage::Step), 0);
        assert_eq!(desk.refuses(&parse).unwrap(), "pipeline p is not running");
        let seat = desk.join(&"p".into(), Partition(0));
        assert_eq!(desk.refuses(&parse).unwrap(), "pipeline p has not started yet");
        seat.takes(Takes { steps: vec!["parse".into()], sinks: vec!["out".into()], streams: Vec::new() });
        assert_eq!(desk.refuses(&parse), None);
        assert_eq!(desk.refuses(&letter("out", None, 0)), None, "a letter of old");
        assert_eq!(desk.refuses(&letter("out", Some(Stage::Step), 0)).unwrap(), "pipeline p has no step out any more");
        assert_eq!(desk.refuses(&letter("parse", None, 3)).unwrap(), "partition 3 of pipeline p is not running");
        let after = desk.join(&"p".into(), Partition(0));
        drop(seat);
        assert!(desk.is_running("p", Partition(0)), "another has taken its place");
        drop(after);
        assert!(!desk.is_running("p", Partition(0)));
    }
}
