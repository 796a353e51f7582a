//! Tables: made, listed, changed, renamed, dropped.

use std::time::{Duration, Instant};

use kudu_client::{Alteration, Code, Column, ColumnType, NewTable, Operation, Schema, Value, ValueRef};

use super::servers::Servers;

fn schema() -> Schema {
    Schema::new(vec![
        Column::key("id", ColumnType::Int64).with_comment("who"),
        Column::nullable("name", ColumnType::String),
        Column::new("price", ColumnType::Decimal { precision: 10, scale: 2 })
            .with_default(Value::Decimal("1.50".parse().unwrap())),
    ])
    .unwrap()
}

#[tokio::test]
async fn tables_are_made_listed_and_dropped() {
    let servers = Servers::shared();
    let client = servers.client().await;
    assert!(!client.table_exists("made").await.unwrap());
    let table =
        client.create_table(&NewTable::new("made", schema()).replicas(1).with_comment("of goods")).await.unwrap();
    assert_eq!((table.name(), table.replicas(), table.id().len()), ("made", 1, 32));
    let column = &table.schema().columns()[2];
    assert_eq!(column.default, Some(Value::Decimal("1.50".parse().unwrap())));
    assert_eq!(table.schema().columns()[0].comment, "who");
    assert!(client.create_table(&NewTable::new("made", schema())).await.unwrap_err().is_table_present());
    assert!(client.table_exists("made").await.unwrap());
    assert!(client.list_tables(None).await.unwrap().contains(&"made".to_owned()));
    assert_eq!(client.list_tables(Some("no such")).await.unwrap(), Vec::<String>::new());
    client.delete_table("made").await.unwrap();
    let error = client.open_table("made").await.unwrap_err();
    assert!(error.is_table_missing() && !error.is_retriable(), "{error}");
    assert!(client.delete_table("made").await.unwrap_err().is_table_missing());
}

#[tokio::test]
async fn rows_for_a_table_that_was_dropped_are_refused() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let table = client.create_table(&NewTable::new("dropped", schema())).await.unwrap();
    let write = async || {
        let mut batch = table.batch();
        batch.push_cells(Operation::Upsert, &[Some(ValueRef::Int64(1)), None, None]).unwrap();
        table.session().write(batch).await
    };
    assert!(write().await.is_complete());
    client.delete_table("dropped").await.unwrap();
    // The tablet server drops its tablet later.
    let begun = Instant::now();
    let mut report = write().await;
    while report.is_complete() && begun.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        report = write().await;
    }
    assert_eq!((report.errors.len(), report.errors[0].is_retriable), (1, false), "{report:?}");
    assert_eq!(report.errors[0].code, Code::NotFound);
}

#[tokio::test]
async fn what_a_master_refuses_says_why() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let error = client.create_table(&NewTable::new("even", schema()).replicas(2)).await.unwrap_err();
    assert!(!error.is_retriable() && error.to_string().contains("replication factor"), "{error}");
    let columns = vec![Column::key("x", ColumnType::Double)];
    let error = client.create_table(&NewTable::new("odd", Schema::new(columns).unwrap())).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
}

#[tokio::test]
async fn columns_come_and_go() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let old = client.create_table(&NewTable::new("altered", schema()).hash(["id"], 2)).await.unwrap();
    let id = |id| Some(ValueRef::Int64(id));
    let mut batch = old.batch();
    batch.push_cells(Operation::Insert, &[id(1), Some("one".into()), None]).unwrap();
    assert!(old.session().write(batch).await.is_complete());

    let alteration = Alteration::new()
        .add_column(Column::nullable("note", ColumnType::String))
        .add_column(Column::new("count", ColumnType::Int16).with_default(Value::Int16(9)))
        .rename_column("name", "title")
        .rename_table("altered anew");
    client.alter_table("altered", &alteration).await.unwrap();
    assert!(client.open_table("altered").await.unwrap_err().is_table_missing());
    let new = client.open_table("altered anew").await.unwrap();
    assert_eq!(new.id(), old.id());
    let names: Vec<&str> = new.schema().columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "title", "price", "note", "count"]);

    let mut row = new.row();
    row.set("id", 2_i64).unwrap().set("note", "noted").unwrap();
    let mut batch = new.batch();
    batch.push(Operation::Upsert, &row).unwrap();
    assert!(new.session().write(batch).await.is_complete());
    let mut scanner = new.scan().columns(["id", "note", "count", "price"]).unwrap().open().await.unwrap();
    let mut found = Vec::new();
    while let Some(rows) = scanner.next().await.unwrap() {
        found.extend(rows.iter().map(|row| row.values().unwrap()));
    }
    found.sort_by_key(|row| format!("{:?}", row[0]));
    let (price, nine) = (Value::Decimal("1.50".parse().unwrap()), Value::Int16(9));
    assert_eq!(found[0], [Value::Int64(1), Value::Null, nine.clone(), price.clone()]);
    assert_eq!(found[1], [Value::Int64(2), Value::String("noted".to_owned()), nine, price]);

    // What was opened before speaks of a column that has another name now.
    let mut batch = old.batch();
    batch.push_cells(Operation::Upsert, &[id(3), Some("three".into()), None]).unwrap();
    let report = old.session().write(batch).await;
    assert_eq!(report.errors.len(), 1);
    assert!(report.errors[0].is_schema_outdated && !report.errors[0].is_retriable, "{report:?}");
    client.alter_table("altered anew", &Alteration::new().drop_column("note")).await.unwrap();
    assert!(client.open_table("altered anew").await.unwrap().schema().column("note").is_err());
}
