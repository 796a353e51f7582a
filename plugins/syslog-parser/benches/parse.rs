//! What a line costs, in native code, beside crate syslog_loose, which only parses it and writes no JSON.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use chrono::FixedOffset;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use syslog_loose::{Variant, parse_message_with_year_exact_tz};
use weir_plugin::bindings::types;
use weir_plugin::testing::test_context;
use weir_plugin::transform::Slot;
use weir_syslog_parser::SyslogParser;

const RECORDS: u32 = 1_000;
/// 2025-03-14T12:00:00Z
const RECEIVED: i64 = 1_741_953_600_000;

fn sshd(n: u32) -> String {
    let [_, a, b, c] = n.wrapping_mul(2_654_435_761).to_be_bytes();
    let port = 1024 + u32::from(c);
    format!(
        "Mar {:2} 06:55:{:02} gate sshd[{}]: Failed password for invalid user test{b} from 192.0.2.{a} port {port} ssh2\r",
        1 + n % 13,
        n % 60,
        24_000 + n
    )
}

fn rfc5424(n: u32) -> String {
    format!(
        "<{}>1 2025-03-09T22:14:{:02}.{:03}Z db{}.example.net billing {} ID47 [meta@32473 sequenceId=\"{n}\" unit=\"eu\"] invoice {n} was sent to customer {}",
        n % 192,
        n % 60,
        n % 1000,
        n % 7,
        8000 + n,
        n * 31
    )
}

fn columns(lines: &[String]) -> types::Batch {
    let mut columns = types::Batch::default();
    for (n, line) in (0..).zip(lines) {
        columns.data.extend_from_slice(line.as_bytes());
        let end = columns.data.len() as u32;
        let start = end - line.len() as u32;
        columns.index.extend_from_slice(&[start, end, end, 1]);
        columns.meta.extend_from_slice(&[n, RECEIVED]);
    }
    columns
}

fn bench(criterion: &mut Criterion) {
    for (name, line) in [("parse RFC 3164", sshd as fn(u32) -> String), ("parse RFC 5424", rfc5424)] {
        let lines: Vec<String> = (0..RECORDS).map(line).collect();
        let columns = columns(&lines);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(u64::from(RECORDS)));
        group.bench_function("to JSON", |bencher| {
            let slot = Slot::<SyslogParser>::empty();
            slot.init("{}", &test_context()).unwrap();
            bencher.iter(|| slot.process(0, columns.clone()));
        });
        group.bench_function("baseline: syslog_loose", |bencher| {
            let utc = FixedOffset::east_opt(0).unwrap();
            bencher.iter(|| {
                for line in &lines {
                    let parsed = parse_message_with_year_exact_tz(line, |_| 2025, Some(utc), Variant::Either);
                    black_box(parsed.unwrap());
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
