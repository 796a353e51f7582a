//! Structs of the protocol (TCLIService.thrift of Apache Hive, version 6 on): what is asked, and of answers what is looked at.

use std::time::Duration;

use thrift::protocol::TType;

use crate::codec::{Reader, Writer};
use crate::error::{Error, Result};

/// HIVE_CLI_SERVICE_PROTOCOL_V6, the first that sends columns: what Impala speaks, and all that is needed of the others.
pub const VERSION: i32 = 5;

/// The older ones have what is needed as well, but for columns; before 1 nothing is known.
pub const VERSION_MIN: i32 = 0;

/// How a call ended.
#[derive(Debug, Default)]
pub struct Status {
    code: i32,
    infos: Vec<String>,
    state: Option<String>,
    number: Option<i32>,
    message: Option<String>,
}

/// The numbers of TStatusCode that are no failures: success, with info, still executing.
const FINE: [i32; 3] = [0, 1, 2];
const INVALID_HANDLE: i32 = 4;

/// How servers say that they have forgotten a session: Hive and Spark, Impala, Impala after a time without statements.
const NO_SESSION: [&str; 3] = ["Invalid SessionHandle", "Invalid session id", "session expired"];

impl Status {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut status = Status { code: -1, ..Status::default() };
        reader.fields(|reader, id, kind| {
            match (id, kind) {
                (1, TType::I32) => status.code = reader.i32()?,
                (2, TType::List) => status.infos = reader.list(TType::String, Reader::text)?,
                (3, TType::String) => status.state = Some(reader.text()?),
                (4, TType::I32) => status.number = Some(reader.i32()?),
                (5, TType::String) => status.message = Some(reader.text()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(status)
    }

    fn check(self) -> Result<()> {
        if FINE.contains(&self.code) {
            return Ok(());
        }
        let words = self.message.filter(|message| !message.is_empty()).or_else(|| self.infos.into_iter().next());
        let mut message = words.unwrap_or_else(|| format!("status {} without a message", self.code));
        // Spark tells where in its own code it was.
        message.truncate(message.find("\n\tat ").unwrap_or(message.len()));
        if self.code == INVALID_HANDLE || NO_SESSION.iter().any(|words| message.contains(words)) {
            return Err(Error::Broken { reason: message, is_sent: false });
        }
        Err(Error::Server { state: self.state.filter(|state| !state.is_empty()), code: self.number, message })
    }
}

/// The names that a server gives to a session or an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identifier {
    guid: Vec<u8>,
    secret: Vec<u8>,
}

impl Identifier {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut identifier = Identifier::default();
        reader.fields(|reader, id, kind| {
            match (id, kind) {
                (1, TType::String) => identifier.guid = reader.bytes()?,
                (2, TType::String) => identifier.secret = reader.bytes()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(identifier)
    }

    fn write(&self, writer: &mut Writer, id: i16) -> Result<()> {
        writer.record(id, |writer| {
            writer.bytes(1, &self.guid)?;
            writer.bytes(2, &self.secret)
        })
    }
}

/// A statement that runs, at the server.
#[derive(Debug, Clone, Default)]
pub struct Operation {
    identifier: Identifier,
    kind: i32,
    /// Whether there are rows to fetch.
    pub has_rows: bool,
    modified: Option<f64>,
}

impl Operation {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut operation = Operation::default();
        reader.fields(|reader, id, kind| {
            match (id, kind) {
                (1, TType::Struct) => operation.identifier = Identifier::read(reader)?,
                (2, TType::I32) => operation.kind = reader.i32()?,
                (3, TType::Bool) => operation.has_rows = reader.bool()?,
                (4, TType::Double) => operation.modified = Some(reader.f64()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(operation)
    }

    /// Writes a request about it: its handle comes first in all of them.
    pub fn write(&self, writer: &mut Writer) -> Result<()> {
        writer.record(1, |writer| {
            self.identifier.write(writer, 1)?;
            writer.i32(2, self.kind)?;
            writer.bool(3, self.has_rows)?;
            self.modified.map_or(Ok(()), |modified| writer.f64(4, modified))
        })
    }

    /// Rows that were changed, where the server says so.
    pub fn affected(&self) -> Option<u64> {
        self.modified.filter(|modified| *modified >= 0.0).map(|modified| modified as u64)
    }
}

/// Asks for a session.
pub fn write_open(writer: &mut Writer, user: Option<&str>, settings: &[(String, String)]) -> Result<()> {
    writer.i32(1, VERSION)?;
    if let Some(user) = user {
        writer.bytes(2, user.as_bytes())?;
    }
    writer.text_map(4, settings)
}

/// Reads the session that was opened.
pub fn read_open(reader: &mut Reader<'_>) -> Result<Identifier> {
    let (mut session, mut version) = (None, VERSION_MIN);
    read_checked(reader, |reader, id, kind| {
        match (id, kind) {
            (2, TType::I32) => version = reader.i32()?,
            (3, TType::Struct) => {
                reader.fields(|reader, id, kind| {
                    let is_identifier = (id, kind) == (1, TType::Struct);
                    if is_identifier {
                        session = Some(Identifier::read(reader)?);
                    }
                    Ok(is_identifier)
                })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if !(VERSION_MIN..=VERSION).contains(&version) {
        return Err(Error::protocol(&format!("at most version {VERSION} of the protocol"), version));
    }
    session.ok_or_else(|| Error::protocol("a session", "none"))
}

/// Asks that a session ends.
pub fn write_session(writer: &mut Writer, session: &Identifier) -> Result<()> {
    writer.record(1, |writer| session.write(writer, 1))
}

/// Asks that a statement is begun: the answer does not wait for its end. Servers that know of a limit end it then by themselves.
pub fn write_execute(writer: &mut Writer, session: &Identifier, sql: &str, limit: Duration) -> Result<()> {
    write_session(writer, session)?;
    writer.bytes(2, sql.as_bytes())?;
    writer.bool(4, true)?;
    // Whole seconds, and 0 is none.
    writer.i64(5, i64::try_from(limit.as_secs()).unwrap_or(i64::MAX).saturating_add(1))
}

/// Reads the operation that was begun.
pub fn read_execute(reader: &mut Reader<'_>) -> Result<Operation> {
    let mut operation = None;
    read_checked(reader, |reader, id, kind| {
        let is_operation = (id, kind) == (2, TType::Struct);
        if is_operation {
            operation = Some(Operation::read(reader)?);
        }
        Ok(is_operation)
    })?;
    operation.ok_or_else(|| Error::protocol("an operation", "none"))
}

/// How far a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It waits or runs.
    Running,
    /// It is done, and its rows can be fetched.
    Done {
        /// Rows that were changed, where the server says so.
        affected: Option<u64>,
        /// Whether there are rows to fetch, where the server says so again.
        has_rows: Option<bool>,
    },
}

/// Reads how far a statement is; its failure is an error.
pub fn read_progress(reader: &mut Reader<'_>) -> Result<Progress> {
    let (mut state, mut has_rows, mut affected) = (None, None, None);
    let mut failure = Status { code: 3, ..Status::default() };
    read_checked(reader, |reader, id, kind| {
        match (id, kind) {
            (2, TType::I32) => state = Some(reader.i32()?),
            (3, TType::String) => failure.state = Some(reader.text()?),
            (4, TType::I32) => failure.number = Some(reader.i32()?),
            (5, TType::String) => failure.message = Some(reader.text()?),
            (9, TType::Bool) => has_rows = Some(reader.bool()?),
            (11, TType::I64) => affected = u64::try_from(reader.i64()?).ok(),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    match state {
        // Initialized, running, pending.
        Some(0 | 1 | 7) => Ok(Progress::Running),
        Some(2) => Ok(Progress::Done { affected, has_rows }),
        Some(8) => Err(Error::Timeout),
        Some(state) => {
            failure.message.get_or_insert_with(|| format!("the statement ended in state {state}: {}", name(state)));
            Err(failure.check().err().unwrap_or_else(|| Error::protocol("a failure", state)))
        }
        None => Err(Error::protocol("the state of the statement", "none")),
    }
}

fn name(state: i32) -> &'static str {
    match state {
        3 => "cancelled",
        4 => "closed",
        5 => "failed",
        _ => "unknown",
    }
}

/// Reads an answer that is only a status.
pub fn read_status(reader: &mut Reader<'_>) -> Result<()> {
    read_checked(reader, |_, _, _| Ok(false))
}

/// Reads an answer whose first field is its status, which is judged once all is read.
pub fn read_checked(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(&mut Reader<'_>, i16, TType) -> Result<bool>,
) -> Result<()> {
    let mut status = None;
    reader.fields(|reader, id, kind| {
        if (id, kind) == (1, TType::Struct) {
            status = Some(Status::read(reader)?);
            return Ok(true);
        }
        each(reader, id, kind)
    })?;
    status.ok_or_else(|| Error::protocol("a status", "none"))?.check()
}
