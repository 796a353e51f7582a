//! Judges what a guest answers: what passes keeps every promise of `wit/step.wit`.
//!
//! Pure: no wasmtime, no I/O. Never panics, whatever a guest says, and costs no more than a look at each number.

use super::bindings::{AnswerOut, OutcomeOut, RejectOut, Replacement};
use super::limits::cut;
use super::{Answer, Description, Failure, Outcome};
use crate::record::{Batch, Reject};

/// Ports that a plugin may have beside the main one: their numbers are 1 to 255.
pub(super) const PORTS_MAX: usize = 255;

/// Checks the answer to a batch, from a plugin with so many ports beside the main one.
pub(super) fn outcome(raw: OutcomeOut, batch: &Batch, ports: usize) -> Result<Outcome, Failure> {
    let rejects = rejects(raw.rejects, batch.len())?;
    let answer = match raw.answer {
        AnswerOut::Unchanged => Answer::Unchanged,
        AnswerOut::Select(places) => select(places, batch.len(), &rejects)?,
        AnswerOut::Replaced(replacement) => replaced(replacement, batch, ports, &rejects)?,
    };
    Ok(Outcome { answer, rejects })
}

/// Checks the rejects of a batch with so many records.
pub(super) fn rejects(raw: Vec<RejectOut>, records: usize) -> Result<Vec<Reject>, Failure> {
    ascending("rejects", raw.iter().map(|reject| reject.index), records)?;
    Ok(raw.into_iter().map(reject).collect())
}

/// Checks what a plugin says of itself.
pub(super) fn description(ports: Vec<String>) -> Result<Description, Failure> {
    if ports.len() > PORTS_MAX {
        return Err(broken(format!("{} ports are described, at most {PORTS_MAX} are allowed", ports.len())));
    }
    for (at, port) in ports.iter().enumerate() {
        if port.is_empty() || port.len() > 64 || port.chars().any(char::is_control) {
            return Err(broken(format!("port {} must have a name of 1 to 64 printable bytes, not {port:?}", at + 1)));
        }
        if ports.iter().take(at).any(|other| other == port) {
            return Err(broken(format!("two ports are named {port:?}")));
        }
    }
    Ok(Description { ports })
}

fn broken(what: String) -> Failure {
    Failure::Answer(cut(&what).to_owned())
}

fn reject(raw: RejectOut) -> Reject {
    let mut reason = raw.reason;
    if reason.len() != cut(&reason).len() {
        reason = cut(&reason).to_owned();
    }
    Reject { index: raw.index, reason, retriable: raw.retriable }
}

fn ascending(list: &str, places: impl Iterator<Item = u32>, records: usize) -> Result<(), Failure> {
    let mut least = 0;
    for (at, place) in places.enumerate() {
        if u64::from(place) < least {
            return Err(broken(format!(
                "{list}[{at}] is record {place}, but records must ascend: expected {least} or more"
            )));
        }
        if place as usize >= records {
            return Err(broken(format!("{list}[{at}] is record {place}, but the batch has {records} records")));
        }
        least = u64::from(place) + 1;
    }
    Ok(())
}

fn select(places: Vec<u32>, records: usize, rejects: &[Reject]) -> Result<Answer, Failure> {
    ascending("select", places.iter().copied(), records)?;
    let mut rejected = rejects.iter().map(|reject| reject.index).peekable();
    for place in &places {
        while rejected.next_if(|index| index < place).is_some() {}
        if rejected.peek() == Some(place) {
            return Err(broken(format!("record {place} is both selected and rejected")));
        }
    }
    Ok(Answer::Select(places))
}

fn replaced(raw: Replacement, batch: &Batch, ports: usize, rejects: &[Reject]) -> Result<Answer, Failure> {
    let Replacement { origin, records: mut columns } = raw;
    if origin.len().checked_mul(2) != Some(columns.meta.len()) {
        let meta = columns.meta.len();
        return Err(broken(format!(
            "origin names {} records, but meta has {meta} numbers: expected 2 each",
            origin.len()
        )));
    }
    check_origins(&origin, batch.len(), rejects)?;
    let offsets = batch.columns().1.as_chunks::<2>().0;
    for (row, from) in columns.meta.as_chunks_mut::<2>().0.iter_mut().zip(&origin) {
        // Every origin was checked, so there always is one.
        row[0] = offsets.get(*from as usize).map_or(0, |[offset, _]| *offset);
    }
    let records = Batch::from_columns(columns.index, columns.meta, columns.data)
        .map_err(|invalid| broken(format!("replaced: {invalid}")))?;
    check_ports(&records, ports)?;
    Ok(Answer::Replaced { records, origin })
}

fn check_origins(origin: &[u32], records: usize, rejects: &[Reject]) -> Result<(), Failure> {
    for (at, from) in origin.iter().enumerate() {
        if *from as usize >= records {
            return Err(broken(format!("origin[{at}] is record {from}, but the batch has {records} records")));
        }
        if !rejects.is_empty() && rejects.binary_search_by_key(from, |reject| reject.index).is_ok() {
            return Err(broken(format!("origin[{at}] is record {from}, which is rejected")));
        }
    }
    Ok(())
}

fn check_ports(records: &Batch, ports: usize) -> Result<(), Failure> {
    // One look at the flags column; a plugin without ports is the usual case.
    let highest = records.columns().0.as_chunks::<4>().0.iter().map(|row| row[3] >> 8).max().unwrap_or(0);
    if highest as usize > ports {
        return Err(broken(format!("a record leaves by port {highest}, but the highest described is {ports}")));
    }
    Ok(())
}
