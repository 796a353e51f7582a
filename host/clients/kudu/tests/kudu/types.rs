//! Values of all types, written and read back.

use kudu_client::{Column, ColumnType, Date, Decimal, NewTable, Operation, Predicate, Schema, Table, Value, ValueRef};

use super::servers::Servers;

const TYPES: [(&str, ColumnType); 15] = [
    ("bool", ColumnType::Bool),
    ("int8", ColumnType::Int8),
    ("int16", ColumnType::Int16),
    ("int32", ColumnType::Int32),
    ("int64", ColumnType::Int64),
    ("float", ColumnType::Float),
    ("double", ColumnType::Double),
    ("string", ColumnType::String),
    ("varchar", ColumnType::Varchar { length: 20 }),
    ("binary", ColumnType::Binary),
    ("unixtime_micros", ColumnType::UnixtimeMicros),
    ("decimal9", ColumnType::Decimal { precision: 9, scale: 4 }),
    ("decimal18", ColumnType::Decimal { precision: 18, scale: 0 }),
    ("decimal38", ColumnType::Decimal { precision: 38, scale: 38 }),
    ("date", ColumnType::Date),
];

/// A least, a greatest, and an everyday value of each type.
fn values() -> [Vec<Value>; 3] {
    let decimal = |unscaled, scale| Value::Decimal(Decimal { unscaled, scale });
    let least = vec![
        Value::Bool(false),
        Value::Int8(i8::MIN),
        Value::Int16(i16::MIN),
        Value::Int32(i32::MIN),
        Value::Int64(i64::MIN),
        Value::Float(f32::MIN),
        Value::Double(f64::NEG_INFINITY),
        Value::String(String::new()),
        Value::String(String::new()),
        Value::Binary(Vec::new()),
        Value::UnixtimeMicros(i64::MIN),
        decimal(-999_999_999, 4),
        decimal(1 - 10_i128.pow(18), 0),
        decimal(1 - 10_i128.pow(38), 38),
        Value::Date(Date::MIN),
    ];
    let greatest = vec![
        Value::Bool(true),
        Value::Int8(i8::MAX),
        Value::Int16(i16::MAX),
        Value::Int32(i32::MAX),
        Value::Int64(i64::MAX),
        Value::Float(f32::INFINITY),
        Value::Double(f64::MAX),
        Value::String("\u{10ffff}".repeat(16_000)),
        Value::String("\u{10ffff}".repeat(20)),
        Value::Binary(vec![0xff; 64_000]),
        Value::UnixtimeMicros(i64::MAX),
        decimal(999_999_999, 4),
        decimal(10_i128.pow(18) - 1, 0),
        decimal(10_i128.pow(38) - 1, 38),
        Value::Date(Date::MAX),
    ];
    let everyday = vec![
        Value::Bool(true),
        Value::Int8(-1),
        Value::Int16(2),
        Value::Int32(-3),
        Value::Int64(4),
        Value::Float(-0.5),
        Value::Double(1e-300),
        Value::String("zero \0 and more".to_owned()),
        Value::String("zehn Wörter".to_owned()),
        Value::Binary(b"\0\x01\0\xff".to_vec()),
        Value::UnixtimeMicros(1_700_000_000_000_001),
        decimal(-5, 4),
        decimal(1, 0),
        decimal(-1, 38),
        Value::Date(Date::from_ymd(2024, 2, 29).unwrap()),
    ];
    [least, greatest, everyday]
}

async fn read(table: &Table) -> Vec<Vec<Value>> {
    let mut scanner = table.scan().open().await.unwrap();
    let mut found = Vec::new();
    while let Some(rows) = scanner.next().await.unwrap() {
        found.extend(rows.iter().map(|row| row.values().unwrap()));
    }
    found
}

#[tokio::test]
async fn values_of_all_types_come_back_as_they_were() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let mut columns = vec![Column::key("id", ColumnType::Int32)];
    columns.extend(TYPES.map(|(name, kind)| Column::nullable(name, kind)));
    let schema = Schema::new(columns).unwrap();
    let table = client.create_table(&NewTable::new("types", schema.clone()).hash(["id"], 3)).await.unwrap();
    let kinds = |schema: &Schema| schema.columns().iter().map(|column| column.column_type).collect::<Vec<_>>();
    assert_eq!(kinds(table.schema()), kinds(&schema));

    let mut expected: Vec<Vec<Value>> = values().into_iter().collect();
    expected.push(vec![Value::Null; TYPES.len()]);
    for (id, row) in expected.iter_mut().enumerate() {
        row.insert(0, Value::Int32(id as i32));
    }
    let mut batch = table.batch();
    for values in &expected {
        let cells: Vec<Option<ValueRef<'_>>> = values.iter().map(|value| Some(value.as_ref())).collect();
        batch.push_cells(Operation::Insert, &cells).unwrap();
    }
    let report = table.session().write(batch).await;
    assert_eq!((report.written(), &*report.errors), (4, &[][..]));

    let mut found = read(&table).await;
    found.sort_by_key(|row| format!("{:?}", row[0]));
    assert!(found == expected, "{:?}", found.iter().map(|row| &row[0]).collect::<Vec<_>>());
    // As another client of Kudu sees them.
    let seen = servers.cli(&["table", "scan", "types", "--columns=id,int64,date,varchar"]);
    assert!(seen.contains("int64=-9223372036854775808, date date=1-01-01"), "{seen}");
}

#[tokio::test]
async fn predicates_of_all_types_find_their_row() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let mut columns = vec![Column::key("id", ColumnType::Int32)];
    columns.extend(TYPES.map(|(name, kind)| Column::nullable(name, kind)));
    let schema = Schema::new(columns).unwrap();
    let table = client.create_table(&NewTable::new("predicates", schema).hash(["id"], 2)).await.unwrap();
    let [least, greatest, everyday] = values();
    let mut batch = table.batch();
    for (id, values) in [&least, &greatest, &everyday, &vec![Value::Null; TYPES.len()]].into_iter().enumerate() {
        let mut cells = vec![Some(ValueRef::Int32(id as i32))];
        cells.extend(values.iter().map(|value| Some(value.as_ref())));
        batch.push_cells(Operation::Insert, &cells).unwrap();
    }
    assert!(table.session().write(batch).await.is_complete());

    let ids = async |predicate: Predicate<'_>| {
        let scan = table.scan().columns(["id"]).unwrap().filter(&predicate).unwrap();
        let mut scanner = scan.open().await.unwrap();
        let mut ids = Vec::new();
        while let Some(rows) = scanner.next().await.unwrap() {
            ids.extend(rows.iter().map(|row| row.get(0).unwrap().to_owned()));
        }
        ids.sort_by_key(|id| format!("{id:?}"));
        ids
    };
    let id = Value::Int32;
    for (index, (name, kind)) in TYPES.iter().enumerate().skip(1) {
        let (low, high, middle) = (&least[index], &greatest[index], &everyday[index]);
        assert_eq!(ids(Predicate::equal(name, middle)).await, [id(2)], "equal {kind}");
        assert_eq!(ids(Predicate::at_least(name, high)).await, [id(1)], "at least {kind}");
        assert_eq!(ids(Predicate::below(name, middle)).await, [id(0)], "below {kind}");
        assert_eq!(ids(Predicate::one_of(name, [high, low])).await, [id(0), id(1)], "one of {kind}");
        assert_eq!(ids(Predicate::is_null(name)).await, [id(3)], "null {kind}");
        assert_eq!(ids(Predicate::is_not_null(name)).await, [id(0), id(1), id(2)], "not null {kind}");
    }
    assert_eq!(ids(Predicate::equal("bool", false)).await, [id(0)]);
    let count = table.scan().filter(&Predicate::is_null("date")).unwrap().count().await.unwrap();
    assert_eq!(count, 1);
    let error = table.scan().filter(&Predicate::equal("int8", 1_000)).unwrap_err().to_string();
    assert!(error.starts_with("column int8: expected a value in the range"), "{error}");
}
