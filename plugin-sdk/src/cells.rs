//! Values of rows, as capabilities take and return them.

#[cfg(target_family = "wasm")]
use crate::bindings::types as bindings;

/// A value. Numbers, times, JSON and truth values are text, which is read as the type of the column says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// None.
    Null,
    /// Text.
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
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

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Cell<'_>> {
        (0..self.len()).map(|at| self.get(at))
    }

    #[cfg(target_family = "wasm")]
    pub(crate) fn into_wit(self) -> bindings::Cells {
        bindings::Cells { kinds: self.kinds, ends: self.ends, data: self.data }
    }

    #[cfg(target_family = "wasm")]
    pub(crate) fn of_wit(bindings::Cells { kinds, ends, data }: bindings::Cells) -> Self {
        Cells { kinds, ends, data }
    }
}

impl<'a> FromIterator<Cell<'a>> for Cells {
    fn from_iter<I: IntoIterator<Item = Cell<'a>>>(cells: I) -> Self {
        let mut all = Cells::default();
        cells.into_iter().for_each(|cell| all.push(cell));
        all
    }
}
