//! The fields of a JSON object that lookups read and write: where they stand in the text, and what they have become.
//!
//! An object is walked once, and never made a tree: what nobody asked for is copied as it came.

use std::fmt;
use std::ops::Range;

use weir_plugin::json::scan::Members;
use weir_plugin::json::{Malformed, Path, find_in, push_string};

/// The names of the fields of an object that matter. Others are stepped over.
#[derive(Debug, Default)]
pub struct Names {
    names: Vec<String>,
}

/// A path whose first name is one of some [`Names`].
#[derive(Debug, Clone)]
pub struct Way {
    /// The place of the first name among them.
    slot: usize,
    path: Path,
}

impl Names {
    /// Makes a path one that can be found.
    pub fn way(&mut self, path: &Path) -> Way {
        let first = path.names().first().map_or("", String::as_str);
        let slot = self.names.iter().position(|name| name == first).unwrap_or_else(|| {
            self.names.push(first.to_owned());
            self.names.len() - 1
        });
        Way { slot, path: path.clone() }
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    fn name(&self, slot: usize) -> &str {
        self.names.get(slot).map_or("", String::as_str)
    }
}

impl Way {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names behind the first.
    fn rest(&self) -> &[String] {
        self.path.names().get(1..).unwrap_or_default()
    }

    /// Whether what is written by one of the ways can be seen by the other.
    pub fn overlaps(&self, other: &Way) -> bool {
        self.path.names().iter().zip(other.path.names()).all(|(a, b)| a == b)
    }
}

/// Where the fields of an object stand.
#[derive(Debug, Default)]
pub struct Places {
    /// By slot.
    fields: Vec<Option<Range<usize>>>,
    /// Of the closing bracket.
    end: usize,
    is_empty: bool,
}

impl Places {
    /// Walks an object to its end. Of several fields of one name the last counts.
    pub fn find(&mut self, names: &Names, doc: &[u8]) -> Result<(), Malformed> {
        self.fields.clear();
        self.fields.resize(names.len(), None);
        self.is_empty = true;
        let mut members = Members::begin(doc, 0)?;
        while let Some(member) = members.next(doc)? {
            self.is_empty = false;
            for (name, place) in names.names.iter().zip(&mut self.fields) {
                if member.is_named(doc, name)? {
                    *place = Some(member.value.clone());
                    break;
                }
            }
        }
        self.end = members.place();
        members.end(doc)
    }

    /// The value to which a way leads.
    pub fn value<'d>(&self, way: &Way, doc: &'d [u8]) -> Result<Option<&'d [u8]>, Malformed> {
        let Some(Some(place)) = self.fields.get(way.slot) else { return Ok(None) };
        Ok(find_in(doc, place.clone(), way.rest())?.and_then(|place| doc.get(place)))
    }
}

/// A value in the way of a field.
#[derive(Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// What is to be an object is something else.
    NoObject {
        /// What.
        kind: &'static str,
    },
    /// What should be an object cannot be read.
    Malformed(Malformed),
}

impl From<Malformed> for Obstacle {
    fn from(fault: Malformed) -> Self {
        Obstacle::Malformed(fault)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NoObject { kind } => write!(f, "expected an object on the way, got {kind}"),
            Obstacle::Malformed(fault) => fault.fmt(f),
        }
    }
}

/// What the fields have become.
#[derive(Debug, Default)]
pub struct Changes {
    /// By slot.
    values: Vec<Change>,
    /// The slots that were changed, in the order in which they were.
    changed: Vec<usize>,
    scratch: Vec<u8>,
}

#[derive(Debug, Default)]
struct Change {
    is_set: bool,
    value: Vec<u8>,
}

impl Changes {
    /// Begins with none.
    pub fn clear(&mut self, names: &Names) {
        self.values.resize_with(names.len(), Change::default);
        for slot in self.changed.drain(..) {
            if let Some(change) = self.values.get_mut(slot) {
                change.is_set = false;
            }
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// The value to which a way leads now.
    pub fn value<'d>(&'d self, way: &Way, places: &Places, doc: &'d [u8]) -> Result<Option<&'d [u8]>, Malformed> {
        match self.values.get(way.slot).filter(|change| change.is_set) {
            None => places.value(way, doc),
            Some(Change { value, .. }) => {
                Ok(find_in(value, 0..value.len(), way.rest())?.and_then(|place| value.get(place)))
            }
        }
    }

    /// Puts a value where a way leads. Objects that are not there are made.
    pub fn put(&mut self, way: &Way, places: &Places, doc: &[u8], value: &[u8]) -> Result<(), Obstacle> {
        let Some(change) = self.values.get_mut(way.slot) else { return Ok(()) };
        let place = places.fields.get(way.slot).cloned().flatten();
        let present =
            if change.is_set { Some(change.value.as_slice()) } else { place.and_then(|place| doc.get(place)) };
        self.scratch.clear();
        put_in(present, way.rest(), value, &mut self.scratch)?;
        std::mem::swap(&mut change.value, &mut self.scratch);
        if !std::mem::replace(&mut change.is_set, true) {
            self.changed.push(way.slot);
        }
        Ok(())
    }

    /// Appends the object as it is now. What was not changed stays as it is, byte by byte; new fields come last.
    pub fn write(&self, names: &Names, places: &Places, doc: &[u8], out: &mut Vec<u8>) {
        let set = |slot: &usize| self.values.get(*slot).map_or(&[][..], |change| &change.value);
        let place_of = |slot: &usize| places.fields.get(*slot).cloned().flatten();
        let mut replaced: Vec<_> = self.changed.iter().filter_map(|slot| Some((place_of(slot)?, set(slot)))).collect();
        replaced.sort_unstable_by_key(|(place, _)| place.start);
        let mut from = 0;
        for (place, value) in replaced {
            out.extend_from_slice(doc.get(from..place.start).unwrap_or_default());
            out.extend_from_slice(value);
            from = place.end;
        }
        out.extend_from_slice(doc.get(from..places.end).unwrap_or_default());
        let mut is_first = places.is_empty;
        for slot in self.changed.iter().filter(|slot| place_of(slot).is_none()) {
            push_name(names.name(*slot), is_first, out);
            out.extend_from_slice(set(slot));
            is_first = false;
        }
        out.extend_from_slice(doc.get(places.end..).unwrap_or_default());
    }
}

/// Appends a value as it is once another has been put into it.
fn put_in(present: Option<&[u8]>, way: &[String], value: &[u8], out: &mut Vec<u8>) -> Result<(), Obstacle> {
    let Some((name, rest)) = way.split_first() else {
        out.extend_from_slice(value);
        return Ok(());
    };
    let Some(object) = present else {
        out.push(b'{');
        push_name(name, true, out);
        put_in(None, rest, value, out)?;
        out.push(b'}');
        return Ok(());
    };
    if let Some(kind) = no_object(object) {
        return Err(Obstacle::NoObject { kind });
    }
    let (mut place, mut is_empty, mut members) = (None, true, Members::begin(object, 0)?);
    while let Some(member) = members.next(object)? {
        is_empty = false;
        if member.is_named(object, name)? {
            place = Some(member.value);
        }
    }
    let (before, after) = place.as_ref().map_or((members.place(), members.place()), |place| (place.start, place.end));
    out.extend_from_slice(object.get(..before).unwrap_or_default());
    if place.is_none() {
        push_name(name, is_empty, out);
    }
    put_in(place.and_then(|place| object.get(place)), rest, value, out)?;
    out.extend_from_slice(object.get(after..).unwrap_or_default());
    Ok(())
}

fn push_name(name: &str, is_first: bool, out: &mut Vec<u8>) {
    if !is_first {
        out.push(b',');
    }
    push_string(out, name);
    out.push(b':');
}

/// What a value is, where it is no object.
fn no_object(value: &[u8]) -> Option<&'static str> {
    match value.first() {
        Some(b'{') => None,
        Some(b'[') => Some("an array"),
        Some(b'"') => Some("a text"),
        Some(b'n') => Some("null"),
        Some(b't' | b'f') => Some("a boolean"),
        _ => Some("a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object with a value put at each of some paths.
    fn put(doc: &str, values: &[(&str, &str)]) -> Result<String, Obstacle> {
        let mut names = Names::default();
        let ways: Vec<Way> = values.iter().map(|(path, _)| names.way(&Path::parse(path).unwrap())).collect();
        let (mut places, mut changes) = (Places::default(), Changes::default());
        places.find(&names, doc.as_bytes())?;
        changes.clear(&names);
        for (way, (_, value)) in ways.iter().zip(values) {
            changes.put(way, &places, doc.as_bytes(), value.as_bytes())?;
            let found = changes.value(way, &places, doc.as_bytes()).unwrap().unwrap();
            assert_eq!(found, value.as_bytes());
        }
        let mut out = Vec::new();
        changes.write(&names, &places, doc.as_bytes(), &mut out);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn new_fields_come_last_and_the_rest_stays_as_it_is() {
        let doc = " { \"a\" : 1.50e1,\t\"b\":{ } } ";
        assert_eq!(put(doc, &[]).unwrap(), doc);
        assert_eq!(
            put(doc, &[("c", "2"), ("d.e", "3"), ("d.f", "4")]).unwrap(),
            " { \"a\" : 1.50e1,\t\"b\":{ } ,\"c\":2,\"d\":{\"e\":3,\"f\":4}} "
        );
        assert_eq!(put(doc, &[("b.c", "2"), ("b.d", "3")]).unwrap(), " { \"a\" : 1.50e1,\t\"b\":{ \"c\":2,\"d\":3} } ");
        assert_eq!(put("{}", &[("a\"b", "1"), ("c", "2")]).unwrap(), r#"{"a\"b":1,"c":2}"#);
        assert_eq!(put("{ }", &[("a.b.c", "[]")]).unwrap(), r#"{ "a":{"b":{"c":[]}}}"#);
    }

    #[test]
    fn fields_that_are_there_are_replaced_in_their_place() {
        assert_eq!(put(r#"{"b":1,"a":[1, 2],"c":3}"#, &[("a", "x"), ("b", "y")]).unwrap(), r#"{"b":y,"a":x,"c":3}"#);
        assert_eq!(put(r#"{"a":1,"a":2}"#, &[("a", "3")]).unwrap(), r#"{"a":1,"a":3}"#, "the last counts");
        assert_eq!(put(r#"{"a":{"b":{"c":1,"d":2}}}"#, &[("a.b.c", "3")]).unwrap(), r#"{"a":{"b":{"c":3,"d":2}}}"#);
        assert_eq!(put(r#"{"\u0061":1}"#, &[("a", "2")]).unwrap(), r#"{"\u0061":2}"#);
        assert_eq!(put(r#"{"a":{"x":1}}"#, &[("a", "{}"), ("a.y", "2")]).unwrap(), r#"{"a":{"y":2}}"#);
    }

    #[test]
    fn what_is_no_object_cannot_be_gone_through() {
        for (value, kind) in
            [("1", "a number"), ("\"x\"", "a text"), ("null", "null"), ("true", "a boolean"), ("[]", "an array")]
        {
            assert_eq!(put(&format!("{{\"a\":{value}}}"), &[("a.b", "1")]), Err(Obstacle::NoObject { kind }));
            assert_eq!(
                put(&format!("{{\"a\":{{\"b\":{value}}}}}"), &[("a.b.c", "1")]),
                Err(Obstacle::NoObject { kind })
            );
        }
        assert!(matches!(put(r#"{"a":{"b" 1}}"#, &[("a.c", "1")]), Err(Obstacle::Malformed(_))));
    }

    #[test]
    fn ways_overlap_where_one_leads_to_the_other() {
        let mut names = Names::default();
        let mut way = |path: &str| names.way(&Path::parse(path).unwrap());
        let (a, ab, ac, b) = (way("a"), way("a.b"), way("a.c"), way("b"));
        assert!(a.overlaps(&a) && a.overlaps(&ab) && ab.overlaps(&a));
        assert!(!ab.overlaps(&ac) && !a.overlaps(&b));
        assert_eq!(names.len(), 2);
    }
}
