//! The last resort for lines whose timestamp is too odd for the parsers here: crate syslog_loose, which forgives more.
//!
//! It is not the first because it costs several times as much, knows no fraction and no zone in such lines, and drops a
//! dash at the start of a message.

use std::cell::Cell;

use chrono::{Datelike, FixedOffset, NaiveDateTime, Timelike};
use syslog_loose::{Message as Loose, ProcId, Variant, parse_message_with_year_exact_tz};

use crate::calendar::DateTime;
use crate::message::Message;
use crate::stamp::{Fraction, Stamp, Stamps};
use crate::structured;

/// An offset that no line has: where it comes back, the line named none.
const UNKNOWN_OFFSET_SECONDS: i32 = 1;

/// Memory for the text that fields are slices of; it goes from line to line.
#[derive(Debug, Default)]
pub struct Scratch {
    text: String,
    process: String,
    structured: String,
}

/// Parses a whole line, priority included. `None` when nothing can be made of it.
pub fn parse<'a>(
    line: &[u8],
    priority: Option<u8>,
    record_ms: i64,
    stamps: &mut Stamps,
    scratch: &'a mut Scratch,
) -> Option<Message<'a>> {
    scratch.text.clear();
    scratch.text.push_str(&String::from_utf8_lossy(line));
    let needs_year = Cell::new(false);
    // Any leap year does, because the date only has to exist; the right year is found below.
    let year = |_| {
        needs_year.set(true);
        2000
    };
    let zone = FixedOffset::east_opt(UNKNOWN_OFFSET_SECONDS)?;
    let loose = parse_message_with_year_exact_tz(&scratch.text, year, Some(zone), Variant::RFC3164).ok()?;
    let stamp = stamp(&loose, needs_year.get(), record_ms, stamps);
    scratch.process.clear();
    scratch.structured.clear();
    write_process(&loose, &mut scratch.process);
    write_structured(&loose, &mut scratch.structured);
    let (structured, rest) = structured::split(scratch.structured.as_bytes()).unwrap_or_default();
    // What cannot be written as elements must not get lost.
    if structured.len() != scratch.structured.len() || !rest.is_empty() {
        return None;
    }
    Some(Message {
        priority,
        version: None,
        stamp,
        host: loose.hostname.map(str::as_bytes),
        appname: loose.appname.map(str::as_bytes),
        procid: Some(scratch.process.as_bytes()).filter(|process| !process.is_empty()),
        msgid: None,
        structured,
        message: loose.msg.as_bytes(),
    })
}

/// The three ways in which it returns a time: without year it holds the local time; with a year and no zone it holds
/// the local time as if it were UTC; with a zone it is right.
fn stamp(loose: &Loose<&str>, needs_year: bool, record_ms: i64, stamps: &mut Stamps) -> Option<Stamp> {
    let time = loose.timestamp?;
    let offset = time.offset().local_minus_utc();
    if needs_year {
        let local = stamps.in_year(date_time(time.naive_local()), record_ms)?;
        Some(stamps.in_zone(local, Fraction::default()))
    } else if offset == UNKNOWN_OFFSET_SECONDS {
        Some(stamps.in_zone(date_time(time.naive_utc()), Fraction::default()))
    } else {
        let fraction = match time.timestamp_subsec_micros() {
            0 => Fraction::default(),
            micros => Fraction { value: micros, digits: 6 },
        };
        Some(Stamp { local: date_time(time.naive_local()), fraction, offset })
    }
}

fn date_time(time: NaiveDateTime) -> DateTime {
    DateTime {
        year: time.year().clamp(-9999, 9999) as i16,
        month: time.month() as u8,
        day: time.day() as u8,
        hour: time.hour() as u8,
        minute: time.minute() as u8,
        second: time.second() as u8,
    }
}

fn write_process(loose: &Loose<&str>, process: &mut String) {
    match &loose.procid {
        Some(ProcId::PID(number)) => process.push_str(&number.to_string()),
        Some(ProcId::Name(name)) => process.push_str(name),
        None => {}
    }
}

fn write_structured(loose: &Loose<&str>, text: &mut String) {
    loose.structured_data.iter().for_each(|element| text.push_str(&element.to_string()));
}
