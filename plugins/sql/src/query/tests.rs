//! Statements over records, from text to text.

use proptest::prelude::*;
use serde_json::{Value as Tree, json};

use super::*;

/// Runs a statement over a record; `None` when it was filtered out.
fn run_at(statement: &str, record: &str, place: Place<'_>) -> Result<Option<String>, Malformed> {
    let query = Query::compile(statement, &[]).unwrap_or_else(|e| panic!("{}", e.excerpt(statement)));
    let mut scratch = Scratch::default();
    let mut row = query.open(record.as_bytes(), place, &mut scratch)?;
    if !query.passes(&mut row)? {
        return Ok(None);
    }
    let mut out = Vec::new();
    query.write(&mut row, &mut out)?;
    Ok(Some(String::from_utf8(out).unwrap()))
}

fn run(statement: &str, record: &str) -> Option<String> {
    run_at(statement, record, Place::default()).unwrap()
}

/// The value of an expression over a record.
fn value(expression: &str, record: &str) -> Tree {
    let out = run(&format!("SELECT {expression} AS v FROM input"), record).unwrap();
    serde_json::from_str::<Tree>(&out).unwrap()["v"].clone()
}

fn constant(expression: &str) -> Tree {
    value(expression, "{}")
}

fn keeps(condition: &str, record: &str) -> bool {
    run(&format!("SELECT * FROM input WHERE {condition}"), record).is_some()
}

fn refusal(statement: &str) -> String {
    Query::compile(statement, &[]).unwrap_err().to_string()
}

const SSHD: &str = r#"{"timestamp":1733820945000,"host":"LabSZ","appname":"sshd","procid":"24200","severity":"info","message":"Invalid user webmaster from 173.234.31.186","port":38926,"nested":{"Ip":"173.234.31.186","tags":["a","b"],"n":{"x":null}}}"#;

#[test]
fn the_sshd_job() {
    assert!(keeps("message LIKE '%Invalid user%'", SSHD));
    assert!(!keeps("message LIKE '%Failed password%'", SSHD));
    let out = run("SELECT host, message FROM input WHERE message LIKE '%Invalid user%' EMIT CHANGES;", SSHD);
    assert_eq!(out.unwrap(), r#"{"host":"LabSZ","message":"Invalid user webmaster from 173.234.31.186"}"#);
}

#[test]
fn names() {
    assert_eq!(run("SELECT HOST, Appname FROM input", SSHD).unwrap(), r#"{"HOST":"LabSZ","Appname":"sshd"}"#);
    assert_eq!(run("SELECT `HOST`, \"host\" FROM input", SSHD).unwrap(), r#"{"HOST":null,"host":"LabSZ"}"#);
    assert_eq!(
        run("SELECT i.host h, 1, `with \"quote` FROM input i", SSHD).unwrap(),
        r#"{"h":"LabSZ","KSQL_COL_0":1,"with \"quote":null}"#
    );
    assert_eq!(run("SELECT nested->ip, a->ip FROM input", SSHD).unwrap(), r#"{"ip":"173.234.31.186","ip_1":null}"#);
    assert_eq!(run(r#"SELECT a FROM input"#, r#"{"A":1,"a":2}"#).unwrap(), r#"{"a":1}"#, "the first of several counts");
    assert_eq!(run(r#"SELECT été FROM input"#, r#"{"\u00e9t\u00e9":1}"#).unwrap(), r#"{"été":1}"#);
}

#[test]
fn wildcards() {
    assert_eq!(
        run("SELECT *, 1 AS one FROM input", r#" {"a": [1, 2] , "b":"x"} "#).unwrap(),
        r#"{"a":[1, 2],"b":"x","one":1}"#
    );
    assert_eq!(run("SELECT *, UCASE(b) AS b FROM input", r#"{"a":1,"b":"x"}"#).unwrap(), r#"{"a":1,"b":"X"}"#);
    assert_eq!(
        run("SELECT input.*, n->*, 1 AS one FROM input", r#"{"a":1,"n":{"a":2,"b":3}}"#).unwrap(),
        r#"{"a":1,"n":{"a":2,"b":3},"b":3,"one":1}"#
    );
    assert_eq!(run("SELECT n->* FROM input", r#"{"n":5}"#).unwrap(), "{}");
}

#[test]
fn pseudo_columns() {
    let place = Place { key: Some(b"k1"), timestamp: 1500, partition: 3, offset: 42 };
    let out =
        run_at("SELECT ROWTIME, rowoffset, ROWPARTITION AS p, ROWKEY, `ROWTIME` AS field FROM input", "{}", place);
    assert_eq!(out.unwrap().unwrap(), r#"{"ROWTIME":1500,"rowoffset":42,"p":3,"ROWKEY":"k1","field":null}"#);
    for (condition, wanted) in
        [("ROWTIME >= '1970-01-01T00:00:01'", true), ("ROWTIME BETWEEN '1971' AND '1972'", false)]
    {
        assert_eq!(run_at(&format!("SELECT * FROM input WHERE {condition}"), "{}", place).unwrap().is_some(), wanted);
    }
    assert_eq!(value("ROWKEY", "{}"), Tree::Null);
}

#[test]
fn values_go_over_as_they_are() {
    let record = r#"{"a":1.50,"b":123456789012345678901234567890,"c":"\u0041\/","d":{ "x" : [1 ,2] },"e":1E2}"#;
    assert_eq!(
        run("SELECT a, b, c, d, e, COALESCE(z, a) AS f FROM input", record).unwrap(),
        r#"{"a":1.50,"b":123456789012345678901234567890,"c":"\u0041\/","d":{ "x" : [1 ,2] },"e":1E2,"f":1.50}"#
    );
}

#[test]
fn three_valued_logic() {
    let record = r#"{"t":true,"f":false,"n":null,"x":5}"#;
    for (condition, wanted) in [
        ("t AND f", json!(false)),
        ("n AND f", json!(false)),
        ("n AND t", Tree::Null),
        ("n OR t", json!(true)),
        ("n OR f", Tree::Null),
        ("NOT n", Tree::Null),
        ("NOT x > 11 AND NOT f", json!(true)),
        ("x > missing", Tree::Null),
        ("x IN (1, NULL)", Tree::Null),
        ("x IN (5, NULL)", json!(true)),
        ("x NOT IN (1, 2)", json!(true)),
        ("missing IN (1)", Tree::Null),
        ("x BETWEEN 1 AND missing", Tree::Null),
        ("x BETWEEN 6 AND missing", json!(false)),
        ("x NOT BETWEEN 6 AND 7", json!(true)),
        ("n IS NULL AND missing IS NULL AND x IS NOT NULL", json!(true)),
        ("n IS DISTINCT FROM missing", json!(false)),
        ("x IS NOT DISTINCT FROM 5", json!(true)),
        ("n IS TRUE", json!(false)),
        ("f IS NOT TRUE", json!(true)),
        ("n LIKE 'x'", Tree::Null),
        ("'abc' NOT LIKE 'a%'", json!(false)),
    ] {
        assert_eq!(value(condition, record), wanted, "{condition}");
        assert_eq!(keeps(condition, record), wanted == json!(true), "{condition}");
    }
}

#[test]
fn fields_take_the_type_of_what_they_meet() {
    let record =
        r#"{"n":22,"s":"22","w":"ssh","d":22.0,"b":"true","big":123456789012345678901,"t":"2024-01-01T00:00:00Z"}"#;
    for condition in [
        "n = s",
        "n = d",
        "s = 22",
        "s < 23",
        "n = '22'",
        "n <> 'ssh'",
        "w <> 22",
        "w = 'ssh'",
        "b",
        "b = true",
        "n LIKE '2%'",
        "s * 2 = 44",
        "big > 123456789012345678900.5",
        "LEN(n) = 2",
        "n IN ('22', '23')",
        "'port ' + n = 'port 22'",
        "n || s = '2222'",
        "CAST(t AS TIMESTAMP) = '2024-01-01'",
        "t = PARSE_TIMESTAMP('2024', 'yyyy')",
    ] {
        assert!(keeps(condition, record), "{condition}");
    }
    for condition in ["w < 22", "w > 22", "n = 'ssh'", "w * 2 = 0", "n"] {
        assert!(!keeps(condition, record), "{condition}");
    }
}

#[test]
fn arithmetic() {
    for (expression, wanted) in [
        ("2 + 3 * 4 - 1", json!(13)),
        ("7 / 2", json!(3)),
        ("-7 / 2", json!(-3)),
        ("7 % 4", json!(3)),
        ("7 / 2.0", json!(3.5)),
        ("1e0 / 4", json!(0.25)),
        ("1 / 0", Tree::Null),
        ("1.0 / 0", Tree::Null),
        ("1e0 / 0", Tree::Null),
        ("1 % 0", Tree::Null),
        ("9223372036854775807 + 1", Tree::Null),
        ("-9223372036854775808", json!(i64::MIN)),
        ("-(1 + 2)", json!(-3)),
        ("NULL + 1", Tree::Null),
        ("'a' + 'b' + 1", json!("ab1")),
        ("'a' || 'b' || NULL", Tree::Null),
        ("1.10 + 2.2", json!(3.3)),
    ] {
        assert_eq!(constant(expression), wanted, "{expression}");
    }
    assert_eq!(
        run("SELECT 1.10 + 2.2 AS d, CAST(3 AS DOUBLE) AS e, CAST(1e10 AS VARCHAR) AS f FROM input", "{}").unwrap(),
        r#"{"d":3.30,"e":3.0,"f":"1.0E10"}"#
    );
}

#[test]
fn case_and_cast() {
    let record = r#"{"x":3,"s":" 12 ","d":1.5,"a":[1,"2"],"o":{"A":"1","b":2}}"#;
    for (expression, wanted) in [
        ("CASE WHEN x < 2 THEN 'small' WHEN x < 4 THEN 'medium' ELSE 'large' END", json!("medium")),
        ("CASE x WHEN 1 THEN 'one' WHEN 3 THEN 'three' END", json!("three")),
        ("CASE WHEN missing > 1 THEN 'a' END", Tree::Null),
        ("CAST(s AS INTEGER) + 1", json!(13)),
        ("CAST('x' AS INT)", Tree::Null),
        ("CAST(2147483648 AS INT)", json!(-2147483648i64)),
        ("CAST('2147483648' AS INT)", Tree::Null),
        ("CAST(d AS BIGINT)", json!(1)),
        ("CAST(d AS DECIMAL(3, 0))", json!(2)),
        ("CAST(123.4 AS DECIMAL(3, 1))", Tree::Null),
        ("CAST(x AS VARCHAR) + '!'", json!("3!")),
        ("CAST('yes' AS BOOLEAN)", json!(true)),
        ("CAST('2024-02-29' AS DATE)", json!(19782)),
        ("CAST(CAST('1970-01-01T00:00:01' AS TIMESTAMP) AS VARCHAR)", json!("1970-01-01T00:00:01.000")),
        ("CAST('10:30' AS TIME)", json!(37_800_000)),
        ("CAST(a AS ARRAY<INT>)", json!([1, 2])),
        ("CAST(o AS STRUCT<a INT, c VARCHAR>)", json!({"a": 1, "c": null})),
        ("CAST(o AS MAP<VARCHAR, BIGINT>)['A']", json!(1)),
    ] {
        assert_eq!(value(expression, record), wanted, "{expression}");
    }
}

#[test]
fn nested_data() {
    let record = r#"{"a":[[1,2],[3,{"k":"v"}]],"m":{"x y":{"z":true},"e\"s":1},"t":"text"}"#;
    for (expression, wanted) in [
        ("a[2][2]->k", json!("v")),
        ("a[-1][1]", json!(3)),
        ("a[0]", Tree::Null),
        ("a[9]", Tree::Null),
        ("m['x y']->z", json!(true)),
        ("m->`x y`->z", json!(true)),
        ("m['e\"s']", json!(1)),
        ("t->x", Tree::Null),
        ("ARRAY[1, 'a', m->`x y`]", json!([1, "a", {"z": true}])),
        ("MAP('a' := 1, 'b' := ARRAY[2])", json!({"a": 1, "b": [2]})),
        ("STRUCT(a := 1, B := STRUCT(c := t))->b->c", json!("text")),
        ("SPLIT('a,b', ',')[2]", json!("b")),
        ("TRANSFORM(a[1], x => x * 10)", json!([10, 20])),
        ("FILTER(ARRAY[1, 2, 3], x => x > 1)", json!([2, 3])),
        ("REDUCE(ARRAY[1, 2, 3], 10, (s, x) => s + x)", json!(16)),
        ("TRANSFORM(ARRAY[ARRAY[1, 2]], x => TRANSFORM(x, y => y + ARRAY_LENGTH(x)))", json!([[3, 4]])),
        ("TRANSFORM(MAP('a' := 1), (k, v) => UCASE(k), (k, v) => v + 1)", json!({"A": 2})),
    ] {
        assert_eq!(value(expression, record), wanted, "{expression}");
    }
}

#[test]
fn functions_of_text() {
    for (expression, wanted) in [
        ("UCASE('straße')", json!("STRASSE")),
        ("LOWER('ABC')", json!("abc")),
        ("SUBSTRING('some_string', 6)", json!("string")),
        ("SUBSTRING('some_string', 6, 3)", json!("str")),
        ("SUBSTRING('some_string', -6, 3)", json!("str")),
        ("SUBSTRING('abc', 0, 2)", json!("ab")),
        ("SUBSTRING('größe', 3, 2)", json!("öß")),
        ("SUBSTRING('abc', 9)", json!("")),
        ("SUBSTRING(NULL, 1)", Tree::Null),
        ("TRIM('  a b ')", json!("a b")),
        ("LTRIM(' a ')", json!("a ")),
        ("RTRIM(' a ')", json!(" a")),
        ("LEN('größe')", json!(5)),
        ("REPLACE('a.b.c', '.', '-')", json!("a-b-c")),
        ("SPLIT('a,,b', ',')", json!(["a", "", "b"])),
        ("SPLIT('ab', '')", json!(["a", "b"])),
        ("INSTR('CORPORATE FLOOR', 'OR', 3, 2)", json!(14)),
        ("INSTR('CORPORATE FLOOR', 'OR', -3)", json!(5)),
        ("INSTR('abc', 'x')", json!(0)),
        ("LPAD('foo', 7, 'Bar')", json!("BarBfoo")),
        ("RPAD('foo', 2, 'x')", json!("fo")),
        ("RPAD('foo', -1, 'x')", Tree::Null),
        ("INITCAP('the QUICK  fox')", json!("The Quick  Fox")),
        ("CHR(75) + CHR('\\u004b')", json!("KK")),
        ("CONCAT('a', NULL, 'b')", json!("ab")),
        ("CONCAT_WS(', ', 'a', NULL, 'b')", json!("a, b")),
        ("REGEXP_EXTRACT('user (\\w+)', 'Invalid user bob from', 1)", json!("bob")),
        ("REGEXP_EXTRACT('user (\\w+)', 'nothing', 1)", Tree::Null),
        ("REGEXP_EXTRACT_ALL('\\d+', 'a1b22')", json!(["1", "22"])),
        ("REGEXP_REPLACE('foobar', '(foo)bar', '$1x')", json!("foox")),
        ("REGEXP_SPLIT_TO_ARRAY('aabcda', '(ab|cd)')", json!(["a", "", "a"])),
        ("EXTRACTJSONFIELD('{\"a\": {\"b\": [1, 2]}}', '$.a.b[1]')", json!("2")),
        ("EXTRACTJSONFIELD('not json', '$.a')", Tree::Null),
        ("ENCODE('4a4b', 'hex', 'utf8')", json!("JK")),
        ("ENCODE('JK', 'utf8', 'hex')", json!("4a4b")),
        ("SPLIT('YS5i', TO_BYTES('.', 'utf8'))", json!(["YQ==", "Yg=="])),
        ("JSON_RECORDS('{\"a\": \"x\", \"b\": [1, 2]}')", json!({"a": "x", "b": "[1,2]"})),
        ("CAST(ARRAY[1, 'a'] AS VARCHAR)", json!("[1,\"a\"]")),
        ("MASK('My Test $123')", json!("Xx-Xxxx--nnn")),
        ("URL_EXTRACT_HOST('https://docs.example.com:80/x?y=1')", json!("docs.example.com")),
        ("SPLIT_TO_MAP('a:1,b:2', ',', ':')", json!({"a": "1", "b": "2"})),
    ] {
        assert_eq!(constant(expression), wanted, "{expression}");
    }
}

#[test]
fn functions_of_numbers_and_choice() {
    for (expression, wanted) in [
        ("ABS(-5)", json!(5)),
        ("ROUND(2.5)", json!(3)),
        ("ROUND(-2.5e0)", json!(-2)),
        ("ROUND(1.005e0, 2)", json!(1.01)),
        ("ROUND(12345, -2)", json!(12300)),
        ("FLOOR(-1.5)", json!(-2.0)),
        ("CEIL(1.2e0)", json!(2.0)),
        ("SIGN(-3.2)", json!(-1)),
        ("SQRT(16)", json!(4.0)),
        ("SQRT(-1)", Tree::Null),
        ("LN(1)", json!(0.0)),
        ("COALESCE(NULL, 2, 3)", json!(2)),
        ("IFNULL(NULL, 'x')", json!("x")),
        ("NULLIF(1, 1)", Tree::Null),
        ("NULLIF(1, 2)", json!(1)),
        ("GREATEST(1, NULL, 3)", json!(3)),
        ("LEAST('b', 'a')", json!("a")),
        ("ARRAY_CONTAINS(ARRAY[1, 2], 2)", json!(true)),
        ("ARRAY_SORT(ARRAY[3, NULL, 1], 'DESC')", json!([3, 1, null])),
        ("ELT(2, 'a', 'b')", json!("b")),
        ("FIELD('b', 'a', 'b')", json!(2)),
    ] {
        assert_eq!(constant(expression), wanted, "{expression}");
    }
}

#[test]
fn functions_of_time() {
    for (expression, wanted) in [
        ("TIMESTAMPTOSTRING(0, 'yyyy-MM-dd HH:mm:ss.SSS z', 'Europe/Berlin')", json!("1970-01-01 01:00:00.000 CET")),
        ("STRINGTOTIMESTAMP('03/Jul/2024:09:46:45 +0200', 'dd/MMM/yyyy:HH:mm:ss Z')", json!(1_719_992_805_000i64)),
        ("STRINGTOTIMESTAMP('yesterday', 'yyyy')", Tree::Null),
        ("FORMAT_DATE(PARSE_DATE('29.02.2024', 'dd.MM.yyyy'), 'D')", json!("60")),
        ("DATEADD(MONTHS, 1, CAST('2024-01-31' AS DATE))", json!(19782)),
        ("TIMESTAMPADD(HOURS, -1, FROM_UNIXTIME(3600000))", json!(0)),
        ("CONVERT_TZ(FROM_UNIXTIME(0), 'UTC', 'Asia/Kolkata')", json!(19_800_000)),
        ("UNIX_TIMESTAMP(FROM_UNIXTIME(5))", json!(5)),
    ] {
        assert_eq!(constant(expression), wanted, "{expression}");
    }
}

#[test]
fn refusals_say_what_and_where() {
    for (statement, wanted) in [
        ("SELECT UCSE(a) FROM input", "line 1:8: unknown function UCSE; did you mean UCASE?"),
        ("SELECT XYZZY(a) FROM input", "line 1:8: unknown function XYZZY"),
        (
            "SELECT\n  COUNT(*) FROM input",
            "line 2:3: COUNT is an aggregate function, which is not supported by this version",
        ),
        ("SELECT LEN() FROM input", "line 1:8: 0 arguments are given to LEN(VARCHAR|BYTES)"),
        ("SELECT UCASE(5) FROM input", "line 1:14: argument 1 of UCASE(VARCHAR) is VARCHAR, and this is INTEGER"),
        ("SELECT a FROM input WHERE 'x' = 5", "line 1:27: 'x' (VARCHAR) cannot be compared with 5 (INTEGER)"),
        (
            "SELECT a FROM input WHERE a = NULL",
            "line 1:31: a comparison with NULL is never true; use IS NULL or IS NOT NULL",
        ),
        ("SELECT a FROM input WHERE 1 + 2", "line 1:27: WHERE needs a condition, and this is INTEGER"),
        ("SELECT a FROM other", "line 1:15: unknown source other: a statement reads FROM input"),
        (
            "SELECT a, b AS a FROM input",
            "line 1:16: a is selected twice under the same name; give one of them another with AS",
        ),
        (
            "SELECT a.b FROM input",
            "line 1:8: unknown source a; a field in a struct is written a->b, and a field whose name has a point in backquotes: `a.b`",
        ),
        (
            "SELECT UNIX_TIMESTAMP() FROM input",
            "line 1:8: 0 arguments are given to UNIX_TIMESTAMP(TIMESTAMP); there is no clock here: ROWTIME is the time of the record",
        ),
        (
            "SELECT CAST(a AS NUMBERISH) FROM input",
            "line 1:18: unknown type NUMBERISH; expected BOOLEAN, INTEGER, BIGINT, DOUBLE, DECIMAL(p, s), VARCHAR, BYTES, DATE, TIME, TIMESTAMP, ARRAY<..>, MAP<VARCHAR, ..> or STRUCT<..>",
        ),
        ("SELECT * FROM input WHERE a LIKE 'x' ESCAPE 'ab'", "line 1:45: ESCAPE needs one character in quotes"),
        ("SELECT TIMESTAMPTOSTRING(a, 'Y') FROM input", "line 1:8: the letter Y of a time pattern is not supported"),
        (
            "SELECT TRANSFORM(a, b) FROM input",
            "line 1:8: TRANSFORM is written TRANSFORM(array, x => ..) or TRANSFORM(map, (k, v) => .., (k, v) => ..)",
        ),
        ("SELECT (SELECT 1) FROM input", "line 1:9: a SELECT within a statement is not supported by this version"),
    ] {
        assert_eq!(refusal(statement), wanted, "{statement}");
    }
}

#[test]
fn deep_statements_are_refused_and_long_ones_run() {
    let sum = format!("SELECT {}1 AS s FROM input", "1 + ".repeat(1_500));
    assert!(refusal(&sum).contains("nested deeper"));
    let choice: Vec<String> = (0..1_000).map(|number| format!("a = {number}")).collect();
    assert!(keeps(&choice.join(" OR "), r#"{"a": 999}"#));
    let list: Vec<String> = (0..1_000).map(|number| format!("'{number}'")).collect();
    assert!(keeps(&format!("a IN ({})", list.join(",")), r#"{"a": "999"}"#));
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    for (record, wanted) in [
        ("", "malformed JSON at byte 0: expected a JSON object, and nothing came"),
        ("[1]", "malformed JSON at byte 0: expected a JSON object"),
        ("\"text\"", "malformed JSON at byte 0: expected a JSON object"),
        ("{\"a\": 1", "malformed JSON at byte 7: the JSON object does not end"),
        ("{\"z\": 01, \"a\": 1}", "malformed JSON at byte 6: a number has no leading zeros"),
        ("{\"z\": tru, \"a\": 1}", "malformed JSON at byte 6: expected true, false or null"),
        ("{\"a\" 1}", "malformed JSON at byte 5: expected a colon"),
        ("{\"z\": 1 \"a\": 1}", "malformed JSON at byte 8: expected a comma or the end of the object"),
        ("{\"z\": \"\n\", \"a\": 1}", "malformed JSON at byte 7: a control character in a string has to be escaped"),
        ("{\"z\": [1}, \"a\": 1}", "malformed JSON at byte 8: a closing bracket of the other kind was expected"),
        ("{\"z\": 1} {\"a\": 1}", "malformed JSON at byte 9: nothing may follow the object"),
        ("{\"a\": \"\\x\"}", "malformed JSON at byte 7: not an escape that JSON knows"),
        ("{\"a\": [1,,2]}", "malformed JSON at byte 9: expected a value"),
    ] {
        let fault = run_at("SELECT a FROM input", record, Place::default()).unwrap_err();
        assert_eq!(fault.to_string(), wanted, "{record}");
    }
    let query = Query::compile("SELECT a FROM input WHERE a = 'x'", &[]).unwrap();
    let mut scratch = Scratch::default();
    let mut row = query.open(b"{\"a\": \"x\xff\"}", Place::default(), &mut scratch).unwrap();
    assert_eq!(query.passes(&mut row).unwrap_err().to_string(), "malformed JSON at byte 8: the string is not UTF-8");
}

/// Documents as they come, and worse.
fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        any::<f64>().prop_map(Tree::from),
        "\\PC{0,12}|[\\x00-\\x7f\"\\\\]{0,12}".prop_map(Tree::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::from),
            prop::collection::btree_map("[a-c\"\\\\\u{e9}]{0,2}", inner, 0..5)
                .prop_map(|map| Tree::Object(map.into_iter().collect())),
        ]
    })
}

fn document() -> impl Strategy<Value = Tree> {
    prop::collection::btree_map("[a-c]{1,2}|\\PC{0,4}", tree(), 0..8)
        .prop_map(|map| Tree::Object(map.into_iter().collect()))
}

proptest! {
    #[test]
    fn fields_are_what_serde_json_finds(doc in document(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&doc).unwrap() } else { doc.to_string() };
        // serde_json may read a double one digit off from the one it wrote, so both sides are read.
        let doc: Tree = serde_json::from_str(&text).unwrap();
        let out = run("SELECT `b`, `ab`, `missing->`, `a`, a->b AS deep, `c`[1] AS first FROM input", &text).unwrap();
        let out: Tree = serde_json::from_str(&out).unwrap();
        // Case does not matter in a->b, and the first of several counts, which the tree has in order.
        let deep = doc.as_object().unwrap().iter().find(|(name, _)| name.eq_ignore_ascii_case("a")).map_or(&Tree::Null, |(_, a)| {
            a.as_object().and_then(|a| a.iter().find(|(name, _)| name.eq_ignore_ascii_case("b"))).map_or(&Tree::Null, |(_, b)| b)
        });
        let first = doc.get("c").and_then(Tree::as_array).and_then(|list| list.first()).unwrap_or(&Tree::Null);
        for (name, wanted) in [("b", &doc["b"]), ("ab", &doc["ab"]), ("a", &doc["a"]), ("deep", deep), ("first", first)] {
            prop_assert_eq!(&out[name], wanted, "{} of {}", name, text);
        }
    }

    #[test]
    fn everything_can_be_copied_and_decoded(doc in document()) {
        let text = doc.to_string();
        let doc: Tree = serde_json::from_str(&text).unwrap();
        let all: Tree = serde_json::from_str(&run("SELECT *, 1 AS `one more` FROM input", &text).unwrap()).unwrap();
        for (name, wanted) in doc.as_object().unwrap() {
            prop_assert_eq!(&all[name], wanted);
        }
        let json: Tree = serde_json::from_str(&run("SELECT TO_JSON_STRING(`a`) AS a FROM input", &text).unwrap()).unwrap();
        let inner: Tree = serde_json::from_str(json["a"].as_str().unwrap()).unwrap();
        prop_assert_eq!(&inner, &doc["a"]);
    }

    #[test]
    fn hostile_records_never_panic_and_never_make_bad_json(record in "[{}\\[\\]\",:ab0-9.eE+\\-\\\\untrfalse \\n]{0,40}") {
        for statement in [
            "SELECT a, b->a AS c, a[1] AS d, *, LEN(a) AS l, a + b AS s, b->* FROM input",
            "SELECT CAST(a AS ARRAY<INT>) AS x, a = b AS y, TRANSFORM(b, z => z) AS z FROM input WHERE a IS NOT NULL",
        ] {
            for record in [record.clone(), format!("{{\"a\":{record}}}"), format!("{{\"b\":[{record}],\"a\":\"{record}\"}}")] {
                if let Ok(Some(out)) = run_at(statement, &record, Place::default()) {
                    prop_assert!(serde_json::from_str::<Tree>(&out).is_ok(), "{} made of {}", out, record);
                }
            }
        }
    }

    #[test]
    fn hostile_bytes_never_panic(record in prop::collection::vec(any::<u8>(), 0..60)) {
        let query = Query::compile("SELECT *, a->b AS c FROM input WHERE a LIKE '%x%' OR a IS NULL", &[]).unwrap();
        let mut scratch = Scratch::default();
        let mut whole = b"{\"a\":\"".to_vec();
        whole.extend_from_slice(&record);
        whole.extend_from_slice(b"\"}");
        for record in [record, whole] {
            if let Ok(mut row) = query.open(&record, Place::default(), &mut scratch)
                && query.passes(&mut row).unwrap_or(false)
            {
                let mut out = Vec::new();
                if query.write(&mut row, &mut out).is_ok() {
                    prop_assert!(serde_json::from_slice::<Tree>(&out).is_ok());
                }
            }
        }
    }
}
