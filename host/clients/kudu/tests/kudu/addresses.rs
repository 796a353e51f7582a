//! Addresses where no Kudu is.

use std::time::Duration;

use kudu_client::{Client, Error, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

async fn refused(address: &str) -> (Error, Duration) {
    let begun = Instant::now();
    let options = Options::new([address]).timeout(Duration::from_secs(2));
    (Client::connect(options).await.unwrap_err(), begun.elapsed())
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_in_time() {
    let (error, took) = refused("127.0.0.1:1").await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(error.is_retriable());
    let told = error.to_string();
    assert!(told.contains("127.0.0.1:1") && told.contains("refused"), "{told}");
}

#[tokio::test]
async fn a_server_of_another_protocol_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 7]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let (error, took) = refused(&address).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(!error.is_retriable() && error.to_string().contains("expected Kudu's negotiation"), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_told_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (error, took) = refused(&listener.local_addr().unwrap().to_string()).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(error.to_string().contains("no connection came about in time"), "{error}");
}

#[tokio::test]
async fn a_name_that_is_none_is_told() {
    let (error, _) = refused("no-such-host.invalid:7051").await;
    assert!(error.to_string().contains("no-such-host.invalid:7051"), "{error}");
    let error = Client::connect(Options::new(["host:port"])).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}
