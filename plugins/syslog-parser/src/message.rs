//! What a line says, field by field, and how it is written as JSON.

use weir_plugin::json;

use crate::stamp::Stamp;
use crate::structured;

/// Facilities by number (RFC 5424, table 1), under the names of the C library where it has one.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clockd", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// Severities by number (RFC 5424, table 2), under the names of the C library.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
/// The highest priority: the last facility's debug messages.
pub const PRIORITY_MAX: u8 = 191;

/// A parsed line. What it does not say is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Message<'a> {
    /// Facility and severity in one number, as the line has it.
    pub priority: Option<u8>,
    /// The version of RFC 5424; other lines have none.
    pub version: Option<u16>,
    /// When it was written.
    pub stamp: Option<Stamp>,
    /// Who wrote it.
    pub host: Option<&'a [u8]>,
    /// The program.
    pub appname: Option<&'a [u8]>,
    /// The process, mostly by number.
    pub procid: Option<&'a [u8]>,
    /// The kind of message (RFC 5424).
    pub msgid: Option<&'a [u8]>,
    /// Elements in brackets, checked; or empty.
    pub structured: &'a [u8],
    /// The rest.
    pub message: &'a [u8],
}

impl<'a> Message<'a> {
    /// The name of its facility.
    pub fn facility(&self) -> Option<&'static str> {
        FACILITIES.get(usize::from(self.priority? >> 3)).copied()
    }

    /// The name of its severity.
    pub fn severity(&self) -> Option<&'static str> {
        SEVERITIES.get(usize::from(self.priority? & 7)).copied()
    }

    /// Appends it as a JSON object. A field that the line does not have is left out; `message` is always there.
    #[inline]
    pub fn push(&self, out: &mut Vec<u8>, raw: Option<&[u8]>) {
        out.push(b'{');
        if let Some(stamp) = &self.stamp {
            out.extend_from_slice(b"\"timestamp\":\"");
            stamp.push(out);
            out.extend_from_slice(b"\",");
        }
        push_field(out, b"\"host\":", self.host);
        push_field(out, b"\"appname\":", self.appname);
        push_field(out, b"\"procid\":", self.procid);
        push_field(out, b"\"msgid\":", self.msgid);
        if self.priority.is_some() {
            push_field(out, b"\"facility\":", self.facility().map(str::as_bytes));
            push_field(out, b"\"severity\":", self.severity().map(str::as_bytes));
        }
        if let Some(version) = self.version {
            out.extend_from_slice(b"\"version\":");
            push_version(out, version);
            out.push(b',');
        }
        if !self.structured.is_empty() {
            out.extend_from_slice(b"\"structured_data\":");
            structured::push(out, self.structured);
            out.push(b',');
        }
        push_field(out, b"\"raw\":", raw);
        out.extend_from_slice(b"\"message\":");
        json::push_lossy(out, self.message);
        out.push(b'}');
    }
}

/// A version has three digits at most.
fn push_version(out: &mut Vec<u8>, version: u16) {
    let digits = [version / 100, version / 10 % 10, version % 10].map(|digit| b'0' + digit as u8);
    let zeros = digits.iter().take(2).take_while(|digit| **digit == b'0').count();
    out.extend_from_slice(digits.get(zeros..).unwrap_or_default());
}

#[inline]
fn push_field(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        json::push_lossy(out, value);
        out.push(b',');
    }
}

/// Appends a line that could not be parsed, with the reason.
pub fn push_unparsed(out: &mut Vec<u8>, line: &[u8], reason: &str) {
    push_field_of(out, b"{\"message\":", line);
    push_field_of(out, b",\"error\":", reason.as_bytes());
    out.push(b'}');
}

fn push_field_of(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    json::push_lossy(out, value);
}
