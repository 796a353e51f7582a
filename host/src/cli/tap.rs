//! `weir tap`: shows the records of a stream of a running appliance as they come, through its control socket.

use std::io::{BufWriter, ErrorKind, IsTerminal as _, Write};
use std::path::PathBuf;

use serde_json::Value;

use super::{EXIT_UNAVAILABLE, EXIT_USAGE};
use crate::api::client::{self, Error, Lines, TapRequest};
use crate::api::socket;
use crate::api::tap::Begin;

/// What `weir tap` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct TapArgs {
    /// The stream
    pub stream: String,
    /// The data directory of the running appliance
    #[arg(long, value_name = "DIR", default_value = "weir-data")]
    pub data: PathBuf,
    /// Where to begin: earliest, latest (with what comes from now on), or an offset
    #[arg(long, value_name = "PLACE", default_value_t = Begin::Latest)]
    pub from: Begin,
    /// One partition alone
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// End after so many records
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Print one JSON object per record
    #[arg(long)]
    pub json: bool,
}

/// Prints records until the limit, Ctrl-C, the end of the appliance, or until nobody reads the output any more. Gives
/// the exit code.
pub async fn run(args: TapArgs) -> u8 {
    let is_terminal = std::io::stderr().is_terminal();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    tokio::select! {
        code = follow(&args, is_terminal, &mut out, &mut err) => code,
        _ = tokio::signal::ctrl_c() => 0,
    }
}

async fn follow(args: &TapArgs, is_terminal: bool, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let TapArgs { stream, from, partition, limit, .. } = args.clone();
    let lines = match client::tap(&args.data, &TapRequest { stream, from, partition, limit }).await {
        Ok(lines) => lines,
        Err(error) => {
            let (code, text) = refusal(&error);
            return end(err, code, &text);
        }
    };
    if is_terminal && !args.json && args.from == Begin::Latest {
        let text = format!("waiting for new records of {} (Ctrl-C ends, --from earliest shows old ones)", args.stream);
        end(err, 0, &text);
    }
    match print(args, lines, out, err).await {
        Ok(()) => 0,
        Err(Ended::Appliance) => end(err, 0, "the appliance has stopped"),
        Err(Ended::Broken(error)) => end(err, EXIT_UNAVAILABLE, &format!("weir: {error}")),
        Err(Ended::Output(error)) if error.kind() == ErrorKind::BrokenPipe => 0,
        Err(Ended::Output(error)) => end(err, EXIT_UNAVAILABLE, &format!("weir: standard output: {error}")),
    }
}

/// Writes a line and gives the code. Where nobody reads, there is nobody to tell.
fn end(err: &mut dyn Write, code: u8, text: &str) -> u8 {
    let _ = writeln!(err, "{text}");
    code
}

/// The code and the words for a tap that did not begin.
fn refusal(error: &Error) -> (u8, String) {
    match error {
        Error::Refused(failure) => {
            let hint = failure.nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean {name}?"));
            // What does not exist is the caller's mistake; the rest is the appliance's.
            let is_mistake = matches!(failure.code.as_str(), "unknown-stream" | "unknown-partition" | "usage");
            (if is_mistake { EXIT_USAGE } else { EXIT_UNAVAILABLE }, format!("weir: {error}{hint}"))
        }
        Error::Socket(socket::Error::NotRunning(_)) => {
            let advice = "start one with `weir run FILE`, or name the data directory of a running one with --data DIR";
            (EXIT_UNAVAILABLE, format!("weir: {error}\n{advice}"))
        }
        Error::Socket(_) | Error::Broken(_) => (EXIT_UNAVAILABLE, format!("weir: {error}")),
    }
}

/// Why printing ended before its limit.
enum Ended {
    Appliance,
    Broken(String),
    Output(std::io::Error),
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Ended {
        Ended::Output(error)
    }
}

async fn print(args: &TapArgs, mut lines: Lines, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Ended> {
    let mut out = BufWriter::new(out);
    let mut printed = 0;
    while args.limit.is_none_or(|limit| printed < limit) {
        if !lines.is_next_ready() {
            out.flush()?;
        }
        let line = lines.next().await.map_err(|error| Ended::Broken(error.to_string()))?.ok_or(Ended::Appliance)?;
        match shown(&line, args.json) {
            Shown::Record(text) => {
                out.write_all(&text)?;
                out.write_all(b"\n")?;
                printed += 1;
            }
            Shown::Gap(text) => {
                end(err, 0, &format!("weir: {text}"));
            }
            Shown::Broken(text) => return Err(Ended::Broken(text)),
        }
    }
    Ok(out.flush()?)
}

/// What a line of the tap is.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// For standard output.
    Record(Vec<u8>),
    /// Records are missing.
    Gap(String),
    /// Nothing more comes.
    Broken(String),
}

fn shown(line: &[u8], json: bool) -> Shown {
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Shown::Broken("the appliance sent a line that is not JSON".into());
    };
    if let Some(gap) = value.get("gap") {
        let number = |name: &str| gap.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (partition, from, to) = (number("partition"), number("from"), number("to"));
        let last = to.saturating_sub(1);
        return Shown::Gap(format!("partition {partition}: offsets {from} to {last} are no longer kept"));
    }
    if let Some(error) = value.get("error") {
        return Shown::Broken(text(error, "message").unwrap_or_default());
    }
    Shown::Record(if json { line.to_vec() } else { human(&value).into_bytes() })
}

/// Time, partition/offset, key where there is one, value. Control characters are escaped, so that a record cannot play
/// with the terminal of whoever looks at it.
fn human(record: &Value) -> String {
    let number = |name: &str| record.get(name).and_then(Value::as_u64).unwrap_or_default();
    let time = text(record, "timestamp").unwrap_or_default();
    let key = text(record, "key").map_or_else(String::new, |key| format!("  {key}"));
    let value = text(record, "value").unwrap_or_else(|| "(no value)".into());
    format!("{time}  {}/{}{key}  {value}", number("partition"), number("offset"))
}

/// A field for people; bytes that are no text stay base64-coded and are marked as such. `None`: null.
fn text(object: &Value, name: &str) -> Option<String> {
    match object.get(name) {
        Some(Value::String(text)) => Some(printable(text)),
        Some(Value::Null) => None,
        Some(other) => Some(other.to_string()),
        None => object.get(format!("{name}_base64"))?.as_str().map(|bytes| format!("base64:{bytes}")),
    }
}

fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\t' || !c.is_control() { printable.push(c) } else { printable.extend(c.escape_default()) }
    }
    printable
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::api::tests::Rig;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        tap: TapArgs,
    }

    fn args(data: &std::path::Path, words: &str) -> TapArgs {
        let mut args = Command::try_parse_from(format!("tap {words}").split(' ')).unwrap().tap;
        args.data = data.to_owned();
        args
    }

    async fn tap(data: &std::path::Path, words: &str) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = follow(&args(data, words), true, &mut out, &mut err).await;
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_command_line_is_understood() {
        let args = Command::try_parse_from(["tap", "logins"]).unwrap().tap;
        assert_eq!((args.from, args.data, args.limit), (Begin::Latest, PathBuf::from("weir-data"), None));
        let args = Command::try_parse_from(["tap", "logins", "--from", "17", "--partition", "1"]).unwrap().tap;
        assert_eq!((args.from.to_string().as_str(), args.partition), ("17", Some(1)));
        assert!(Command::try_parse_from(["tap", "logins", "--from", "never"]).is_err());
    }

    #[tokio::test]
    async fn records_are_lines_for_people_or_as_json() {
        let rig = Rig::start().await;
        rig.append(0, &[b"Invalid user admin", b"\x1b[2J\nred\x07\ttab", b"\xff"]).await;
        let (code, out, err) = tap(rig.data(), "logins --from earliest --limit 3").await;
        assert_eq!((code, err.as_str()), (0, ""));
        assert_eq!(
            out,
            "2026-03-01T12:00:00.000Z  0/0  Invalid user admin\n\
             2026-03-01T12:00:00.000Z  0/1  \\u{1b}[2J\\nred\\u{7}\ttab\n\
             2026-03-01T12:00:00.000Z  0/2  base64:/w==\n"
        );
        let (_, out, _) = tap(rig.data(), "logins --from 2 --limit 1 --json --partition 0").await;
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["value_base64"], "/w==");
    }

    #[test]
    fn keys_and_missing_values_are_shown() {
        let line = br#"{"stream":"s","partition":3,"offset":9,"timestamp":5,"key":"k","value":null,"headers":{}}"#;
        assert_eq!(shown(line, false), Shown::Record(b"5  3/9  k  (no value)".to_vec()));
        let gap = br#"{"gap":{"stream":"s","partition":3,"from":4,"to":9}}"#;
        assert_eq!(shown(gap, true), Shown::Gap("partition 3: offsets 4 to 8 are no longer kept".into()));
        let error = br#"{"error":{"code":"store","message":"it is damaged"}}"#;
        assert_eq!(shown(error, true), Shown::Broken("it is damaged".into()));
        assert!(matches!(shown(b"x", true), Shown::Broken(_)));
    }

    #[tokio::test]
    async fn mistakes_are_told_with_the_nearest_name() {
        let rig = Rig::start().await;
        let expected = "weir: there is no stream logns; did you mean logins?\n";
        assert_eq!(tap(rig.data(), "logns").await, (64, String::new(), expected.into()));
        let expected = "weir: stream logins has no partition 9\n";
        assert_eq!(tap(rig.data(), "logins --partition 9").await, (64, String::new(), expected.into()));
    }

    #[tokio::test]
    async fn without_an_appliance_it_says_how_to_start_one() {
        let data = tempfile::tempdir().unwrap();
        let (code, out, err) = tap(data.path(), "logins").await;
        assert_eq!((code, out.as_str()), (69, ""));
        let expected = format!("weir: no appliance runs with the data directory {}\n", data.path().display());
        assert!(err.starts_with(&expected) && err.contains("weir run") && err.contains("--data"), "{err}");
    }

    /// Stops the appliance at the first word: the tap has begun then.
    struct StopsAtWord<'a>(&'a Rig, Vec<u8>);

    impl Write for StopsAtWord<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.stop();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_end_of_the_appliance_is_told() {
        let rig = Rig::start().await;
        let (mut out, mut err) = (Vec::new(), StopsAtWord(&rig, Vec::new()));
        let code = follow(&args(rig.data(), "logins"), true, &mut out, &mut err).await;
        assert_eq!((code, out), (0, Vec::new()));
        let err = String::from_utf8(err.1).unwrap();
        assert!(err.starts_with("waiting for new records of logins"), "{err}");
        assert!(err.ends_with("\nthe appliance has stopped\n"), "{err}");
    }

    struct Closed(ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_closed_pipe_ends_it_quietly_and_another_error_does_not() {
        let rig = Rig::start().await;
        rig.append(0, &[b"a"]).await;
        for (kind, code, words) in [(ErrorKind::BrokenPipe, 0, ""), (ErrorKind::StorageFull, 69, "standard output")] {
            let mut err = Vec::new();
            let args = args(rig.data(), "logins --from earliest");
            assert_eq!(follow(&args, false, &mut Closed(kind), &mut err).await, code);
            let err = String::from_utf8(err).unwrap();
            assert!(err.contains(words) && err.is_empty() == words.is_empty(), "{err}");
        }
    }
}
