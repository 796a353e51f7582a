//! Sizes, durations, addresses, times and names as people write them. Knows nothing of keys.

use std::net::SocketAddr;
use std::time::Duration;

use crate::record::Timestamp;

/// The characters of a name at most: it becomes part of file names and metrics.
pub const NAME_CHARS_MAX: usize = 64;

/// Bytes, from `64KiB`, `10 MB` or `4096`.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(format!("{text:?} is not a size")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a size"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is more bytes than a computer can count"))
}

/// How a size is to be written.
pub const SIZE_HELP: &str = "a size is a whole number with a unit: `64KiB`, `10MB`, `1GiB`, or plain bytes: `4096`";

/// A duration, from `500ms`, `30s`, `5m`, `12h`, `7d` or `2w`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return Err(format!("{text:?} is not a duration")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a duration"))?;
    let ms = number.checked_mul(factor_ms).ok_or_else(|| format!("{text:?} is longer than a computer can count"))?;
    Ok(Duration::from_millis(ms))
}

/// How a duration is to be written.
pub const DURATION_HELP: &str =
    "a duration is a whole number with a unit: `500ms`, `30s`, `5m` (minutes), `12h`, `7d` or `2w`";

/// An address to listen on.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address to listen on"))
}

/// How an address is to be written, with a guess at what was meant.
pub fn address_help(text: &str) -> String {
    let port = text.rsplit(':').next().unwrap_or_default();
    let port = if port.parse::<u16>().is_ok() { port } else { "5514" };
    format!("write an IP address and a port: `127.0.0.1:{port}`, or `0.0.0.0:{port}` for all interfaces")
}

/// A time, from `2026-03-01T12:00:00Z`.
pub fn time(text: &str) -> Result<Timestamp, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| format!("{text:?} is not a time"))?;
    Ok(Timestamp(time.as_millisecond()))
}

/// How a time is to be written.
pub const TIME_HELP: &str = "a time is written with its zone: `2026-03-01T12:00:00Z` or `2026-03-01T12:00:00+01:00`";

/// Whether a name may stand for a source, stream, pipeline, sink or secret; if not, why.
pub fn name(text: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if text.is_empty() {
        return Err("a name cannot be empty".into());
    }
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(format!("this name has {} characters, more than {NAME_CHARS_MAX}", text.chars().count()));
    }
    if text.starts_with(['-', '_']) {
        return Err(format!("the name `{text}` begins with `{}`", text.chars().next().unwrap_or('-')));
    }
    match text.chars().find(|&c| !inner(c)) {
        Some(' ') => Err(format!("the name `{text}` has a blank in it")),
        Some(bad) => Err(format!("the name `{text}` has a `{bad}` in it")),
        None => Ok(()),
    }
}

/// How a name is to be written, with the nearest valid one.
pub fn name_help(text: &str) -> String {
    let map = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let near: String = text.chars().map(map).take(NAME_CHARS_MAX).collect();
    let near = near.trim_matches(&['-', '_'][..]);
    let rule =
        "names are made of `a-z`, `0-9`, `-` and `_`, begin with a letter or digit, and have at most 64 characters";
    if name(near).is_ok() { format!("{rule}: `{near}` would do") } else { rule.into() }
}

/// A byte count as a person writes it, in the largest unit that leaves no rest.
pub fn show_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.iter().find(|(factor, _)| bytes >= *factor && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{bytes} bytes"), |(factor, name)| format!("{}{name}", bytes / factor))
}

/// A duration as a person writes it, in the largest unit that leaves no rest.
pub fn show_duration(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = UNITS.iter().find(|(factor, _)| ms >= *factor && ms.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{ms}ms"), |(factor, name)| format!("{}{name}", ms / factor))
}

/// The leading digits and the unit behind them.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("4096", 4096), ("64KiB", 65_536), ("10MB", 10_000_000), ("1 gib", 1 << 30), ("7b", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "10M", "1.5MiB", "-1", "99999999999999999999", "18446744073709551615KiB", "１MB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("12h", 43_200_000), ("7d", 604_800_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "7", "7 days", "1h30m", "-1s", "1.5h", "99999999999999999999s", "9999999999999999w"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names() {
        for text in ["a", "9", "auth-log_2", &"x".repeat(64)] {
            assert_eq!(name(text), Ok(()), "{text}");
        }
        for text in ["", "-a", "_a", "Auth", "a b", "a/b", "ä", ".", &"x".repeat(65)] {
            assert!(name(text).is_err(), "{text}");
        }
        assert!(name_help("Auth Log").contains("`auth-log`"));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(number: u32) {
            let number = u64::from(number);
            prop_assert_eq!(size(show_size(number).trim_end_matches(" bytes")), Ok(number));
            prop_assert_eq!(duration(&show_duration(number)), Ok(Duration::from_millis(number)));
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = (size(&text), duration(&text), address(&text), time(&text), name(&text), name_help(&text), address_help(&text));
        }

        #[test]
        fn a_proposed_name_is_a_name(text in ".{0,80}") {
            let help = name_help(&text);
            if let Some(near) = help.split(": `").nth(1).and_then(|rest| rest.strip_suffix("` would do")) {
                prop_assert_eq!(name(near), Ok(()));
            }
        }
    }
}
