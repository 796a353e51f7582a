//! Timestamps: the forms in which lines write them, and the one in which they are written out.

use crate::calendar::{DateTime, Years};
use crate::zone::{Zone, abbreviation, offset, two_digits};

/// Digits of a second that are kept; what is finer is cut off.
const FRACTION_DIGITS_MAX: u8 = 9;
/// A number behind the time is a year within these bounds; else it is a host.
const YEARS_BEHIND_TIME: std::ops::Range<i16> = 1970..2100;
const WEEKDAYS: [[u8; 3]; 7] = [*b"mon", *b"tue", *b"wed", *b"thu", *b"fri", *b"sat", *b"sun"];

/// A moment, as the line put it: the local time and its offset from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The time where the line was written.
    pub local: DateTime,
    /// What comes after the second.
    pub fraction: Fraction,
    /// Seconds ahead of UTC.
    pub offset: i32,
}

/// The part of a second, with as many digits as the line had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fraction {
    /// The digits as a number.
    pub value: u32,
    /// How many digits; none at all is 0.
    pub digits: u8,
}

impl Stamp {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn millis(&self) -> i64 {
        let Fraction { value, digits } = self.fraction;
        let millis = match digits {
            0..=3 => value * 10u32.pow(3 - u32::from(digits)),
            _ => value / 10u32.pow(u32::from(digits) - 3),
        };
        (self.local.seconds() - i64::from(self.offset)) * 1000 + i64::from(millis)
    }

    /// Appends it in the form of RFC 3339, with the digits and the offset that the line had.
    #[inline]
    pub fn push(&self, out: &mut Vec<u8>) {
        let DateTime { year, month, day, hour, minute, second } = self.local;
        let year = year.clamp(0, 9999).cast_unsigned();
        let [c1, c2] = ascii((year / 100) as u8);
        let [y1, y2] = ascii((year % 100) as u8);
        let [m1, m2] = ascii(month);
        let [d1, d2] = ascii(day);
        let [h1, h2] = ascii(hour);
        let [i1, i2] = ascii(minute);
        let [s1, s2] = ascii(second);
        out.extend_from_slice(&[c1, c2, y1, y2, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', i1, i2, b':', s1, s2]);
        if self.fraction.digits > 0 {
            self.fraction.push(out);
        }
        if self.offset == 0 { out.push(b'Z') } else { push_offset(out, self.offset) }
    }
}

fn push_offset(out: &mut Vec<u8>, offset: i32) {
    let minutes = offset.unsigned_abs() / 60;
    let [h1, h2] = ascii((minutes / 60) as u8);
    let [m1, m2] = ascii((minutes % 60) as u8);
    out.extend_from_slice(&[if offset < 0 { b'-' } else { b'+' }, h1, h2, b':', m1, m2]);
}

#[inline]
fn ascii(number: u8) -> [u8; 2] {
    [b'0' + number / 10 % 10, b'0' + number % 10]
}

impl Fraction {
    fn push(self, out: &mut Vec<u8>) {
        out.push(b'.');
        for place in (0..u32::from(self.digits)).rev() {
            out.push(b'0' + (self.value / 10u32.pow(place) % 10) as u8);
        }
    }

    /// Reads `.` or `,` and digits, where they stand; else there is no fraction.
    #[inline]
    fn read(text: &[u8]) -> (Fraction, &[u8]) {
        match text {
            [b'.' | b',', first, ..] if first.is_ascii_digit() => Fraction::read_digits(text),
            _ => (Fraction::default(), text),
        }
    }

    fn read_digits(text: &[u8]) -> (Fraction, &[u8]) {
        let mut fraction = Fraction::default();
        let (_, mut rest) = text.split_at_checked(1).unwrap_or_default();
        while let [digit @ b'0'..=b'9', after @ ..] = rest {
            if fraction.digits < FRACTION_DIGITS_MAX {
                fraction =
                    Fraction { value: fraction.value * 10 + u32::from(digit - b'0'), digits: fraction.digits + 1 };
            }
            rest = after;
        }
        (fraction, rest)
    }
}

/// Reads timestamps, and adds what they leave out: the year, and the zone.
#[derive(Debug)]
pub struct Stamps {
    zone: Zone,
    years: Years,
}

/// A timestamp on its way: what the line said.
struct Parts {
    local: DateTime,
    has_year: bool,
    fraction: Fraction,
    offset: Option<i32>,
}

impl Stamps {
    /// Reads timestamps; `zone` is for those that do not say theirs.
    pub fn new(zone: Zone) -> Self {
        Stamps { zone, years: Years::new() }
    }

    /// Reads a timestamp of any form at the start of a text. `record_ms` is the time of the record, for the year.
    #[inline]
    pub fn read<'a>(&mut self, text: &'a [u8], record_ms: i64) -> Option<(Stamp, &'a [u8])> {
        let first = text.first()?;
        let (parts, rest) = if first.is_ascii_digit() { read_year_first(text)? } else { read_month_first(text)? };
        Some((self.complete(&parts, record_ms)?, rest))
    }

    /// Reads a timestamp of RFC 3339, which says all there is to say.
    #[inline]
    pub fn read_rfc3339<'a>(&mut self, text: &'a [u8]) -> Option<(Stamp, &'a [u8])> {
        let (local, rest) = date_time(text, b'-', |separator| matches!(separator, b'T' | b't'))?;
        let (fraction, rest) = Fraction::read(rest);
        let (offset, rest) = offset(rest)?;
        Some((Stamp { local: local.checked()?, fraction, offset }, rest))
    }

    /// Reads seconds since 1970-01-01T00:00:00Z with a fraction: ten digits, a dot, digits.
    pub fn read_epoch<'a>(&mut self, text: &'a [u8]) -> Option<(Stamp, &'a [u8])> {
        let (digits, rest) = text.split_first_chunk::<10>()?;
        let seconds = digits.iter().try_fold(0i64, |sum, digit| {
            if digit.is_ascii_digit() { Some(sum * 10 + i64::from(digit - b'0')) } else { None }
        })?;
        let (fraction, rest) = Fraction::read(rest);
        let stamp = Stamp { local: DateTime::from_seconds(seconds), fraction, offset: 0 };
        if fraction.digits == 0 || !ends_word(rest) { None } else { Some((stamp, rest)) }
    }

    /// A time that was read elsewhere, which leaves out its zone.
    pub fn in_zone(&self, local: DateTime, fraction: Fraction) -> Stamp {
        Stamp { local, fraction, offset: self.zone.offset_at(&local) }
    }

    /// The date and time, given its year.
    pub fn in_year(&mut self, without_year: DateTime, record_ms: i64) -> Option<DateTime> {
        self.years.complete(without_year, record_ms)
    }

    #[inline]
    fn complete(&mut self, parts: &Parts, record_ms: i64) -> Option<Stamp> {
        let local =
            if parts.has_year { parts.local.checked()? } else { self.years.complete(parts.local, record_ms)? };
        let offset = parts.offset.unwrap_or_else(|| self.zone.offset_at(&local));
        Some(Stamp { local, fraction: parts.fraction, offset })
    }
}

/// `Mmm dd hh:mm:ss`, as RFC 3164 has it, and what devices make of it: a weekday before, a year before or after the
/// time, a fraction, a zone, a colon at the end.
#[inline]
fn read_month_first(text: &[u8]) -> Option<(Parts, &[u8])> {
    let (month, rest) = match month(text) {
        Some(found) => found,
        None => month(after_weekday(text)?)?,
    };
    let (day, rest) = day(rest)?;
    let (year, rest) = year_and_space(rest).map_or((None, rest), |(year, rest)| (Some(year), rest));
    let (hour, minute, second, rest) = time_of_day(rest)?;
    let local = DateTime { year: year.unwrap_or_default(), month, day, hour, minute, second };
    let (fraction, rest) = Fraction::read(rest);
    let mut parts = Parts { local, has_year: year.is_some(), fraction, offset: None };
    let rest = read_tail(rest, &mut parts);
    Some((parts, after_colon(rest)?))
}

/// What may stand behind the time, a space before each: a zone, a year.
fn read_tail<'a>(mut rest: &'a [u8], parts: &mut Parts) -> &'a [u8] {
    if let Some((zone, after)) = zone_word(rest) {
        parts.offset = zone;
        rest = after;
    }
    if !parts.has_year
        && let [b' ', after @ ..] = rest
        && let Some((year, after)) = year(after)
        && YEARS_BEHIND_TIME.contains(&year)
        && ends_word(after)
    {
        (parts.local.year, parts.has_year) = (year, true);
        rest = after;
    }
    rest
}

/// A zone behind a space: an offset, a known abbreviation, or an unknown one as Cisco writes it, with a colon and a
/// message code behind it. The first part of what is returned is `None` for an unknown one.
fn zone_word(text: &[u8]) -> Option<(Option<i32>, &[u8])> {
    let [b' ', text @ ..] = text else { return None };
    if let [b'+' | b'-', ..] = text {
        return offset(text).filter(|(_, rest)| ends_word(rest)).map(|(offset, rest)| (Some(offset), rest));
    }
    let len = text.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let (name, rest) = text.split_at(len);
    if !(1..=5).contains(&len) || !ends_word(rest) {
        return None;
    }
    let known = abbreviation(name);
    if known.is_some() || rest.starts_with(b": %") { Some((known, rest)) } else { None }
}

/// `yyyy-mm-dd hh:mm:ss` with dashes or slashes and a `T` or a space between, or `yyyy Mmm dd hh:mm:ss`.
#[inline]
fn read_year_first(text: &[u8]) -> Option<(Parts, &[u8])> {
    if let Some((year, rest)) = year_and_space(text) {
        let (mut parts, rest) = read_month_first(rest)?;
        (parts.local.year, parts.has_year) = (year, true);
        return Some((parts, rest));
    }
    let separator = *text.get(4)?;
    if separator != b'-' && separator != b'/' {
        return None;
    }
    let (local, rest) = date_time(text, separator, |between| matches!(between, b'T' | b't' | b' '))?;
    let (fraction, rest) = Fraction::read(rest);
    let mut parts = Parts { local, has_year: true, fraction, offset: None };
    let rest = match offset(rest) {
        Some((offset, rest)) => {
            parts.offset = Some(offset);
            rest
        }
        None => read_tail(rest, &mut parts),
    };
    Some((parts, after_colon(rest)?))
}

#[inline]
fn date_time(text: &[u8], separator: u8, is_between: impl Fn(u8) -> bool) -> Option<(DateTime, &[u8])> {
    let (year, rest) = year(text)?;
    let [s1, m1, m2, s2, d1, d2, between, rest @ ..] = rest else { return None };
    if *s1 != separator || *s2 != separator || !is_between(*between) {
        return None;
    }
    let (month, day) = (two_digits(*m1, *m2)?, two_digits(*d1, *d2)?);
    let (hour, minute, second, rest) = time_of_day(rest)?;
    Some((DateTime { year, month, day, hour, minute, second }, rest))
}

/// Three letters in any case and a space.
#[inline]
fn month(text: &[u8]) -> Option<(u8, &[u8])> {
    let [m1, m2, m3, b' ', rest @ ..] = text else { return None };
    let month = match [m1 | 0x20, m2 | 0x20, m3 | 0x20] {
        [b'j', b'a', b'n'] => 1,
        [b'f', b'e', b'b'] => 2,
        [b'm', b'a', b'r'] => 3,
        [b'a', b'p', b'r'] => 4,
        [b'm', b'a', b'y'] => 5,
        [b'j', b'u', b'n'] => 6,
        [b'j', b'u', b'l'] => 7,
        [b'a', b'u', b'g'] => 8,
        [b's', b'e', b'p'] => 9,
        [b'o', b'c', b't'] => 10,
        [b'n', b'o', b'v'] => 11,
        [b'd', b'e', b'c'] => 12,
        _ => return None,
    };
    Some((month, rest))
}

fn after_weekday(text: &[u8]) -> Option<&[u8]> {
    let (name, rest) = text.split_first_chunk::<3>()?;
    let name = name.map(|letter| letter | 0x20);
    let rest = rest.strip_prefix(b",").unwrap_or(rest).strip_prefix(b" ")?;
    WEEKDAYS.contains(&name).then_some(rest)
}

/// One or two digits, with a space or a zero before a single one, or nothing; and the spaces behind.
#[inline]
fn day(text: &[u8]) -> Option<(u8, &[u8])> {
    let (day, rest) = match text {
        [b' ' | b'0', ones @ b'0'..=b'9', b' ', rest @ ..] => (ones - b'0', rest),
        [tens, ones, b' ', rest @ ..] => (two_digits(*tens, *ones)?, rest),
        [ones @ b'0'..=b'9', b' ', rest @ ..] => (ones - b'0', rest),
        _ => return None,
    };
    Some((day, rest.strip_prefix(b" ").unwrap_or(rest)))
}

/// `hh:mm:ss`
#[inline]
fn time_of_day(text: &[u8]) -> Option<(u8, u8, u8, &[u8])> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = text else { return None };
    Some((two_digits(*h1, *h2)?, two_digits(*m1, *m2)?, two_digits(*s1, *s2)?, rest))
}

#[inline]
fn year(text: &[u8]) -> Option<(i16, &[u8])> {
    let [y1, y2, y3, y4, rest @ ..] = text else { return None };
    Some((i16::from(two_digits(*y1, *y2)?) * 100 + i16::from(two_digits(*y3, *y4)?), rest))
}

#[inline]
fn year_and_space(text: &[u8]) -> Option<(i16, &[u8])> {
    let [_, _, _, _, b' ', ..] = text else { return None };
    year(text).and_then(|(year, rest)| Some((year, rest.strip_prefix(b" ")?)))
}

/// A timestamp ends with its word, or with a colon, which is taken.
#[inline]
fn after_colon(text: &[u8]) -> Option<&[u8]> {
    match text {
        [] | [b' ' | b'\t', ..] => Some(text),
        [b':', rest @ ..] if ends_word(rest) => Some(rest),
        _ => None,
    }
}

fn ends_word(text: &[u8]) -> bool {
    matches!(text, [] | [b' ' | b'\t', ..] | [b':'] | [b':', b' ' | b'\t', ..])
}
