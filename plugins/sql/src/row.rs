//! One record while a statement looks at it: finds its fields when they are asked for, and no earlier.

use crate::json::Malformed;
use crate::json::scan::{self, Member, Members};
use crate::json::text;
use crate::value::{Raw, Value};

/// A field's name, as a statement gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name as written, without quotes.
    pub text: String,
    /// Whether case matters: the name was quoted.
    pub exact: bool,
}

impl Name {
    /// Whether a member of an object has this name. Without quotes, ASCII letters match in either case.
    #[inline]
    pub fn matches(&self, name: &[u8]) -> bool {
        let wanted = self.text.as_bytes();
        name.len() == wanted.len() && (name == wanted || (!self.exact && name.eq_ignore_ascii_case(wanted)))
    }
}

/// The top-level fields that a statement names; each has a number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: Vec<Name>,
    /// A bit for each length that occurs (the last one for 63 and more): most members are passed by on this alone.
    lengths: u64,
}

impl Names {
    /// The number of a field, given anew when the name is new.
    pub fn number(&mut self, name: Name) -> usize {
        if let Some(known) = self.names.iter().position(|other| *other == name) {
            return known;
        }
        self.lengths |= length_bit(name.text.len());
        self.names.push(name);
        self.names.len() - 1
    }
}

#[inline]
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// What is known of a record besides its value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'v> {
    /// The key.
    pub key: Option<&'v [u8]>,
    /// The timestamp in milliseconds.
    pub timestamp: i64,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: i64,
}

/// Memory that is used again for each record.
#[derive(Debug, Default)]
pub struct Scratch {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Where the field's value begins and ends; it is found when it ends after 0.
    start: usize,
    end: usize,
}

/// A record.
#[derive(Debug)]
pub struct Row<'v> {
    doc: &'v [u8],
    names: &'v Names,
    slots: &'v mut [Slot],
    walk: Members,
    ended: bool,
    place: Place<'v>,
    /// What the parameters of the lambdas stand for, the innermost last.
    variables: Vec<Value<'v>>,
}

impl<'v> Row<'v> {
    /// Opens a record. Checks that its value begins as an object and ends as one.
    pub fn new(
        doc: &'v [u8],
        place: Place<'v>,
        names: &'v Names,
        scratch: &'v mut Scratch,
    ) -> Result<Row<'v>, Malformed> {
        let walk = Members::begin(doc, 0)?;
        if doc.trim_ascii_end().last() != Some(&b'}') {
            return Err(Malformed::new(doc.len(), "the JSON object does not end"));
        }
        scratch.slots.clear();
        scratch.slots.resize(names.names.len(), Slot::default());
        Ok(Row { doc, names, slots: &mut scratch.slots, walk, ended: false, place, variables: Vec::new() })
    }

    /// A row without fields, in which constants can be evaluated.
    pub fn empty(names: &'v Names, scratch: &'v mut Scratch) -> Result<Row<'v>, Malformed> {
        Row::new(b"{}", Place::default(), names, scratch)
    }

    /// The record's value as it came.
    pub fn doc(&self) -> &'v [u8] {
        self.doc
    }

    /// What is known besides the value.
    pub fn place(&self) -> Place<'v> {
        self.place
    }

    /// A field by its number: what stands in the record, or NULL. Reads on in the record only when the field has not
    /// been passed yet. Of several members with the name, the first counts.
    #[inline]
    pub fn field(&mut self, number: usize) -> Result<Value<'v>, Malformed> {
        loop {
            match self.slots.get(number) {
                Some(slot) if slot.end > 0 => {
                    return Ok(Raw { bytes: self.doc, start: 0 }.part(slot.start, slot.end));
                }
                _ if self.ended => return Ok(Value::Null),
                _ => self.step()?,
            }
        }
    }

    /// Reads the next member.
    #[inline]
    fn step(&mut self) -> Result<(), Malformed> {
        let Some(member) = self.walk.next(self.doc)? else {
            self.ended = true;
            return self.walk.end(self.doc);
        };
        if member.escaped {
            return self.remember_escaped(&member);
        }
        let name = self.doc.get(member.name.clone()).unwrap_or_default();
        if self.names.lengths & length_bit(name.len()) != 0 {
            self.remember(name, &member);
        }
        Ok(())
    }

    #[inline]
    fn remember(&mut self, name: &[u8], member: &Member) {
        for (slot, wanted) in self.slots.iter_mut().zip(&self.names.names) {
            if slot.end == 0 && wanted.matches(name) {
                *slot = Slot { start: member.value.start, end: member.value.end };
            }
        }
    }

    #[cold]
    fn remember_escaped(&mut self, member: &Member) -> Result<(), Malformed> {
        let inner = self.doc.get(member.name.clone()).unwrap_or_default();
        let name = text::decode(inner).map_err(|e| e.within(member.name.start))?;
        self.remember(name.as_bytes(), member);
        Ok(())
    }

    /// Binds a parameter of a lambda.
    pub fn push(&mut self, value: Value<'v>) {
        self.variables.push(value);
    }

    /// Lets go of the parameters bound last.
    pub fn pop(&mut self, count: usize) {
        self.variables.truncate(self.variables.len().saturating_sub(count));
    }

    /// A parameter by its place, the outermost first.
    pub fn variable(&self, place: usize) -> Value<'v> {
        self.variables.get(place).cloned().unwrap_or(Value::Null)
    }
}

/// Finds a member of an object by name; NULL when it has none, or is no object.
pub fn member<'v>(object: Value<'v>, name: &Name) -> Result<Value<'v>, Malformed> {
    match object {
        Value::Json(raw) if raw.is_object() => raw_member(raw, name),
        Value::Object(members) => Ok(Value::or_null(
            members.into_iter().find(|(found, _)| name.matches(found.as_bytes())).map(|(_, value)| value),
        )),
        _ => Ok(Value::Null),
    }
}

fn raw_member<'v>(raw: Raw<'v>, name: &Name) -> Result<Value<'v>, Malformed> {
    let mut walk = Members::begin(raw.bytes, 0).map_err(|e| raw.fault(0, e))?;
    while let Some(member) = walk.next(raw.bytes).map_err(|e| raw.fault(0, e))? {
        let inner = raw.bytes.get(member.name.clone()).unwrap_or_default();
        let found = match member.escaped {
            false => name.matches(inner),
            true => {
                let decoded = text::decode(inner).map_err(|e| raw.fault(member.name.start, e))?;
                name.matches(decoded.as_bytes())
            }
        };
        if found {
            return Ok(raw.part(member.value.start, member.value.end));
        }
    }
    Ok(Value::Null)
}

/// Takes an element of an array: 1 is the first and -1 the last, as in ksqlDB. NULL when there is none.
pub fn element<'v>(array: Value<'v>, index: i64) -> Result<Value<'v>, Malformed> {
    match array {
        Value::Json(raw) if raw.is_array() && index > 0 => raw_element(raw, index),
        Value::Json(raw) if raw.is_array() => Ok(pick(raw.elements()?.unwrap_or_default(), index)),
        Value::Array(elements) => Ok(pick(elements, index)),
        _ => Ok(Value::Null),
    }
}

fn raw_element<'v>(raw: Raw<'v>, index: i64) -> Result<Value<'v>, Malformed> {
    let mut walk = scan::Elements::begin(raw.bytes, 0).map_err(|e| raw.fault(0, e))?;
    let mut left = index;
    while let Some(place) = walk.next(raw.bytes).map_err(|e| raw.fault(0, e))? {
        left -= 1;
        if left == 0 {
            return Ok(raw.part(place.start, place.end));
        }
    }
    Ok(Value::Null)
}

fn pick(elements: Vec<Value<'_>>, index: i64) -> Value<'_> {
    let place = match index {
        0 => return Value::Null,
        1.. => usize::try_from(index - 1).ok(),
        _ => usize::try_from(index.unsigned_abs()).ok().and_then(|back| elements.len().checked_sub(back)),
    };
    Value::or_null(place.and_then(|place| elements.into_iter().nth(place)))
}
