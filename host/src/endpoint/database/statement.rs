//! Statements, their values, and what they return: plain data, judged before it goes anywhere.

use super::Failure;

/// Values of one execution: both protocols count them in 16 bits.
const VALUES_MAX: usize = 65_535;
/// Bytes of a statement's text.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// What begins and ends transactions, or changes the connection for whoever has it next.
const NOT_ALLOWED: [&str; 21] = [
    "ABORT",
    "BEGIN",
    "COMMIT",
    "DEALLOCATE",
    "DISCARD",
    "END",
    "EXECUTE",
    "HANDLER",
    "LISTEN",
    "LOAD",
    "LOCK",
    "PREPARE",
    "RELEASE",
    "RESET",
    "ROLLBACK",
    "SAVEPOINT",
    "SET",
    "START",
    "UNLOCK",
    "USE",
    "XA",
];

/// A statement and its values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statement {
    /// What is to be done, with placeholders.
    pub text: String,
    /// How often.
    pub rows: usize,
    /// The values of all executions.
    pub values: Cells,
    /// The rows that have to be affected.
    pub expected: Option<u64>,
}

/// What a statement did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The rows that it affected.
    pub affected: u64,
    /// The names of what it returned.
    pub columns: Vec<String>,
    /// What it returned.
    pub rows: Cells,
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// None.
    Null,
    /// Text, and all that is written as text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// Values, row after row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cells {
    kinds: Vec<u8>,
    ends: Vec<u32>,
    data: Vec<u8>,
}

impl Cells {
    /// Judges columns that come from elsewhere.
    pub fn new(kinds: Vec<u8>, ends: Vec<u32>, data: Vec<u8>) -> Result<Cells, Failure> {
        let refused = |what: String| Err(Failure::Refused(what));
        if kinds.len() != ends.len() {
            return refused(format!("{} values have {} ends", kinds.len(), ends.len()));
        }
        let mut start = 0;
        for (at, (kind, end)) in kinds.iter().zip(&ends).enumerate() {
            let cell = data.get(start as usize..*end as usize);
            let is_right = match (kind, cell) {
                (0, Some(cell)) => cell.is_empty(),
                (1, Some(cell)) => std::str::from_utf8(cell).is_ok(),
                (2, Some(_)) => true,
                _ => false,
            };
            if !is_right {
                return refused(format!("the value {at} is not well formed"));
            }
            start = *end;
        }
        if start as usize != data.len() {
            return refused("the last value does not end with the data".into());
        }
        Ok(Cells { kinds, ends, data })
    }

    /// Adds a value.
    pub fn push(&mut self, cell: Cell<'_>) {
        let (kind, bytes): (u8, &[u8]) = match cell {
            Cell::Null => (0, &[]),
            Cell::Text(text) => (1, text.as_bytes()),
            Cell::Bytes(bytes) => (2, bytes),
        };
        self.kinds.push(kind);
        self.data.extend_from_slice(bytes);
        self.ends.push(self.data.len() as u32);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// The bytes of all.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// One of them; null, where there is none.
    pub fn get(&self, at: usize) -> Cell<'_> {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let bytes = self.ends.get(at).and_then(|end| self.data.get(start as usize..*end as usize)).unwrap_or_default();
        match self.kinds.get(at) {
            Some(1) => std::str::from_utf8(bytes).map_or(Cell::Bytes(bytes), Cell::Text),
            Some(2) => Cell::Bytes(bytes),
            _ => Cell::Null,
        }
    }

    /// The three columns.
    pub fn into_columns(self) -> (Vec<u8>, Vec<u32>, Vec<u8>) {
        (self.kinds, self.ends, self.data)
    }
}

impl Statement {
    /// The values of each execution.
    pub fn width(&self) -> usize {
        self.values.len() / self.rows.max(1)
    }

    /// Refuses what may not be said, or does not fit together.
    pub fn check(&self) -> Result<(), Failure> {
        let refused = |what: String| Err(Failure::Refused(what));
        if self.text.len() > TEXT_BYTES_MAX {
            return refused(format!("a statement has {} bytes, {TEXT_BYTES_MAX} are allowed", self.text.len()));
        }
        let word: String =
            self.text.trim_start().chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_uppercase();
        if word.is_empty() {
            return refused("a statement begins with its first word".into());
        }
        if NOT_ALLOWED.contains(&word.as_str()) {
            return refused(format!("a statement must not begin with {word}: a transaction is one call"));
        }
        if self.rows == 0 || self.width() * self.rows != self.values.len() {
            return refused(format!("{} values are not those of {} rows", self.values.len(), self.rows));
        }
        match self.width() {
            width if width > VALUES_MAX => refused(format!("{width} values at once, {VALUES_MAX} are allowed")),
            _ => Ok(()),
        }
    }

    /// Judges how many rows were affected.
    pub fn judge(&self, affected: u64) -> Result<(), Failure> {
        match self.expected {
            Some(expected) if expected != affected => Err(Failure::Unexpected(affected)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_judged() {
        let mut cells = Cells::default();
        let values = [Cell::Null, Cell::Text("ä"), Cell::Bytes(b"\xff"), Cell::Text("")];
        values.into_iter().for_each(|cell| cells.push(cell));
        let (kinds, ends, data) = cells.clone().into_columns();
        assert_eq!(Cells::new(kinds, ends, data).unwrap(), cells);
        assert!((0..5).map(|at| cells.get(at)).eq(values.into_iter().chain([Cell::Null])));
        let wrong: [(&[u8], &[u32], &[u8]); 6] = [
            (&[1], &[], b""),
            (&[0], &[1], b"a"),
            (&[1], &[1], b"\xff"),
            (&[3], &[0], b""),
            (&[1, 1], &[2, 1], b"ab"),
            (&[1], &[1], b"ab"),
        ];
        for (kinds, ends, data) in wrong {
            assert!(Cells::new(kinds.into(), ends.into(), data.into()).is_err(), "{kinds:?} {ends:?}");
        }
    }

    #[test]
    fn what_touches_transactions_is_refused() {
        let of = |text: &str| Statement { text: text.into(), rows: 1, ..Statement::default() };
        for wrong in ["commit", " BEGIN work", "Set x = 1", "/* */ SELECT 1", "", "(SELECT 1)", "start transaction"] {
            assert!(of(wrong).check().is_err(), "{wrong}");
        }
        assert_eq!(of("SELECT 1").check(), Ok(()));
        assert!(Statement { rows: 0, ..of("SELECT 1") }.check().is_err());
    }
}
