//! Encryption as servers demand it, whose certificates are believed, and tokens.

use std::fs;
use std::time::Duration;

use kudu_client::{Client, Column, ColumnType, Encryption, Error, NewTable, Operation, Schema, Table, ValueRef};

use super::servers::Servers;

async fn table(client: &Client, name: &str) -> Table {
    let schema = Schema::new(vec![Column::key("id", ColumnType::Int64)]).unwrap();
    client.create_table(&NewTable::new(name, schema).hash(["id"], 2)).await.unwrap()
}

async fn write_and_count(table: &Table) {
    let mut batch = table.batch();
    for id in 0..1_000_i64 {
        batch.push_cells(Operation::Upsert, &[Some(ValueRef::Int64(id))]).unwrap();
    }
    let report = table.session().write(batch).await;
    assert_eq!(report.errors, []);
    assert_eq!(table.count().await.unwrap(), 1_000);
}

#[tokio::test]
async fn connections_are_encrypted_as_both_sides_demand() {
    let servers = Servers::up("kudu");
    servers.restart_with(&["--rpc_encryption=required".to_owned(), "--rpc_trace_negotiation".to_owned()]);
    let client = servers.client().await;
    write_and_count(&table(&client, "encrypted").await).await;
    // The tablet server believes the token of the master, and the client the authority that the master names.
    let log = servers.log("tserver-1");
    assert!(log.contains("Negotiated authn=TOKEN"), "no token was used");

    let plain = Client::connect(servers.options().encryption(Encryption::Off)).await.unwrap_err();
    assert!(!plain.is_retriable() && plain.to_string().contains("TLS"), "{plain}");
    let required = Client::connect(servers.options().encryption(Encryption::Required)).await.unwrap();
    write_and_count(&required.open_table("encrypted").await.unwrap()).await;
}

#[tokio::test]
async fn certificates_are_checked_by_the_authority_that_was_given() {
    let servers = Servers::up("kudu");
    let [ca, other] = ["ca", "other_ca"].map(|name| fs::read(servers.text(name)).unwrap());
    servers.restart_with(&[
        format!("--rpc_certificate_file={}", servers.text("certificate")),
        format!("--rpc_private_key_file={}", servers.text("key")),
        format!("--rpc_ca_certificate_file={}", servers.text("ca")),
        "--rpc_encryption=required".to_owned(),
    ]);
    let client = Client::connect(servers.options().authority(ca)).await.unwrap();
    write_and_count(&table(&client, "certified").await).await;
    let error = Client::connect(servers.options().authority(other)).await.unwrap_err();
    assert!(matches!(&error, Error::NoLeader { .. }) && !error.is_retriable(), "{error}");
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test]
async fn tokens_that_have_expired_are_replaced() {
    let servers = Servers::up("kudu");
    let brief = ["--authn_token_validity_seconds=2", "--authz_token_validity_seconds=2"];
    servers.add_flags("master", &brief.map(str::to_owned));
    let strict = ["--tserver_enforce_access_control=true", "--rpc_trace_negotiation", "--v=1"];
    servers.add_flags("tserver", &strict.map(str::to_owned));
    servers.restart();
    let client = servers.client().await;
    let table = table(&client, "tokens").await;
    write_and_count(&table).await;
    // The token for the table has expired, then that for the cluster, which a new connection needs.
    tokio::time::sleep(Duration::from_secs(3)).await;
    write_and_count(&table).await;
    servers.kill("tserver-1");
    servers.start("tserver-1");
    tokio::time::sleep(Duration::from_secs(3)).await;
    write_and_count(&table).await;
    let log = servers.log("tserver-1");
    assert!(log.contains("authz token verification failure: token expired"), "no token for the table has expired");
    assert!(log.contains("FATAL_INVALID_AUTHENTICATION_TOKEN"), "no token for the cluster has expired");
}

#[tokio::test]
async fn a_server_without_tls_is_used_unless_encryption_is_demanded() {
    let servers = Servers::up("kudu");
    let flags = ["--rpc_encryption=disabled", "--rpc_authentication=disabled"];
    servers.restart_with(&flags.map(str::to_owned));
    write_and_count(&table(&servers.client().await, "plain").await).await;
    let error = Client::connect(servers.options().encryption(Encryption::Required)).await.unwrap_err();
    assert!(!error.is_retriable() && error.to_string().contains("expected a server with TLS"), "{error}");
}
