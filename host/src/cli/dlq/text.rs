//! Dead letters as text for people.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::Value;

use super::Error;
use crate::dlq::view::{Group, Shown};

/// Letters whose columns are made equally wide.
const PAGE: usize = 500;
/// Characters of a reason that a line has room for.
const REASON_CHARS: usize = 100;
/// Bytes of a line of a hex dump.
const HEX_BYTES: usize = 16;

/// A list of letters, printed as they come.
pub(super) struct List {
    json: bool,
    rows: Vec<[String; 5]>,
    count: usize,
}

impl List {
    pub(super) fn new(json: bool) -> Self {
        List { json, rows: Vec::new(), count: 0 }
    }

    pub(super) fn line(&mut self, line: &str, out: &mut impl Write) -> Result<(), Error> {
        if self.json {
            return Ok(writeln!(out, "{}", line.trim_end())?);
        }
        let Shown { id, replaying, letter, .. } = serde_json::from_str(line)?;
        let state = match (replaying, letter.replays) {
            (true, _) => "replaying".into(),
            (false, 0) => String::new(),
            (false, n) => format!("replayed {n}x"),
        };
        let place = format!("{}/{}", letter.pipeline, letter.step);
        self.rows.push([id, letter.time.unwrap_or_default(), place, state, shortened(&letter.reason)]);
        self.count += 1;
        if self.rows.len() == PAGE { self.flush(out) } else { Ok(()) }
    }

    pub(super) fn end(mut self, out: &mut impl Write) -> Result<(), Error> {
        if self.count == 0 && !self.json {
            super::say("there are no dead letters");
        }
        self.flush(out)
    }

    fn flush(&mut self, out: &mut impl Write) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.rows);
        let head = (self.count == rows.len()).then(|| ["id", "time", "pipeline/step", "", "reason"].map(str::to_owned));
        if rows.is_empty() { Ok(()) } else { table(head.into_iter().chain(rows).collect(), out) }
    }
}

/// Kinds of errors.
pub(super) fn groups(groups: &[Group], json: bool, out: &mut impl Write) -> Result<(), Error> {
    if json {
        for group in groups {
            writeln!(out, "{}", serde_json::to_string(group)?)?;
        }
        return Ok(());
    }
    if groups.is_empty() {
        super::say("there are no dead letters");
        return Ok(());
    }
    let mut rows = vec![["group", "count", "first", "last", "example", "step", "plugin", "reason"].map(str::to_owned)];
    for group in groups {
        let (first, last) = (group.first.clone().unwrap_or_default(), group.last.clone().unwrap_or_default());
        let pipelines = group.pipelines.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let step = format!("{pipelines}/{}", group.step);
        let plugin = group.plugin.clone().unwrap_or_else(|| "-".into());
        let (id, example) = (group.group.clone(), group.example.clone());
        rows.push([id, group.count.to_string(), first, last, example, step, plugin, shortened(&group.pattern)]);
    }
    table(rows, out)
}

/// All of a letter.
pub(super) fn whole(line: &str, json: bool, out: &mut impl Write) -> Result<(), Error> {
    if json {
        return Ok(writeln!(out, "{}", line.trim_end())?);
    }
    let shown: Shown = serde_json::from_str(line)?;
    let all: Value = serde_json::from_str(line)?;
    let record = all.get("record").cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    let mut rows = known(&shown);
    rows.push(("timestamp", record.get("timestamp").map(text)));
    for (name, value) in rows.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        writeln!(out, "{name:12} {value}")?;
    }
    for (name, value) in record.get("headers").and_then(Value::as_object).into_iter().flatten() {
        writeln!(out, "header       {name}: {}", text(value))?;
    }
    for name in ["key", "value"] {
        writeln!(out, "{name}:")?;
        bytes(&record, name, out)?;
    }
    Ok(())
}

/// What is known of a letter beside its record.
fn known(shown: &Shown) -> Vec<(&'static str, Option<String>)> {
    let letter = &shown.letter;
    vec![
        ("id", Some(shown.id.clone())),
        ("reason", Some(letter.reason.clone())),
        ("group", Some(shown.group.clone())),
        ("time", letter.time.clone()),
        ("pipeline", Some(letter.pipeline.clone())),
        (letter.stage.map_or("step", crate::dlq::Stage::word), Some(letter.step.clone())),
        ("plugin", letter.plugin.clone()),
        ("plugin hash", letter.plugin_hash.clone()),
        ("task", Some(letter.partition.to_string())),
        ("input", letter.input.clone()),
        ("source", Some(letter.source.clone())),
        ("topic", Some(shown.topic.clone())),
        ("partition", shown.topic_partition.map(|partition| partition.to_string())),
        ("offset", Some(letter.offset.to_string())),
        ("replays", Some(letter.replays.to_string())),
        ("state", shown.replaying.then(|| "replaying".to_owned())),
    ]
}

/// Bytes of a record: JSON with its lines broken, text, or a hex dump.
fn bytes(record: &Value, name: &str, out: &mut impl Write) -> Result<(), Error> {
    let indent = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let text = match (record.get(name), record.get(format!("{name}_base64")).and_then(Value::as_str)) {
        (Some(Value::String(text)), _) => match serde_json::from_str::<Value>(text) {
            // Written anew from its own digits only where nothing of them is lost.
            Ok(json) if (json.is_object() || json.is_array()) && is_exact(text, &json) => indent(&pretty(&json)?),
            _ => indent(text),
        },
        (_, Some(text)) => hex(&BASE64.decode(text).unwrap_or_default()),
        _ => "  (none)\n".into(),
    };
    Ok(out.write_all(text.as_bytes())?)
}

fn is_exact(text: &str, json: &Value) -> bool {
    let dense = |text: &str| text.chars().filter(|char| !char.is_whitespace()).collect::<String>();
    dense(text).len() == dense(&json.to_string()).len()
}

fn pretty(json: &Value) -> Result<String, Error> {
    let mut out = Vec::new();
    json.serialize(&mut serde_json::Serializer::pretty(&mut out))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, line) in (0..).step_by(HEX_BYTES).zip(bytes.chunks(HEX_BYTES)) {
        let codes = line.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
        let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        text.push_str(&format!("  {at:08x}  {codes:48} {}\n", line.iter().map(shown).collect::<String>()));
    }
    text
}

fn shortened(text: &str) -> String {
    let line = text.replace(['\n', '\r', '\t'], " ");
    match line.char_indices().nth(REASON_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn table<const N: usize>(rows: Vec<[String; N]>, out: &mut impl Write) -> Result<(), Error> {
    let mut widths = [0; N];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    for row in rows {
        let cells = row.iter().zip(widths).filter(|(_, width)| *width > 0);
        let line = cells.map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: bool, value: &str) -> String {
        let line = format!(
            r#"{{"id":"0-3","group":"00ff00ff","replaying":false,"topic":"in","topic_partition":0,"reason":"no","pipeline":"p","step":"s","stage":"step","plugin":"g","source":"in/0","offset":7,"partition":0,"replays":1,"record":{{"stream":"in","partition":0,"offset":7,"timestamp":"2026-03-01T12:00:00.000Z","key":null,{value},"headers":{{"a":"b"}}}}}}"#
        );
        let mut out = Vec::new();
        whole(&line, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_is_shown_as_what_it_is() {
        let of = |value: &str| shown(false, value).split_once("value:\n").unwrap().1.to_owned();
        assert_eq!(of(r#""value":"{\"a\":1}""#), "  {\n    \"a\": 1\n  }\n");
        assert_eq!(of(r#""value":"{\"a\":1.10}""#), "  {\"a\":1.10}\n", "digits are not lost");
        assert_eq!(of(r#""value":"plain\ntext""#), "  plain\n  text\n");
        assert_eq!(of(r#""value":null"#), "  (none)\n");
        let dump = of(r#""value_base64":"/wBB""#);
        assert_eq!(dump, format!("  00000000  {:48} ..A\n", "ff 00 41 "));
    }

    #[test]
    fn all_that_is_known_is_shown() {
        let text = shown(false, r#""value":"v""#);
        for line in ["id           0-3", "step         s", "header       a: b", "replays      1", "key:\n  (none)"] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(shown(true, r#""value":"v""#).starts_with(r#"{"id":"0-3""#));
    }
}
