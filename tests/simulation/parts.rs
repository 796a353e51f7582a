//! The parts around the task loop, all of which fail: a source, a plugin, sinks, a file.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use weir::plugin::{Answer, Description, Factory, Failure, Given, Instance, Outcome, StartError};
use weir::record::{Batch, Offset, Output, Port, Position, Record, Reject, Timestamp};
use weir::sink::{Confirm, Delivery, Sink};
use weir::source::{Chunk, Disposition, Error, Intake, Mode, OnCommit, Reader};
use weir::state::Tables;
use weir::store::PositionKey;
use weir::store::committer::{Participant, Staged};

use crate::world::World;

fn heals(what: &str) -> Error {
    Error { message: what.into(), disposition: Disposition::Retry }
}

/// A replayable source: the records of the plan.
pub struct SimReader {
    pub world: Arc<World>,
    pub next: u64,
    pub mode: Mode,
}

#[async_trait]
impl Reader for SimReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        let rng = &self.world.rng;
        if rng.chance(30) {
            tokio::time::sleep(Duration::from_millis(rng.below(20))).await;
        }
        if self.world.fault(1) {
            return Err(heals("the source hiccups"));
        }
        let end = (self.next + 1 + rng.below(40)).min(self.world.plan.records);
        if self.next == end {
            if self.mode == Mode::Follow {
                std::future::pending::<()>().await;
            }
            return Ok(None);
        }
        let mut records = Batch::default();
        for n in self.next..end {
            let (key, value) = (self.world.plan.key(n), self.world.plan.value(n));
            let record = Record::of(value.as_bytes(), Timestamp(n as i64));
            records.push(&Record { key: Some(key.as_bytes()), offset: Offset(n), ..record });
        }
        self.next = end;
        Ok(Some(Chunk { source: "numbers/0".into(), records, position: Position::at(Offset(end)) }))
    }

    fn on_commit(&mut self) -> Option<OnCommit> {
        let world = self.world.clone();
        Some(Box::new(move |position| world.acknowledged(position)))
    }
}

/// A source that cannot be read again: pushes numbers and notes which of them were confirmed durable.
pub async fn push(world: Arc<World>, intake: Intake) {
    let mut waiting = Vec::new();
    while let Some(n) = world.next_push() {
        let mut records = Batch::default();
        records.push(&Record::of(format!("push-{n}").as_bytes(), Timestamp(n as i64)));
        let Ok(durable) = intake.send(records).await else { return };
        let noting = world.clone();
        waiting.push(tokio::spawn(async move {
            if durable.wait().await.is_ok() {
                noting.push_acknowledged(n);
            }
        }));
        if world.rng.chance(30) {
            tokio::time::sleep(Duration::from_millis(world.rng.below(30))).await;
        }
    }
    for waiting in waiting {
        let _ = waiting.await;
    }
}

/// A plugin that does with each record what the record's value says, or passes all on.
pub struct Scripted {
    pub world: Arc<World>,
    pub script: bool,
}

#[async_trait]
impl Factory for Scripted {
    async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError> {
        if self.world.fault(1) {
            return Err(StartError::Failed(Failure::Trap("trapped while starting".into())));
        }
        let description = Description { ports: vec!["odd".into()], ..Description::default() };
        Ok((Box::new(Scripted { world: self.world.clone(), script: self.script }), description))
    }
}

#[async_trait]
impl Instance for Scripted {
    async fn process(&mut self, given: Given<'_>, _: &mut Tables) -> Result<Outcome, Failure> {
        let batch = given.batch;
        tokio::time::sleep(Duration::from_millis(self.world.rng.below(3))).await;
        // Never for a record alone: it would be to blame, and rightly end as a dead letter.
        if batch.len() > 1 && self.world.fault(2) {
            return Err(Failure::Trap("cosmic ray".into()));
        }
        if !self.script {
            return Ok(Outcome::of(Answer::Unchanged, Vec::new()));
        }
        let (mut origin, mut records, mut rejects) = (Vec::new(), Batch::default(), Vec::new());
        for (index, record) in (0..).zip(batch.iter()) {
            let value = std::str::from_utf8(record.value.unwrap()).unwrap();
            let (action, n) = value.split_once('-').unwrap();
            let mut emit = |port| {
                origin.push(index);
                records.push(&Record { port: Port(port), ..record });
            };
            match action {
                "drop" => {}
                "double" => (0..2).for_each(|_| emit(0)),
                "odd" => emit(1),
                "reject" if !self.world.is_fixed() => {
                    rejects.push(Reject { index, reason: "refused".into(), retriable: false })
                }
                "retry" if self.world.first_try(n.parse().unwrap()) => {
                    rejects.push(Reject { index, reason: "not yet".into(), retriable: true });
                }
                "trap" if !self.world.is_fixed() => return Err(Failure::Trap("as scripted".into())),
                _ => emit(0),
            }
        }
        Ok(Outcome::of(Answer::Replaced { records, origin, fired: Vec::new() }, rejects))
    }
}

/// A system outside: it stalls, fails before or after it took a batch, and refuses records.
pub struct SimSink {
    pub world: Arc<World>,
    pub name: Arc<str>,
}

#[async_trait]
impl Sink for SimSink {
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error> {
        let world = self.world.clone();
        if world.fault(1) {
            return Err(heals("cannot send"));
        }
        let delay = Duration::from_millis(if world.fault(10) { world.rng.below(300) } else { world.rng.below(5) });
        let (lose_batch, lose_answer) = (world.fault(1), world.fault(1));
        let name = self.name.clone();
        Ok(Box::pin(async move {
            tokio::time::sleep(delay).await;
            if lose_batch {
                return Err(heals("the batch was lost"));
            }
            let mut rejects = Vec::new();
            for ((index, record), ordinal) in (0..).zip(output.records.iter()).zip(&output.ordinals) {
                let undeliverable =
                    record.value.unwrap().starts_with(b"undeliverable") && &*name == "ext" && !world.is_fixed();
                if undeliverable || world.fault(1) {
                    let reason = "not wanted".into();
                    rejects.push(Reject { index, reason, retriable: !undeliverable });
                } else {
                    world.delivered(&name, &output.source, &record, *ordinal);
                }
            }
            if lose_answer {
                Err(heals("the answer was lost"))
            } else {
                Ok(Delivery { rejects, ..Delivery::default() })
            }
        }))
    }
}

/// A file that takes part in commits. What was not synced may be gone after a crash, in part or as a whole.
#[derive(Default)]
pub struct SimFile {
    bytes: Mutex<Vec<u8>>,
    synced: Mutex<usize>,
}

impl SimFile {
    /// What a crash leaves: all that was synced, and perhaps some of the rest.
    pub fn crash(&self, world: &World) {
        let mut bytes = self.bytes.lock().unwrap();
        let synced = *self.synced.lock().unwrap();
        let rest = bytes.len() - synced;
        bytes.truncate(synced + world.rng.below(rest as u64 + 1) as usize);
    }

    /// Cuts the file back to the committed length.
    pub fn open(&self, committed: Option<&Position>) {
        let len = committed.and_then(Position::offset).unwrap_or_default().0 as usize;
        let mut bytes = self.bytes.lock().unwrap();
        assert!(bytes.len() >= len, "the file has {} bytes, but {len} were committed", bytes.len());
        bytes.truncate(len);
        *self.synced.lock().unwrap() = len;
    }

    pub fn lines(&self) -> Vec<String> {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    pub fn set_lines(&self, lines: &[String]) {
        *self.bytes.lock().unwrap() = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
    }
}

/// The file in one life of the appliance.
pub struct OpenFile {
    pub world: Arc<World>,
}

pub fn file_key() -> PositionKey {
    PositionKey { owner: "file".into(), input: "sim".into(), partition: Default::default() }
}

impl Participant for OpenFile {
    fn position_key(&self) -> PositionKey {
        file_key()
    }

    fn position(&self) -> Position {
        Position::at(Offset(self.world.file.bytes.lock().unwrap().len() as u64))
    }

    fn cut_back(&self, to: &Position) -> std::io::Result<()> {
        self.world.file.bytes.lock().unwrap().truncate(to.offset().unwrap().0 as usize);
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<Position> {
        if self.world.fault(3) {
            return Err(std::io::Error::other("disk full"));
        }
        self.world.file.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(self.position())
    }

    fn sync(&self) -> std::io::Result<()> {
        *self.world.file.synced.lock().unwrap() = self.world.file.bytes.lock().unwrap().len();
        Ok(())
    }

    fn committed(&self) {}
}

/// A task's way to the file: stages lines.
pub struct FileSink {
    pub file: Arc<OpenFile>,
}

#[async_trait]
impl Sink for FileSink {
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error> {
        let mut bytes = Vec::new();
        for record in output.records.iter() {
            bytes.extend_from_slice(record.value.unwrap());
            bytes.push(b'\n');
        }
        let staged = Staged { participant: self.file.clone(), bytes: bytes.into() };
        Ok(Box::pin(async move { Ok(Delivery { staged: vec![staged], ..Delivery::default() }) }))
    }
}
