//! Where a message ends that no length stands in front of, as without SASL: found as it comes, without reading anything twice.

use thrift::protocol::TType;

use crate::codec::DEPTH_MAX;
use crate::error::{Error, Result};

/// What comes next in a message.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// Version, name and number, then a struct.
    Message,
    /// Fields up to a stop.
    Fields,
    /// So many values of one type.
    List(TType, u64),
    /// So many pairs of values.
    Map(TType, TType, u64),
}

/// The state of the search. Give it all that came, from the beginning, each time more did.
#[derive(Debug)]
pub struct Scan {
    at: usize,
    stack: Vec<Next>,
}

impl Scan {
    /// At the beginning of a message.
    pub fn new() -> Self {
        Scan { at: 0, stack: vec![Next::Message] }
    }

    /// The length of the message, or that more is needed.
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        while let Some(next) = self.stack.pop() {
            let before = self.at;
            if self.step(bytes, next)?.is_none() {
                self.at = before;
                self.stack.push(next);
                return Ok(None);
            }
            if self.stack.len() > DEPTH_MAX {
                return Err(Error::protocol(&format!("at most {DEPTH_MAX} levels"), "more"));
            }
        }
        Ok((self.at <= bytes.len()).then_some(self.at))
    }

    /// How many bytes the message has at least.
    pub fn at_least(&self) -> usize {
        self.at
    }

    /// Goes one step. `None` leaves the stack as it was.
    fn step(&mut self, bytes: &[u8], next: Next) -> Result<Option<()>> {
        match next {
            Next::Message => {
                let Some([0x80, 1, ..]) = bytes.first_chunk::<4>() else {
                    return if bytes.len() < 4 {
                        Ok(None)
                    } else {
                        Err(Error::protocol("a message of Thrift", "another"))
                    };
                };
                self.at = 4;
                let Some(name) = self.size(bytes)? else { return Ok(None) };
                self.at += name as usize + 4;
                self.stack.push(Next::Fields);
            }
            Next::Fields => {
                let Some(kind) = self.kind(bytes)? else { return Ok(None) };
                if kind != TType::Stop {
                    self.at += 2;
                    return self.value(bytes, kind, Next::Fields);
                }
            }
            Next::List(_, 0) | Next::Map(_, _, 0) => {}
            Next::List(kind, left) => return self.value(bytes, kind, Next::List(kind, left - 1)),
            Next::Map(key, value, left) => return self.value(bytes, key, Next::Map(value, key, left - 1)),
        }
        Ok(Some(()))
    }

    /// Goes past a value, or into it; `rest` is what comes behind it.
    fn value(&mut self, bytes: &[u8], kind: TType, rest: Next) -> Result<Option<()>> {
        let inside = match kind {
            TType::Struct => Some(Next::Fields),
            TType::String => {
                let Some(size) = self.size(bytes)? else { return Ok(None) };
                self.at += size as usize;
                None
            }
            TType::List | TType::Set => {
                let Some(kind) = self.kind(bytes)? else { return Ok(None) };
                let Some(size) = self.size(bytes)? else { return Ok(None) };
                self.inside(kind, size)
            }
            TType::Map => {
                let Some(key) = self.kind(bytes)? else { return Ok(None) };
                let Some(value) = self.kind(bytes)? else { return Ok(None) };
                let Some(size) = self.size(bytes)? else { return Ok(None) };
                match (width(key), width(value)) {
                    (Ok(key), Ok(value)) => {
                        self.at = self.at.saturating_add((key + value).saturating_mul(size as usize));
                        None
                    }
                    // Keys and values in turn.
                    _ => Some(Next::Map(key, value, u64::from(size) * 2)),
                }
            }
            fixed => {
                self.at += width(fixed)?;
                None
            }
        };
        self.stack.push(rest);
        self.stack.extend(inside);
        Ok(Some(()))
    }

    /// Goes past elements of a fixed size at once.
    fn inside(&mut self, kind: TType, size: u32) -> Option<Next> {
        match width(kind) {
            Ok(width) => {
                self.at = self.at.saturating_add(width.saturating_mul(size as usize));
                None
            }
            Err(_) => Some(Next::List(kind, size.into())),
        }
    }

    fn kind(&mut self, bytes: &[u8]) -> Result<Option<TType>> {
        let Some(byte) = bytes.get(self.at) else { return Ok(None) };
        self.at += 1;
        KINDS
            .iter()
            .find(|(number, _)| number == byte)
            .map(|(_, kind)| Some(*kind))
            .ok_or_else(|| Error::protocol("a type of Thrift", byte))
    }

    fn size(&mut self, bytes: &[u8]) -> Result<Option<u32>> {
        let Some(four) = bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
        self.at += 4;
        let size = i32::from_be_bytes(*four);
        u32::try_from(size).map(Some).map_err(|_| Error::protocol("a size", size))
    }
}

const KINDS: [(u8, TType); 12] = [
    (0, TType::Stop),
    (2, TType::Bool),
    (3, TType::I08),
    (4, TType::Double),
    (6, TType::I16),
    (8, TType::I32),
    (10, TType::I64),
    (11, TType::String),
    (12, TType::Struct),
    (13, TType::Map),
    (14, TType::Set),
    (15, TType::List),
];

/// The bytes of a value whose size is fixed.
fn width(kind: TType) -> Result<usize> {
    match kind {
        TType::Bool | TType::I08 => Ok(1),
        TType::I16 => Ok(2),
        TType::I32 => Ok(4),
        TType::I64 | TType::Double => Ok(8),
        other => Err(Error::protocol("a value", format_args!("{other:?}"))),
    }
}
