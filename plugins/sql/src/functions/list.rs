//! Functions over arrays.

use std::cmp::Ordering;

use super::{Function, Kind, Returns, count, elements, take, text, whole};
use crate::eval::compare::{self, Order};
use crate::expr::Memo;
use crate::json::Malformed;
use crate::value::{Members, Outcome, Value};

/// The longest array that GENERATE_SERIES makes.
const SERIES_MAX: usize = 100_000;

/// The functions of this module.
pub const FUNCTIONS: &[Function] = &[
    Function::new("ARRAY_LENGTH", &[Kind::Array], Returns::Integer, "The number of elements.", |a, _| {
        Ok(count(elements(a, 0).len()))
    }),
    Function::new(
        "ARRAY_CONTAINS",
        &[Kind::Array, Kind::Any],
        Returns::Boolean,
        "Whether an array holds a value.",
        |a, _| {
            let list = elements(a, 0);
            Ok(Value::Boolean(holds(&list, &take(a, 1))?))
        },
    )
    .sees_nulls(),
    Function::new(
        "ARRAY_JOIN",
        &[Kind::Array],
        Returns::Varchar,
        "The elements as text, with a delimiter between them.",
        join,
    )
    .optional(&[Kind::Text])
    .sees_nulls(),
    Function::new("ARRAY_DISTINCT", &[Kind::Array], Returns::Like(0), "The array with each value once.", |a, _| {
        distinct(elements(a, 0)).map(Value::Array)
    }),
    Function::new(
        "ARRAY_CONCAT",
        &[Kind::Array, Kind::Array],
        Returns::Like(0),
        "Both arrays, one behind the other.",
        |a, _| {
            let (left, right) = (take(a, 0), take(a, 1));
            Ok(match (left, right) {
                (Value::Array(mut left), Value::Array(right)) => {
                    left.extend(right);
                    Value::Array(left)
                }
                (Value::Null, other) | (other, _) => other,
            })
        },
    )
    .sees_nulls(),
    Function::new(
        "ARRAY_UNION",
        &[Kind::Array, Kind::Array],
        Returns::Like(0),
        "What is in either array, each value once.",
        |a, _| {
            let mut all = elements(a, 0);
            all.extend(elements(a, 1));
            distinct(all).map(Value::Array)
        },
    ),
    Function::new(
        "ARRAY_INTERSECT",
        &[Kind::Array, Kind::Array],
        Returns::Like(0),
        "What is in both arrays, each value once.",
        |a, _| {
            let (left, right) = (elements(a, 0), elements(a, 1));
            kept(distinct(left)?, |element| holds(&right, element))
        },
    ),
    Function::new(
        "ARRAY_EXCEPT",
        &[Kind::Array, Kind::Array],
        Returns::Like(0),
        "What is in the first array only, each value once.",
        |a, _| {
            let (left, right) = (elements(a, 0), elements(a, 1));
            kept(distinct(left)?, |element| Ok(!holds(&right, element)?))
        },
    ),
    Function::new("ARRAY_REMOVE", &[Kind::Array, Kind::Any], Returns::Like(0), "The array without a value.", |a, _| {
        if a.first().is_none_or(Value::is_null) {
            return Ok(Value::Null);
        }
        let (list, unwanted) = (elements(a, 0), take(a, 1));
        kept(list, |element| Ok(!compare::same(element.clone(), unwanted.clone())?))
    })
    .sees_nulls(),
    Function::new("ARRAY_MAX", &[Kind::Array], Returns::Any, "The greatest element; NULLs are passed over.", |a, _| {
        Ok(sorted(present(elements(a, 0)))?.pop().unwrap_or(Value::Null))
    }),
    Function::new("ARRAY_MIN", &[Kind::Array], Returns::Any, "The least element; NULLs are passed over.", |a, _| {
        Ok(Value::or_null(sorted(present(elements(a, 0)))?.into_iter().next()))
    }),
    Function::new(
        "ARRAY_SORT",
        &[Kind::Array],
        Returns::Like(0),
        "The array in order, 'ASC' or 'DESC', with its NULLs at the end.",
        sort,
    )
    .optional(&[Kind::Text])
    .checked(|literals| match literals.get(1).copied().flatten() {
        Some(order) if direction(order).is_none() => Err(format!("unknown order '{order}'; expected 'ASC' or 'DESC'")),
        _ => Ok(()),
    }),
    Function::new(
        "SLICE",
        &[Kind::Array, Kind::Whole, Kind::Whole],
        Returns::Like(0),
        "The elements from a place to another, both included, from 1.",
        slice,
    )
    .sees_nulls(),
    Function::new(
        "GENERATE_SERIES",
        &[Kind::Whole, Kind::Whole],
        Returns::Array,
        "The numbers from one to another, in steps.",
        series,
    )
    .optional(&[Kind::Whole]),
];

fn holds(list: &[Value<'_>], wanted: &Value<'_>) -> Result<bool, Malformed> {
    for element in list {
        if compare::same(element.clone(), wanted.clone())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn distinct(list: Vec<Value<'_>>) -> Result<Vec<Value<'_>>, Malformed> {
    let mut seen: Vec<Value<'_>> = Vec::with_capacity(list.len());
    for element in list {
        if !holds(&seen, &element)? {
            seen.push(element);
        }
    }
    Ok(seen)
}

fn kept<'v>(list: Vec<Value<'v>>, wanted: impl Fn(&Value<'v>) -> Result<bool, Malformed>) -> Outcome<'v> {
    let mut result = Vec::with_capacity(list.len());
    for element in list {
        if wanted(&element)? {
            result.push(element);
        }
    }
    Ok(Value::Array(result))
}

fn present(list: Vec<Value<'_>>) -> Vec<Value<'_>> {
    list.into_iter().filter(|element| !element.is_null()).collect()
}

/// Sorts values that are not NULL; those that cannot be ordered keep their place.
fn sorted(list: Vec<Value<'_>>) -> Result<Vec<Value<'_>>, Malformed> {
    let mut list: Vec<Value<'_>> = list.into_iter().map(Value::decode).collect::<Result<_, _>>()?;
    list.sort_by(|a, b| match compare::order(a.clone(), b.clone()) {
        Ok(Order::Known(order)) => order,
        // Values of unlike kinds are put in groups, or the order would not be one.
        _ => rank(a).cmp(&rank(b)),
    });
    Ok(list)
}

fn rank(value: &Value<'_>) -> u8 {
    match value {
        Value::Whole(_) | Value::Double(_) | Value::Decimal(_) => 0,
        Value::Text(_) => 1,
        _ => 2,
    }
}

fn direction(order: &str) -> Option<Ordering> {
    match order.to_ascii_uppercase().as_str() {
        "ASC" | "ASCENDING" => Some(Ordering::Less),
        "DESC" | "DESCENDING" => Some(Ordering::Greater),
        _ => None,
    }
}

fn sort<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let direction = match take(arguments, 1) {
        Value::Text(order) => direction(&order),
        _ => Some(Ordering::Less),
    };
    let list = elements(arguments, 0);
    let length = list.len();
    let mut list = sorted(present(list))?;
    match direction {
        None => return Ok(Value::Null),
        Some(Ordering::Greater) => list.reverse(),
        Some(_) => {}
    }
    list.resize(length, Value::Null);
    Ok(Value::Array(list))
}

fn join<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let delimiter = match take(arguments, 1) {
        Value::Text(delimiter) => delimiter,
        _ if arguments.len() > 1 => "".into(),
        _ => ",".into(),
    };
    let Value::Array(list) = take(arguments, 0) else { return Ok(Value::Null) };
    let mut joined = String::new();
    for (place, element) in list.into_iter().enumerate() {
        if place > 0 {
            joined.push_str(&delimiter);
        }
        joined.push_str(&element.into_text()?.unwrap_or("null".into()));
    }
    Ok(Value::text_of(joined))
}

fn slice<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let (from, to) = (whole(arguments, 1).unwrap_or(1), whole(arguments, 2));
    let Value::Array(list) = take(arguments, 0) else { return Ok(Value::Null) };
    let Some(skipped) = usize::try_from(from).ok().and_then(|from| from.checked_sub(1)) else { return Ok(Value::Null) };
    let end = to.map_or(list.len(), |to| usize::try_from(to).unwrap_or(0));
    if end < skipped {
        return Ok(Value::Null);
    }
    Ok(Value::Array(list.into_iter().take(end).skip(skipped).collect()))
}

fn series<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let (Some(from), Some(to)) = (whole(arguments, 0), whole(arguments, 1)) else { return Ok(Value::Null) };
    let step = whole(arguments, 2).unwrap_or(if from <= to { 1 } else { -1 });
    if step == 0 || (to > from && step < 0) || (to < from && step > 0) {
        return Ok(Value::Null);
    }
    let mut numbers = Vec::new();
    let mut next = Some(from);
    while let Some(number) = next.filter(|number| if step > 0 { *number <= to } else { *number >= to }) {
        if numbers.len() == SERIES_MAX {
            return Ok(Value::Null);
        }
        numbers.push(Value::Whole(number));
        next = number.checked_add(step);
    }
    Ok(Value::Array(numbers))
}

/// Cuts text at a delimiter and each part at another: `a:1,b:2`.
pub(super) fn split_to_map<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let (body, entries, pairs) = (text(arguments, 0), text(arguments, 1), text(arguments, 2));
    if entries.is_empty() || pairs.is_empty() {
        return Ok(Value::Null);
    }
    let mut members: Members<'v> = Vec::new();
    for entry in body.split(&*entries) {
        let Some((name, value)) = entry.split_once(&*pairs) else { continue };
        // What stands behind a second delimiter belongs to nobody.
        let value = value.split(&*pairs).next().unwrap_or_default();
        let value = Value::text_of(value);
        match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, earlier)) => *earlier = value,
            None => members.push((name.to_owned().into(), value)),
        }
    }
    Ok(Value::Object(members))
}
