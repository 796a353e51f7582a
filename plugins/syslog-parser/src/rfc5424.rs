//! Lines as RFC 5424 wants them, and those that leave out their end.

use weir_plugin::scan::find_any;

use crate::message::Message;
use crate::stamp::Stamps;
use crate::structured;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Parses what follows the priority. `None` when it is not of this kind.
#[inline]
pub fn parse<'a>(text: &'a [u8], priority: Option<u8>, stamps: &mut Stamps) -> Option<Message<'a>> {
    let (version, rest) = version(text)?;
    let (stamp, rest) = match rest {
        // Without a priority, a number and a dash are too little to go by.
        [b'-', rest @ ..] if priority.is_some() => (None, rest),
        rest => stamps.read_rfc3339(rest).map(|(stamp, rest)| (Some(stamp), rest))?,
    };
    let (host, rest) = field(rest)?;
    let (appname, rest) = field(rest)?;
    let (procid, rest) = field(rest)?;
    let (msgid, rest) = field(rest)?;
    let (structured, message) = structured_and_message(rest);
    Some(Message { priority, version: Some(version), stamp, host, appname, procid, msgid, structured, message })
}

/// One to three digits, the first not zero, and a space.
#[inline]
fn version(text: &[u8]) -> Option<(u16, &[u8])> {
    let number = |digits: &[u8]| {
        let is_number = digits.first() != Some(&b'0') && digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
    };
    (1..=3).find_map(|len| {
        let (digits, rest) = text.split_at_checked(len)?;
        Some((number(digits)?, rest.strip_prefix(b" ")?.trim_ascii_start()))
    })
}

/// A space and a field; `-` says that there is nothing. Some write more spaces, and some end the line before.
#[inline]
fn field(text: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let begin = text.iter().position(|byte| *byte != b' ').unwrap_or(text.len());
    let (spaces, text) = text.split_at_checked(begin)?;
    if text.is_empty() {
        return Some((None, text));
    }
    let len = find_any(text, [b' ']).unwrap_or(text.len());
    let (value, rest) = text.split_at_checked(len).filter(|_| !spaces.is_empty())?;
    Some(((value != b"-").then_some(value), rest))
}

/// Structured data and the message, each with a space before it. What is not structured data is message.
#[inline]
fn structured_and_message(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (structured, message) = match text {
        b"-" => (&b""[..], &b""[..]),
        [b'-', b' ', message @ ..] => (&b""[..], message),
        [b'[', ..] => match structured::split(text) {
            Some((elements, rest)) => (elements, rest.strip_prefix(b" ").unwrap_or(rest)),
            None => (&b""[..], text),
        },
        message => (&b""[..], message),
    };
    (structured, message.strip_prefix(BOM).unwrap_or(message))
}
