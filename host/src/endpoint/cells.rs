//! Values of rows as they cross the boundary: judged once, then plain data.

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
    pub fn new(kinds: Vec<u8>, ends: Vec<u32>, data: Vec<u8>) -> Result<Cells, String> {
        if kinds.len() != ends.len() {
            return Err(format!("{} values have {} ends", kinds.len(), ends.len()));
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
                return Err(format!("the value {at} is not well formed"));
            }
            start = *end;
        }
        if start as usize != data.len() {
            return Err("the last value does not end with the data".into());
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
}
