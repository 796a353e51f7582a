//! Kills a working appliance with -9 again and again, and counts what comes out at the end.
//!
//! A file and a TCP connection bring numbered syslog messages in; they are parsed, go through an embedded stream and end
//! in a file each. From the file nothing may be missing or come twice. A TCP sender learns nothing of what became of its
//! messages, so some are lost with each kill; what had reached the intake stream must come out exactly once, and how
//! much was lost is printed. `WEIR_CRASH_KILLS=N` sets how often it is killed (60 unless told), `WEIR_CRASH_SEED=N` when.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use weir::record::{Offset, Partition};
use weir::store::Store;
use weir::store::embedded::EmbeddedStore;

use crate::harness::{Bench, free_port, tell};

const PIPELINE: &str = "
version: 1
sources:
  disk: { type: file, path: in.log }
  net: { type: syslog, tcp: '127.0.0.1:PORT' }
pipelines:
  parse-disk: { from: disk, steps: [syslog-parser], to: parsed-disk }
  parse-net: { from: net, steps: [syslog-parser], to: parsed-net }
  write-disk: { from: parsed-disk, to: disk-out }
  write-net: { from: parsed-net, to: net-out }
sinks:
  disk-out: { type: file, path: disk.ndjson }
  net-out: { type: file, path: net.ndjson }
";

/// The longest life of an appliance that will be killed.
const LIFE_MS_MAX: u64 = 1_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn message(n: u64) -> String {
    format!(
        "<38>Dec 10 06:55:{:02} gate sshd[{}]: Invalid user number {n} from 192.0.2.{}\n",
        n % 60,
        n % 30_000,
        n % 256
    )
}

/// What the senders have done so far.
#[derive(Default)]
struct Sent {
    file: AtomicU64,
    tcp: AtomicU64,
    stop: AtomicBool,
}

/// Appends to the file in pieces that end anywhere in a line, at a pace that leaves the appliance busy.
fn write_file(mut file: File, sent: &Sent) {
    let mut n = 0;
    while !sent.stop.load(Ordering::Relaxed) {
        let block: String = (n..n + 200).map(message).collect();
        let (first, second) = block.as_bytes().split_at((n as usize * 31) % block.len());
        file.write_all(first).unwrap();
        thread::sleep(Duration::from_millis(2));
        file.write_all(second).unwrap();
        n += 200;
        sent.file.store(n, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(3));
    }
}

/// Sends numbers over TCP as a syslog daemon does: what the kernel took is sent, and never sent again.
fn send_tcp(port: u16, sent: &Sent) {
    let mut n = 0;
    while !sent.stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        while !sent.stop.load(Ordering::Relaxed) {
            let block: String = (n..n + 50).map(message).collect();
            n += 50;
            sent.tcp.store(n, Ordering::Relaxed);
            if connection.write_all(block.as_bytes()).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The number in a line of output, or in a message.
fn number_in(text: &str) -> u64 {
    let (_, rest) = text.split_once("number ").unwrap_or_else(|| panic!("no number in {text}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}

fn count(numbers: impl Iterator<Item = u64>) -> BTreeMap<u64, u32> {
    let mut counts = BTreeMap::new();
    numbers.for_each(|n| *counts.entry(n).or_default() += 1);
    counts
}

/// Everything that the intake stream holds, read when nobody else has the store.
fn intake_numbers(bench: &Bench) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(&bench.path("weir-data")).unwrap();
        let mut numbers = Vec::new();
        let mut next = Offset(0);
        loop {
            let batch = store.read("net", Partition(0), next, 1 << 20).await.unwrap();
            let Some(last) = batch.last_offset() else { return numbers };
            numbers.extend(batch.iter().map(|record| number_in(std::str::from_utf8(record.value.unwrap()).unwrap())));
            next = Offset(last.0 + 1);
        }
    })
}

#[test]
fn nothing_is_lost_or_doubled_by_kill_9() {
    let kills = number("WEIR_CRASH_KILLS", 60);
    let seed = number("WEIR_CRASH_SEED", 1);
    let bench = Bench::new();
    let port = free_port();
    bench.write("weir.yaml", &PIPELINE.replace("PORT", &port.to_string()));
    let file = File::create(bench.path("in.log")).unwrap();
    let sent = Arc::new(Sent::default());
    let senders = [
        thread::spawn({
            let sent = sent.clone();
            move || write_file(file, &sent)
        }),
        thread::spawn({
            let sent = sent.clone();
            move || send_tcp(port, &sent)
        }),
    ];
    let mut random = seed;
    let mut at_work = 0;
    for _ in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let before = bench.size("disk.ndjson");
        let weir = bench.start(&["weir.yaml"]);
        thread::sleep(Duration::from_millis((random >> 33) % LIFE_MS_MAX));
        weir.kill();
        at_work += u64::from(bench.size("disk.ndjson") > before);
    }
    assert!(at_work * 2 > kills, "only {at_work} of {kills} kills found the appliance at work");
    let mut weir = bench.start(&["weir.yaml"]);
    sent.stop.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let file_sent = sent.file.load(Ordering::Relaxed);
    let last = format!("number {} ", file_sent - 1);
    weir.until("the last line of the file", || {
        bench.end("disk.ndjson").lines().last().is_some_and(|line| line.contains(&last))
    });
    let mut before = u64::MAX;
    weir.until("the end of the TCP messages", || {
        thread::sleep(Duration::from_millis(500));
        std::mem::replace(&mut before, bench.size("net.ndjson")) == before
    });
    assert_eq!(weir.terminate(), 0);

    let disk: Vec<u64> = bench.lines("disk.ndjson").iter().map(|line| number_in(line)).collect();
    let expected: Vec<u64> = (0..file_sent).collect();
    assert!(
        disk == expected,
        "file: {} lines in, {} out; first difference at {:?} (seed {seed})",
        expected.len(),
        disk.len(),
        disk.iter().zip(&expected).position(|(got, wanted)| got != wanted)
    );

    let net = count(bench.lines("net.ndjson").iter().map(|line| number_in(line)));
    let intake = count(intake_numbers(&bench).into_iter());
    assert_eq!(intake.values().filter(|times| **times > 1).count(), 0, "the intake stream holds messages twice");
    assert_eq!(net, intake, "what reached the intake stream must come out exactly once (seed {seed})");
    let tcp_sent = sent.tcp.load(Ordering::Relaxed);
    report(kills, at_work, file_sent, tcp_sent, &intake);
}

/// Prints what TCP lost: the runs of numbers that the sender's kernel took and that never became durable.
fn report(kills: u64, at_work: u64, file_sent: u64, tcp_sent: u64, intake: &BTreeMap<u64, u32>) {
    let mut windows = Vec::new();
    let mut next = 0;
    for n in intake.keys().copied().chain([tcp_sent]) {
        if n > next {
            windows.push(n - next);
        }
        next = n + 1;
    }
    let lost: u64 = windows.iter().sum();
    let largest = windows.iter().max().copied().unwrap_or(0);
    tell(format_args!(
        "{kills} kills, {at_work} of them after the life had written output; file: {file_sent} lines in, {file_sent} out, each once"
    ));
    tell(format_args!(
        "tcp: {tcp_sent} messages sent, {} in the intake stream and out, each once; {lost} lost before the intake stream, {largest} at most at one kill ({} bytes)",
        intake.len(),
        largest * message(10_000).len() as u64
    ));
    assert!(intake.len() as u64 + lost == tcp_sent, "the account of TCP messages does not come out even");
}
