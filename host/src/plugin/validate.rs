//! Judges what a guest answers: what passes keeps every promise of `wit/step.wit`.
//!
//! Pure: no wasmtime, no I/O. Never panics, whatever a guest says, and costs no more than a look at each number.

use super::bindings::{AdvancedOut, AlarmsOut, FormatOut, StatefulAnswerOut, StatefulOutcomeOut, StatefulReplacement};
use super::bindings::{AnswerOut, BatchOut, OutcomeOut, RejectOut, Replacement, TableOut};
use super::limits::cut;
use super::{Advanced, Alarms, Answer, Failure, Given, Outcome};
use crate::record::{Batch, Reject, Timestamp};
use crate::state::{Format, TableSpec};

/// Ports that a plugin may have beside the main one: their numbers are 1 to 255.
pub(super) const PORTS_MAX: usize = 255;
/// Tables that a plugin may have.
pub(super) const TABLES_MAX: usize = 64;

/// Checks the answer to a batch, from a plugin with so many ports beside the main one.
pub(super) fn outcome(raw: OutcomeOut, batch: &Batch, ports: usize) -> Result<Outcome, Failure> {
    let rejects = rejects(raw.rejects, batch.len())?;
    let answer = match raw.answer {
        AnswerOut::Unchanged => Answer::Unchanged,
        AnswerOut::Select(places) => select(places, batch.len(), &rejects)?,
        AnswerOut::Replaced(replacement) => replaced(replacement, batch, batch.len(), Vec::new(), ports, &rejects)?,
    };
    Ok(Outcome::of(answer, rejects))
}

/// Checks the answer of a stateful plugin to a batch. It is about the records that were not postponed.
pub(super) fn stateful_outcome(raw: StatefulOutcomeOut, given: &Given<'_>, ports: usize) -> Result<Outcome, Failure> {
    let StatefulOutcomeOut { answer, rejects: raw_rejects, late, postponed, alarms: raw_alarms } = raw;
    let alarms = alarms(raw_alarms);
    let done = dealt_with(postponed, alarms, given)?;
    let rejects = rejects(raw_rejects, done)?;
    let answer = match answer {
        StatefulAnswerOut::Unchanged => Answer::Unchanged,
        StatefulAnswerOut::Select(places) => select(places, done, &rejects)?,
        StatefulAnswerOut::Replaced(StatefulReplacement { mut origin, fired, records }) => {
            let fired = times(&fired, given.watermarks.last().copied())?;
            for from in origin.iter_mut().filter(|_| postponed > 0) {
                *from = match (*from as usize).checked_sub(done) {
                    Some(past) if past < postponed as usize => {
                        return Err(broken(format!("record {from} is both postponed and an origin")));
                    }
                    Some(_) => *from - postponed,
                    None => *from,
                };
            }
            replaced(Replacement { origin, records }, given.batch, done, fired, ports, &rejects)?
        }
    };
    Ok(Outcome { answer, rejects, late, postponed, alarms })
}

/// How many records a plugin has dealt with that postpones so many.
fn dealt_with(postponed: u32, alarms: Alarms, given: &Given<'_>) -> Result<usize, Failure> {
    let records = given.batch.len();
    let Some(done) = records.checked_sub(postponed as usize) else {
        return Err(broken(format!("{postponed} records are postponed, but the batch has {records} records")));
    };
    match given.watermarks.get(done) {
        Some(watermark) if alarms.event_time.is_none_or(|due| due > *watermark) => Err(broken(format!(
            "{postponed} records are postponed, but nothing is due at {}, the watermark of the first of them",
            watermark.0
        ))),
        _ => Ok(done),
    }
}

/// Checks what a plugin made of the passing of time.
pub(super) fn advanced(raw: AdvancedOut, watermark: Option<Timestamp>, ports: usize) -> Result<Advanced, Failure> {
    let fired = times(&raw.fired, watermark)?;
    if let Some((at, from)) = raw.origin.iter().enumerate().find(|(_, from)| **from as usize > fired.len()) {
        let count = fired.len();
        return Err(broken(format!("origin[{at}] is time {from}, but {count} fired, and {count} is the clock")));
    }
    let records = records(raw.records, raw.origin.len(), ports)?;
    Ok(Advanced { records, origin: raw.origin, fired, alarms: alarms(raw.alarms) })
}

fn alarms(raw: AlarmsOut) -> Alarms {
    Alarms { event_time: raw.event_time.map(Timestamp), clock_time: raw.clock_time.map(Timestamp) }
}

fn times(fired: &[i64], watermark: Option<Timestamp>) -> Result<Vec<Timestamp>, Failure> {
    if !fired.is_sorted() {
        return Err(broken("the event times that fired must ascend".into()));
    }
    match (fired.last(), watermark) {
        (Some(last), watermark) if watermark.is_none_or(|watermark| *last > watermark.0) => {
            let watermark = watermark.map_or_else(|| "not there yet".into(), |watermark| watermark.0.to_string());
            Err(broken(format!("event time {last} fired, but the watermark is {watermark}")))
        }
        _ => Ok(fired.iter().copied().map(Timestamp).collect()),
    }
}

/// Checks the rejects of a batch with so many records.
pub(super) fn rejects(raw: Vec<RejectOut>, records: usize) -> Result<Vec<Reject>, Failure> {
    ascending("rejects", raw.iter().map(|reject| reject.index), records)?;
    Ok(raw.into_iter().map(reject).collect())
}

/// Checks the names of a plugin's ports.
pub(super) fn ports(ports: Vec<String>) -> Result<Vec<String>, Failure> {
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
    Ok(ports)
}

/// Checks a plugin's tables.
pub(super) fn tables(raw: Vec<TableOut>) -> Result<Vec<TableSpec>, Failure> {
    if raw.len() > TABLES_MAX {
        return Err(broken(format!("{} tables are described, at most {TABLES_MAX} are allowed", raw.len())));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for (at, TableOut { name, .. }) in raw.iter().enumerate() {
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            let number = at + 1;
            return Err(broken(format!(
                "table {number} must have a name of 1 to 64 letters, digits, - and _, not {name:?}"
            )));
        }
        if raw.iter().take(at).any(|other| other.name == *name) {
            return Err(broken(format!("two tables are named {name:?}")));
        }
    }
    let spec = |TableOut { name, key, value, ttl_ms }| TableSpec {
        name: name.into(),
        key: format_of(key),
        value: format_of(value),
        ttl_ms,
    };
    Ok(raw.into_iter().map(spec).collect())
}

fn format_of(raw: FormatOut) -> Format {
    match raw {
        FormatOut::Bytes => Format::Bytes,
        FormatOut::Text => Format::Text,
        FormatOut::Json => Format::Json,
        FormatOut::Unsigned => Format::Unsigned,
        FormatOut::Signed => Format::Signed,
    }
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

fn replaced(
    raw: Replacement,
    batch: &Batch,
    done: usize,
    fired: Vec<Timestamp>,
    ports: usize,
    rejects: &[Reject],
) -> Result<Answer, Failure> {
    let Replacement { origin, records: mut columns } = raw;
    check_origins(&origin, done, fired.len(), rejects)?;
    let offsets = batch.columns().1.as_chunks::<2>().0;
    for (row, from) in columns.meta.as_chunks_mut::<2>().0.iter_mut().zip(&origin) {
        // What comes of a time gets its offset from whoever knows at which record that was.
        row[0] = offsets.get(*from as usize).map_or(0, |[offset, _]| *offset);
    }
    let records = records(columns, origin.len(), ports)?;
    Ok(Answer::Replaced { records, origin, fired })
}

/// Checks columns of so many records.
fn records(columns: BatchOut, count: usize, ports: usize) -> Result<Batch, Failure> {
    if count.checked_mul(2) != Some(columns.meta.len()) {
        let meta = columns.meta.len();
        return Err(broken(format!("origin names {count} records, but meta has {meta} numbers: expected 2 each")));
    }
    let records = Batch::from_columns(columns.index, columns.meta, columns.data)
        .map_err(|invalid| broken(format!("replaced: {invalid}")))?;
    check_ports(&records, ports)?;
    Ok(records)
}

fn check_origins(origin: &[u32], records: usize, fired: usize, rejects: &[Reject]) -> Result<(), Failure> {
    for (at, from) in origin.iter().enumerate() {
        if *from as usize >= records + fired {
            let times = if fired > 0 { format!(" and {fired} times fired") } else { String::new() };
            return Err(broken(format!("origin[{at}] is record {from}, but the batch has {records} records{times}")));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Offset, Record};

    const PORTS: usize = 2;

    fn batch(records: usize) -> Batch {
        let mut batch = Batch::default();
        for n in 0..records as u64 {
            batch.push(&Record { offset: Offset(1_000 + n), ..Record::of(b"value", Timestamp(7)) });
        }
        batch
    }

    /// Numbers near the edges of a batch of a few records, and any others.
    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![20 => 0u32..8, 1 => any::<u32>(), 1 => Just(u32::MAX)]
    }

    fn places() -> impl Strategy<Value = Vec<u32>> {
        let sorted = |mut places: Vec<u32>| {
            places.sort_unstable();
            places.dedup();
            places
        };
        prop_oneof![3 => vec(number(), 0..8).prop_map(sorted), 1 => vec(number(), 0..8)]
    }

    fn rejects() -> impl Strategy<Value = Vec<RejectOut>> {
        let reasons = prop_oneof![5 => ".{0,10}", 1 => "[äx]{3000,6000}"];
        (places(), reasons, any::<bool>()).prop_map(|(places, reason, retriable)| {
            places.into_iter().map(|index| RejectOut { index, reason: reason.clone(), retriable }).collect()
        })
    }

    /// Columns that make a batch: so many records, of which some leave by a port.
    fn good_columns(records: usize) -> impl Strategy<Value = BatchOut> {
        vec((0u32..5, prop_oneof![9 => 0u32..3, 1 => 0u32..256], any::<i64>()), records).prop_map(|rows| {
            let (mut columns, mut end) = (BatchOut::default(), 0);
            for (len, port, number) in rows {
                columns.index.extend([end, end + len, end + len, port << 8]);
                columns.meta.extend([number, number]);
                end += len;
            }
            columns.data.resize(end as usize, b'x');
            columns
        })
    }

    fn hostile_columns() -> impl Strategy<Value = BatchOut> {
        let (index, meta) = (vec(number(), 0..20), vec(any::<i64>(), 0..10));
        (index, meta, vec(any::<u8>(), 0..30)).prop_map(|(index, meta, data)| BatchOut { index, meta, data })
    }

    fn replacements() -> impl Strategy<Value = Replacement> {
        let good = vec(number(), 0..6).prop_flat_map(|origin| {
            good_columns(origin.len()).prop_map(move |records| Replacement { origin: origin.clone(), records })
        });
        let hostile =
            (vec(number(), 0..6), hostile_columns()).prop_map(|(origin, records)| Replacement { origin, records });
        prop_oneof![4 => good, 1 => hostile]
    }

    fn outcomes() -> impl Strategy<Value = OutcomeOut> {
        let answers = prop_oneof![
            1 => Just(AnswerOut::Unchanged),
            4 => places().prop_map(AnswerOut::Select),
            8 => replacements().prop_map(AnswerOut::Replaced),
        ];
        let rejects = prop_oneof![2 => Just(Vec::new()), 3 => rejects()];
        (answers, rejects).prop_map(|(answer, rejects)| OutcomeOut { answer, rejects })
    }

    /// The contract once more, in other words than the code's: sets instead of walks.
    fn assert_contract(outcome: &Outcome, batch: &Batch) {
        let n = batch.len() as u32;
        let is_ascending = |places: &[u32]| places.windows(2).all(|pair| pair[0] < pair[1]);
        let rejected: Vec<u32> = outcome.rejects.iter().map(|reject| reject.index).collect();
        assert!(is_ascending(&rejected) && rejected.iter().all(|place| *place < n));
        assert!(outcome.rejects.iter().all(|reject| reject.reason.len() <= 4096));
        let rejected: BTreeSet<u32> = rejected.into_iter().collect();
        match &outcome.answer {
            Answer::Unchanged => {}
            Answer::Select(places) => {
                assert!(is_ascending(places) && places.iter().all(|place| *place < n && !rejected.contains(place)));
            }
            Answer::Replaced { records, origin, .. } => {
                assert_eq!(records.len(), origin.len());
                assert!(origin.iter().all(|place| *place < n && !rejected.contains(place)));
                for (record, from) in records.iter().zip(origin) {
                    assert_eq!(record.offset.0, 1_000 + u64::from(*from));
                    assert!(usize::from(record.port.0) <= PORTS);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_passes_keeps_the_contract(raw in outcomes(), records in 0usize..8) {
            let batch = batch(records);
            match outcome(raw, &batch, PORTS) {
                Ok(outcome) => assert_contract(&outcome, &batch),
                Err(failure) => prop_assert!(matches!(failure, Failure::Answer(_)), "{failure:?}"),
            }
        }

        #[test]
        fn what_keeps_the_contract_passes(
            kept in vec(0u8..4, 0..20),
            replace in any::<bool>(),
        ) {
            let batch = batch(kept.len());
            let chosen = |wanted: u8| (0u32..).zip(&kept).filter(move |(_, k)| **k == wanted).map(|(n, _)| n);
            let rejects = chosen(0).map(|index| RejectOut { index, reason: "no".into(), retriable: false }).collect();
            let mut columns = BatchOut::default();
            let origin: Vec<u32> = chosen(1).flat_map(|n| [n, n]).collect();
            columns.index.resize(origin.len() * 4, 0);
            columns.meta.resize(origin.len() * 2, -1);
            let answer = match replace {
                true => AnswerOut::Replaced(Replacement { origin, records: columns }),
                false => AnswerOut::Select(chosen(1).collect()),
            };
            let outcome = outcome(OutcomeOut { answer, rejects }, &batch, 0);
            assert_contract(&outcome.expect("the answer is good"), &batch);
        }

        #[test]
        fn descriptions_are_refused_or_usable(names in vec(".{0,3}", 0..300)) {
            if let Ok(ports) = ports(names) {
                prop_assert!(ports.len() <= PORTS_MAX);
                let names: BTreeSet<&String> = ports.iter().collect();
                prop_assert!(names.len() == ports.len() && !names.contains(&String::new()));
            }
        }
    }

    fn refusal(answer: AnswerOut, rejected: &[u32]) -> String {
        let reject = |index: &u32| RejectOut { index: *index, reason: String::new(), retriable: false };
        let rejects = rejected.iter().map(reject).collect();
        outcome(OutcomeOut { answer, rejects }, &batch(3), PORTS).expect_err("must be refused").to_string()
    }

    fn replaced_by(origin: &[u32], port: u32) -> AnswerOut {
        let index = origin.iter().flat_map(|_| [0, 0, 0, port << 8]).collect();
        let records = BatchOut { index, meta: vec![0; origin.len() * 2], data: vec![] };
        AnswerOut::Replaced(Replacement { origin: origin.to_vec(), records })
    }

    #[test]
    fn each_rule_says_what_was_broken() {
        let select = |places: &[u32]| AnswerOut::Select(places.to_vec());
        let cases = [
            (refusal(select(&[0, 3]), &[]), "select[1] is record 3, but the batch has 3 records"),
            (refusal(select(&[1, 0]), &[]), "select[1] is record 0, but records must ascend: expected 2 or more"),
            (refusal(select(&[1, 1]), &[]), "select[1] is record 1, but records must ascend: expected 2 or more"),
            (refusal(select(&[0, 2]), &[1, 2]), "record 2 is both selected and rejected"),
            (
                refusal(AnswerOut::Unchanged, &[u32::MAX]),
                "rejects[0] is record 4294967295, but the batch has 3 records",
            ),
            (refusal(AnswerOut::Unchanged, &[2, 2]), "rejects[1] is record 2, but records must ascend"),
            (refusal(replaced_by(&[3], 0), &[]), "origin[0] is record 3, but the batch has 3 records"),
            (refusal(replaced_by(&[0, 1], 0), &[1]), "origin[1] is record 1, which is rejected"),
            (refusal(replaced_by(&[0], 3), &[]), "a record leaves by port 3, but the highest described is 2"),
        ];
        for (refusal, expected) in cases {
            assert!(
                refusal.starts_with("the plugin's answer breaks the contract: ") && refusal.contains(expected),
                "{refusal}"
            );
        }
        let mut short = Replacement { origin: vec![0, 1], records: BatchOut::default() };
        assert!(
            refusal(AnswerOut::Replaced(short.clone()), &[]).contains("origin names 2 records, but meta has 0 numbers")
        );
        short.records.meta = vec![0; 4];
        assert!(refusal(AnswerOut::Replaced(short), &[]).contains("replaced: index has 0 numbers and meta has 4"));
    }

    fn postpones(postponed: u32, due: Option<i64>, origin: &[u32], rejected: &[u32]) -> Result<Outcome, Failure> {
        let AnswerOut::Replaced(Replacement { origin, records }) = replaced_by(origin, 0) else { unreachable!() };
        let reject = |index: &u32| RejectOut { index: *index, reason: String::new(), retriable: false };
        let raw = StatefulOutcomeOut {
            answer: StatefulAnswerOut::Replaced(StatefulReplacement { origin, fired: vec![4, 5], records }),
            rejects: rejected.iter().map(reject).collect(),
            late: 0,
            postponed,
            alarms: AlarmsOut { event_time: due, clock_time: None },
        };
        let watermarks = [1, 5, 9].map(Timestamp);
        stateful_outcome(raw, &Given { input: 0, batch: &batch(3), watermarks: &watermarks }, PORTS)
    }

    #[test]
    fn what_is_postponed_is_no_part_of_the_answer() {
        let outcome = postpones(2, Some(5), &[3, 0, 4], &[]).unwrap();
        let Answer::Replaced { origin, .. } = outcome.answer else { unreachable!() };
        assert_eq!((origin, outcome.postponed), (vec![1, 0, 2], 2));
        let cases = [
            (postpones(4, Some(5), &[], &[]), "4 records are postponed, but the batch has 3 records"),
            (postpones(2, Some(6), &[], &[]), "2 records are postponed, but nothing is due at 5, the watermark of the"),
            (postpones(2, None, &[], &[]), "2 records are postponed, but nothing is due at 5"),
            (postpones(2, Some(5), &[1], &[]), "record 1 is both postponed and an origin"),
            (postpones(2, Some(5), &[5], &[]), "2 times fired"),
            (postpones(2, Some(5), &[], &[1]), "rejects[0] is record 1"),
        ];
        for (outcome, expected) in cases {
            let refusal = outcome.expect_err("must be refused").to_string();
            assert!(refusal.contains(expected), "{refusal}");
        }
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        let reject = RejectOut { index: 0, reason: "x".to_owned() + &"ä".repeat(3_000), retriable: true };
        let cut = super::rejects(vec![reject], 1).unwrap();
        assert_eq!((cut[0].reason.len(), cut[0].retriable), (4_095, true));
    }
}
