//! The steps of a task: one that filters, one that counts, looks up and sets timers, one that counts what came of that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use weir::clock::Clock;
use weir::plugin::{Advanced, Alarms, Answer, Description, Factory, Failure, Given, Instance, Outcome, StartError};
use weir::record::{Batch, Offset, Port, Record, Reject, Timestamp};
use weir::state::{Format, TableSpec, Tables};

use super::world::World;

/// The tables of the step that counts, by their numbers.
pub const TABLES: [&str; 5] = ["counts", "sums", "timers", "clock", "rows"];
const COUNTS: u32 = 0;
const SUMS: u32 = 1;
const TIMERS: u32 = 2;
const CLOCK: u32 = 3;
const ROWS: u32 = 4;

/// A number of eight bytes that sort as the numbers do.
pub fn sortable(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The number that some bytes begin with, and what is behind it.
pub fn of_sortable(bytes: &[u8]) -> (i64, &[u8]) {
    let (number, rest) = bytes.split_first_chunk().unwrap();
    ((u64::from_be_bytes(*number) ^ (1 << 63)).cast_signed(), rest)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Filter,
    Count,
    Tally,
}

pub struct Steps {
    pub world: Arc<World>,
    pub clock: Arc<dyn Clock>,
    pub kind: Kind,
}

#[async_trait]
impl Factory for Steps {
    async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError> {
        if self.world.fault(1) {
            return Err(StartError::Failed(Failure::Trap("trapped while starting".into())));
        }
        let table =
            |name: &str| TableSpec { name: name.into(), key: Format::Bytes, value: Format::Bytes, ttl_ms: None };
        let (world, clock) = (self.world.clone(), self.clock.clone());
        Ok(match self.kind {
            Kind::Filter => {
                let description = Description { sets_time: world.plan.sets_time, ..Description::default() };
                (Box::new(Filter { world }), description)
            }
            Kind::Count => {
                let memory = world.plan.remembers.then(BTreeMap::new);
                let (ports, tables) = (vec!["side".into(), "ticks".into()], Some(TABLES.map(table).into()));
                (Box::new(Count { world, clock, memory }), Description { ports, tables, ..Description::default() })
            }
            Kind::Tally => {
                let tables = Some(vec![table("seen")]);
                (Box::new(Tally { world }), Description { tables, ..Description::default() })
            }
        })
    }
}

fn trap<T>(why: &str) -> Result<T, Failure> {
    Err(Failure::Trap(why.into()))
}

/// Works a while. A batch may then fail; never a record alone, which would be to blame, and rightly end as a dead letter.
async fn work(world: &World, records: usize) -> Result<(), Failure> {
    tokio::time::sleep(Duration::from_millis(world.rng.below(3))).await;
    if records > 1 && world.fault(3) { trap("cosmic ray") } else { Ok(()) }
}

/// What a record's value says: name, action, number, time.
fn script<'a>(record: &Record<'a>) -> (&'a str, &'a str, i64, i64) {
    let mut words = std::str::from_utf8(record.value.unwrap()).unwrap().split(' ');
    let mut next = || words.next().unwrap();
    (next(), next(), next().parse().unwrap(), next().parse().unwrap())
}

/// Drops what is to be dropped, and gives the rest its time where records do not have it.
struct Filter {
    world: Arc<World>,
}

#[async_trait]
impl Instance for Filter {
    async fn process(&mut self, given: Given<'_>, _: &mut Tables) -> Result<Outcome, Failure> {
        work(&self.world, given.batch.len()).await?;
        let kept = (0..).zip(given.batch.iter()).filter(|(_, record)| script(record).1 != "drop");
        if !self.world.plan.sets_time {
            return Ok(Outcome::of(Answer::Select(kept.map(|(at, _)| at).collect()), Vec::new()));
        }
        let (mut origin, mut records) = (Vec::new(), Batch::default());
        for (at, record) in kept {
            origin.push(at);
            records.push(&Record { timestamp: Timestamp(script(&record).3), ..record });
        }
        Ok(Outcome::of(Answer::Replaced { records, origin, fired: Vec::new() }, Vec::new()))
    }
}

/// Counts the records that come to it.
struct Tally {
    world: Arc<World>,
}

#[async_trait]
impl Instance for Tally {
    async fn process(&mut self, given: Given<'_>, tables: &mut Tables) -> Result<Outcome, Failure> {
        tables.allow(1 << 20);
        for _ in given.batch.iter() {
            let seen = get(tables, 0, b"seen").await?.map_or(0, |seen| of_sortable(&seen).0);
            put(tables, 0, b"seen", Some(&sortable(seen + 1)));
        }
        work(&self.world, given.batch.len()).await?;
        Ok(Outcome::of(Answer::Unchanged, Vec::new()))
    }
}

async fn get(tables: &mut Tables, table: u32, key: &[u8]) -> Result<Option<Bytes>, Failure> {
    if let Some(known) = tables.find(table, key).unwrap() {
        return Ok(known.cloned());
    }
    let mut read = tables.load(table, vec![Bytes::copy_from_slice(key)]).await.unwrap();
    if tables.has_error() { trap("the state could not be read") } else { Ok(read.pop().flatten()) }
}

fn put(tables: &mut Tables, table: u32, key: &[u8], value: Option<&[u8]>) {
    tables.write(table, key, value).unwrap();
}

/// The first key of a table of timers.
async fn first(tables: &mut Tables, table: u32) -> Result<Option<Bytes>, Failure> {
    let scanned = tables.scan(table, b"", None, 1).await.unwrap();
    if tables.has_error() {
        return trap("the state could not be read");
    }
    Ok(scanned.entries.into_iter().next().map(|(key, _)| key))
}

/// Counts records by key, looks up rows, sets timers of both kinds.
struct Count {
    world: Arc<World>,
    clock: Arc<dyn Clock>,
    /// The counts that it read or wrote.
    memory: Option<BTreeMap<Vec<u8>, i64>>,
}

/// What an output comes of.
#[derive(Clone, Copy)]
enum Cause {
    /// A record, and its offset.
    Record(u32, Offset),
    EventTime(i64),
    Clock,
}

/// What a call makes.
#[derive(Default)]
struct Made {
    records: Batch,
    causes: Vec<Cause>,
    fired: Vec<Timestamp>,
    rejects: Vec<Reject>,
    /// How many timers may still fire in this call; `None`: as many as are due.
    timers_left: Option<u64>,
}

impl Made {
    fn push(&mut self, cause: Cause, port: u8, key: &[u8], time: i64, value: &str) {
        if let Cause::EventTime(due) = cause
            && self.fired.last() != Some(&Timestamp(due))
        {
            self.fired.push(Timestamp(due));
        }
        self.causes.push(cause);
        let record = Record::of(value.as_bytes(), Timestamp(time));
        // That of the others is the host's to set.
        let offset = if let Cause::Record(_, offset) = cause { offset } else { Offset(0) };
        self.records.push(&Record { key: Some(key), port: Port(port), offset, ..record });
    }

    /// For each output where it comes from, as the contract has it.
    fn origin(&self, records: usize) -> Vec<u32> {
        let place = |time: i64| self.fired.iter().position(|fired| fired.0 == time).unwrap();
        let origin = |cause: &Cause| match cause {
            Cause::Record(at, _) => *at,
            Cause::EventTime(time) => (records + place(*time)) as u32,
            Cause::Clock => (records + self.fired.len()) as u32,
        };
        self.causes.iter().map(origin).collect()
    }
}

/// Takes a row of a table.
fn take_row(tables: &mut Tables, is_global: bool, record: &Record<'_>) {
    let key = [if is_global { b"g" } else { b"p" }, record.key.unwrap()].concat();
    let number = record.value.map(|value| std::str::from_utf8(value).unwrap().parse().unwrap());
    put(tables, ROWS, &key, number.map(sortable).as_ref().map(<[u8; 8]>::as_slice));
}

/// Looks a record's key up, adds what it finds to the sums, and says what comes out.
async fn look_up(tables: &mut Tables, name: &str, key: &[u8], count: i64, time: i64) -> Result<String, Failure> {
    let mut rows = [0; 2];
    for (row, table) in rows.iter_mut().zip([b"g", b"p"]) {
        *row = get(tables, ROWS, &[table, key].concat()).await?.map_or(0, |row| of_sortable(&row).0);
    }
    for (sum, more) in [("total", 1), ("looked", rows[0] + rows[1])] {
        let before = get(tables, SUMS, sum.as_bytes()).await?.map_or(0, |sum| of_sortable(&sum).0);
        put(tables, SUMS, sum.as_bytes(), Some(&sortable(before + more)));
    }
    let time = if time == i64::MIN { "-".into() } else { time.to_string() };
    Ok(format!("rec {name} {} {count} {} {} {time}", std::str::from_utf8(key).unwrap(), rows[0], rows[1]))
}

impl Count {
    async fn count(&mut self, tables: &mut Tables, key: &[u8], more: i64) -> Result<i64, Failure> {
        let known = self.memory.as_ref().and_then(|memory| memory.get(key)).copied();
        let count = match known {
            Some(count) => count,
            None => get(tables, COUNTS, key).await?.map_or(0, |count| of_sortable(&count).0),
        };
        if let Some(memory) = &mut self.memory {
            memory.insert(key.to_vec(), count + more);
        }
        if more > 0 {
            put(tables, COUNTS, key, Some(&sortable(count + more)));
        }
        Ok(count + more)
    }

    /// Fires what is due by event time, as far as it may. Returns whether that was all.
    async fn fire(
        &mut self,
        tables: &mut Tables,
        until: i64,
        of: Option<Cause>,
        made: &mut Made,
    ) -> Result<bool, Failure> {
        while let Some(timer) = first(tables, TIMERS).await? {
            let (due, what) = of_sortable(&timer);
            if due > until {
                return Ok(true);
            }
            if of.is_none() && made.timers_left == Some(0) {
                return Ok(false);
            }
            made.timers_left = made.timers_left.map(|left| left.saturating_sub(1));
            put(tables, TIMERS, &timer, None);
            let what = std::str::from_utf8(what).unwrap();
            let key = what.split_once(' ').unwrap().1.as_bytes();
            let count = self.count(tables, key, 0).await?;
            made.push(of.unwrap_or(Cause::EventTime(due)), 0, key, due, &format!("fired {what} {due} {count}"));
        }
        Ok(true)
    }

    /// What a call makes; some calls fire a few timers only.
    fn made(&self) -> Made {
        let rng = &self.world.rng;
        Made { timers_left: rng.chance(25).then(|| rng.below(3)), ..Made::default() }
    }

    async fn record(
        &mut self,
        tables: &mut Tables,
        (at, record): (u32, &Record<'_>),
        watermark: i64,
        made: &mut Made,
    ) -> Result<bool, Failure> {
        if !self.fire(tables, watermark, None, made).await? {
            return Ok(false);
        }
        let (name, action, number, _) = script(record);
        let reject = |retriable| Reject { index: at, reason: "refused".into(), retriable };
        match action {
            "reject" => made.rejects.push(reject(false)),
            "retry" if self.world.first_try(name) => made.rejects.push(reject(true)),
            _ => {
                let cause = Cause::Record(at, record.offset);
                let key = record.key.unwrap();
                let count = self.count(tables, key, 1).await?;
                if action == "trap" {
                    return trap("as scripted");
                }
                let value = look_up(tables, name, key, count, watermark).await?;
                made.push(cause, u8::from(action == "side"), key, record.timestamp.0, &value);
                let timer = |due| [&sortable(due), name.as_bytes(), b" ", key].concat();
                match action {
                    "timer" => put(tables, TIMERS, &timer(record.timestamp.0 + number), Some(b"")),
                    "tick" => put(tables, CLOCK, &timer(self.clock.now().0 + number), Some(b"")),
                    _ => {}
                }
                self.fire(tables, watermark, Some(cause), made).await?;
            }
        }
        Ok(true)
    }

    async fn alarms(&self, tables: &mut Tables) -> Result<Alarms, Failure> {
        let mut due = [None; 2];
        for (due, table) in due.iter_mut().zip([TIMERS, CLOCK]) {
            *due = first(tables, table).await?.map(|timer| Timestamp(of_sortable(&timer).0));
        }
        Ok(Alarms { event_time: due[0], clock_time: due[1] })
    }
}

#[async_trait]
impl Instance for Count {
    async fn process(&mut self, given: Given<'_>, tables: &mut Tables) -> Result<Outcome, Failure> {
        tables.allow(1 << 20);
        let Given { input, batch, watermarks } = given;
        let streams = self.world.plan.inputs[0].len() as u32;
        let breaks_at = self.world.rng.below(batch.len() as u64) as usize;
        let (mut made, mut postponed) = (self.made(), 0);
        for (at, record) in batch.iter().enumerate() {
            if at == breaks_at {
                work(&self.world, batch.len()).await?;
            }
            match input.checked_sub(streams) {
                None if self.record(tables, (at as u32, &record), watermarks[at].0, &mut made).await? => {}
                None => {
                    postponed = (batch.len() - at) as u32;
                    break;
                }
                Some(table) => take_row(tables, table == 0, &record),
            }
        }
        let done = batch.len() - postponed as usize;
        let (origin, alarms) = (made.origin(done), self.alarms(tables).await?);
        let Made { records, fired, rejects, .. } = made;
        Ok(Outcome { answer: Answer::Replaced { records, origin, fired }, rejects, late: 0, postponed, alarms })
    }

    async fn advance(
        &mut self,
        watermark: Option<Timestamp>,
        clock: Timestamp,
        tables: &mut Tables,
    ) -> Result<Advanced, Failure> {
        tables.allow(1 << 20);
        let mut made = Made { timers_left: self.made().timers_left.map(|left| left + 1), ..Made::default() };
        if let Some(watermark) = watermark {
            self.fire(tables, watermark.0, None, &mut made).await?;
        }
        while let Some(timer) = first(tables, CLOCK).await? {
            let (due, what) = of_sortable(&timer);
            if due > clock.0 {
                break;
            }
            put(tables, CLOCK, &timer, None);
            let what = std::str::from_utf8(what).unwrap();
            made.push(Cause::Clock, 2, what.as_bytes(), due, &format!("tick {what} {due}"));
        }
        work(&self.world, 2).await?;
        let (origin, alarms) = (made.origin(0), self.alarms(tables).await?);
        Ok(Advanced { records: made.records, origin, fired: made.fired, alarms })
    }
}
