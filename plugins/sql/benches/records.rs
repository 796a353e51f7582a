//! What a statement costs a record, next to reading the record into a tree with serde_json.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_sql::query::Query;
use weir_sql::row::{Place, Scratch};

/// What the syslog parser makes of a line: 250 bytes or so.
const RECORD: &str = concat!(
    r#"{"timestamp":1733820945000,"host":"LabSZ","appname":"sshd","procid":"24200","facility":"authpriv","#,
    r#""severity":"info","priority":86,"message":"Invalid user webmaster from 173.234.31.186 port 38926","#,
    r#""received":1733820945123,"transport":"tcp","peer":"10.0.0.17"}"#
);

/// Statements, from the cheapest to the dearest.
const STATEMENTS: [(&str, &str); 5] = [
    ("filter by an early field", "SELECT * FROM input WHERE appname = 'sshd'"),
    ("filter by LIKE on a late field", "SELECT * FROM input WHERE message LIKE '%Invalid user%'"),
    ("projection of 2 fields", "SELECT host, message FROM input"),
    ("filter and projection", "SELECT host, message FROM input WHERE message LIKE '%Invalid user%'"),
    (
        "functions",
        "SELECT UCASE(host) AS host, SPLIT(message, ' ')[3] AS name, TIMESTAMPTOSTRING(timestamp, 'HH:mm') AS at FROM input",
    ),
];

fn statements(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    for (name, statement) in STATEMENTS {
        let Ok(query) = Query::compile(statement, &[]) else { continue };
        let (mut scratch, mut out) = (Scratch::default(), Vec::with_capacity(4096));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                run(&query, black_box(RECORD.as_bytes()), &mut scratch, &mut out);
                out.len()
            });
        });
    }
    group.bench_function("serde_json to a tree", |bencher| {
        bencher.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(RECORD.as_bytes())));
    });
    group.finish();
}

fn run(query: &Query, record: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let Ok(mut row) = query.open(record, Place::default(), scratch) else { return };
    if query.passes(&mut row) == Ok(true) && query.projects() {
        let written = query.write(&mut row, out);
        debug_assert!(written.is_ok());
    }
}

criterion_group!(benches, statements);
criterion_main!(benches);
