//! Lines of the older kind (RFC 3164), and what programs and devices make of it.
//!
//! That document describes what was seen, not what is right, so this is a matter of good guesses. They are made in one
//! order: a timestamp, who wrote it, the program; what is left is the message.

use weir_plugin::scan::find_any;

use crate::message::Message;
use crate::stamp::{Stamp, Stamps};
use crate::structured;

/// Words that may stand between priority and timestamp: sequence numbers, a host.
const PREFIXES_MAX: usize = 4;
/// What relays write between timestamp and host (AIX).
const FORWARDED: &[u8] = b"Message forwarded from ";
/// Messages of syslog daemons about a message before, which come without a program.
const REPEATED: [&[u8]; 2] = [b"last message repeated ", b"message repeated "];

/// Parses what follows the priority. `None` when no timestamp is found.
#[inline]
pub fn parse<'a>(text: &'a [u8], priority: Option<u8>, record_ms: i64, stamps: &mut Stamps) -> Option<Message<'a>> {
    let Start { stamp, host, rest } = match stamps.read(text, record_ms) {
        Some((stamp, rest)) => Start { stamp, host: None, rest },
        None => behind_prefixes(text, priority, record_ms, stamps)?,
    };
    let mut message = Message { priority, stamp: Some(stamp), host, ..Message::default() };
    match rest.strip_prefix(b" ") {
        Some(rest) if host.is_none() => read_host(rest, &mut message),
        _ => read_marked_tag(rest.trim_ascii_start(), &mut message),
    }
    Some(message)
}

/// Parses a line that has a priority and no timestamp, which a sender without a clock writes.
pub fn parse_untimed(text: &[u8], priority: u8) -> Message<'_> {
    let mut message = Message { priority: Some(priority), ..Message::default() };
    read_marked_tag(text.trim_ascii_start(), &mut message);
    message
}

/// What was found up to the timestamp, and what follows it.
struct Start<'a> {
    stamp: Stamp,
    host: Option<&'a [u8]>,
    rest: &'a [u8],
}

/// Looks for the timestamp behind what devices put before it: `29: `, `: `, `29: router1: `, `000070: *`, `1 ` and
/// seconds. A mere word is no sign of a host: it may be a program, and the timestamp part of its message.
fn behind_prefixes<'a>(text: &'a [u8], priority: Option<u8>, record_ms: i64, stamps: &mut Stamps) -> Option<Start<'a>> {
    if priority.is_some()
        && let [b'1', b' ', epoch @ ..] = text
        && let Some((stamp, rest)) = stamps.read_epoch(epoch)
    {
        return Some(Start { stamp, host: None, rest });
    }
    let (mut host, mut has_number, mut rest) = (None, false, text);
    for _ in 0..PREFIXES_MAX {
        // A clock that was never set is marked by an asterisk, one that lost its source by a dot.
        rest = rest.strip_prefix(b"*").or_else(|| rest.strip_prefix(b".")).unwrap_or(rest);
        let found = if host.is_none() || has_number { stamps.read(rest, record_ms) } else { None };
        if let Some((stamp, rest)) = found {
            return Some(Start { stamp, host, rest });
        }
        let colon = find_any(rest, [b':', b' '])?;
        let (word, after) = rest.split_at_checked(colon)?;
        if word.iter().all(u8::is_ascii_digit) {
            has_number = true;
        } else if priority.is_some() {
            host = Some(word);
        } else {
            return None;
        }
        rest = after.strip_prefix(b":")?.trim_ascii_start();
    }
    None
}

/// Reads host, program and message, from behind the space that follows the timestamp.
#[inline]
fn read_host<'a>(text: &'a [u8], message: &mut Message<'a>) {
    if let Some(rest) = text.strip_prefix(FORWARDED) {
        return read_forwarded(rest, message);
    }
    let (word, rest) = word(text);
    if word.is_empty() || word == b":" {
        return read_marked_tag(rest.trim_ascii_start(), message);
    }
    if is_tag_alone(word) || is_repeated(text) {
        return read_marked_tag(text, message);
    }
    message.host = (word != b"-").then_some(word);
    match rest {
        [b' ', b':', rest @ ..] => read_marked_tag(rest.trim_ascii_start(), message),
        [b' ', after @ ..] if !after.first().is_none_or(u8::is_ascii_whitespace) => read_tag(after, message),
        rest => read_content(rest.trim_ascii_start(), message),
    }
}

fn read_forwarded<'a>(text: &'a [u8], message: &mut Message<'a>) {
    let (host, rest) = word(text);
    message.host = Some(host.strip_suffix(b":").unwrap_or(host));
    read_marked_tag(rest.trim_ascii_start(), message);
}

/// Whether a word where the host is expected is a program already: it ends with a colon or a process in brackets. An
/// IPv6 address ends with a colon too.
#[inline]
fn is_tag_alone(word: &[u8]) -> bool {
    match word {
        [.., b']'] => word.contains(&b'[') && word.first() != Some(&b'['),
        [address @ .., b':'] => {
            !(address.ends_with(b":") && address.iter().all(|b| b.is_ascii_hexdigit() || *b == b':'))
        }
        _ => false,
    }
}

/// Reads program and message where a program is expected: a word is one even without a colon.
#[inline]
fn read_tag<'a>(text: &'a [u8], message: &mut Message<'a>) {
    match tag(text) {
        Some(tag) if tag.is_marked || !is_repeated(text) => tag.put(message),
        _ => read_content(text, message),
    }
}

/// Reads program and message where a program may be missing: only a colon or a process in brackets makes one.
fn read_marked_tag<'a>(text: &'a [u8], message: &mut Message<'a>) {
    match tag(text) {
        Some(tag) if tag.is_marked => tag.put(message),
        _ => read_content(text, message),
    }
}

/// Reads the message, and elements of structured data before it.
#[inline]
fn read_content<'a>(text: &'a [u8], message: &mut Message<'a>) {
    message.message = text;
    if let [b'[', ..] = text
        && let Some((elements, rest)) = structured::split(text)
        && structured::all_have_params(elements)
        && rest.first().is_none_or(u8::is_ascii_whitespace)
    {
        message.structured = elements;
        message.message = rest.trim_ascii_start();
    }
}

/// A program at the start of a text.
struct Tag<'a> {
    name: &'a [u8],
    process: Option<&'a [u8]>,
    /// Whether it ends with a colon or has a process: a mere word may be the beginning of the message.
    is_marked: bool,
    rest: &'a [u8],
}

impl<'a> Tag<'a> {
    #[inline]
    fn put(self, message: &mut Message<'a>) {
        message.appname = (self.name != b"-").then_some(self.name);
        message.procid = self.process.filter(|process| !process.is_empty());
        read_content(self.rest.trim_ascii_start(), message);
    }
}

/// Reads `name:`, `name[process]:`, `name[process]` or `name`. A double colon is part of the name.
#[inline]
fn tag(text: &[u8]) -> Option<Tag<'_>> {
    if !is_tag_start(*text.first()?) {
        return None;
    }
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| find_any(rest, [b' ', b':', b'[', b'\t'])) {
        at += found;
        match text.get(at) {
            Some(b'[') => {
                if let Some(tag) = tag_with_process(text, at) {
                    return Some(tag);
                }
            }
            Some(b':') if text.get(at + 1) == Some(&b':') => at += 1,
            Some(b':') => {
                let (name, rest) = text.split_at_checked(at)?;
                return Some(Tag { name, process: None, is_marked: true, rest: rest.strip_prefix(b":")? });
            }
            _ => return unmarked_tag(text, at),
        }
        at += 1;
    }
    unmarked_tag(text, text.len())
}

#[inline]
fn unmarked_tag(text: &[u8], len: usize) -> Option<Tag<'_>> {
    let (name, rest) = text.split_at_checked(len)?;
    Some(Tag { name, process: None, is_marked: false, rest })
}

/// The bracket at `open` begins a process when it closes before a colon or the end of the word.
#[inline]
fn tag_with_process(text: &[u8], open: usize) -> Option<Tag<'_>> {
    let (name, bracket) = text.split_at_checked(open)?;
    let inside = bracket.strip_prefix(b"[")?;
    let close = find_any(inside, [b']', b' '])?;
    let (process, rest) = inside.split_at_checked(close)?;
    let rest = rest.strip_prefix(b"]")?;
    let rest = match rest {
        [b':', rest @ ..] => rest,
        [] | [b' ' | b'\t', ..] => rest,
        _ => return None,
    };
    Some(Tag { name, process: Some(process), is_marked: true, rest })
}

/// What a program's name begins with; brackets, braces and quotes begin a message.
#[inline]
fn is_tag_start(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'%' | b'_' | b'/' | b'.' | b'-' | b'~' | b'@')
}

fn is_repeated(text: &[u8]) -> bool {
    REPEATED.iter().any(|start| text.starts_with(start))
}

#[inline]
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = find_any(text, [b' ', b'\t']).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}
