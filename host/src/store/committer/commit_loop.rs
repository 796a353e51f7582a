//! The loop that makes commits durable, a group at a time, and trims streams in between.
//!
//! A round: take what is queued; for each commit in order check it and write its staged bytes; sync the participants that
//! were written to; commit all changes to the store at once; tell watchers, participants and submitters. It spawns
//! nothing and waits by tokio's time alone, so in the simulation the same loop runs deterministically.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::{Commit, CommitError, Participant, Request, Shared, Staged};
use crate::clock::Clock;
use crate::record::{Partition, Position};
use crate::stop::Stop;
use crate::store::{Changes, Error, PositionKey};

/// The receiving end of all [`super::Committer`]s of a store.
pub struct CommitLoop {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    requests: mpsc::UnboundedReceiver<Request>,
}

/// The commits of a round that were accepted, and what is to be done for them.
#[derive(Default)]
struct Round {
    changes: Vec<Changes>,
    answers: Vec<Answer>,
    /// The participants that were written to. The order of keys is the order of syncs.
    written: BTreeMap<PositionKey, Arc<dyn Participant>>,
}

/// Where the outcome of a commit goes, and the room in the queue that it holds until then.
type Answer = (oneshot::Sender<Result<(), CommitError>>, OwnedSemaphorePermit);

/// What woke the loop.
enum Event {
    Request(Request),
    TrimWanted,
    TrimDue,
    Stopped,
    NobodyLeft,
}

impl CommitLoop {
    pub(super) fn new(
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        requests: mpsc::UnboundedReceiver<Request>,
    ) -> CommitLoop {
        CommitLoop { shared, clock, requests }
    }

    /// Commits until it is told to stop, then takes no more, commits what is queued and returns; also when all handles
    /// are gone. So it is stopped last, after those who submit. Participants are written and synced on the spot, which
    /// blocks: give it a thread of its own. An error is fatal to the process; all that was queued is answered with it.
    pub async fn run(mut self, mut stop: Stop) -> Result<(), Error> {
        let ended = self.serve(&mut stop).await;
        self.requests.close();
        if let Err(error) = &ended {
            while let Ok(request) = self.requests.try_recv() {
                let _ = request.answer.send(Err(CommitError::Fatal(error.to_string())));
            }
        }
        ended
    }

    async fn serve(&mut self, stop: &mut Stop) -> Result<(), Error> {
        let mut trim_at = Instant::now() + self.shared.limits.trim_every;
        loop {
            let mut trim = false;
            match self.next(trim_at, stop).await {
                Event::Request(first) => trim = self.round(first).await?,
                Event::TrimWanted => trim = true,
                Event::TrimDue => (),
                Event::Stopped => return self.drain().await,
                Event::NobodyLeft => return Ok(()),
            }
            if trim || Instant::now() >= trim_at {
                self.trim().await?;
                trim_at = Instant::now() + self.shared.limits.trim_every;
            }
        }
    }

    /// The order is fixed, so that a run can be repeated. Nothing starves: whoever waits for room waits for a trim, not
    /// again and again; the trim that is due is looked at after each round; and who is told to stop has no submitters.
    async fn next(&mut self, trim_at: Instant, stop: &mut Stop) -> Event {
        tokio::select! {
            biased;
            () = self.shared.trim_wanted.notified() => Event::TrimWanted,
            request = self.requests.recv() => request.map_or(Event::NobodyLeft, Event::Request),
            () = tokio::time::sleep_until(trim_at) => Event::TrimDue,
            () = stop.stopped() => Event::Stopped,
        }
    }

    async fn drain(&mut self) -> Result<(), Error> {
        self.requests.close();
        while let Some(first) = self.requests.recv().await {
            self.round(first).await?;
        }
        Ok(())
    }

    /// One group. Says whether streams are to be trimmed at once: somebody waits for room, and a reader has moved.
    async fn round(&mut self, first: Request) -> Result<bool, Error> {
        let mut round = Round::default();
        let committed = self.commit(first, &mut round).await;
        let answer = match &committed {
            Ok(_) => Ok(()),
            Err(error) => Err(CommitError::Fatal(error.to_string())),
        };
        // One who does not wait for the answer has its reasons.
        round.answers.into_iter().for_each(|(pending, _)| drop(pending.send(answer.clone())));
        committed
    }

    async fn commit(&mut self, first: Request, round: &mut Round) -> Result<bool, Error> {
        for request in self.group(first) {
            self.accept(request, round).await?;
        }
        for (key, participant) in &round.written {
            participant.sync().map_err(|error| failed(key, "sync", &error))?;
            let position = (key.clone(), participant.position());
            round.changes.push(Changes { positions: vec![position], ..Changes::default() });
        }
        if round.changes.is_empty() {
            return Ok(false);
        }
        let appended = self.shared.store.commit(&round.changes, self.clock.now()).await?;
        let positions = round.changes.iter().flat_map(|changes| &changes.positions);
        let moved = self.shared.readers().committed(positions);
        self.shared.publish(&appended);
        round.written.values().for_each(|participant| participant.committed());
        Ok(moved && self.shared.waiting.load(Ordering::Acquire) > 0)
    }

    /// What is queued, up to the size of a group.
    fn group(&mut self, first: Request) -> Vec<Request> {
        let mut bytes = first.bytes;
        let mut group = vec![first];
        while bytes < self.shared.limits.group_bytes_max
            && let Ok(request) = self.requests.try_recv()
        {
            bytes += request.bytes;
            group.push(request);
        }
        group
    }

    /// Takes a commit into the round, or refuses it and its lane.
    async fn accept(&self, request: Request, round: &mut Round) -> Result<(), Error> {
        let Request { commit: Commit { changes, staged }, lane, answer, budget, .. } = request;
        let taken = match self.check(&lane, &changes).await? {
            Ok(()) => stage(&staged)?,
            Err(refused) => Err(refused),
        };
        match taken {
            Ok(()) => {
                let written = staged.into_iter().map(|staged| (staged.participant.position_key(), staged.participant));
                round.written.extend(written);
                if !changes.is_empty() {
                    round.changes.push(changes);
                }
                round.answers.push((answer, budget));
            }
            Err(refused) => {
                lane.fail();
                let _ = answer.send(Err(refused));
            }
        }
        Ok(())
    }

    async fn check(&self, lane: &super::Lane, changes: &Changes) -> Result<Result<(), CommitError>, Error> {
        if lane.is_failed() {
            return Ok(Err(CommitError::Lane));
        }
        match self.shared.store.check(changes).await {
            Ok(()) => Ok(Ok(())),
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => Ok(Err(CommitError::Refused(error.to_string()))),
        }
    }

    async fn trim(&self) -> Result<(), Error> {
        let unread = self.shared.unread().await?;
        let lowest = |stream: &str, partition: Partition| unread.get(stream)?.get(&partition).copied();
        let trimmed = self.shared.store.trim(self.clock.now(), &lowest).await?;
        self.shared.publish(&trimmed);
        Ok(())
    }
}

impl Drop for CommitLoop {
    fn drop(&mut self) {
        // Whoever waits for room in the queue would wait for ever.
        self.shared.budget.close();
    }
}

/// Writes the bytes of a commit, all or none: where one participant cannot write, those before it are cut back. The
/// outer error is fatal.
fn stage(staged: &[Staged]) -> Result<Result<(), CommitError>, Error> {
    let mut before: Vec<(&Arc<dyn Participant>, Position)> = Vec::with_capacity(staged.len());
    for Staged { participant, bytes } in staged {
        let position = participant.position();
        match participant.write(bytes) {
            Ok(_) => before.push((participant, position)),
            Err(error) => {
                cut_back(&before)?;
                let sink = participant.position_key().to_string();
                return Ok(Err(CommitError::Sink { sink, reason: error.to_string() }));
            }
        }
    }
    Ok(Ok(()))
}

/// The last first: one that was written to twice ends where it began.
fn cut_back(written: &[(&Arc<dyn Participant>, Position)]) -> Result<(), Error> {
    written.iter().rev().try_for_each(|(participant, position)| {
        participant.cut_back(position).map_err(|error| failed(&participant.position_key(), "cut back", &error))
    })
}

fn failed(key: &PositionKey, doing: &str, error: &std::io::Error) -> Error {
    Error::Storage(format!("{key}: could not {doing}: {error}"))
}
