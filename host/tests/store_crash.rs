//! The embedded store and a process that dies: killed at any moment, or stopped by a disk that takes no more.
//!
//! The writer is this test's own program, started again with a directory to write to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use weir::record::{Batch, Offset, Partition, Position, Record, Timestamp};
use weir::store::embedded::EmbeddedStore;
use weir::store::{Append, Changes, PositionKey, Retention, StateChange, Store, StreamSpec, TableId};

/// Names the directory to a process that is to write.
const DATA: &str = "WEIR_TEST_STORE_DATA";
/// How large its files may become, where there is a limit.
const FILE_BYTES_MAX: &str = "WEIR_TEST_STORE_FILE_BYTES_MAX";
/// Random moments at which the writer is killed: the group by which it must have arrived.
const KILLS: [u64; 6] = [1, 7, 20, 3, 41, 11];
/// The signal of a file that would become too large; its default is death.
const SIGXFSZ: i32 = 25;

fn writer(data: &Path, file_bytes_max: Option<u64>) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_writer", "--nocapture"]).env(DATA, data).stdout(Stdio::piped());
    if let Some(bytes) = file_bytes_max {
        command.env(FILE_BYTES_MAX, bytes.to_string());
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// What the writer does: groups that each touch two partitions, a position and a state, and say the same number in all of
/// them; it tells of each once it is durable. Without a directory there is nothing to do: it runs as a test.
#[tokio::test]
async fn the_writer() {
    let Some(data) = std::env::var_os(DATA) else { return };
    let mut large = 200;
    if let Ok(bytes) = std::env::var(FILE_BYTES_MAX) {
        let limit = Some(bytes.parse().unwrap());
        let _handled = signal(SignalKind::from_raw(SIGXFSZ)).unwrap();
        setrlimit(Resource::Fsize, Rlimit { current: limit, maximum: limit }).unwrap();
        large = 3_000_000;
    }
    let store = EmbeddedStore::open(Path::new(&data)).unwrap();
    let retention = Retention { age_ms: None, bytes_max: u64::MAX, compact: false };
    store.create_stream(&StreamSpec { name: "s".into(), partitions: 2, retention }).await.unwrap();
    let mut next = store.bounds("s", Partition(0)).await.unwrap().end.0;
    loop {
        match store.commit(&group(next, large), Timestamp(0)).await {
            Ok(_) => println!("durable {next}"),
            Err(error) => break refuses_everything(&store, error).await,
        }
        next += 1;
    }
}

async fn refuses_everything(store: &EmbeddedStore, error: weir::store::Error) {
    assert!(error.is_fatal());
    assert!(store.commit(&[], Timestamp(0)).await.unwrap_err().is_fatal());
    assert!(store.bounds("s", Partition(0)).await.unwrap_err().is_fatal());
    assert!(store.read("s", Partition(0), Offset(0), 1).await.unwrap_err().is_fatal());
    println!("failed {error}");
}

fn position_key() -> PositionKey {
    PositionKey { owner: "p".into(), input: "s".into(), partition: Partition(0) }
}

fn table() -> TableId {
    TableId { pipeline: "p".into(), step: "t".into(), table: "t".into(), partition: Partition(0) }
}

/// Group number n, with a value of a length that makes the engine write in several parts.
fn group(n: u64, large: usize) -> [Changes; 3] {
    let records = |value: &[u8]| {
        let mut batch = Batch::default();
        batch.push(&Record::of(value, Timestamp(n as i64)));
        batch
    };
    let append = |partition, value: &[u8]| Changes {
        appends: vec![Append { stream: "s".into(), partition: Partition(partition), records: records(value) }],
        ..Changes::default()
    };
    let change = StateChange { table: table(), key: "k".into(), value: Some(n.to_string().into()) };
    let positions = vec![(position_key(), Position::at(Offset(n + 1)))];
    let mut random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let len = large + random as usize % (50 * large);
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as u8
    })
    .take(len.min(4_000_000))
    .collect();
    let rest = Changes { positions, state: vec![change], ..Changes::default() };
    [append(0, &noise), rest, append(1, n.to_string().as_bytes())]
}

/// All parts of all groups are there, up to the same one; returns how many.
async fn check(data: &Path) -> u64 {
    let store = EmbeddedStore::open(data).unwrap();
    let end = store.bounds("s", Partition(0)).await.unwrap().end.0;
    assert_eq!(store.bounds("s", Partition(1)).await.unwrap().end.0, end);
    let position = store.position(&position_key()).await.unwrap();
    assert_eq!(position.map_or(0, |position| position.offset().unwrap().0), end);
    let state = store.state_get(&table(), &["k".into()], usize::MAX).await.unwrap().remove(0);
    assert_eq!(state, end.checked_sub(1).map(|last| last.to_string().into()));
    for partition in [0, 1] {
        let mut next = 0;
        while next < end {
            let read = store.read("s", Partition(partition), Offset(next), 1 << 20).await.unwrap();
            for record in read.iter() {
                assert_eq!((record.offset.0, record.timestamp.0), (next, next as i64));
                next += 1;
            }
        }
    }
    end
}

fn durable(line: &str) -> Option<u64> {
    // The first one may come behind what the test harness prints.
    line.split("durable ").nth(1)?.parse().ok()
}

#[tokio::test]
async fn a_killed_writer_leaves_whole_groups_and_all_that_it_told_of() {
    let data = tempfile::tempdir().unwrap();
    let mut before = 0;
    for kill in KILLS {
        let (mut child, lines) = writer(data.path(), None);
        let mut told = before;
        for line in lines {
            told = durable(&line.unwrap()).map_or(told, |n| n + 1);
            if told >= before + kill {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let found = check(data.path()).await;
        assert!(found >= told && told > before, "{found} groups were found, {told} were told of, {before} were there");
        before = found;
    }
}

#[tokio::test]
async fn when_the_disk_takes_no_more_the_store_stops_and_what_it_told_of_is_there() {
    let data = tempfile::tempdir().unwrap();
    let (mut child, lines) = writer(data.path(), Some(70_000_000));
    let mut told = 0;
    let mut failed = None;
    for line in lines {
        let line = line.unwrap();
        told = durable(&line).map_or(told, |n| n + 1);
        failed = line.split("failed ").nth(1).map(str::to_owned).or(failed);
    }
    assert!(child.wait().unwrap().success(), "the writer's own checks");
    assert!(told > 3, "it wrote {told} groups before the limit");
    let failed = failed.expect("the writer ends with the error");
    assert!(failed.starts_with("storage failed: "), "{failed}");
    assert!(check(data.path()).await >= told);
}
