//! Rows find their tablets: a server refuses a write with a row of another tablet, so rows all over show the placing.

use kudu_client::{
    Alteration, Code, Column, ColumnType, Date, Decimal, NewTable, Operation, RangeBounds, Schema, Table, Value,
    ValueRef,
};

use super::servers::Servers;

#[tokio::test]
async fn rows_with_keys_of_all_types_find_their_buckets() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let kinds = [
        ("int8", ColumnType::Int8),
        ("int16", ColumnType::Int16),
        ("int32", ColumnType::Int32),
        ("int64", ColumnType::Int64),
        ("time", ColumnType::UnixtimeMicros),
        ("date", ColumnType::Date),
        ("decimal9", ColumnType::Decimal { precision: 9, scale: 2 }),
        ("decimal18", ColumnType::Decimal { precision: 18, scale: 2 }),
        ("decimal38", ColumnType::Decimal { precision: 38, scale: 2 }),
        ("string", ColumnType::String),
        ("varchar", ColumnType::Varchar { length: 30 }),
        ("binary", ColumnType::Binary),
    ];
    let columns = kinds.map(|(name, kind)| Column::key(name, kind));
    let schema = Schema::new(columns.into()).unwrap();
    let definition = NewTable::new("keys", schema)
        .hash(["int8", "string", "int16", "varchar"], 5)
        .hash_with_seed(["binary", "date", "decimal38", "time", "decimal9"], 4, 42)
        .hash(["int64"], 3);
    let table = client.create_table(&definition).await.unwrap();
    let mut batch = table.batch();
    for number in 0..2_000_i64 {
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64);
        let decimal = |unscaled: i64| Value::Decimal(Decimal { unscaled: unscaled.into(), scale: 2 });
        let values = [
            Value::Int8(spread as i8),
            Value::Int16(spread as i16),
            Value::Int32(spread as i32),
            Value::Int64(spread),
            Value::UnixtimeMicros(spread),
            Value::Date(Date::from_days(number as i32 - 1_000).unwrap()),
            decimal(spread % 1_000_000_000),
            decimal(spread % 1_000_000_000_000_000_000),
            decimal(spread),
            Value::String(format!("{number}\0{spread}")),
            Value::String(format!("\u{e4}{number}")),
            Value::Binary(spread.to_le_bytes()[..(number % 9) as usize].to_vec()),
        ];
        let cells: Vec<Option<ValueRef<'_>>> = values.iter().map(|value| Some(value.as_ref())).collect();
        batch.push_cells(Operation::Insert, &cells).unwrap();
    }
    let report = table.session().write(batch).await;
    assert_eq!(report.errors, []);
    assert_eq!(table.count().await.unwrap(), 2_000);
}

#[tokio::test]
async fn rows_find_their_ranges_below_their_buckets_and_those_without_are_told() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let schema = Schema::new(vec![
        Column::key("tenant", ColumnType::String),
        Column::key("id", ColumnType::Int64),
        Column::key("region", ColumnType::String),
        Column::nullable("n", ColumnType::Int32),
    ])
    .unwrap();
    let text = |text: &str| Value::String(text.to_owned());
    let range = |low: i64, high: i64| RangeBounds::all().from("id", Value::Int64(low)).below("id", Value::Int64(high));
    // A bound by two columns: below (100, "m").
    let bounded =
        RangeBounds::all().from("id", Value::Int64(50)).below("id", Value::Int64(100)).below("region", text("m"));
    let definition =
        NewTable::new("ranges", schema).hash(["tenant"], 3).range(["id", "region"], [range(-1_000, 50), bounded]);
    let table = client.create_table(&definition).await.unwrap();
    let fill = |table: &Table| {
        let mut batch = table.batch();
        for id in [-1_001, -1_000, -1, 0, 49, 50, 99, 100, 150] {
            for region in ["", "a", "m", "z"] {
                for tenant in ["", "acme", "zeta\0"] {
                    let cells = [Some(tenant.into()), Some(ValueRef::Int64(id)), Some(region.into()), None];
                    batch.push_cells(Operation::Upsert, &cells).unwrap();
                }
            }
        }
        batch
    };
    let session = table.session();
    let report = session.write(fill(&table)).await;
    // -1,001 and 150 in all regions, and 100 in m and z.
    assert_eq!((report.rows, report.errors.len()), (108, 30));
    assert!(report.errors.iter().all(|error| error.code == Code::NotFound && !error.is_retriable));
    assert!(report.errors[0].message.contains("no range partition covers the row"), "{}", report.errors[0]);
    assert_eq!(table.count().await.unwrap(), 78);

    client.alter_table("ranges", &Alteration::new().add_range(range(150, 151))).await.unwrap();
    // What is known of ranges may be as old as this.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(session.write(fill(&table)).await.errors.len(), 18);
    assert_eq!(table.count().await.unwrap(), 90);

    client.alter_table("ranges", &Alteration::new().drop_range(range(-1_000, 50))).await.unwrap();
    // Tablet servers drop their tablets later, and take rows until then; what is opened anew does not know them.
    let table = client.open_table("ranges").await.unwrap();
    assert_eq!(table.session().write(fill(&table)).await.errors.len(), 18 + 48);
    assert_eq!(table.count().await.unwrap(), 42);
}

#[tokio::test]
async fn kudu_itself_places_rows_as_the_client_does() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let columns = vec![Column::key("host", ColumnType::String), Column::key("at", ColumnType::Int64)];
    let definition = NewTable::new("located", Schema::new(columns).unwrap()).hash(["host", "at"], 16);
    let table = client.create_table(&definition).await.unwrap();
    for number in 0..8_i64 {
        let host = format!("host-{number}");
        let mut batch = table.batch();
        batch.push_cells(Operation::Insert, &[Some(host.as_str().into()), Some(number.into())]).unwrap();
        assert!(table.session().write(batch).await.is_complete());
        let key = format!("[{host:?}, {number}]");
        let tablet = servers.cli(&["table", "locate_row", "located", &key, "-check_row_existence"]);
        assert_eq!(tablet.trim().lines().next().unwrap().len(), 32, "{tablet}");
    }
}

#[tokio::test]
async fn a_table_may_have_more_tablets_than_a_master_tells_at_a_time() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let columns = vec![Column::key("id", ColumnType::Int64), Column::key("part", ColumnType::Int8)];
    let range = |part: i8| RangeBounds::all().from("part", Value::Int8(part)).below("part", Value::Int8(part + 1));
    // A gap between the ranges, so that a page may end before one.
    let definition = NewTable::new("many", Schema::new(columns).unwrap()).hash(["id"], 35).range(["part"], [range(0)]);
    client.create_table(&definition).await.unwrap();
    client.alter_table("many", &Alteration::new().add_range(range(2))).await.unwrap();
    let table = client.open_table("many").await.unwrap();
    let mut batch = table.batch();
    for id in 0..2_000_i64 {
        let part = if id % 2 == 0 { 0 } else { 2 };
        batch.push_cells(Operation::Insert, &[Some(ValueRef::Int64(id)), Some(ValueRef::Int8(part))]).unwrap();
    }
    assert_eq!(table.session().write(batch).await.errors, []);
    assert_eq!(table.count().await.unwrap(), 2_000);
    client.delete_table("many").await.unwrap();
}
