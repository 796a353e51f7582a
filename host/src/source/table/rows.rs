//! The rows of a file: each with its key, as text, and its fields, as a JSON object.

use serde_json::{Map, Value};

use crate::config::TableFormat;
use crate::field::FieldPath;

/// Calls a function with the key and the JSON of each row, in the order of the file. The error says where, what was expected
/// and what came; some rows may have been given before.
pub fn each(
    bytes: &[u8],
    format: TableFormat,
    key: &Option<FieldPath>,
    mut row: impl FnMut(&[u8], &[u8]),
) -> Result<(), String> {
    let mut keyed = |json: &[u8], place: &dyn Fn() -> String| -> Result<(), String> {
        let key = key.as_ref().ok_or_else(|| "the source has no `key`".to_owned())?;
        let found = key.text(json).map_err(|error| format!("{}: {error}", place()))?;
        row(found.as_bytes(), json);
        Ok(())
    };
    match format {
        TableFormat::Csv => csv(bytes, |json, line| keyed(json, &|| format!("line {line}"))),
        TableFormat::Ndjson => lines(bytes, |line, number| keyed(&object(line, number)?, &|| format!("line {number}"))),
        TableFormat::Keyed => lines(bytes, |line, number| {
            let at = memchr::memchr(b':', line)
                .ok_or_else(|| format!("line {number}: expected a key, a colon and JSON, found no colon"))?;
            let (key, json) = line.split_at(at);
            let json = object(json.get(1..).unwrap_or_default(), number)?;
            row(key, &json);
            Ok(())
        }),
        TableFormat::Json => match serde_json::from_slice(bytes).map_err(|error| error.to_string())? {
            Value::Array(rows) => (1..).zip(rows).try_for_each(|(number, json)| match json {
                Value::Object(_) => keyed(json.to_string().as_bytes(), &|| format!("row {number}")),
                other => Err(format!("row {number}: expected an object, found {other}")),
            }),
            Value::Object(rows) => rows.into_iter().try_for_each(|(key, json)| match json {
                Value::Object(_) => {
                    row(key.as_bytes(), json.to_string().as_bytes());
                    Ok(())
                }
                other => Err(format!("row {key}: expected an object, found {other}")),
            }),
            _ => Err("expected a list of objects, or an object of them by key".into()),
        },
    }
}

fn lines(bytes: &[u8], mut each: impl FnMut(&[u8], u64) -> Result<(), String>) -> Result<(), String> {
    let mut lines = (1..).zip(bytes.split(|byte| *byte == b'\n')).map(|(number, line)| (number, line.trim_ascii()));
    lines.try_for_each(|(number, line)| if line.is_empty() { Ok(()) } else { each(line, number) })
}

/// A line that is a JSON object, without the white space around it.
fn object(line: &[u8], number: u64) -> Result<Vec<u8>, String> {
    match serde_json::from_slice(line) {
        Ok(Value::Object(_)) => Ok(line.trim_ascii().to_vec()),
        Ok(other) => Err(format!("line {number}: expected a JSON object, found {other}")),
        Err(error) => Err(format!("line {number}: expected a JSON object: {error}")),
    }
}

/// A file with a header: its names are the fields, whose values are texts.
fn csv(bytes: &[u8], mut each: impl FnMut(&[u8], u64) -> Result<(), String>) -> Result<(), String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    for row in reader.records() {
        let row = row.map_err(|error| error.to_string())?;
        let fields = header.iter().zip(row.iter()).map(|(name, field)| (name.to_owned(), Value::from(field)));
        let line = row.position().map_or(0, csv::Position::line);
        each(Value::Object(fields.collect::<Map<_, _>>()).to_string().as_bytes(), line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, format: TableFormat, key: Option<&str>) -> Result<Vec<String>, String> {
        let mut rows = Vec::new();
        let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        each(text.as_bytes(), format, &key.map(FieldPath::new), |key, row| {
            rows.push(format!("{} {}", text_of(key), text_of(row)));
        })?;
        Ok(rows)
    }

    #[test]
    fn every_format_gives_keys_and_objects() {
        let rows = [r#"a {"mac":"a","n":"1,5"}"#, r#"b {"mac":"b","n":""}"#];
        let csv = "\u{feff}mac,n\r\na,\"1,5\"\r\nb,\r\n";
        assert_eq!(read(csv, TableFormat::Csv, Some("mac")).unwrap(), rows);
        let ndjson = r#"{"mac":"a","n":"1,5"}"#.to_owned() + "\n\n  {\"mac\":\"b\",\"n\":\"\"}  ";
        assert_eq!(read(&ndjson, TableFormat::Ndjson, Some("mac")).unwrap(), rows);
        let json = r#"[{"mac":"a","n":"1,5"},{"mac":"b","n":""}]"#;
        assert_eq!(read(json, TableFormat::Json, Some("mac")).unwrap(), rows);
        let keyed = "a:{\"mac\":\"a\",\"n\":\"1,5\"}\nb: {\"mac\":\"b\",\"n\":\"\"}  \n";
        assert_eq!(read(keyed, TableFormat::Keyed, None).unwrap(), rows);
        let by_key = r#"{"a":{"mac":"a","n":"1,5"},"b":{"mac":"b","n":""}}"#;
        assert_eq!(read(by_key, TableFormat::Json, None).unwrap(), rows);
        assert_eq!(read("", TableFormat::Ndjson, Some("mac")).unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let said = |text, format| read(text, format, Some("mac")).unwrap_err();
        assert_eq!(
            said("mac,n\na,1\n\"b\"\n", TableFormat::Csv),
            "CSV error: record 2 (line: 3, byte: 10): found record with 1 fields, but the previous record has 2 fields"
        );
        assert_eq!(said("n\n1\n", TableFormat::Csv), "line 2: the value has not the field mac");
        assert_eq!(said("{\"mac\":1}\n7\n", TableFormat::Ndjson), "line 2: expected a JSON object, found 7");
        assert_eq!(said("k\n", TableFormat::Keyed), "line 1: expected a key, a colon and JSON, found no colon");
        assert_eq!(said("[{\"mac\":[]}]", TableFormat::Json), "row 1: the field mac is neither text nor number");
        assert_eq!(said("7", TableFormat::Json), "expected a list of objects, or an object of them by key");
        assert!(said("[", TableFormat::Json).contains("line 1 column 1"), "{}", said("[", TableFormat::Json));
    }
}
