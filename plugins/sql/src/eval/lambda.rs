//! TRANSFORM, FILTER and REDUCE: run a lambda over the elements of an array or the entries of a map.

use crate::expr::{Expr, LambdaCall, LambdaKind};
use crate::json::Malformed;
use crate::row::Row;
use crate::value::{Members, Outcome, Value};

/// Calls one of the three.
pub fn call<'v>(call: &'v LambdaCall, row: &mut Row<'v>) -> Outcome<'v> {
    let collection = call.collection.eval(row)?;
    let state = match &call.initial {
        Some(initial) => initial.eval(row)?,
        None => Value::Null,
    };
    if let Some(members) = collection.clone().into_members()? {
        return over_map(call, members, state, row);
    }
    match (collection.into_elements()?, call.bodies.first()) {
        (Some(elements), Some(body)) => over_array(call.kind, elements, body, state, row),
        // REDUCE over nothing gives what it began with.
        _ => Ok(state),
    }
}

/// Evaluates a body with its parameters bound.
fn bound<'v, const N: usize>(body: &'v Expr, values: [Value<'v>; N], row: &mut Row<'v>) -> Outcome<'v> {
    for value in values {
        row.push(value);
    }
    let outcome = body.eval(row);
    row.pop(N);
    outcome
}

fn holds<'v, const N: usize>(body: &'v Expr, values: [Value<'v>; N], row: &mut Row<'v>) -> Result<bool, Malformed> {
    Ok(super::coerce::boolean(bound(body, values, row)?)? == Some(true))
}

fn over_array<'v>(
    kind: LambdaKind,
    elements: Vec<Value<'v>>,
    body: &'v Expr,
    mut state: Value<'v>,
    row: &mut Row<'v>,
) -> Outcome<'v> {
    let mut kept = Vec::new();
    for element in elements {
        match kind {
            LambdaKind::Transform => kept.push(bound(body, [element], row)?),
            LambdaKind::Filter if holds(body, [element.clone()], row)? => kept.push(element),
            LambdaKind::Filter => {}
            LambdaKind::Reduce => state = bound(body, [state, element], row)?,
        }
    }
    Ok(if kind == LambdaKind::Reduce { state } else { Value::Array(kept) })
}

fn over_map<'v>(call: &'v LambdaCall, members: Members<'v>, mut state: Value<'v>, row: &mut Row<'v>) -> Outcome<'v> {
    let mut kept = Vec::new();
    for (name, value) in members {
        let key = Value::Text(name.clone());
        match (call.kind, call.bodies.as_slice()) {
            (LambdaKind::Transform, [keys, values]) => {
                let new = bound(keys, [key.clone(), value.clone()], row)?.into_text()?;
                let value = bound(values, [key, value], row)?;
                kept.extend(new.map(|name| (name, value)));
            }
            (LambdaKind::Filter, [body]) if holds(body, [key.clone(), value.clone()], row)? => kept.push((name, value)),
            (LambdaKind::Reduce, [body]) => state = bound(body, [state, key, value], row)?,
            _ => {}
        }
    }
    Ok(if call.kind == LambdaKind::Reduce { state } else { Value::Object(kept) })
}
