//! Takes a line apart: what transports leave around it, the priority, and then whichever kind it is of.

use crate::message::{Message, PRIORITY_MAX};
use crate::sloppy::{self, Scratch};
use crate::stamp::Stamps;
use crate::{rfc3164, rfc5424};

const BOM: &[u8] = b"\xef\xbb\xbf";
/// How much of a line its reject shows.
const SHOWN_BYTES_MAX: usize = 60;

/// Parses lines. One for all lines of a partition: it keeps what they have in common.
#[derive(Debug)]
pub struct Parser {
    stamps: Stamps,
    scratch: Scratch,
}

impl Parser {
    /// Parses lines whose timestamps are read by `stamps`.
    pub fn new(stamps: Stamps) -> Self {
        Parser { stamps, scratch: Scratch::default() }
    }

    /// Parses a line; `record_ms` is the time of its record. An error says why it cannot be parsed.
    #[inline]
    pub fn parse<'a>(&'a mut self, line: &'a [u8], record_ms: i64) -> Result<Message<'a>, String> {
        let text = without_framing(line);
        let (priority, rest) = priority(text);
        if let Some(message) = rfc5424::parse(rest, priority, &mut self.stamps) {
            return Ok(message);
        }
        if let Some(message) = rfc3164::parse(rest, priority, record_ms, &mut self.stamps) {
            return Ok(message);
        }
        self.parse_odd(text, rest, priority, record_ms)
    }

    #[cold]
    fn parse_odd<'a>(
        &'a mut self,
        text: &'a [u8],
        rest: &'a [u8],
        priority: Option<u8>,
        record_ms: i64,
    ) -> Result<Message<'a>, String> {
        if let Some(message) = sloppy::parse(text, priority, record_ms, &mut self.stamps, &mut self.scratch) {
            return Ok(message);
        }
        match priority {
            Some(priority) => Ok(rfc3164::parse_untimed(rest, priority)),
            None => Err(unparsable(text)),
        }
    }
}

fn unparsable(text: &[u8]) -> String {
    let wanted = "expected a syslog line, which begins with a priority or a timestamp";
    match text.split_at_checked(SHOWN_BYTES_MAX) {
        _ if text.is_empty() => format!("{wanted}; got an empty line"),
        Some((shown, _)) => format!("{wanted}; got `{}...`", String::from_utf8_lossy(shown)),
        None => format!("{wanted}; got `{}`", String::from_utf8_lossy(text)),
    }
}

/// Removes line ends and NULs around a line, a byte order mark, and the count of a frame that was not taken apart.
#[inline]
pub fn without_framing(line: &[u8]) -> &[u8] {
    let mut text = line;
    while let [rest @ .., b'\n' | b'\r' | 0] = text {
        text = rest;
    }
    if let [b'<' | b'A'..=b'Z', ..] = text {
        return text;
    }
    text = text.strip_prefix(BOM).unwrap_or(text);
    while let [b' ' | b'\t' | b'\n' | b'\r' | 0, rest @ ..] = text {
        text = rest;
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text.split_at_checked(digits) {
        Some((count, [b' ', framed @ ..])) if !count.is_empty() && framed.first() == Some(&b'<') => framed,
        _ => text,
    }
}

/// Reads `<n>` at the start, and the spaces that some senders put behind it.
#[inline]
fn priority(text: &[u8]) -> (Option<u8>, &[u8]) {
    let (digits, rest) = match text {
        [b'<', a, b'>', rest @ ..] => ([b'0', b'0', *a], rest),
        [b'<', a, b, b'>', rest @ ..] => ([b'0', *a, *b], rest),
        [b'<', a, b, c, b'>', rest @ ..] => ([*a, *b, *c], rest),
        _ => return (None, text),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return (None, text);
    }
    let number = digits.iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match u8::try_from(number) {
        Ok(priority) if priority <= PRIORITY_MAX => (Some(priority), rest.trim_ascii_start()),
        _ => (None, text),
    }
}
