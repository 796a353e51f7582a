//! A statement that is ready to run over records.

use weir_plugin::json::push_string;

use crate::error::StatementError;
use crate::expr::Expr;
use crate::json::scan::Members;
use crate::json::{Malformed, check, text};
use crate::plan;
use crate::row::{Names, Place, Row, Scratch};
use crate::value::{Raw, Value};

/// A statement that is ready to run.
#[derive(Debug)]
pub struct Query {
    pub(crate) names: Names,
    pub(crate) filter: Option<Expr>,
    pub(crate) output: Output,
}

/// What becomes of a record that passes the filter.
#[derive(Debug)]
pub(crate) enum Output {
    /// It goes on as it came.
    Same,
    /// These columns go on.
    Columns {
        columns: Vec<Column>,
        /// The names of the columns that are named: a `*` leaves them out, so that no name stands twice.
        named: Vec<String>,
    },
}

/// One thing that is selected.
#[derive(Debug)]
pub(crate) enum Column {
    /// `*`
    All,
    /// `a->*`
    AllOf(Expr),
    /// A value, and its name as it is written in JSON, with the colon.
    Value { name: Vec<u8>, value: Expr },
}

impl Query {
    /// Reads and checks a statement. `sources` are the names, besides `input`, that FROM may give.
    pub fn compile(statement: &str, sources: &[String]) -> Result<Query, StatementError> {
        plan::plan(statement, sources)
    }

    /// Whether it has a WHERE.
    pub fn filters(&self) -> bool {
        self.filter.is_some()
    }

    /// Whether it makes new values. If not, records that pass go on as they came.
    pub fn projects(&self) -> bool {
        matches!(self.output, Output::Columns { .. })
    }

    /// Opens a record, to be given to [`Query::passes`] and [`Query::write`].
    pub fn open<'v>(
        &'v self,
        value: &'v [u8],
        place: Place<'v>,
        scratch: &'v mut Scratch,
    ) -> Result<Row<'v>, Malformed> {
        Row::new(value, place, &self.names, scratch)
    }

    /// Whether the WHERE is TRUE for a record; without one every record passes.
    pub fn passes<'v>(&'v self, row: &mut Row<'v>) -> Result<bool, Malformed> {
        match &self.filter {
            Some(filter) => Ok(filter.test(row)? == Some(true)),
            None => Ok(true),
        }
    }

    /// Appends the new value of a record to `out`; after an error `out` holds part of one.
    pub fn write<'v>(&'v self, row: &mut Row<'v>, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match &self.output {
            Output::Same => out.extend_from_slice(row.doc()),
            Output::Columns { columns, named } => {
                Writer { out, first: true, named, seen: Vec::new() }.columns(columns, row)?;
            }
        }
        Ok(())
    }
}

struct Writer<'o, 'v> {
    out: &'o mut Vec<u8>,
    first: bool,
    named: &'v [String],
    /// The names that a `*` has brought, when there are several.
    seen: Vec<String>,
}

impl<'v> Writer<'_, 'v> {
    fn columns(&mut self, columns: &'v [Column], row: &mut Row<'v>) -> Result<(), Malformed> {
        let wildcards = columns.iter().filter(|column| !matches!(column, Column::Value { .. })).count();
        self.out.push(b'{');
        for column in columns {
            match column {
                Column::Value { name, value } => {
                    let value = value.eval(row)?;
                    self.comma();
                    self.out.extend_from_slice(name);
                    value.write(self.out)?;
                }
                Column::All => self.members(Raw { bytes: row.doc(), start: 0 }, wildcards > 1)?,
                Column::AllOf(object) => match object.eval(row)? {
                    Value::Json(raw) if raw.is_object() => self.members(raw, wildcards > 1)?,
                    Value::Object(members) => {
                        for (name, value) in members {
                            self.member(&name, wildcards > 1, |out| value.write(out))?;
                        }
                    }
                    _ => {}
                },
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn comma(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }

    /// Copies the members of an object, but those that are selected by name.
    fn members(&mut self, object: Raw<'_>, remember: bool) -> Result<(), Malformed> {
        let mut walk = Members::begin(object.bytes, 0).map_err(|e| object.fault(0, e))?;
        while let Some(member) = walk.next(object.bytes).map_err(|e| object.fault(0, e))? {
            let inner = object.bytes.get(member.name.clone()).unwrap_or_default();
            check::string(inner).map_err(|e| object.fault(member.name.start, e))?;
            let name = text::decode(inner).map_err(|e| object.fault(member.name.start, e))?;
            let value = object.part(member.value.start, member.value.end);
            self.member(&name, remember, |out| value.write(out))?;
        }
        Ok(())
    }

    fn member(
        &mut self,
        name: &str,
        remember: bool,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if self.named.iter().any(|known| known == name) || (remember && self.seen.iter().any(|known| known == name)) {
            return Ok(());
        }
        if remember {
            self.seen.push(name.to_owned());
        }
        self.comma();
        push_string(self.out, name);
        self.out.push(b':');
        write(self.out)
    }
}

#[cfg(test)]
mod tests;
