//! Answers that are lost: a proxy takes them, and the client must not take its own rows for somebody else's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kudu_client::{Code, Column, ColumnType, NewTable, Operation, Schema, ValueRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::servers::Servers;

/// Between client and tablet server. While it swallows, the server hears all and the client nothing, until the connection is cut.
struct Proxy {
    port: u16,
    swallows: AtomicBool,
    swallowed: AtomicUsize,
}

/// How long the server has to do what it was asked before the connection is cut.
const DONE_WITHIN: Duration = Duration::from_millis(500);

impl Proxy {
    /// Listens, and forwards to an address.
    async fn start(to: String) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (swallows, swallowed) = (AtomicBool::new(false), AtomicUsize::new(0));
        let proxy = Arc::new(Proxy { port, swallows, swallowed });
        let of_all = Arc::clone(&proxy);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (proxy, to) = (Arc::clone(&of_all), to.clone());
                tokio::spawn(async move { proxy.forward(client, &to).await });
            }
        });
        proxy
    }

    async fn forward(&self, client: TcpStream, to: &str) {
        let Ok(server) = TcpStream::connect(to).await else { return };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let back = async {
            let mut buffer = vec![0; 65_536];
            while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
                if self.swallows.swap(false, Ordering::SeqCst) {
                    self.swallowed.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(DONE_WITHIN).await;
                    return;
                }
                if to_client.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        };
        // Either end ends both.
        tokio::select! {
            () = back => {}
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        }
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_known_again() {
    let servers = Servers::up("kudu");
    let proxy = Proxy::start(servers.address("tserver-1").to_owned()).await;
    servers.add_flags("tserver", &[format!("--rpc_advertised_addresses=127.0.0.1:{}", proxy.port)]);
    servers.restart();
    let client = servers.client().await;
    let schema = Schema::new(vec![Column::key("id", ColumnType::Int64)]).unwrap();
    let table = client.create_table(&NewTable::new("lost", schema)).await.unwrap();
    let session = table.session();
    let batch = |from: i64, to: i64| {
        let mut batch = table.batch();
        for id in from..to {
            batch.push_cells(Operation::Insert, &[Some(ValueRef::Int64(id))]).unwrap();
        }
        batch
    };
    assert!(session.write(batch(0, 10)).await.is_complete());

    // Of rows 5 to 14 some were there before: their errors are true, and those of the others would not be.
    for round in 1..=3_i64 {
        proxy.swallows.store(true, Ordering::SeqCst);
        let report = session.write(batch(round * 10 - 5, round * 10 + 10)).await;
        assert_eq!(proxy.swallowed.load(Ordering::SeqCst) as i64, round);
        let rows: Vec<usize> = report.errors.iter().map(|error| error.row).collect();
        assert_eq!(rows, [0, 1, 2, 3, 4]);
        assert!(report.errors.iter().all(|error| error.code == Code::AlreadyPresent && !error.is_uncertain));
    }
    assert_eq!(table.count().await.unwrap(), 40);

    // Without time for another try nobody knows, and that is what the rows are told to be.
    proxy.swallows.store(true, Ordering::SeqCst);
    let report = table.session().timeout(DONE_WITHIN / 2).write(batch(100, 110)).await;
    assert_eq!(report.errors.len(), 10);
    assert!(report.errors.iter().all(|error| error.is_uncertain && error.code == Code::TimedOut), "{report:?}");
    assert_eq!(table.count().await.unwrap(), 50);

    // A scan whose first page is lost is begun anew, by itself.
    proxy.swallows.store(true, Ordering::SeqCst);
    let mut scanner = table.scan().open().await.unwrap();
    let mut total = 0;
    while let Some(rows) = scanner.next().await.unwrap() {
        total += rows.len();
    }
    assert_eq!((total, proxy.swallowed.load(Ordering::SeqCst)), (50, 5));
}

#[tokio::test]
async fn a_scan_that_loses_a_later_page_says_so() {
    let servers = Servers::up("kudu");
    let proxy = Proxy::start(servers.address("tserver-1").to_owned()).await;
    servers.add_flags("tserver", &[format!("--rpc_advertised_addresses=127.0.0.1:{}", proxy.port)]);
    servers.restart();
    let client = servers.client().await;
    let columns = vec![Column::key("id", ColumnType::Int64), Column::new("text", ColumnType::String)];
    let table = client.create_table(&NewTable::new("pages", Schema::new(columns).unwrap())).await.unwrap();
    let (text, mut batch) = ("x".repeat(1_000), table.batch());
    for id in 0..5_000_i64 {
        batch.push_cells(Operation::Insert, &[Some(ValueRef::Int64(id)), Some(text.as_str().into())]).unwrap();
    }
    assert!(table.session().write(batch).await.is_complete());
    let mut scanner = table.scan().page_bytes(10_000).open().await.unwrap();
    assert!(!scanner.next().await.unwrap().unwrap().is_empty());
    proxy.swallows.store(true, Ordering::SeqCst);
    let error = scanner.next().await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
    // Who asks on does not take the rest for nothing.
    assert!(scanner.next().await.is_err());
    // Nor who had no patience.
    let mut scanner = table.scan().page_bytes(10_000).open().await.unwrap();
    assert!(tokio::time::timeout(Duration::ZERO, scanner.next()).await.is_err());
    assert!(scanner.next().await.is_err());
    assert_eq!(table.count().await.unwrap(), 5_000);
}
