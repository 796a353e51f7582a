//! Functions over maps.

use super::{Function, Kind, Returns, elements, list, take};
use crate::value::{Members, Value};

/// The functions of this module.
pub const FUNCTIONS: &[Function] = &[
    Function::new("MAP_KEYS", &[Kind::Map], Returns::Array, "The names in a map.", |a, _| {
        Ok(Value::Array(members(take(a, 0)).into_iter().map(|(name, _)| Value::Text(name)).collect()))
    }),
    Function::new("MAP_VALUES", &[Kind::Map], Returns::Array, "The values in a map.", |a, _| {
        Ok(Value::Array(members(take(a, 0)).into_iter().map(|(_, value)| value).collect()))
    }),
    Function::new("MAP_UNION", &[Kind::Map, Kind::Map], Returns::Map, "Both maps in one; the second wins.", |a, _| {
        if a.iter().all(Value::is_null) {
            return Ok(Value::Null);
        }
        let mut all = members(take(a, 0));
        for (name, value) in members(take(a, 1)) {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, earlier)) => *earlier = value,
                None => all.push((name, value)),
            }
        }
        Ok(Value::Object(all))
    })
    .sees_nulls(),
    Function::new(
        "AS_MAP",
        &[Kind::Array, Kind::Array],
        Returns::Map,
        "A map of an array of names and one of values.",
        |a, _| {
            let (names, values) = (elements(a, 0), elements(a, 1));
            let mut members = Vec::with_capacity(names.len());
            for (name, value) in names.into_iter().zip(values) {
                if let Some(name) = name.into_text()? {
                    members.push((name, value));
                }
            }
            Ok(Value::Object(members))
        },
    ),
    Function::new(
        "ENTRIES",
        &[Kind::Map, Kind::Boolean],
        Returns::Array,
        "The members of a map as structs with K and V, sorted by name when the second argument says so.",
        |a, _| {
            let mut entries = members(take(a, 0));
            if matches!(a.get(1), Some(Value::Boolean(true))) {
                entries.sort_by(|(left, _), (right, _)| left.cmp(right));
            }
            let pair = |(name, value)| Value::Object(vec![("K".into(), Value::Text(name)), ("V".into(), value)]);
            Ok(Value::Array(entries.into_iter().map(pair).collect()))
        },
    ),
    Function::new(
        "SPLIT_TO_MAP",
        &[Kind::Text, Kind::Text, Kind::Text],
        Returns::Map,
        "The map in a text like 'a:1,b:2', by the delimiter of entries and the one between name and value.",
        list::split_to_map,
    ),
];

fn members<'v>(value: Value<'v>) -> Members<'v> {
    match value {
        Value::Object(members) => members,
        _ => Vec::new(),
    }
}
